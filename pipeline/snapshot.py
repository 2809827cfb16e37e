"""Snapshots of the state for the archive: from one, a segment of the journal can be judged again by itself.

A snapshot is read within one transaction of SQLite, so it is the state as of exactly the batch that its own cursor
names, while judging goes on. It is the whole file and holds what the state holds; it is for its owner only.
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from greenmine.core import sqlite_library
from greenmine.core.errors import StoreFull, StoreUnavailable
from greenmine.ingest.archive import file_sha256
from greenmine.ingest.journal_format import sync_directory
from greenmine.pipeline import commit
from greenmine.store.state import StateDb

PAGES_A_STEP = 1000
_LEVEL = 3
_ENOSPC = 28


class StateSnapshot(NamedTuple):
    """Where a snapshot stands: the cursor into the journal, its clock, and the newest parcel of readings handed out."""

    name: str
    sha256: str
    cursor: int
    clock_ns: int
    outbox_id: int
    bytes: int


def take_snapshot(state: Path, folder: Path) -> StateSnapshot:
    """Copy the state into a folder, compressed.

    Raises:
        StoreFull: no room; nothing is left behind.
        StoreUnavailable: the state cannot be read.
    """
    plain = folder / "state.new"
    try:
        plain.unlink(missing_ok=True)
        cursor, clock_ns, outbox_id = _copy(state, plain)
        name = f"state-{cursor:012d}.db.gz"
        packed = folder / f"{name}.new"
        with plain.open("rb") as source, packed.open("wb") as raw:
            packed.chmod(0o600)
            with gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as target:
                shutil.copyfileobj(source, target, 1024 * 1024)
            raw.flush()
            os.fsync(raw.fileno())
        packed.replace(folder / name)
        sync_directory(folder)
        return StateSnapshot(
            name, file_sha256(folder / name), cursor, clock_ns, outbox_id, (folder / name).stat().st_size
        )
    except OSError as error:
        kind = StoreFull if error.errno == _ENOSPC else StoreUnavailable
        raise kind(f"no snapshot of the state could be written: {error}", needs_operator=True) from error
    except sqlite_library.Error as error:
        kind = StoreFull if sqlite_library.is_full(error) else StoreUnavailable
        raise kind(f"no snapshot of the state could be written: {error}", needs_operator=True) from error
    finally:
        for left in (plain, plain.with_name(f"{plain.name}-journal"), *folder.glob("state-*.db.gz.new")):
            left.unlink(missing_ok=True)


@contextmanager
def opened_snapshot(path: Path) -> Iterator[StateDb]:
    """A state as it was, in a temporary file that may be written to and is dropped at the end."""
    with TemporaryDirectory() as folder:
        plain = Path(folder) / "state.db"
        with gzip.open(path, "rb") as source, plain.open("wb") as target:
            shutil.copyfileobj(source, target, 1024 * 1024)
        state = StateDb(plain)
        try:
            yield state
        finally:
            state.close()


def _copy(state: Path, target: Path) -> tuple[int, int, int]:
    uri = f"{state.resolve().as_uri()}?mode=ro"
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    library = sqlite_library.library
    with (
        closing(library.connect(uri, uri=True, isolation_level=None)) as source,
        closing(library.connect(str(target), isolation_level=None)) as copy,
    ):
        source.execute("PRAGMA query_only=1")
        source.execute("BEGIN")
        cursor, clock_ns = (int(_meta(source, key) or 0) for key in (commit.CURSOR, commit.CLOCK))
        row = source.execute("SELECT seq FROM sqlite_sequence WHERE name = 'readings_outbox'").fetchone()
        source.backup(copy, pages=PAGES_A_STEP, sleep=0)
        source.execute("COMMIT")
        copy.execute("PRAGMA journal_mode=DELETE")
    return cursor, clock_ns, row[0] if row else 0


def _meta(source: Any, key: str) -> str | None:
    row = source.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0]
