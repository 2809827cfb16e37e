"""The journal's file format: tables, checksums, and a record from its row."""

from __future__ import annotations

import os
import zlib
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from greenmine.core import sqlite_library
from greenmine.ingest.backlog import AT_ONCE
from greenmine.ingest.record import Record, RecordKind, StoredRecord

AT_ONCE_INDEX = "record_at_once"
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS batch (
    no INTEGER PRIMARY KEY, received_ns INTEGER NOT NULL, clock_ns INTEGER NOT NULL,
    first_record INTEGER NOT NULL, records INTEGER NOT NULL, crc INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS record (
    id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, source TEXT NOT NULL, client TEXT NOT NULL,
    flags INTEGER NOT NULL, payload BLOB NOT NULL, crc INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS identity (one INTEGER PRIMARY KEY CHECK (one = 1), journal BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS lost (first_no INTEGER PRIMARY KEY, last_no INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS used (one INTEGER PRIMARY KEY CHECK (one = 1), no INTEGER NOT NULL, record INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS {AT_ONCE_INDEX} ON record (id, kind) WHERE {AT_ONCE};
"""
"""The index finds the few records among many messages that are judged at once even where the messages wait.
`identity` tells this journal from any other; `lost` are batches that are known to be gone; `used` are numbers up to
which none may be given again, whatever became of them."""
INSERT_BATCH = "INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?)"
INSERT_RECORD = "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?)"
_DEFINITIONS = "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master"
_KINDS: dict[Any, RecordKind] = {int(kind): kind for kind in RecordKind}


def record_crc(record: Record, record_id: int | None) -> int:
    """The checksum that stands beside a record. It takes in the record's id, so that none passes for another whose
    place in the file it got by damage; None where it does not (`binds_ids`)."""
    crc = zlib.crc32(b"" if record_id is None else b"%d" % record_id)
    crc = zlib.crc32(record.source.encode("utf-8", "surrogatepass"), crc)
    crc = zlib.crc32(record.client.encode("utf-8", "surrogatepass"), crc)
    return zlib.crc32(record.payload, zlib.crc32(bytes((record.kind, record.flags)), crc))


def batch_crc(no: int, received_ns: int, clock_ns: int, first_record: int, records: int) -> int:
    """The checksum that stands beside a batch."""
    return zlib.crc32(f"{no},{received_ns},{clock_ns},{first_record},{records}".encode())


def prepare(db: Any, identity: bytes, wal: bool = True) -> None:
    """Give a new file its settings and tables; leaves those of an existing one as they are."""
    db.execute("PRAGMA auto_vacuum=INCREMENTAL")
    if wal:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
    db.executescript(_SCHEMA)
    if db.execute("SELECT 1 FROM identity").fetchone() is None:
        db.execute("INSERT INTO identity VALUES (1, ?)", (identity,))


def schema_damage(db: Any) -> str:
    """What is wrong with the definitions of a file's tables, '' where nothing is. An older file may lack some; what it
    has must be word for word what a journal is begun with, as a flipped bit makes another word that SQLite accepts."""
    try:
        found = set(db.execute(_DEFINITIONS))
    except (sqlite_library.Error, UnicodeDecodeError) as error:
        return str(error)
    with closing(sqlite_library.library.connect(":memory:", isolation_level=None)) as sound:
        prepare(sound, bytes(8), wal=False)
        known = set(sound.execute(_DEFINITIONS))
    if unknown := sorted(str(name) for _, name, *_ in found - known):
        return f"the definition of {', '.join(unknown)} is not a journal's"
    missing = {"batch", "record"} - {name for _, name, *_ in found}
    return f"it has no table {', '.join(sorted(missing))}" if missing else ""


def stored_record(
    record_id: int, kind: Any, source: Any, client: Any, flags: Any, payload: Any, crc: Any, *, binds_id: bool
) -> StoredRecord:
    """A record from its row. What a damaged row has in the place of a value is kept as far as it can be shown.
    `binds_id`: whether its checksum takes in its id."""
    known = _KINDS.get(kind, RecordKind.LOST)  # `RecordKind(kind)` takes as long as all the rest
    if isinstance(source, str) and isinstance(client, str) and isinstance(payload, bytes) and flags in range(256):
        record = Record(known, source, payload, client, flags)
        return StoredRecord(record_id, record, record_crc(record, record_id if binds_id else None) == crc)
    shown = payload if isinstance(payload, bytes) else str(payload).encode("utf-8", "replace")
    return StoredRecord(record_id, Record(known, str(source), shown, str(client)), False)


def binds_ids(db: Any) -> bool:
    """Whether the checksums of a journal's records take in their ids: all do but in a file that was begun before they
    did, which goes on as it is. Its records tell, as no damage makes one kind of checksum out of the other."""
    for order in ("ASC", "DESC"):
        with suppress(sqlite_library.Error, UnicodeDecodeError):
            rows = db.execute(f"SELECT * FROM record ORDER BY id {order} LIMIT 3").fetchall()  # noqa: S608 - two words
            if any(stored_record(*row, binds_id=False).intact for row in rows):
                return False
    return True


def sync_directory(folder: Path) -> None:
    """Flush a folder, after a file in it was made or renamed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
