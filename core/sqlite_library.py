"""Chooses the SQLite library once for everybody, and says whether it has the WAL-reset fault.

pysqlite3 bundles a current SQLite where it has a wheel; elsewhere the standard library's module is used under the
rule that one connection writes and checkpoints a file (two at once may corrupt it in 3.7.0 to 3.51.2).
"""

from __future__ import annotations

import sqlite3
from types import ModuleType

try:
    from pysqlite3 import dbapi2 as _bundled
except ImportError:
    _bundled = None

library: ModuleType = sqlite3 if _bundled is None else _bundled
Error: type[Exception] = library.Error
OperationalError: type[Exception] = library.OperationalError

_FIXED = (3, 51, 3)
_FULL = 13
_DAMAGED = frozenset({1, 10, 11, 26})
"""SQLITE_ERROR (no such table), SQLITE_IOERR, SQLITE_CORRUPT, SQLITE_NOTADB."""


def version() -> str:
    """The version of the SQLite library in use."""
    return str(library.sqlite_version)


def has_wal_reset_fault() -> bool:
    """Whether this SQLite may corrupt a WAL file when two connections write and checkpoint at one moment."""
    return tuple(library.sqlite_version_info) < _FIXED


def is_full(error: BaseException | None) -> bool:
    """Whether SQLite says that there is no room on the disk: it has rolled back, and the connection stays usable."""
    return _code(error) == _FULL


def is_damage(error: BaseException | None) -> bool:
    """Whether SQLite says that a file cannot be what was written (and not that somebody holds or hides it)."""
    return _code(error) in _DAMAGED


def _code(error: BaseException | None) -> int | None:
    """The primary code of an error."""
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None
