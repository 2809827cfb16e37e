"""Sequences of devices and the gaps in them, as stored."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select

from greenmine.core.gap import Gap, GapReason, Stream
from greenmine.store import schema

_T = schema.gap


def save(connection: Connection, gaps: dict[str, Gap | None]) -> None:
    """Write gaps by id; None takes one away that was only disorder."""
    if gaps:
        connection.execute(delete(_T).where(_T.c.id == bindparam("b_id")), [{"b_id": one} for one in gaps])
    rows = [_row(one) for one in gaps.values() if one is not None]
    if rows:
        connection.execute(insert(_T), rows)


def waiting(connection: Connection) -> list[Gap]:
    """Gaps that are open or suspected, in the order in which they were."""
    query = select(_T).where(_T.c.reason == GapReason.OPEN.value).order_by(_T.c.opened_ns, _T.c.first_seq, _T.c.id)
    return [_gap(row) for row in connection.execute(query)]


def listed(
    connection: Connection,
    mine: str | None = None,
    device: str | None = None,
    open_only: bool = False,
    limit: int = 500,
) -> list[Gap]:
    """Declared gaps, newest first."""
    query = select(_T).where(_T.c.found_ns.is_not(None)).order_by(_T.c.found_ns.desc(), _T.c.id).limit(limit)
    if mine is not None:
        query = query.where(_T.c.mine == mine)
    if device is not None:
        query = query.where(_T.c.device == device)
    if open_only:
        query = query.where(_T.c.reason == GapReason.OPEN.value)
    return [_gap(row) for row in connection.execute(query)]


def counts(connection: Connection) -> dict[str, int]:
    """Declared gaps by reason, for as long as they are kept."""
    query = select(_T.c.reason, func.count()).where(_T.c.found_ns.is_not(None)).group_by(_T.c.reason)
    return dict(connection.execute(query).tuples().all())


def prune(connection: Connection, before_ns: int) -> None:
    """Forget gaps that were closed before this time."""
    connection.execute(delete(_T).where(_T.c.closed_ns < before_ns))


def _row(one: Gap) -> dict[str, Any]:
    row = {**one._asdict(), **one.stream._asdict(), "reason": one.reason.value}
    row["stream"] = row.pop("name")
    row["remaining"] = json.dumps(one.remaining, separators=(",", ":"))
    return row


def _gap(row: Row[Any]) -> Gap:
    remaining = tuple((first, last) for first, last in json.loads(row.remaining))
    return Gap(
        id=row.id,
        stream=Stream(row.mine, row.device, row.stream),
        boot=row.boot,
        first_seq=row.first_seq,
        last_seq=row.last_seq,
        from_ns=row.from_ns,
        to_ns=row.to_ns,
        opened_ns=row.opened_ns,
        found_ns=row.found_ns,
        filled=row.filled,
        remaining=remaining,
        attempts=row.attempts,
        next_ns=row.next_ns,
        closed_ns=row.closed_ns,
        reason=GapReason(row.reason),
    )
