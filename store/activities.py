"""Reports of activity and the intervals they make, as stored."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select

from greenmine.core.activity import Activity, ActivityInterval, ActivityKind, EndedBy
from greenmine.store import schema

_T = schema.activity_interval
_REPORT = schema.activity


def save(connection: Connection, intervals: list[tuple[ActivityInterval, bool]]) -> None:
    """Write intervals; the flag says whether rules still look at them."""
    if intervals:
        there = delete(_T).where(_T.c.id == bindparam("b_id"))
        connection.execute(there, [{"b_id": one.id} for one, _ in intervals])
        connection.execute(insert(_T), [_row(one, kept) for one, kept in intervals])


def has(connection: Connection, activity: Activity) -> bool:
    """Whether this report was taken before."""
    names = ("mine", "device", "kind", "state", "zone", "time_ns")
    query = select(_REPORT.c.id).where(*(_REPORT.c[n] == v for n, v in zip(names, activity.identity, strict=True)))
    return connection.execute(query).first() is not None


def kept(connection: Connection) -> list[ActivityInterval]:
    """The intervals that rules look at, in the order in which they began to be known."""
    return [_interval(row) for row in connection.execute(select(_T).where(_T.c.kept).order_by(_T.c.id))]


def last_id(connection: Connection) -> int:
    """The highest number given to an interval, 0 where there is none."""
    return connection.execute(select(func.max(_T.c.id))).scalar() or 0


def listed(connection: Connection, mine: str, start_ns: int, end_ns: int, limit: int = 5000) -> list[ActivityInterval]:
    """Intervals of a mine that have a moment in [start_ns, end_ns), by their beginning; the newest where there are more
    than `limit`."""
    last_ns = func.coalesce(_T.c.end_ns, _T.c.latest_end_ns)
    query = select(_T).where(_T.c.mine == mine, _T.c.start_ns < end_ns, last_ns >= start_ns)
    rows = connection.execute(query.order_by(_T.c.start_ns.desc(), _T.c.id.desc()).limit(limit)).all()
    return [_interval(row) for row in reversed(rows)]


def prune(connection: Connection, before_ns: int) -> None:
    """Forget reports and intervals from before this time."""
    connection.execute(delete(_REPORT).where(_REPORT.c.time_ns < before_ns))
    connection.execute(delete(_T).where(_T.c.end_ns < before_ns, ~_T.c.kept))


def _row(one: ActivityInterval, is_kept: bool) -> dict[str, Any]:
    ended_by = None if one.ended_by is None else one.ended_by.value
    return {**one._asdict(), "kind": one.kind.value, "ended_by": ended_by, "kept": is_kept}


def _interval(row: Row[Any]) -> ActivityInterval:
    ended_by = None if row.ended_by is None else EndedBy(row.ended_by)
    place = (row.mine, row.device, ActivityKind(row.kind), row.zone, row.lat, row.lon)
    return ActivityInterval(row.id, *place, row.start_ns, row.end_ns, row.latest_end_ns, ended_by)
