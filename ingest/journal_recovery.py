"""Opening a journal that may have lost or damaged something: nothing is deleted, nothing is passed over in silence.

What a journal lacks is told by three witnesses: its own checksums, the mark beside it (how far it had been written) and
the state (how far it was judged). A file that cannot be read as it stands is set aside under another name, and all that
can be read of it goes into a new one, at the same numbers. What cannot be read any more stands in the table `lost`, so
that everybody who reads the journal later knows it as well, and no number is ever used twice.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from greenmine.core import sqlite_library
from greenmine.core.errors import Corrupt, StoreFull, StoreUnavailable
from greenmine.ingest.archive import ArchiveReader
from greenmine.ingest.journal import Journal
from greenmine.ingest.journal_format import (
    INSERT_BATCH,
    INSERT_RECORD,
    batch_crc,
    prepare,
    schema_damage,
    sync_directory,
)
from greenmine.ingest.journal_mark import JournalMark, Mark
from greenmine.ingest.journal_reader import JournalReader
from greenmine.ingest.journal_salvage import DamagedJournal, Head
from greenmine.ingest.record import RecordKind

MARK = "journal.mark"
_ENOSPC = 28
_MORE_THAN_A_BATCH = 100_000
_NEWEST_FORMAT = 2
_NO_CRC = -1
"""Fits no record."""


class Loss(NamedTuple):
    """What a start found: why, the batches that are gone (first, last), how many records are gone from others, the
    batches whose heads were made anew, and where the damaged file is now ('' where it was only too short)."""

    reason: str
    batches: list[tuple[int, int]]
    records: int
    mended: list[int]
    set_aside: str


def open_journal(path: Path, archive: Path, judged_no: int) -> tuple[Journal, Loss | None]:
    """The journal, ready for writing after everything that was ever written, and what was found to be lost now.

    `judged_no` is the state's cursor: batches up to it have been there once.

    Raises:
        StoreFull: no room to mend it.
        StoreUnavailable: it cannot be opened, for a reason that is no damage.
    """
    mark = JournalMark(path.with_name(MARK))
    _finish(path)
    try:
        reason, found = _examined(path, archive, judged_no, mark.found)
        loss = None
        if reason:
            loss = _salvaged(path, archive, reason, judged_no, found)
            reason, _ = _examined(path, archive, judged_no, None)
            if reason:
                raise StoreUnavailable(f"the journal could not be mended: {reason}", needs_operator=True)
        return Journal(path, mark), loss
    except OSError as error:
        kind = StoreFull if error.errno == _ENOSPC else StoreUnavailable
        raise kind(f"the journal {path} cannot be mended: {error}", needs_operator=True) from error


def _examined(path: Path, archive: Path, judged_no: int, mark: Mark | None) -> tuple[str, Mark | None]:
    """What is wrong, '' where nothing is; and the mark, if it is of this journal."""
    if not path.exists() or path.stat().st_size == 0:
        return ("the file is missing or empty" if mark is not None or judged_no else ""), mark
    try:
        if verdict := _unwritable(path):
            return verdict, mark
        with closing(JournalReader(path, archive)) as reader:
            last_no, identity = reader.last_no(), reader.identity()
            if mark is not None and identity is not None and mark.journal != identity:
                mark = None  # of another journal, which somebody put aside
            if last_no < judged_no:
                return f"it ends at batch {last_no}, and batch {judged_no} was judged", mark
            if mark is not None and last_no < mark.no:
                return f"it ends at batch {last_no}, and batch {mark.no} was committed", mark
            if mark is not None and reader.stored_crc(mark.no) not in (None, mark.crc):
                return f"batch {mark.no} is not the one that was committed", mark
            first, archived = reader.first_no(), reader.archive.last_no()
            if first > archived + 1 and not any(low <= archived + 1 <= high for low, high in reader.lost()):
                return f"it begins at batch {first}, and the archive ends at {archived}", mark
            # What was judged has to be readable as well: the archive will read it, and what is set aside waits there.
            if verdict := reader.misfit():
                return verdict, mark
            after = min(judged_no, last_no - 1) if last_no else 0
            while found := reader.batches(max(after, 0)):
                after = found[-1].no
    except (Corrupt, StoreUnavailable) as error:
        if isinstance(error, StoreUnavailable) and not sqlite_library.is_damage(error.__cause__):
            raise
        return str(error), mark
    return "", mark


def _unwritable(path: Path) -> str:
    """What would let every append fail although all that is needed can be read: damage in the tables' definitions
    or in the pages' own structure."""
    with path.open("rb") as file:
        versions = file.read(20)[18:]
    if any(version > _NEWEST_FORMAT for version in versions):
        # SQLite takes such a file for one of a newer library, and opens it for reading only.
        return "its header says that it may not be written"
    try:
        # For reading only: the end of another connection would write into what may be evidence.
        where = f"{path.resolve().as_uri()}?mode=ro"
        with closing(sqlite_library.library.connect(where, uri=True, isolation_level=None)) as db:
            verdict = schema_damage(db) or db.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite_library.Error as error:
        if not sqlite_library.is_damage(error):
            raise StoreUnavailable(f"the journal {path} cannot be read: {error}", needs_operator=True) from error
        verdict = str(error)
    except UnicodeDecodeError as error:
        verdict = str(error)
    return "" if verdict == "ok" else str(verdict)


def _salvaged(path: Path, archive: Path, reason: str, judged_no: int, mark: Mark | None) -> Loss:
    fresh, copy = path.with_name(f"{path.name}.new"), path.with_name(f"{path.name}.salvage")
    _drop(fresh, copy)
    end_no = max(judged_no, mark.no if mark else 0)
    # Without a mark nobody knows the newest record; this is above it, since a batch holds fewer.
    end_record = mark.record_id if mark else judged_no * _MORE_THAN_A_BATCH
    archived = ArchiveReader(archive)
    first_no, first_record = archived.last_no() + 1, archived.last_record_id() + 1
    try:
        os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with (
            closing(DamagedJournal(path, copy)) as source,
            closing(sqlite_library.library.connect(str(fresh), isolation_level=None)) as target,
        ):
            prepare(target, source.identity() or (mark.journal if mark else os.urandom(8)), wal=False)
            target.execute("BEGIN")
            loss = _copied(source, target, first_no, first_record, end_no, end_record)
            target.execute("COMMIT")
        _sync(fresh)
        fresh.replace(_salvage_of(path))
        sync_directory(path.parent)
    except sqlite_library.Error as error:
        kind = StoreFull if sqlite_library.is_full(error) else StoreUnavailable
        raise kind(f"the journal {path} cannot be mended: {error}", needs_operator=True) from error
    finally:
        _drop(fresh, copy)
    return loss._replace(reason=reason, set_aside=_finish(path))


def _copied(
    source: DamagedJournal, target: Any, first_no: int, first_record: int, end_no: int, end_record: int
) -> Loss:
    """Bring over what can be read. Records whose batch has no head any more get one, with the clock of the batch before
    them: that keeps readings, at the price of a receive time that is a little early."""
    heads = {head.no: head for head in source.heads(first_no)}
    lost_before = source.lost()
    records = {row[0]: row for row in source.records(first_record)}
    end_no = max(end_no, max(heads, default=0), *(last for _, last in lost_before), first_no - 1)
    end_record = max(end_record, max(records, default=0), first_record - 1)
    lost: list[tuple[int, int]] = []
    mended: list[int] = []
    missing = 0
    before = Head(first_no - 1, 0, 0, first_record, 0)
    no = first_no
    while no <= end_no:
        head = heads.get(no)
        if head is None:
            # All that follows up to the next head that can be read.
            next_no = min((one for one in heads if one > no), default=end_no + 1)
            start = before.first_record + before.records
            end = heads[next_no].first_record if next_no in heads else end_record + 1
            there = [one for one in range(start, end) if one in records]
            if there:
                received_ns, clock_ns = before.received_ns, before.clock_ns
                if before.no < first_no and next_no in heads:
                    received_ns, clock_ns = heads[next_no].received_ns, heads[next_no].clock_ns
                head = Head(no, received_ns, clock_ns, start, end - start)
                mended.append(no)
            else:
                lost.append((no, next_no - 1))
                missing += max(0, end - start)
                before = before._replace(no=next_no - 1, first_record=end, records=0)
                no = next_no
                continue
        missing += _write(target, head, records)
        before = head
        no += 1
        if mended and mended[-1] == head.no:
            following = min((one for one in heads if one > head.no), default=end_no + 1)
            for empty in range(no, following):
                # Heads that were lost beside it: their records are in the one that was made.
                _write(target, Head(empty, head.received_ns, head.clock_ns, head.first_record + head.records, 0), {})
                mended.append(empty)
            no = following
    known = sorted({*lost, *(one for one in lost_before if one[0] >= first_no)})
    target.executemany("INSERT OR REPLACE INTO lost VALUES (?, ?)", known)
    if end_no:
        target.execute("INSERT OR REPLACE INTO used VALUES (1, ?, ?)", (end_no, end_record))
    return Loss("", lost, missing, mended, "")


def _write(target: Any, head: Head, records: dict[int, tuple[Any, ...]]) -> int:
    """Write a batch; how many of its records are gone, each of which leaves a sign."""
    target.execute(INSERT_BATCH, (*head, batch_crc(*head)))
    missing = 0
    rows = []
    for record_id in range(head.first_record, head.first_record + head.records):
        row = records.get(record_id)
        if row is None:
            missing += 1
            row = (record_id, int(RecordKind.LOST), "", "", 0, b"", _NO_CRC)
        rows.append(row)
    target.executemany(INSERT_RECORD, rows)
    return missing


def _salvage_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.salvaged")


def _finish(path: Path) -> str:
    """Set the damaged files aside and put the mended one in their place; the new name of the former. A crash between
    two steps is made good by the next start, which calls this first."""
    mended = _salvage_of(path)
    if not mended.exists():
        return ""
    number = 1 + len(list(path.parent.glob(f"{path.name}.damaged-[0-9]*[0-9]")))
    aside = path.with_name(f"{path.name}.damaged-{number:03d}")
    for suffix in ("-wal", ""):
        here = path.with_name(path.name + suffix)
        if here.exists():
            here.rename(aside.with_name(aside.name + suffix))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    mended.rename(path)
    sync_directory(path.parent)
    return aside.name


def _drop(*paths: Path) -> None:
    for path in paths:
        for suffix in ("", "-wal", "-shm", "-journal"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
