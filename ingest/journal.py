"""The journal: an SQLite file of its own to which everything that enters is appended before anything else happens.

What a returned `append` promises: the batch survives the end of the process at any moment (WAL, synchronous=FULL). A
power cut is survived as far as the disk obeys a flush; that is not shown by our tests.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from greenmine.core import sqlite_library
from greenmine.core.clock import Clock
from greenmine.core.errors import Corrupt, StoreUnavailable
from greenmine.ingest.record import Batch, Record, RecordKind, StoredRecord

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batch (
    no INTEGER PRIMARY KEY, received_ns INTEGER NOT NULL, clock_ns INTEGER NOT NULL,
    first_record INTEGER NOT NULL, records INTEGER NOT NULL, crc INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS record (
    id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, source TEXT NOT NULL, client TEXT NOT NULL,
    flags INTEGER NOT NULL, payload BLOB NOT NULL, crc INTEGER NOT NULL
);
"""
_INSERT_BATCH = "INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?)"
_INSERT_RECORD = "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?)"
MOST_BYTES = 16 * 1024 * 1024
"""Payloads that one call of `batches` reads before it stops at the end of a batch."""


def _crc(record: Record) -> int:
    crc = zlib.crc32(record.source.encode("utf-8", "surrogatepass"))
    crc = zlib.crc32(record.client.encode("utf-8", "surrogatepass"), crc)
    return zlib.crc32(record.payload, zlib.crc32(bytes((record.kind, record.flags)), crc))


def _batch_crc(no: int, received_ns: int, clock_ns: int, first_record: int, records: int) -> int:
    return zlib.crc32(f"{no},{received_ns},{clock_ns},{first_record},{records}".encode())


class JournalClock:
    """The clock that batches carry: never back, at monotonic speed, drawn gently towards the wall clock.

    A wall clock that steps forward by an hour must not end every hold time at once, and one that steps back must not
    stop the timers; so a difference is worked off at half of the elapsed time.
    """

    def __init__(self, clock: Clock, last_clock_ns: int | None) -> None:
        self._clock = clock
        self._monotonic_ns = clock.monotonic_ns()
        self.now_ns = max(clock.wall_ns(), last_clock_ns or 0)

    def advance(self) -> tuple[int, int]:
        """Wall time and journal time now."""
        wall_ns, monotonic_ns = self._clock.wall_ns(), self._clock.monotonic_ns()
        elapsed = max(0, monotonic_ns - self._monotonic_ns)
        self._monotonic_ns = monotonic_ns
        behind = wall_ns - (self.now_ns + elapsed)
        self.now_ns += elapsed + max(-elapsed // 2, min(behind, elapsed // 2))
        return wall_ns, self.now_ns


class Journal:
    """The writing end. Only one process may hold it, and only one thread may call `append`."""

    def __init__(self, path: Path) -> None:
        self._db: Any = None
        try:
            created = _made_private(path)
            self._db = sqlite_library.library.connect(str(path), isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
            last = self._db.execute("SELECT no, clock_ns FROM batch ORDER BY no DESC LIMIT 1").fetchone()
            newest = self._db.execute("SELECT MAX(id) FROM record").fetchone()[0]
        except (sqlite_library.Error, OSError) as error:
            if self._db is not None:
                self._db.close()
            raise StoreUnavailable(f"the journal {path} cannot be opened: {error}", needs_operator=True) from error
        if created:
            _sync_directory(path.parent)
        self.path = path
        self.last_no: int = last[0] if last else 0
        self.last_clock_ns: int | None = last[1] if last else None
        self._last_record: int = newest or 0

    def append(self, stamped: Sequence[tuple[int, int, Sequence[Record]]]) -> list[int]:
        """Append batches of (received_ns, clock_ns, records) in one commit; returns their numbers.

        Raises:
            StoreUnavailable: not committed. The handle must not be used again: what reached the disk is unknown.
        """
        no, record_id = self.last_no, self._last_record
        batches: list[tuple[int, int, int, int, int, int]] = []
        rows: list[tuple[int, int, str, str, int, bytes, int]] = []
        for received_ns, clock_ns, records in stamped:
            no += 1
            batch = (no, received_ns, clock_ns, record_id + 1, len(records))
            batches.append((*batch, _batch_crc(*batch)))
            for record in records:
                record_id += 1
                kind, source, payload, client, flags = record
                rows.append((record_id, int(kind), source, client, flags, payload, _crc(record)))
        try:
            self._db.execute("BEGIN")
            self._db.executemany(_INSERT_BATCH, batches)
            self._db.executemany(_INSERT_RECORD, rows)
            self._db.execute("COMMIT")
        except sqlite_library.Error as error:
            raise StoreUnavailable(f"the journal {self.path} did not commit: {error}", needs_operator=True) from error
        numbers = [batch[0] for batch in batches]
        self.last_no, self._last_record = no, record_id
        if stamped:
            self.last_clock_ns = stamped[-1][1]
        return numbers

    def close(self) -> None:
        """Close the file; SQLite checkpoints it."""
        self._db.close()


class JournalReader:
    """The reading end, for the pipeline, replays and the command line; any number, in any process."""

    def __init__(self, path: Path) -> None:
        try:
            self._db: Any = sqlite_library.library.connect(
                f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
            )
        except sqlite_library.Error as error:
            raise StoreUnavailable(f"the journal {path} cannot be read: {error}") from error
        # A flipped bit in a text must cost its record, which the checksum tells, and not the reading of all others.
        self._db.text_factory = lambda raw: raw.decode("utf-8", "backslashreplace")

    def batches(self, after: int, most_records: int = 5000) -> list[Batch]:
        """Batches numbered above `after`, in order; whole ones, up to about `most_records` records and `MOST_BYTES`.

        Raises:
            Corrupt: batches are missing, or one does not fit its checksum or its records.
        """
        with self._reading():
            found = self._headers(after, most_records)
            if not found:
                return []
            if (found[0][0] != after + 1 and after > 0) or found[-1][0] - found[0][0] != len(found) - 1:
                raise Corrupt(f"the journal lacks batches between {after} and {found[-1][0]}; restore it from a backup")
            records = self._records(found[0][3], found[-1][3] + found[-1][4])
            out: list[Batch] = []
            size = 0
            for no, received_ns, clock_ns, first, count in found:
                its = tuple(islice(records, count))
                if [stored.id for stored in its] != list(range(first, first + count)):
                    raise Corrupt(f"the journal's batch {no} does not fit its records; restore it from a backup")
                out.append(Batch(no, received_ns, clock_ns, its))
                size += sum(len(stored.record.payload) for stored in its)
                if size > MOST_BYTES:
                    break
            return out

    def record(self, record_id: int) -> StoredRecord | None:
        """One record by its id."""
        with self._reading():
            return next(self._records(record_id, record_id + 1), None)

    def last_no(self) -> int:
        """Number of the newest batch, 0 for an empty journal."""
        with self._reading():
            return self._db.execute("SELECT MAX(no) FROM batch").fetchone()[0] or 0

    def last_record_id(self) -> int:
        """Id of the newest record, 0 for an empty journal."""
        with self._reading():
            return self._db.execute("SELECT MAX(id) FROM record").fetchone()[0] or 0

    def all_batches(self) -> Iterator[Batch]:
        """The whole journal in order, in bounded memory."""
        after = 0
        while found := self.batches(after):
            yield from found
            after = found[-1].no

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _headers(self, after: int, most_records: int) -> list[tuple[int, int, int, int, int]]:
        found: list[tuple[int, int, int, int, int]] = []
        total = 0
        for *header, crc in self._db.execute("SELECT * FROM batch WHERE no > ? ORDER BY no LIMIT 2000", (after,)):
            no, received_ns, clock_ns, first, count = header
            if _batch_crc(no, received_ns, clock_ns, first, count) != crc:
                raise Corrupt(f"the journal's batch {no} does not fit its checksum; restore it from a backup")
            found.append((no, received_ns, clock_ns, first, count))
            total += count
            if total >= most_records:
                break
        return found

    def _records(self, first: int, end: int) -> Iterator[StoredRecord]:
        for row in self._db.execute("SELECT * FROM record WHERE id >= ? AND id < ? ORDER BY id", (first, end)):
            yield _stored(*row)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite_library.OperationalError as error:
            raise StoreUnavailable(f"the journal cannot be read now: {error}") from error
        except (sqlite_library.Error, UnicodeDecodeError) as error:
            # The driver also decodes names and statements that the damaged file itself holds.
            raise Corrupt(f"the journal cannot be read: {error}; restore it from a backup") from error


def _stored(record_id: int, kind: Any, source: Any, client: Any, flags: Any, payload: Any, crc: Any) -> StoredRecord:
    """A record from its row. What a damaged row has in the place of a value is kept as far as it can be shown.

    Raises:
        Corrupt: nobody can say what kind of record it was.
    """
    try:
        known = RecordKind(kind)
    except ValueError as error:
        raise Corrupt(f"the journal's record {record_id} is of no known kind; restore it from a backup") from error
    if isinstance(source, str) and isinstance(client, str) and isinstance(payload, bytes) and flags in range(256):
        record = Record(known, source, payload, client, flags)
        return StoredRecord(record_id, record, _crc(record) == crc)
    shown = payload if isinstance(payload, bytes) else str(payload).encode("utf-8", "replace")
    return StoredRecord(record_id, Record(known, str(source), shown, str(client)), False)


def _made_private(path: Path) -> bool:
    """Make the file readable for its owner alone before SQLite sees it, since the files beside it (-wal, -shm) get the
    mode that it has then; whether it is new."""
    created = not path.exists()
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    path.chmod(0o600)
    return created


def _sync_directory(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
