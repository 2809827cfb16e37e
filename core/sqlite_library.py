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


def version() -> str:
    """The version of the SQLite library in use."""
    return str(library.sqlite_version)


def has_wal_reset_fault() -> bool:
    """Whether this SQLite may corrupt a WAL file when two connections write and checkpoint at one moment."""
    return tuple(library.sqlite_version_info) < _FIXED
