"""What can still be read of a damaged journal: row by row, from a copy, with its first page mended where it is damaged.

SQLite's first page holds the file's header and the definitions of its tables. One flipped bit there makes all the
rest unreadable, or lets a column be sought under another name. Every journal is begun in the same way, so this page is
known: it is put in the place of the copy's own where that is damaged or tells less.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

from greenmine.core import sqlite_library
from greenmine.ingest.journal_format import batch_crc, binds_ids, prepare, schema_damage, stored_record

_PAGE_COUNT = slice(28, 32)
_FREE_PAGES = slice(32, 40)
_VERSIONS = slice(18, 20)
_WRITE_AHEAD = b"\x02\x02"
_COUNTS = (_VERSIONS, slice(24, 40), slice(92, 100))
"""Of changes, pages and free pages, and by which version of SQLite."""


class Head(NamedTuple):
    """A batch without its records."""

    no: int
    received_ns: int
    clock_ns: int
    first_record: int
    records: int


class DamagedJournal:
    """Reads all that a damaged journal still tells; nothing it does touches the file itself."""

    def __init__(self, path: Path, scratch: Path) -> None:
        """`scratch` is a file of this name in the same folder, for the copy."""
        self._binds_ids: bool | None = None
        _copy(path, scratch)
        if _is_as_begun(scratch):
            self._db = _opened(scratch)
            if not schema_damage(self._db):
                return
            self._db.close()
            _copy(path, scratch)
        _mend_first_page(scratch)
        self._db = _opened(scratch)
        mended = self._readable()
        self._db.close()
        _copy(path, scratch)
        self._db = _opened(scratch)
        if schema_damage(self._db) or self._readable() < mended:
            self._db.close()
            _copy(path, scratch)
            _mend_first_page(scratch)
            self._db = _opened(scratch)

    def identity(self) -> bytes | None:
        """What tells this journal from others."""
        rows = list(self._rows("SELECT journal FROM identity"))
        return rows[0][0] if rows and isinstance(rows[0][0], bytes) else None

    def lost(self) -> list[tuple[int, int]]:
        """First and last numbers of the batches that were known to be gone."""
        found = list(self._rows("SELECT first_no, last_no FROM lost"))
        return [row for row in found if all(isinstance(one, int) for one in row)]

    def heads(self, first_no: int) -> Iterator[Head]:
        """Batches whose checksums fit, from a number on."""
        for *values, crc in self._rows("SELECT * FROM batch", "no", first_no):
            if all(isinstance(one, int) for one in values) and batch_crc(*values) == crc:
                yield Head(*values)

    def records(self, first_record: int) -> Iterator[tuple[Any, ...]]:
        """Rows of records, from an id on; their checksums are left to who reads them."""
        for row in self._rows("SELECT * FROM record", "id", first_record):
            record_id, kind, origin, client, flags, payload, crc = row
            whole = isinstance(kind, int) and isinstance(flags, int) and isinstance(crc, int)
            if whole and isinstance(origin, str) and isinstance(client, str) and isinstance(payload, bytes):
                yield record_id, kind, origin, client, flags, payload, crc

    def is_intact(self, row: tuple[Any, ...]) -> bool:
        """Whether a row of `records` fits its checksum, its id included where the journal binds that."""
        if self._binds_ids is None:
            self._binds_ids = binds_ids(self._db)
        return stored_record(*row, binds_id=self._binds_ids).intact

    def close(self) -> None:
        """Close the copy."""
        self._db.close()

    def _readable(self) -> int:
        """How many batches and records can be read."""
        return sum(1 for _ in self.heads(0)) + sum(1 for _ in self.records(0))

    def _rows(self, query: str, key: str = "", start: int = 0) -> Iterator[tuple[Any, ...]]:
        """Rows as far as they can be read: from the front up to the damage, and from the back down to it."""
        if not key:
            with suppress(sqlite_library.Error, UnicodeDecodeError):
                yield from self._db.execute(query).fetchall()
            return
        reached = start - 1
        try:
            for row in self._db.execute(f"{query} WHERE {key} >= ? ORDER BY {key}", (start,)):
                reached = row[0]
                yield row
        except (sqlite_library.Error, UnicodeDecodeError):
            with suppress(sqlite_library.Error, UnicodeDecodeError):
                yield from self._db.execute(f"{query} WHERE {key} > ? ORDER BY {key} DESC", (reached,))


def _opened(path: Path) -> Any:
    db = sqlite_library.library.connect(str(path), isolation_level=None)
    db.text_factory = lambda raw: raw.decode("utf-8", "backslashreplace")
    with suppress(sqlite_library.Error):
        db.execute("PRAGMA wal_autocheckpoint=0")
    return db


def _mend_first_page(path: Path) -> None:
    """Put the first page of a new journal in the place of a file's own. Of the page's contents only counts differ from
    file to file, and no count is needed for reading."""
    page = bytearray(_begun_page(path))
    page[_VERSIONS] = _WRITE_AHEAD
    page[_PAGE_COUNT] = (path.stat().st_size // len(page)).to_bytes(4, "big")
    page[_FREE_PAGES] = bytes(8)
    with path.open("r+b") as file:
        file.write(page)


def _is_as_begun(path: Path) -> bool:
    """Whether a file's first page is that of a new journal, but for its counts; that of pages has to be right."""
    begun = bytearray(_begun_page(path))
    with path.open("rb") as file:
        page = bytearray(file.read(len(begun)))
    pages = path.stat().st_size // len(begun)
    if pages == 0 or page[_VERSIONS] != _WRITE_AHEAD or page[_PAGE_COUNT] != pages.to_bytes(4, "big"):
        return False
    for counts in _COUNTS:
        page[counts] = begun[counts] = bytes(counts.stop - counts.start)
    return page == begun


def _begun_page(path: Path) -> bytes:
    begun = path.with_name(f"{path.name}.begun")
    begun.unlink(missing_ok=True)
    try:
        with closing(sqlite_library.library.connect(str(begun), isolation_level=None)) as db:
            prepare(db, bytes(8), wal=False)
            size = db.execute("PRAGMA page_size").fetchone()[0]
        return begun.read_bytes()[:size]
    finally:
        begun.unlink(missing_ok=True)


def _copy(path: Path, target: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        there = target.with_name(target.name + suffix)
        there.unlink(missing_ok=True)
        here = path.with_name(path.name + suffix)
        if here.exists() and suffix != "-shm":
            os.close(os.open(there, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            shutil.copyfile(here, there)
    target.touch(mode=0o600)
