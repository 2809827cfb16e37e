"""The notices outbox, as delivery sees it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, and_, case, exists, func, select

from greenmine.core.alert import Severity
from greenmine.core.notice import Notice, NoticeKind
from greenmine.store import schema

_T = schema.notice


def due(connection: Connection, now_ns: int, most_a_target: int = 20) -> list[tuple[Notice, int]]:
    """Notices to be sent now with the number of attempts made: critical first, then by age. A clearing waits until the
    raise before it has ended, so that nobody reads them in the wrong order. Of each target at most so many, so that a
    receiver that takes nothing cannot crowd out the others.
    """
    raise_before = schema.notice.alias("raise_before")
    waits = exists().where(
        and_(
            _T.c.kind == NoticeKind.CLEARED.value,
            raise_before.c.alert_id == _T.c.alert_id,
            raise_before.c.contact == _T.c.contact,
            raise_before.c.channel == _T.c.channel,
            raise_before.c.target == _T.c.target,
            raise_before.c.state == "pending",
            raise_before.c.transition < _T.c.transition,
        )
    )
    urgency = case({severity.value: -severity.rank for severity in Severity}, value=schema.alert.c.severity, else_=0)
    order = (urgency, _T.c.created_ns, _T.c.key)
    place = func.row_number().over(partition_by=(_T.c.channel, _T.c.target), order_by=order)
    ranked = (
        select(_T, urgency.label("urgency"), place.label("place"))
        .outerjoin(schema.alert, schema.alert.c.id == _T.c.alert_id)
        .where(_T.c.state == "pending", _T.c.next_ns <= now_ns, ~waits)
        .subquery()
    )
    query = (
        select(ranked)
        .where(ranked.c.place <= most_a_target)
        .order_by(ranked.c.urgency, ranked.c.created_ns, ranked.c.key)
    )
    return [(to_notice(row), row.attempts) for row in connection.execute(query)]


def to_notice(row: Row[Any]) -> Notice:
    """A row of the outbox as a notice."""
    return Notice(
        row.key,
        row.alert_id,
        row.transition,
        NoticeKind(row.kind),
        row.contact,
        row.channel,
        row.target,
        row.subject,
        row.text,
        row.payload,
    )
