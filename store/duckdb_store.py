"""Readings in one DuckDB file, for the embedded installation."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import duckdb

from greenmine.core.clock import NS_PER_S
from greenmine.core.errors import StoreUnavailable
from greenmine.core.reading import Reading, Series
from greenmine.core.reading_store import Rejected, Selection, WriteReport

_TABLE = """
CREATE TABLE IF NOT EXISTS readings (
    mine VARCHAR NOT NULL, device VARCHAR NOT NULL, metric VARCHAR NOT NULL, channel VARCHAR NOT NULL,
    stat VARCHAR NOT NULL, period_s INTEGER NOT NULL, time_ns BIGINT NOT NULL, value DOUBLE NOT NULL,
    quality INTEGER NOT NULL, calibrated DOUBLE)
"""
_MIGRATION = "ALTER TABLE readings ADD COLUMN IF NOT EXISTS calibrated DOUBLE"
"""Files of 0.1.0 have no calibrated values."""
_COLUMNS = "mine, device, metric, channel, stat, period_s, time_ns, value, quality, calibrated"
_ORDER = "mine, device, metric, channel, stat, period_s, time_ns"

# No index: an anti-join over the time span of the batch keeps the first write. `benchmarks/duckdb_write.py` compares.
# The batch comes as one list a column; the time span stands in the text as integers, so that blocks of the table whose
# times lie outside are not even read.
_BATCH = """
WITH batch AS MATERIALIZED (
    SELECT unnest($1::VARCHAR[]) AS mine, unnest($2::VARCHAR[]) AS device, unnest($3::VARCHAR[]) AS metric,
           unnest($4::VARCHAR[]) AS channel, unnest($5::VARCHAR[]) AS stat, unnest($6::INTEGER[]) AS period_s,
           unnest($7::BIGINT[]) AS time_ns, unnest($8::DOUBLE[]) AS value, unnest($9::INTEGER[]) AS quality,
           unnest($10::DOUBLE[]) AS calibrated)
"""
_SAME = """r.time_ns BETWEEN {low:d} AND {high:d} AND r.time_ns = b.time_ns AND r.mine = b.mine
      AND r.device = b.device AND r.metric = b.metric AND r.channel = b.channel AND r.stat = b.stat
      AND r.period_s = b.period_s"""
_INSERT = f"""{_BATCH}
INSERT INTO readings
SELECT * FROM batch b WHERE NOT EXISTS (SELECT 1 FROM readings r WHERE {_SAME})
"""  # noqa: S608 - constants
_UPDATE = f"""{_BATCH}
UPDATE readings r SET calibrated = b.calibrated FROM batch b
WHERE {_SAME} AND b.calibrated IS NOT NULL AND r.calibrated IS DISTINCT FROM b.calibrated
"""  # noqa: S608 - constants
_FETCH_ROWS = 10_000
_SPLIT_PAUSE_NS = 3_600 * NS_PER_S
_MAX_SPANS = 8


class _Row(NamedTuple):
    """A row of the table, in the order of its columns."""

    mine: str
    device: str
    metric: str
    channel: str
    stat: str
    period_s: int
    time_ns: int
    value: float
    quality: int
    calibrated: float | None


class DuckDbReadingStore:
    """Readings in one DuckDB file.

    Durability: DuckDB 2.0 writes a transaction to the log beside the file (`.wal`) and calls fdatasync on it before
    COMMIT returns (seen with strace); the directory entry of a new log it leaves to the file system, so this class
    syncs the directory when the log is a new one. What `write` returned for survives the end of the process, and a
    power cut as far as disk and file system keep their word (which no test of ours shows).

    One process may have the file open; others ask the running service. Within the process every method may be called
    from any thread: writes take turns on one connection, every query has a cursor of its own and reads the state at
    its beginning. Queries and writes run on the caller's thread, with at most `memory_limit` for DuckDB in all; what
    needs more (sorting a very large selection) goes to a directory beside the file.

    Raises:
        StoreUnavailable: from the constructor and every method. With `needs_operator` if the file is locked, damaged
            or not DuckDB's, or a sync failed; then the service has to be started again after the cause is mended. A
            full disk needs no new start: writes go on once there is room.
    """

    def __init__(self, path: Path, memory_limit: str = "256MB") -> None:
        """Open the file, or make it; its directory has to exist."""
        self._path = path
        self._log = path.with_name(path.name + ".wal")
        self._seen_log = (0, 0)
        self._turn = Lock()
        try:
            self._connection = duckdb.connect(
                path,
                config={
                    "memory_limit": memory_limit,
                    "threads": 1,
                    "autoinstall_known_extensions": False,
                    "autoload_known_extensions": False,
                },
            )
        except duckdb.Error as error:
            raise StoreUnavailable(_opening_advice(path, error), needs_operator=True) from error
        try:
            with self._translated():
                self._connection.execute(_TABLE)
                self._connection.execute(_MIGRATION)
                self._writer = self._connection.cursor()
        except StoreUnavailable:
            self._connection.close()
            raise

    def write(self, readings: Sequence[Reading]) -> WriteReport:
        """Store readings in one transaction; of a reading that is there already only the calibrated value changes."""
        rows: dict[tuple[Series, int], _Row] = {}
        rejected: list[Rejected] = []
        for reading in readings:
            row = _row(reading)
            if isinstance(row, str):
                rejected.append(Rejected(reading, row))
            else:
                first = rows.setdefault((reading.series, reading.time_ns), row)
                if row.calibrated is not None:
                    rows[reading.series, reading.time_ns] = first._replace(calibrated=row.calibrated)
        if rows:
            with self._turn:
                self._insert([*rows.values()])
                self._sync_new_log()
        return WriteReport(stored=len(readings) - len(rejected), rejected=rejected)

    def query(self, selection: Selection, newest_first_limit: int | None = None) -> Iterator[Reading]:
        """Readings of the selection by series and time, fetched a few thousand at a time while they are read."""
        where, parameters = _where(selection)
        # the text has names of columns, parameters and one integer only
        source = f"SELECT {_COLUMNS} FROM readings {where}"  # noqa: S608
        if newest_first_limit is not None:
            source = f"SELECT * FROM ({source} ORDER BY time_ns DESC LIMIT {max(0, newest_first_limit):d})"  # noqa: S608
        with self._translated():
            cursor = self._cursor()
            cursor.execute(f"{source} ORDER BY {_ORDER}", parameters)
        return self._fetch(cursor)

    def count(self, selection: Selection) -> int:
        """Number of readings in the selection."""
        where, parameters = _where(selection)
        with self._translated():
            cursor = self._cursor()
            try:
                row = cursor.execute(f"SELECT count(*) FROM readings {where}", parameters).fetchone()  # noqa: S608
            finally:
                cursor.close()
        return int(row[0]) if row else 0

    def close(self) -> None:
        """Write the log into the file and release both; what is still being read ends with StoreUnavailable."""
        with self._turn, self._translated():
            self._writer.close()
            self._connection.close()

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        return self._connection.cursor()

    def _fetch(self, cursor: duckdb.DuckDBPyConnection) -> Iterator[Reading]:
        series = Series("", "", "")
        try:
            while True:
                with self._translated():
                    rows = cursor.fetchmany(_FETCH_ROWS)
                if not rows:
                    return
                for row in rows:
                    if row[:6] != series:
                        series = Series(*row[:6])
                    yield Reading(series, row[6], row[7], row[8], row[9])
        finally:
            cursor.close()

    def _insert(self, rows: Sequence[_Row]) -> None:
        with self._translated():
            self._writer.begin()
            try:
                for span in _time_spans(rows):
                    columns = [list(column) for column in zip(*span, strict=True)]
                    low, high = span[0].time_ns, span[-1].time_ns
                    if any(row.calibrated is not None for row in span):
                        self._writer.execute(_UPDATE.format(low=low, high=high), columns)
                    self._writer.execute(_INSERT.format(low=low, high=high), columns)
                self._writer.commit()
            except duckdb.FatalException:
                raise  # the database takes nothing more, a rollback neither
            except BaseException:
                self._roll_back_what_is_left()
                raise

    def _roll_back_what_is_left(self) -> None:
        with suppress(duckdb.TransactionException):  # a COMMIT that failed has ended the transaction itself
            self._writer.rollback()

    def _sync_new_log(self) -> None:
        """Make the name of a log that was just created as durable as what is in it."""
        try:
            found = self._log.stat()
            inode, size = self._seen_log
            self._seen_log = (found.st_ino, found.st_size)
            if found.st_ino != inode or found.st_size <= size:  # a log only grows, so this is another one
                directory = os.open(self._path.parent, os.O_RDONLY)
                try:
                    os.fsync(directory)
                finally:
                    os.close(directory)
        except FileNotFoundError:
            self._seen_log = (0, 0)  # the commit was written into the file itself, and the log taken away
        except OSError as error:
            raise StoreUnavailable(f"cannot sync {self._path.parent}: {error}", needs_operator=True) from error

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.FatalException, duckdb.InternalException) as error:
            raise StoreUnavailable(
                f"DuckDB gave up {self._path}: {error} - see to disk and file, then start the service again",
                needs_operator=True,
            ) from error
        except duckdb.Error as error:
            raise StoreUnavailable(f"DuckDB cannot use {self._path} now: {error}") from error


def _row(reading: Reading) -> _Row | str:
    """The row of a reading, or why the table cannot hold it."""
    if reading.value is None or not math.isfinite(reading.value):
        return f"value {reading.value} is not a finite number"
    if reading.calibrated is not None and not math.isfinite(reading.calibrated):
        return f"calibrated value {reading.calibrated} is not a finite number"
    if not -(2**63) <= reading.time_ns < 2**63:
        return f"time {reading.time_ns} ns is out of range"
    if not (0 <= reading.quality < 2**31 and 0 <= reading.series.period_s < 2**31):
        return f"quality {reading.quality} or period {reading.series.period_s} s is out of range"
    try:
        "".join(reading.series[:5]).encode()
    except UnicodeEncodeError:
        return f"a name in {reading.series} is not text"
    calibrated = None if reading.calibrated is None else float(reading.calibrated)
    return _Row(*reading.series, reading.time_ns, float(reading.value), int(reading.quality), calibrated)


def _opening_advice(path: Path, error: duckdb.Error) -> str:
    text = f"cannot open the readings in {path}: {error}"
    if "lock" in str(error):
        return f"{text} - another process has the file: stop that one, or ask the running service instead of the file"
    if "not a valid DuckDB" in str(error) or "Could not read" in str(error) or "checksum" in str(error).lower():
        return (
            f"{text} - the file is damaged or not DuckDB's: move it away and restore a backup, or start with a new one"
        )
    return f"{text} - check that the directory exists, may be written and has room"


def _where(selection: Selection) -> tuple[str, list[str | int]]:
    """A WHERE clause with parameters, or nothing for everything."""
    tests = dict(zip(_ORDER.split(", "), selection[:6], strict=False))
    clauses = [f"{column} = ?" for column, wanted in tests.items() if wanted is not None]
    parameters = [wanted for wanted in tests.values() if wanted is not None]
    for limit, clause in ((selection.start_ns, "time_ns >= ?"), (selection.end_ns, "time_ns < ?")):
        if limit is not None:
            clauses.append(clause)
            parameters.append(limit)
    return (f"WHERE {' AND '.join(clauses)}" if clauses else ""), parameters


def _time_spans(rows: Sequence[_Row]) -> list[Sequence[_Row]]:
    """The rows in order of time, cut at the longest pauses, so that one late reading does not make us look at all the
    time between it and the others."""
    ordered = sorted(rows, key=lambda row: row.time_ns)
    pauses = [(later.time_ns - row.time_ns, place) for place, (row, later) in enumerate(pairwise(ordered), 1)]
    longest = sorted((pause for pause in pauses if pause[0] > _SPLIT_PAUSE_NS), reverse=True)[: _MAX_SPANS - 1]
    cuts = [0, *sorted(place for _, place in longest), len(ordered)]
    return [ordered[start:end] for start, end in pairwise(cuts)]
