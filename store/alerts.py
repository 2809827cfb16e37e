"""Alerts and their transitions in the relational state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from greenmine.core.alert import Alert, AlertKey, Condition, Handling, Reason, Severity, Transition
from greenmine.core.errors import NotFound
from greenmine.core.notice import NoticeKind
from greenmine.store import schema

_T = schema.alert


def save(connection: Connection, alerts: Iterable[Alert]) -> None:
    """Write the present state of these alerts."""
    for alert in alerts:
        values = _to_row(alert)
        changed = connection.execute(update(_T).where(_T.c.id == alert.id).values(values))
        if changed.rowcount == 0:
            connection.execute(insert(_T).values(values))


def append_transitions(connection: Connection, transitions: Iterable[Transition]) -> None:
    """Append history; a transition is never changed."""
    rows = [transition._asdict() for transition in transitions]
    if rows:
        connection.execute(insert(schema.transition), rows)


def listed(
    connection: Connection, mine: str | None = None, open_only: bool = False, limit: int | None = None
) -> list[Alert]:
    """Alerts, newest raise first."""
    query = select(_T).order_by(_T.c.raised_at_ns.desc(), _T.c.id)
    if mine is not None:
        query = query.where(_T.c.mine == mine)
    if open_only:
        query = query.where(_T.c.is_open)
    if limit is not None:
        query = query.limit(limit)
    return [_from_row(row) for row in connection.execute(query)]


def get(connection: Connection, alert_id: str) -> Alert:
    """One alert.

    Raises:
        NotFound: there is none with this id.
    """
    row = connection.execute(select(_T).where(_T.c.id == alert_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no alert {alert_id!r}; `greenmine alerts list` shows them")
    return _from_row(row)


def history(connection: Connection, alert_id: str) -> list[Transition]:
    """Transitions of an alert in order."""
    table = schema.transition
    found = connection.execute(select(table).where(table.c.alert_id == alert_id).order_by(table.c.no))
    return [
        Transition(
            r.alert_id,
            r.no,
            r.at_ns,
            Condition(r.condition),
            Handling(r.handling),
            Reason(r.reason),
            r.principal,
            r.value,
            r.source_time_ns,
            r.note,
        )
        for r in found
    ]


def all_transitions(connection: Connection) -> list[tuple[Any, ...]]:
    """Every transition in the order of happening, as plain rows; what a replay is compared by."""
    table = schema.transition
    return [
        tuple(row) for row in connection.execute(select(table).order_by(table.c.at_ns, table.c.alert_id, table.c.no))
    ]


def counts(connection: Connection) -> dict[str, int]:
    """How many alerts were ever raised, delivered (a notice of the raise was taken), acknowledged and resolved."""
    notice = schema.notice
    delivered = select(func.count(notice.c.alert_id.distinct())).where(
        notice.c.state == "delivered", notice.c.kind == NoticeKind.RAISED.value
    )
    return {
        "raised": connection.execute(select(func.count()).select_from(_T)).scalar_one(),
        "delivered": connection.execute(delivered).scalar_one(),
        "acknowledged": connection.execute(
            select(func.count()).select_from(_T).where(_T.c.acknowledged_at_ns.is_not(None))
        ).scalar_one(),
        "resolved": connection.execute(
            select(func.count()).select_from(_T).where(_T.c.condition == Condition.CLEARED.value)
        ).scalar_one(),
    }


def _to_row(alert: Alert) -> dict[str, Any]:
    return {
        "id": alert.id,
        **alert.key._asdict(),
        "metric": alert.metric,
        "kind": alert.kind,
        "severity": alert.severity.value,
        "condition": alert.condition.value,
        "handling": alert.handling.value,
        "raised_at_ns": alert.raised_at_ns,
        "cleared_at_ns": alert.cleared_at_ns,
        "source_time_ns": alert.source_time_ns,
        "value": alert.value,
        "last_value": alert.last_value,
        "limit": alert.limit,
        "unit": alert.unit,
        "transition": alert.transition,
        "acknowledged_at_ns": alert.acknowledged_at_ns,
        "acknowledged_by": alert.acknowledged_by,
        "notes": alert.notes,
        "is_open": alert.is_open,
    }


def _from_row(row: Row[Any]) -> Alert:
    r = row._mapping
    return Alert(
        id=r["id"],
        key=AlertKey(r["mine"], r["rule"], r["device"], r["channel"]),
        metric=r["metric"],
        kind=r["kind"],
        severity=Severity(r["severity"]),
        condition=Condition(r["condition"]),
        handling=Handling(r["handling"]),
        raised_at_ns=r["raised_at_ns"],
        cleared_at_ns=r["cleared_at_ns"],
        source_time_ns=r["source_time_ns"],
        value=r["value"],
        last_value=r["last_value"],
        limit=r["limit"],
        unit=r["unit"],
        transition=r["transition"],
        acknowledged_at_ns=r["acknowledged_at_ns"],
        acknowledged_by=r["acknowledged_by"],
        notes=r["notes"],
    )
