"""The relational state: one SQLite file with one writing connection (PostgreSQL can take its place).

Every decision and all that follows from it is one transaction of `writing`. Reads use connections of their own and
see the last commit.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, create_engine, event, insert, select, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import QueuePool, StaticPool

from greenmine.core import sqlite_library
from greenmine.core.account import Account
from greenmine.core.errors import StoreFull, StoreUnavailable, UserError
from greenmine.store import schema
from greenmine.store.prepared import Prepared

_VERSION = "schema_version"
_MEND = (
    "if it is damaged, put back a backup or the newest archive/state-*.db.gz, unpacked; without either, move it away: "
    "what the journal holds is judged again, people and device accounts have to be made anew"
)
JOURNAL_CLOCK = "journal_clock_ns"
"""Key in `meta`: the journal's clock (ns) as of the last commit."""
# Every commit executes these: built once, they are compiled once.
_SET_META = Prepared(
    update(schema.meta).where(schema.meta.c.key == bindparam("b_key")).values(value=bindparam("b_value"))
)
_ADD_TO_ACCOUNT = Prepared(
    update(schema.account).values({name: schema.account.c[name] + bindparam(f"b_{name}") for name in Account._fields})
)


class StateDb:
    """Owns the state file. `path` None keeps everything in memory (replays and tests).

    Raises:
        StoreUnavailable: the file cannot be opened.
        UserError: it was written by a newer version.
    """

    def __init__(self, path: Path | None, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self._lock = threading.RLock()
        try:
            if path is not None and not read_only:
                _private_file(path)
            self._writer = _engine(path, read_only)
            self._reader = self._writer if path is None or read_only else _engine(path, read_only=True)
            if read_only:
                self._check_version()
            else:
                self._prepare()
        except OSError as error:
            raise StoreUnavailable(f"the state {path} cannot be opened: {error}", needs_operator=True) from error
        except (SQLAlchemyError, sqlite_library.Error) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            text = f"the state {path} cannot be opened: {cause}; {_MEND}"
            raise StoreUnavailable(text, needs_operator=True) from error

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction on the one writing connection; committed at the end, rolled back on any exception.

        Raises:
            StoreFull: the disk is full; nothing was written, and the same may be tried again.
        """
        if self.read_only:
            raise UserError("this state was opened for reading only")
        try:
            with self._lock, self._writer.begin() as connection:
                yield connection
        except DBAPIError as error:
            if sqlite_library.is_full(error.orig):
                raise StoreFull(f"the state {self.path} has no room: {error.orig}", needs_operator=True) from error
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees the last commit."""
        if self._reader is self._writer:
            with self._lock, self._writer.begin() as connection:
                yield connection
        else:
            with self._reader.connect() as connection:
                yield connection

    def account(self) -> Account:
        """The message account as of the last commit."""
        with self.reading() as connection:
            row = connection.execute(select(schema.account)).one()
            return Account(*row[1:])

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            if self._reader is not self._writer:
                self._reader.dispose()
            self._writer.dispose()

    def _prepare(self) -> None:
        with self.writing() as connection:
            schema.metadata.create_all(connection)
            found = get_meta(connection, _VERSION)
            if found is None:
                set_meta(connection, _VERSION, str(schema.VERSION))
                connection.execute(insert(schema.account).values(id=1, **Account()._asdict()))
            self._refuse_newer(found)

    def _check_version(self) -> None:
        with self.reading() as connection:
            self._refuse_newer(get_meta(connection, _VERSION))

    def _refuse_newer(self, found: str | None) -> None:
        if found is not None and int(found) > schema.VERSION:
            raise UserError(f"{self.path} was written by a newer greenmine (schema {found}); update this one")


def add_to_account(connection: Connection, delta: Account) -> None:
    """Add to the message account; `delta` must keep the sum."""
    if delta == Account():
        return
    if not delta.balanced:
        raise ValueError(f"an account change must balance: {delta}")
    _ADD_TO_ACCOUNT(connection, [{f"b_{name}": value for name, value in delta._asdict().items()}])


def get_meta(connection: Connection, key: str) -> str | None:
    """A stored setting of the state itself."""
    return connection.execute(select(schema.meta.c.value).where(schema.meta.c.key == key)).scalar_one_or_none()


def set_meta(connection: Connection, key: str, value: str) -> None:
    """Write a setting of the state itself."""
    changed = connection.execute(update(schema.meta).where(schema.meta.c.key == key).values(value=value))
    if changed.rowcount == 0:
        connection.execute(insert(schema.meta).values(key=key, value=value))


def set_progress(connection: Connection, values: dict[str, str]) -> None:
    """Write settings that change with every commit, in one statement."""
    changed = _SET_META(connection, [{"b_key": key, "b_value": value} for key, value in values.items()])
    if changed != len(values):
        for key, value in values.items():
            set_meta(connection, key, value)


def _private_file(path: Path) -> None:
    """Make the file before SQLite does: its log and its shared memory get the rights that the file has by then."""
    # An existing one is not opened here: closing it would drop the locks that another connection of ours holds.
    if not path.exists():
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    path.chmod(0o600)


def _engine(path: Path | None, read_only: bool) -> Engine:
    mode = "ro" if read_only else "rwc"
    target = "file::memory:" if path is None else f"{path.resolve().as_uri()}?mode={mode}"

    def connect() -> Any:
        return sqlite_library.library.connect(
            target, uri=True, isolation_level=None, check_same_thread=False, timeout=30
        )

    # Named, since the default for this URL closes other threads' connections under them when there are many threads.
    pool: dict[str, Any] = {"poolclass": StaticPool}
    if read_only:
        pool = {"poolclass": QueuePool, "pool_size": 5, "max_overflow": 45}
    engine = create_engine("sqlite://", module=sqlite_library.library, creator=connect, **pool)

    @event.listens_for(engine, "connect")
    def _on_connect(raw: Any, _: Any) -> None:
        raw.isolation_level = None
        if not read_only:
            raw.execute("PRAGMA journal_mode=WAL")
            raw.execute("PRAGMA synchronous=FULL")
            raw.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        # The driver would begin lazily and leave a read without a snapshot; we begin ourselves.
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine
