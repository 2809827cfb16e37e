"""Facts in the relational state, in the order in which they were recorded."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, select

from greenmine.core.fact import Fact, FactKind
from greenmine.store import schema

_T = schema.fact


def listed(connection: Connection, mine: str | None = None, kinds: Collection[FactKind] | None = None) -> list[Fact]:
    """All facts, or those of a mine or of some kinds."""
    query = select(*(_T.c[name] for name in Fact._fields)).order_by(_T.c.id)
    if mine is not None:
        query = query.where(_T.c.mine == mine)
    if kinds is not None:
        query = query.where(_T.c.kind.in_(sorted(kind.value for kind in kinds)))
    return [Fact(*row)._replace(kind=FactKind(row.kind)) for row in connection.execute(query)]
