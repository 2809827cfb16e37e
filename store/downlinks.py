"""The outbox of messages to devices, as their sender and people see it."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, func, select

from greenmine.core.downlink import Downlink, DownlinkKind
from greenmine.store import schema

_T = schema.downlink


class DownlinkRow(NamedTuple):
    """A message to a device and where it stands: `pending`, `sent`, `expired` or `refused`."""

    downlink: Downlink
    state: str
    attempts: int
    next_ns: int
    ended_ns: int | None
    detail: str


def due(connection: Connection, now_ns: int, most_a_target: int = 20) -> list[tuple[Downlink, int]]:
    """Messages to be sent now (journal's clock) with the number of attempts made, oldest first; of each target at most
    so many, so that a device that is away cannot crowd out the others."""
    order = (_T.c.created_ns, _T.c.id)
    place = func.row_number().over(partition_by=_T.c.target, order_by=order)
    ready = (_T.c.state == "pending") & (_T.c.next_ns <= now_ns) & (_T.c.expires_ns > now_ns)
    ranked = select(_T, place.label("place")).where(ready).subquery()
    query = select(ranked).where(ranked.c.place <= most_a_target).order_by(ranked.c.created_ns, ranked.c.id)
    return [(to_downlink(row), row.attempts) for row in connection.execute(query)]


def listed(connection: Connection, state: str | None = None, limit: int = 200) -> list[DownlinkRow]:
    """Newest first; of one state, where one is given."""
    query = select(_T).order_by(_T.c.created_ns.desc(), _T.c.id).limit(limit)
    if state is not None:
        query = query.where(_T.c.state == state)
    return [
        DownlinkRow(to_downlink(row), row.state, row.attempts, row.next_ns, row.ended_ns, row.detail)
        for row in connection.execute(query)
    ]


def counts(connection: Connection) -> dict[str, int]:
    """How many there are of each state; ended ones for as long as they are kept."""
    query = select(_T.c.state, func.count()).group_by(_T.c.state)
    return dict(connection.execute(query).tuples().all())


def to_downlink(row: Row[Any]) -> Downlink:
    """A row of the outbox as a message."""
    return Downlink(row.id, DownlinkKind(row.kind), row.target, row.payload, row.created_ns, row.expires_ns)
