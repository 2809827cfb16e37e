"""The alert lifecycle: pure functions from an alert and what happened to the next alert and its transition.

Resolved means that the condition is cleared. An alert is open until it is cleared and, once anybody has handled it,
closed; while it is open a new raise of its key continues it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from greenmine.core.alert import Alert, AlertKey, Condition, Handling, Reason, Severity, Transition, alert_id
from greenmine.core.errors import Conflict, Refused

Step = tuple[Alert, Transition]
LONGEST_NOTE = 2_000
"""Characters."""


class Cause(NamedTuple):
    """What raises an alert: the reading (none for silence) and the rule as it stands. `value` and `limit` in `unit`."""

    metric: str
    kind: str
    severity: Severity
    reason: Reason
    value: float | None
    limit: float | None
    unit: str
    source_time_ns: int | None
    at_ns: int
    principal: str


def raised(key: AlertKey, position: int, cause: Cause) -> Step:
    """A new alert, firing. `position` tells it from others of its key: the number of alerts raised so far."""
    alert = Alert(
        id=alert_id(key, cause.at_ns, position),
        key=key,
        metric=cause.metric,
        kind=cause.kind,
        severity=cause.severity,
        condition=Condition.FIRING,
        handling=Handling.NONE,
        raised_at_ns=cause.at_ns,
        cleared_at_ns=None,
        source_time_ns=cause.source_time_ns,
        value=cause.value,
        last_value=cause.value,
        limit=cause.limit,
        unit=cause.unit,
        transition=1,
    )
    return alert, _transition(alert, cause.at_ns, cause.reason, cause.principal, cause.value, cause.source_time_ns)


def raised_again(alert: Alert, cause: Cause) -> Step:
    """The condition of an alert that is still being handled has come back. It now says what raised it this time, by the
    rule as it is now; `raised_at_ns` stays that of the first raise."""
    moved = replace(
        alert,
        metric=cause.metric,
        kind=cause.kind,
        severity=cause.severity,
        condition=Condition.FIRING,
        cleared_at_ns=None,
        source_time_ns=cause.source_time_ns,
        value=cause.value,
        last_value=cause.value,
        limit=cause.limit,
        unit=cause.unit,
        transition=alert.transition + 1,
    )
    return moved, _transition(moved, cause.at_ns, cause.reason, cause.principal, cause.value, cause.source_time_ns)


def condition_changed(
    alert: Alert,
    condition: Condition,
    *,
    reason: Reason,
    value: float | None,
    source_time_ns: int | None,
    at_ns: int,
    principal: str,
) -> Step:
    """The condition became stale, came back from being stale, or cleared."""
    moved = replace(
        alert,
        condition=condition,
        cleared_at_ns=at_ns if condition is Condition.CLEARED else None,
        last_value=alert.last_value if value is None else value,
        transition=alert.transition + 1,
    )
    return moved, _transition(moved, at_ns, reason, principal, value, source_time_ns)


def acknowledged(alert: Alert, principal: str, note: str, at_ns: int) -> Step | None:
    """Somebody has taken the alert on; None where somebody has already (the same act twice changes nothing).

    Raises:
        Conflict: the alert is no longer open.
        Refused: `note_length`.
    """
    _check_note(note)
    if not alert.is_open:
        raise Conflict(f"alert {alert.id} is no longer open; there is nothing to acknowledge")
    if alert.handling is not Handling.NONE:
        return None
    moved = replace(
        alert,
        handling=Handling.ACKNOWLEDGED,
        acknowledged_at_ns=at_ns,
        acknowledged_by=principal,
        transition=alert.transition + 1,
    )
    return moved, _transition(moved, at_ns, Reason.ACKNOWLEDGED_BY_PERSON, principal, note=note)


def noted(alert: Alert, principal: str, note: str, at_ns: int) -> Step:
    """Somebody has written something down; also on an alert that is over.

    Raises:
        Refused: `note_empty`, `note_length`.
    """
    _check_note(note, needed=True)
    moved = replace(alert, notes=alert.notes + 1, transition=alert.transition + 1)
    return moved, _transition(moved, at_ns, Reason.NOTE_BY_PERSON, principal, note=note)


def resolved(alert: Alert, principal: str, note: str, at_ns: int) -> Step:
    """Somebody closes the handling of an alert whose condition has cleared, and says why.

    Raises:
        Conflict: the condition still holds, or the alert is closed already.
        Refused: `note_empty`, `note_length`.
    """
    _check_note(note, needed=True)
    if alert.condition is not Condition.CLEARED:
        raise Conflict(f"the condition of alert {alert.id} still holds; it clears by itself when readings are back")
    if not alert.is_open:
        raise Conflict(f"alert {alert.id} is closed already")
    moved = replace(alert, handling=Handling.CLOSED, transition=alert.transition + 1)
    return moved, _transition(moved, at_ns, Reason.RESOLVED_BY_PERSON, principal, note=note)


def told(alert: Alert, delivered: bool, principal: str, note: str, at_ns: int) -> Step:
    """A notice has reached its channel, or never will; either stands in the alert's history."""
    moved = replace(alert, transition=alert.transition + 1)
    reason = Reason.NOTICE_DELIVERED if delivered else Reason.NOTICE_REFUSED
    return moved, _transition(moved, at_ns, reason, principal, note=note)


def _check_note(note: str, needed: bool = False) -> None:
    if needed and not note.strip():
        raise Refused("note_empty", "write what was found or done")
    if len(note) > LONGEST_NOTE:
        raise Refused("note_length", f"a note has at most {LONGEST_NOTE} characters")


def _transition(
    alert: Alert,
    at_ns: int,
    reason: Reason,
    principal: str,
    value: float | None = None,
    source_time_ns: int | None = None,
    note: str = "",
) -> Transition:
    return Transition(
        alert.id,
        alert.transition,
        at_ns,
        alert.condition,
        alert.handling,
        reason,
        principal,
        value,
        source_time_ns,
        note,
    )
