"""The journal: an SQLite file of its own to which everything that enters is appended before anything else happens.

What a returned `append` promises: the batch survives the end of the process at any moment (WAL, synchronous=FULL). A
power cut is survived as far as the disk obeys a flush; that is not shown by our tests.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from greenmine.core import sqlite_library
from greenmine.core.clock import Clock
from greenmine.core.errors import StoreFull, StoreUnavailable
from greenmine.ingest.journal_format import (
    INSERT_BATCH,
    INSERT_RECORD,
    batch_crc,
    binds_ids,
    prepare,
    record_crc,
    sync_directory,
)
from greenmine.ingest.journal_mark import JournalMark, Mark
from greenmine.ingest.journal_reader import JournalReader
from greenmine.ingest.journal_recent import RecentBatches
from greenmine.ingest.record import Batch, Record, StoredRecord

__all__ = ["Journal", "JournalClock", "JournalReader"]

_PAGES_A_RELEASE = 500


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

    def __init__(self, path: Path, mark: JournalMark | None = None) -> None:
        """`mark` is written after each commit, and is this journal's from here on."""
        self._db: Any = None
        try:
            created = _made_private(path)
            self._db = sqlite_library.library.connect(str(path), isolation_level=None, check_same_thread=False)
            prepare(self._db, secrets.token_bytes(8))
            last = self._db.execute("SELECT no, clock_ns, crc FROM batch ORDER BY no DESC LIMIT 1").fetchone()
            newest = self._db.execute("SELECT MAX(id) FROM record").fetchone()[0]
            used = self._db.execute("SELECT no, record FROM used").fetchone() or (0, 0)
            self._binds_ids = binds_ids(self._db)
            self._identity: bytes = self._db.execute("SELECT journal FROM identity").fetchone()[0]
        except (sqlite_library.Error, OSError) as error:
            if self._db is not None:
                self._db.close()
            words = f"the journal {path} cannot be opened: {error}"
            if sqlite_library.is_full(error):
                raise StoreFull(words, needs_operator=True) from error
            raise StoreUnavailable(words, needs_operator=True) from error
        if created:
            sync_directory(path.parent)
        self.path = path
        self.last_no: int = max(last[0] if last else 0, used[0])
        self.last_clock_ns: int | None = last[1] if last else None
        self._last_record: int = max(newest or 0, used[1])
        self._mark = mark
        self.recent: RecentBatches | None = None
        """Where what was committed is put for who judges it."""
        if mark is not None and last is not None and last[0] == self.last_no:
            mark.write(Mark(self._identity, last[0], self._last_record, last[1], last[2]))

    def append(self, stamped: Sequence[tuple[int, int, Sequence[Record]]]) -> list[int]:
        """Append batches of (received_ns, clock_ns, records) in one commit; returns their numbers.

        Raises:
            StoreFull: rolled back as a whole; the same may be appended again when there is room.
            StoreUnavailable: not committed. The handle must not be used again: what reached the disk is unknown.
        """
        no, record_id = self.last_no, self._last_record
        batches: list[tuple[int, int, int, int, int, int]] = []
        rows: list[tuple[int, int, str, str, int, bytes, int]] = []
        recent: list[Batch] = []
        for received_ns, clock_ns, records in stamped:
            no += 1
            batch = (no, received_ns, clock_ns, record_id + 1, len(records))
            batches.append((*batch, batch_crc(*batch)))
            if self.recent is not None:
                kept = tuple(StoredRecord(record_id + n, record, True) for n, record in enumerate(records, 1))
                recent.append(Batch(no, received_ns, clock_ns, kept))
            for record in records:
                record_id += 1
                kind, source, payload, client, flags = record
                crc = record_crc(record, record_id if self._binds_ids else None)
                rows.append((record_id, int(kind), source, client, flags, payload, crc))
        try:
            self._db.execute("BEGIN")
            self._db.executemany(INSERT_BATCH, batches)
            self._db.executemany(INSERT_RECORD, rows)
            self._db.execute("COMMIT")
        except sqlite_library.Error as error:
            raise self._not_committed(error) from error
        if self._mark is not None and batches:
            self._mark.write(Mark(self._identity, no, record_id, batches[-1][2], batches[-1][5]))
        if self.recent is not None:
            self.recent.add(recent)
        numbers = [batch[0] for batch in batches]
        self.last_no, self._last_record = no, record_id
        if stamped:
            self.last_clock_ns = stamped[-1][1]
        return numbers

    def forget(self, up_to_no: int, most_records: int) -> bool:
        """Delete some of the oldest batches up to a number, in one commit that is soon done; whether any are left.

        The newest batch always stays, so that numbers are never used again.

        Raises:
            StoreFull, StoreUnavailable: as `append`.
        """
        up_to_no = min(up_to_no, self.last_no - 1)
        query = "SELECT no, first_record + records FROM batch WHERE no <= ? ORDER BY no LIMIT 2000"
        try:
            oldest = self._db.execute(query, (up_to_no,)).fetchall()
            if not oldest:
                return False
            first = self._db.execute("SELECT MIN(id) FROM record").fetchone()[0] or 0
            chosen = [one for one in oldest if one[1] - first <= most_records] or oldest[:1]
            no, end = chosen[-1]
            self._db.execute("BEGIN")
            self._db.execute("DELETE FROM record WHERE id < ?", (end,))
            self._db.execute("DELETE FROM batch WHERE no <= ?", (no,))
            self._db.execute("COMMIT")
        except sqlite_library.Error as error:
            raise self._not_committed(error) from error
        return bool(no < up_to_no)

    def release_pages(self) -> bool:
        """Give some free pages back to the file system; whether there are more. New batches reuse them otherwise."""
        try:
            self._db.execute(f"PRAGMA incremental_vacuum({_PAGES_A_RELEASE})").fetchall()
            return bool(self._db.execute("PRAGMA freelist_count").fetchone()[0] > 0)
        except sqlite_library.Error as error:
            raise self._not_committed(error) from error

    def sync_mark(self) -> None:
        """Flush the mark to the disk."""
        if self._mark is not None:
            self._mark.sync()

    def size_bytes(self) -> int:
        """What the journal takes on the disk."""
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def close(self) -> None:
        """Close the file; SQLite checkpoints it."""
        self._db.close()
        if self._mark is not None:
            self._mark.close()

    def _not_committed(self, error: Exception) -> StoreUnavailable:
        words = f"the journal {self.path} did not commit: {error}"
        if sqlite_library.is_full(error):
            try:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            except sqlite_library.Error as worse:
                return StoreUnavailable(f"{words}; {worse}", needs_operator=True)
            return StoreFull(words, needs_operator=True)
        return StoreUnavailable(words, needs_operator=True)


def _made_private(path: Path) -> bool:
    """Make the file readable for its owner alone before SQLite sees it, since the files beside it (-wal, -shm) get the
    mode that it has then; whether it is new."""
    created = not path.exists()
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    path.chmod(0o600)
    return created
