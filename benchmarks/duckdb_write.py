"""Writing 1,000 readings at a time to a DuckDB file that already holds millions: which way to keep the first write.

    python benchmarks/duckdb_write.py [--rows 3000000] [--batches 60]

Compares the store as it is (no index; the batch as lists, an anti-join over its time span) with a primary key and
INSERT OR IGNORE, and the ways to hand a batch over. Each batch is one durable transaction. Bounded: less than a minute
and some hundred MB in a temporary directory with the defaults. Prints medians of one run.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from greenmine.core.reading import Reading, Series
from greenmine.store.duckdb_store import DuckDbReadingStore

BATCH = 1_000
T0_NS = 1_790_000_000_000_000_000
STEP_NS = 60 * 10**9
METRICS = ("pm10", "pm25", "tsp", "ph", "laeq")
COLUMNS = ("VARCHAR",) * 5 + ("INTEGER", "BIGINT", "DOUBLE", "INTEGER", "DOUBLE")
TABLE = """CREATE TABLE readings (mine VARCHAR NOT NULL, device VARCHAR NOT NULL, metric VARCHAR NOT NULL,
    channel VARCHAR NOT NULL, stat VARCHAR NOT NULL, period_s INTEGER NOT NULL, time_ns BIGINT NOT NULL,
    value DOUBLE NOT NULL, quality INTEGER NOT NULL, calibrated DOUBLE, {key})"""
KEY = "PRIMARY KEY (mine, device, metric, channel, stat, period_s, time_ns)"
FILL = f"""INSERT INTO readings
    SELECT 'mine-' || (i % 5), 'dev-' || (i % 200), (['pm10', 'pm25', 'tsp', 'ph', 'laeq'])[1 + (i % 1000) // 200], '',
           'inst', 0, {T0_NS} + (i // 1000) * {STEP_NS} + (i % 1000) * 1000000, random() * 100, 0, NULL
    FROM range($1, $2) t(i)"""
LISTS = "SELECT " + ", ".join(f"unnest(${place}::{kind}[])" for place, kind in enumerate(COLUMNS, 1))
MARKS = ", ".join("?" * len(COLUMNS))


def batch(number: int, late: bool = False) -> list[Reading]:
    """A minute of 1,000 series; with `late`, the first reading is of the very first minute."""
    start = T0_NS + number * STEP_NS
    made = [
        Reading(Series(f"mine-{n % 5}", f"dev-{n % 200}", METRICS[n // 200]), start + n * 1_000_000, n / 7)
        for n in range(BATCH)
    ]
    if late:
        made[0] = made[0]._replace(time_ns=T0_NS + 1 + number)
    return made


def rows(readings: list[Reading]) -> list[tuple[object, ...]]:
    return [(*reading.series, *reading[1:]) for reading in readings]


def as_lists(connection: duckdb.DuckDBPyConnection, insert: str) -> Callable[[list[Reading]], object]:
    def write(readings: list[Reading]) -> None:
        connection.begin()
        connection.execute(insert + LISTS, [list(column) for column in zip(*rows(readings), strict=True)])
        connection.commit()

    return write


def row_by_row(connection: duckdb.DuckDBPyConnection) -> Callable[[list[Reading]], object]:
    def write(readings: list[Reading]) -> None:
        connection.begin()
        connection.executemany(f"INSERT INTO readings VALUES ({MARKS})", rows(readings))
        connection.commit()

    return write


def median_ms(write: Callable[[list[Reading]], object], batches: list[list[Reading]]) -> str:
    times = []
    for readings in batches:
        start = time.perf_counter()
        write(readings)
        times.append((time.perf_counter() - start) * 1e3)
    return f"{statistics.median(times):8.2f} (max {max(times):.1f})"


def fill(path: Path, row_count: int, key: str | None) -> duckdb.DuckDBPyConnection:
    """A file with `row_count` rows; with a key, the table has it, otherwise it is the store's own table."""
    if key is None:
        DuckDbReadingStore(path).close()
    connection = duckdb.connect(path, config={"threads": 1, "memory_limit": "256MB"})
    if key is not None:
        connection.execute(TABLE.format(key=key))
    for start in range(0, row_count, 100_000):
        connection.execute(FILL, [start, min(start + 100_000, row_count)])
    connection.execute("CHECKPOINT")
    return connection


def compare(name: str, write: Callable[[list[Reading]], object], first: int, count: int, path: Path) -> None:
    new = [batch(first + number) for number in range(count)]
    print(f"{name}\n  file          {os.path.getsize(path) / 1e6:8.1f} MB")
    print(f"  new           {median_ms(write, new)} ms a batch")
    print(f"  repeated      {median_ms(write, new[: count // 3])} ms a batch")
    late = [batch(first + count + number, late=True) for number in range(count // 3)]
    print(f"  one late      {median_ms(write, late)} ms a batch", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3_000_000, help="rows in the table before (at most 20 million)")
    parser.add_argument("--batches", type=int, default=60, help="batches a measurement (at most 500)")
    asked = parser.parse_args()
    row_count, count = min(asked.rows, 20_000_000), max(3, min(asked.batches, 500))
    first = row_count // BATCH + 1
    print(f"DuckDB {duckdb.__version__}, Python {platform.python_version()}, {os.cpu_count()} cores, ", end="")
    print(f"{row_count:,} rows before, batches of {BATCH:,}, ms as median of {count}\n")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.duckdb"
        fill(path, row_count, None).close()
        store = DuckDbReadingStore(path)
        compare("the store: anti-join, batch as lists", store.write, first, count, path)
        store.close()
        path.unlink()

        path = Path(folder) / "key.duckdb"
        connection = fill(path, row_count, KEY)
        compare(
            "primary key, batch as lists", as_lists(connection, "INSERT OR IGNORE INTO readings "), first, count, path
        )
        connection.close()
        path.unlink()

        print("\nhanding over 1,000 rows to an empty table, nothing compared")
        for name, writer in (
            ("lists", lambda to: as_lists(to, "INSERT INTO readings ")),
            ("executemany", row_by_row),
        ):
            path = Path(folder) / f"{name}.duckdb"
            connection = fill(path, 0, None)
            print(f"  {name:13} {median_ms(writer(connection), [batch(n) for n in range(5)])} ms a batch")
            connection.close()


if __name__ == "__main__":
    main()
