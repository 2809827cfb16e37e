"""Statements of the hot path, compiled once: most of what a small statement costs is that SQLAlchemy looks up what it
compiled before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import Insert, Update


class Prepared:
    """An insert or update for rows of numbers, texts and bytes as the driver takes them, in any dialect."""

    def __init__(self, statement: Insert | Update, columns: Sequence[str] | None = None) -> None:
        """`columns` that an insert fills; an update names its parameters itself."""
        self._statement = statement
        self._columns = columns
        self._compiled: dict[Dialect, tuple[str, tuple[str, ...] | None]] = {}

    def __call__(self, connection: Connection, rows: Sequence[Mapping[str, object]]) -> int:
        """Execute it for each row; the number of rows that were changed in all."""
        text, order = self._compiled.get(connection.dialect) or self._compile(connection.dialect)
        # Names where the dialect has names for parameters, places where it has not.
        given = [tuple([row[name] for name in order]) if order is not None else dict(row) for row in rows]
        return connection.exec_driver_sql(text, given).rowcount

    def _compile(self, dialect: Dialect) -> tuple[str, tuple[str, ...] | None]:
        compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)
        assert isinstance(compiled, SQLCompiler)
        order = tuple(compiled.positiontup) if compiled.positiontup is not None else None
        self._compiled[dialect] = str(compiled), order
        return self._compiled[dialect]
