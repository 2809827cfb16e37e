"""Reading a journal: what stands in its file, and what has gone from there to the archive, as one."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from greenmine.core import sqlite_library
from greenmine.core.errors import Corrupt, StoreUnavailable
from greenmine.ingest.archive import ArchiveReader
from greenmine.ingest.backlog import AT_ONCE, MOST_BYTES, Aside, read_at_once, set_aside_by
from greenmine.ingest.journal_format import AT_ONCE_INDEX, batch_crc, binds_ids, stored_record
from greenmine.ingest.journal_recent import RecentBatches
from greenmine.ingest.record import Batch, StoredRecord


class JournalReader:
    """The reading end, for the pipeline, replays and the command line; any number, in any process.

    Batches that have gone to the archive are read there, as if they were still here.
    """

    def __init__(self, path: Path, archive: Path | None = None, recent: RecentBatches | None = None) -> None:
        """`archive` is the folder of segments; by itself the one beside the journal. `recent`: where the writing end
        in this process puts what it committed; then no other reader may have it."""
        self._recent = recent
        self._binds_ids: bool | None = None
        try:
            self._db: Any = sqlite_library.library.connect(
                f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
            )
            # Only the writing connection may ever checkpoint: two at once meet the WAL-reset fault.
            self._db.execute("PRAGMA query_only=1")
            self._db.execute("PRAGMA wal_autocheckpoint=0")
        except sqlite_library.Error as error:
            raise StoreUnavailable(f"the journal {path} cannot be read: {error}") from error
        # A flipped bit in a text must cost its record, which the checksum tells, and not the reading of all others.
        self._db.text_factory = lambda raw: raw.decode("utf-8", "backslashreplace")
        self._lock = threading.Lock()
        self.archive = ArchiveReader(path.parent / "archive" if archive is None else archive)

    def batches(self, after: int, most_records: int = 5000) -> list[Batch]:
        """Batches numbered above `after`, in order; whole ones, up to about `most_records` records and `MOST_BYTES`.

        Raises:
            Corrupt: batches are missing that are not known to be lost, or one does not fit its checksum or records.
        """
        if self._recent is not None and (recent := self._recent.after(after, most_records)):
            return recent
        with self._reading():
            headers = self._headers(after, most_records)
            if headers and (headers[0][0] == after + 1 or (after == 0 and not self.archive.segments())):
                return self._whole(headers)
        # In this order: a segment is in the archive before its batches leave the file.
        archived = self.archive.batches(after, most_records)
        if archived:
            self._joined(after, archived[0].no)
            return archived
        with self._reading():
            headers = self._headers(after, most_records)
            batches = self._whole(headers) if headers else []
        if batches:
            self._joined(after, batches[0].no)
        return batches

    def ahead(self, after: int, but_newest: int, within_ns: int, since_ns: int) -> tuple[Aside, Aside] | None:
        """All that stands in the file after a batch, as a range, and the same without the newest batches: those of the
        newest `within_ns`, but at most so many as hold `but_newest` records, or are as many themselves. None if what
        comes next is not in the file."""
        with self._reading():
            first = self._db.execute("SELECT first_record FROM batch WHERE no = ?", (after + 1,)).fetchone()
            if first is None:
                return None
            newest = self._db.execute("SELECT MAX(no) FROM batch").fetchone()[0]
            whole = self._range_to(newest, after, first[0], since_ns)
            low, high = max(after + 1, newest - but_newest), newest
            while low < high:
                middle = (low + high) // 2
                upto = self._range_to(middle, after, first[0], since_ns)
                if whole.last_record - upto.last_record <= but_newest and whole.clock_ns - upto.clock_ns <= within_ns:
                    high = middle
                else:
                    low = middle + 1
            return whole, self._range_to(low, after, first[0], since_ns)

    def set_asides(self, after: int) -> list[Aside]:
        """The ranges that were set aside by records in batches above `after`, in order."""
        found: list[Aside] = []
        while after + 1 < self.first_no() and (batches := self.batches(after)):
            found += set_aside_by(stored for batch in batches for stored in batch.records)
            after = batches[-1].no
        with self._reading():
            query = "SELECT first_record FROM batch WHERE no > ? ORDER BY no LIMIT 1"
            first = self._db.execute(query, (after,)).fetchone()
            if first is None:
                return found
            rows = self._at_once_rows("kind = 5 AND id >= ?", first)
            return found + set_aside_by(self._stored(rows))

    def at_once(self, after: int, upto: int, most_records: int = 5000) -> list[Batch]:
        """Batches numbered above `after` up to `upto` that have records which do not wait, with these alone; up to
        about `most_records` records and `MOST_BYTES`.

        Raises:
            Corrupt: as `batches`.
        """
        with self._reading():
            if self._db.execute("SELECT 1 FROM batch WHERE no = ?", (after + 1,)).fetchone():
                return self._whole_at_once(after, upto, most_records)
        return read_at_once(self, after, upto, most_records)

    def record(self, record_id: int) -> StoredRecord | None:
        """One record by its id."""
        with self._reading():
            found = next(self._records(record_id, record_id + 1), None)
        return found if found is not None else self.archive.record(record_id)

    def last_no(self) -> int:
        """Number of the newest batch that was ever written, 0 for an empty journal."""
        with self._reading():
            newest = self._db.execute("SELECT MAX(no) FROM batch").fetchone()[0] or 0
            used = self._db.execute("SELECT no FROM used").fetchone() if self._has("used") else None
            return max(newest, used[0] if used else 0)

    def last_record_id(self) -> int:
        """Id of the newest record, 0 for an empty journal."""
        with self._reading():
            return self._db.execute("SELECT MAX(id) FROM record").fetchone()[0] or 0

    def identity(self) -> bytes | None:
        """What tells this journal from others; None in one that was written before it had that."""
        with self._reading():
            if not self._has("identity"):
                return None
            row = self._db.execute("SELECT journal FROM identity").fetchone()
            return bytes(row[0]) if row else None

    def first_no(self) -> int:
        """Number of the oldest batch in the file, 0 for an empty journal."""
        with self._reading():
            return self._db.execute("SELECT MIN(no) FROM batch").fetchone()[0] or 0

    def stored_crc(self, no: int) -> int | None:
        """The stored checksum of a batch, None where there is none of this number."""
        with self._reading():
            row = self._db.execute("SELECT crc FROM batch WHERE no = ?", (no,)).fetchone()
            return None if row is None else row[0]

    def lost(self) -> list[tuple[int, int]]:
        """First and last numbers of the batches that are known to be gone."""
        with self._reading():
            return self._lost()

    def all_batches(self) -> Iterator[Batch]:
        """The whole journal in order, in bounded memory."""
        after = 0
        while found := self.batches(after):
            yield from found
            after = found[-1].no

    def sound(self) -> bool:
        """SQLite's own check of the whole file; takes as long as reading it."""
        with self._reading():
            return bool(self._db.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")

    def misfit(self) -> str:
        """What is wrong with the heads of the batches in the file, or the number of its records; '' where nothing is.
        A head that does not fit makes its batch unreadable; a record that does not costs itself alone, so their
        checksums are not looked at."""
        with self._reading():
            lost = self._lost()
            before: tuple[int, int] | None = None
            records = 0
            for *header, crc in self._db.execute("SELECT * FROM batch ORDER BY no"):
                no, received_ns, clock_ns, first, count = header
                if batch_crc(no, received_ns, clock_ns, first, count) != crc:
                    return f"the journal's batch {no} does not fit its checksum"
                if before is not None:
                    known = no == before[0] + 1 or _are_lost(before[0] + 1, no - 1, lost)
                    if not known or first < before[1]:
                        return f"the journal's batches {before[0]} and {no} do not fit each other"
                before = no, first + count
                records += count
            there = self._db.execute("SELECT COUNT(*) FROM record").fetchone()[0]
            return "" if there == records else f"the journal has {there} records and should have {records}"

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _whole(self, headers: list[tuple[int, int, int, int, int]]) -> list[Batch]:
        """These batches with their records, up to the first gap between them."""
        headers = [one for n, one in enumerate(headers) if one[0] == headers[0][0] + n]
        records = self._records(headers[0][3], headers[-1][3] + headers[-1][4])
        out: list[Batch] = []
        size = 0
        for no, received_ns, clock_ns, first, count in headers:
            its = tuple(islice(records, count))
            if [stored.id for stored in its] != list(range(first, first + count)):
                raise Corrupt(f"the journal's batch {no} does not fit its records")
            out.append(Batch(no, received_ns, clock_ns, its))
            size += sum(len(stored.record.payload) for stored in its)
            if size > MOST_BYTES:
                break
        return out

    def _range_to(self, no: int, after: int, first_record: int, since_ns: int) -> Aside:
        no, _, clock_ns, first, count = self._header_at(no)
        return Aside(after + 1, no, first_record, first + count - 1, since_ns, clock_ns)

    def _whole_at_once(self, after: int, upto: int, most_records: int) -> list[Batch]:
        first, end = self._header_at(after + 1)[3], sum(self._header_at(upto)[3:])
        rows = self._at_once_rows("id >= ? AND id < ?", (first, end), most_records, MOST_BYTES)
        out: list[Batch] = []
        at = 0
        while at < len(rows):
            no, received_ns, clock_ns, first, count = self._header_with(rows[at][0], after + 1, upto)
            its = self._stored(row for row in rows[at : at + count] if row[0] < first + count)
            at += len(its)
            if at == len(rows):
                rest = self._at_once_rows("id > ? AND id < ?", (its[-1].id, first + count))
                its += self._stored(rest)
            out.append(Batch(no, received_ns, clock_ns, tuple(its)))
        return out

    def _at_once_rows(
        self, where: str, values: tuple[int, ...], most: int = -1, most_bytes: float = math.inf
    ) -> list[tuple[Any, ...]]:
        """Rows of records that do not wait, up to so many and until they have so many bytes of payload."""
        index = f"INDEXED BY {AT_ONCE_INDEX}" if self._has(AT_ONCE_INDEX) else ""
        query = f"SELECT * FROM record {index} WHERE {AT_ONCE} AND {where} ORDER BY id LIMIT ?"  # noqa: S608 - constants
        found: list[tuple[Any, ...]] = []
        size = 0
        with closing(self._db.execute(query, (*values, most))) as rows:
            for row in rows:
                found.append(row)
                size += len(row[5]) if isinstance(row[5], bytes) else 0
                if size > most_bytes:
                    break
        return found

    def _header_at(self, no: int) -> tuple[int, int, int, int, int]:
        """The batch of this number, or the newest before it."""
        *header, crc = self._db.execute("SELECT * FROM batch WHERE no <= ? ORDER BY no DESC LIMIT 1", (no,)).fetchone()
        no, received_ns, clock_ns, first, count = header
        if batch_crc(no, received_ns, clock_ns, first, count) != crc:
            raise Corrupt(f"the journal's batch {no} does not fit its checksum")
        return no, received_ns, clock_ns, first, count

    def _header_with(self, record_id: int, low: int, high: int) -> tuple[int, int, int, int, int]:
        """The batch between two numbers that a record stands in."""
        while low < high:
            middle = (low + high + 1) // 2
            if self._header_at(middle)[3] <= record_id:
                low = middle
            else:
                high = middle - 1
        return self._header_at(low)

    def _joined(self, after: int, first: int) -> None:
        """Whether nothing is missing between two batches but what is known to be lost."""
        if after == 0 or first == after + 1:
            return
        with self._reading():
            lost = self._lost()
        if not _are_lost(after + 1, first - 1, lost):
            raise Corrupt(f"the journal lacks batches between {after} and {first}")

    def _headers(self, after: int, most_records: int) -> list[tuple[int, int, int, int, int]]:
        found: list[tuple[int, int, int, int, int]] = []
        total = 0
        for *header, crc in self._db.execute("SELECT * FROM batch WHERE no > ? ORDER BY no LIMIT 2000", (after,)):
            no, received_ns, clock_ns, first, count = header
            if batch_crc(no, received_ns, clock_ns, first, count) != crc:
                raise Corrupt(f"the journal's batch {no} does not fit its checksum")
            found.append((no, received_ns, clock_ns, first, count))
            total += count
            if total >= most_records:
                break
        return found

    def _records(self, first: int, end: int) -> Iterator[StoredRecord]:
        for row in self._db.execute("SELECT * FROM record WHERE id >= ? AND id < ? ORDER BY id", (first, end)):
            yield from self._stored((row,))

    def _stored(self, rows: Iterable[tuple[Any, ...]]) -> list[StoredRecord]:
        if self._binds_ids is None:
            self._binds_ids = binds_ids(self._db)
        return [stored_record(*row, binds_id=self._binds_ids) for row in rows]

    def _lost(self) -> list[tuple[int, int]]:
        rows = self._db.execute("SELECT * FROM lost ORDER BY first_no").fetchall() if self._has("lost") else []
        return sorted({*rows, *self.archive.lost()})

    def _has(self, table: str) -> bool:
        return self._db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone() is not None

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """One snapshot for all that is read within: batches may be leaving for the archive meanwhile."""
        try:
            with self._lock:
                self._db.execute("BEGIN")
                try:
                    yield
                finally:
                    self._db.execute("COMMIT")
        except sqlite_library.OperationalError as error:
            raise StoreUnavailable(f"the journal cannot be read now: {error}") from error
        except (sqlite_library.Error, UnicodeDecodeError) as error:
            # The driver also decodes names and statements that the damaged file itself holds.
            raise Corrupt(f"the journal cannot be read: {error}") from error


def _are_lost(first: int, last: int, lost: list[tuple[int, int]]) -> bool:
    """Whether all batches from one to another are known to be lost; `lost` in order."""
    for first_lost, last_lost in lost:
        if first_lost <= first <= last_lost:
            first = last_lost + 1
    return first > last
