"""Files of readings in Parquet, by DuckDB. Columns as `core` names them; time is a UTC timestamp in ns."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from greenmine.core.errors import UserError

_COLUMNS = "time, mine, device, metric, value, channel, stat, period_s, unit, quality, calibrated"
_TABLE = """CREATE TABLE readings (time TIMESTAMP_NS, mine VARCHAR, device VARCHAR, metric VARCHAR, value DOUBLE,
channel VARCHAR, stat VARCHAR, period_s INTEGER, unit VARCHAR, quality VARCHAR, calibrated DOUBLE)"""
_FILE = "read_parquet($1, hive_partitioning = false)"
"""Without the columns that DuckDB would make of a folder called `mine=x`."""
_CHUNK_ROWS = 10_000


def read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    """Rows as dictionaries; a timestamp column `time` becomes `time_ns` (integer ns UTC), text stays `time`.

    Raises:
        UserError: not a Parquet file.
    """
    connection = duckdb.connect()
    # A name with * or [ is that of one file here, and not a pattern.
    name = [glob.escape(str(path))]
    try:
        described = connection.execute(f"DESCRIBE SELECT * FROM {_FILE}", name).fetchall()  # noqa: S608 - a constant
        kinds = {row[0]: str(row[1]) for row in described}
        stamped = kinds.get("time", "").startswith("TIMESTAMP")
        columns = "* EXCLUDE (time), epoch_ns(time) AS time_ns" if stamped else "*"
        result = connection.execute(f"SELECT {columns} FROM {_FILE}", name)  # noqa: S608 - constants
        names = [column[0] for column in result.description or []]
        while rows := result.fetchmany(_CHUNK_ROWS):
            yield from (dict(zip(names, row, strict=True)) for row in rows)
    except duckdb.Error as error:
        raise UserError(f"{path}: cannot be read as Parquet: {error}") from error
    finally:
        connection.close()


def write_parquet(path: Path, rows: Iterator[Sequence[Any]]) -> int:
    """Write rows of (time_ns, mine, device, metric, value, channel, stat, period_s, unit, quality names, calibrated);
    returns their number.

    Raises:
        UserError: the file cannot be written.
    """
    connection = duckdb.connect()
    total = 0
    try:
        connection.execute(_TABLE)
        chunk: list[Sequence[Any]] = []
        for row in rows:
            chunk.append(row)
            if len(chunk) == _CHUNK_ROWS:
                total += _append(connection, chunk)
                chunk = []
        total += _append(connection, chunk)
        target = str(path).replace("'", "''")
        connection.execute(f"COPY (SELECT {_COLUMNS} FROM readings) TO '{target}' (FORMAT parquet)")  # noqa: S608
    except duckdb.Error as error:
        raise UserError(f"{path}: cannot be written: {error}") from error
    finally:
        connection.close()
    return total


def _append(connection: duckdb.DuckDBPyConnection, chunk: list[Sequence[Any]]) -> int:
    if chunk:
        columns = [list(column) for column in zip(*chunk, strict=True)]
        connection.execute(
            "INSERT INTO readings SELECT make_timestamp_ns(t), * EXCLUDE (t) FROM (SELECT unnest($1) AS t, unnest($2), "
            "unnest($3), unnest($4), unnest($5), unnest($6), unnest($7), unnest($8), unnest($9), unnest($10), "
            "unnest($11))",
            columns,
        )
    return len(chunk)
