"""Opening a journal that may have lost or damaged something: nothing is deleted, nothing is passed over in silence.

What a journal lacks is told by three witnesses: its own checksums, the mark beside it (how far it had been written) and
the state (how far it was judged). A file that cannot be read as it stands is set aside under another name, and all that
can be read of it goes into a new one, at the same numbers. What cannot be read any more stands in the table `lost`, so
that everybody who reads the journal later knows it as well, and no number is ever used twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from greenmine.core import sqlite_library
from greenmine.core.errors import Corrupt, StoreFull, StoreUnavailable
from greenmine.ingest.archive import ArchiveReader
from greenmine.ingest.archive_mending import mend_manifest
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
_OR_REPLACE = "INSERT OR REPLACE INTO {}"
_PAGE_OF_HEADS = (
    "SELECT no, received_ns, clock_ns, first_record, records FROM batch WHERE no > ? ORDER BY no LIMIT 1000"
)


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
        manifest = mend_manifest(archive)
        loss = Loss("the archive's manifest was damaged", [], 0, [], manifest) if manifest else None
        reason, found = _examined(path, archive, judged_no, mark.found)
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
            # Without a mark nobody knows the newest record; this is above it, since a batch holds fewer.
            above = 0 if mark else judged_no * _MORE_THAN_A_BATCH
            loss = _copied(source, target, first_no, first_record, end_no, mark.record_id if mark else None, above)
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
    source: DamagedJournal,
    target: Any,
    first_no: int,
    first_record: int,
    end_no: int,
    end_record: int | None,
    above_record: int,
) -> Loss:
    """Bring over what can be read, in bounded memory. Records whose batch has no head any more get one, with the clock
    of the batch before them: that keeps readings, at the price of a receive time that is a little early. Without
    `end_record` nobody knows how many records there were, and those at the end are not counted. No id up to
    `above_record` is used again."""
    heads = ((*head, batch_crc(*head)) for head in source.heads(first_no))
    target.executemany(_OR_REPLACE.format("batch VALUES (?, ?, ?, ?, ?, ?)"), heads)
    newest_no, end = target.execute("SELECT MAX(no), MAX(first_record + records) FROM batch").fetchone()
    known_record = max(end_record or 0, (end or 0) - 1)
    # An id beyond all that is known may be one that a flipped bit made, unless its record's checksum says else.
    records = (row for row in source.records(first_record) if row[0] <= known_record or source.is_intact(row))
    target.executemany(_OR_REPLACE.format("record VALUES (?, ?, ?, ?, ?, ?, ?)"), records)
    newest_record = target.execute("SELECT MAX(id) FROM record").fetchone()[0]
    lost_before = source.lost()
    end_no = max(end_no, newest_no or 0, *(last for _, last in lost_before), first_no - 1)
    last_record = max(known_record, newest_record or 0, first_record - 1)
    loss = Loss("", [], 0, [], "")
    before = Head(first_no - 1, 0, 0, first_record, 0)
    for head in _heads(target, first_no - 1):
        loss = _between(target, before, head, head.no - 1, head.first_record, loss)
        loss = loss._replace(records=loss.records + _complete(target, head))
        before = head
    loss = _between(target, before, None, end_no, last_record + 1, loss)
    known = sorted({*loss.batches, *(one for one in lost_before if one[0] >= first_no)})
    target.executemany("INSERT OR REPLACE INTO lost VALUES (?, ?)", known)
    if end_no:
        target.execute("INSERT OR REPLACE INTO used VALUES (1, ?, ?)", (end_no, max(last_record, above_record)))
    return loss


def _heads(target: Any, after: int) -> Iterator[Head]:
    """The batches that were brought over, in order."""
    while found := target.execute(_PAGE_OF_HEADS, (after,)).fetchall():
        for row in found:
            yield Head(*row)
        after = found[-1][0]


def _between(target: Any, before: Head, following: Head | None, last_no: int, end: int, loss: Loss) -> Loss:
    """What stands between two heads, where batches have none: records up to `end` get one, or the batches are lost."""
    no, start = before.no + 1, before.first_record + before.records
    if no > last_no:
        target.execute("DELETE FROM record WHERE id >= ? AND id < ?", (start, end))  # ids that a flipped bit made
        return loss
    if not target.execute("SELECT COUNT(*) FROM record WHERE id >= ? AND id < ?", (start, end)).fetchone()[0]:
        return loss._replace(batches=[*loss.batches, (no, last_no)], records=loss.records + max(0, end - start))
    clock = following if following is not None and before.received_ns == 0 else before
    made = Head(no, clock.received_ns, clock.clock_ns, start, end - start)
    # Heads that were lost beside it: their records are in the one that was made.
    heads = [made, *(made._replace(no=empty, first_record=end, records=0) for empty in range(no + 1, last_no + 1))]
    target.executemany(INSERT_BATCH, ((*head, batch_crc(*head)) for head in heads))
    mended = [*loss.mended, *(head.no for head in heads)]
    return loss._replace(mended=mended, records=loss.records + _complete(target, made))


def _complete(target: Any, head: Head) -> int:
    """How many of a batch's records are gone; each leaves a sign."""
    span = (head.first_record, head.first_record + head.records)
    there = {row[0] for row in target.execute("SELECT id FROM record WHERE id >= ? AND id < ?", span)}
    gone = [one for one in range(*span) if one not in there]
    target.executemany(INSERT_RECORD, ((one, int(RecordKind.LOST), "", "", 0, b"", _NO_CRC) for one in gone))
    return len(gone)


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
