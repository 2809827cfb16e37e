"""The alert on its two axes, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from greenmine.alerts import lifecycle
from greenmine.alerts.lifecycle import Cause
from greenmine.core.alert import Alert, AlertKey, Condition, Handling, Reason, Severity
from greenmine.core.errors import Conflict, Refused
from tests.pipeline_scenes import LI, START_NS

KEY = AlertKey("shifan-9", "dusty", "dust-1", "")
CAUSE = Cause(
    metric="pm10", kind="threshold", severity=Severity.WARNING, reason=Reason.OVER_LIMIT, value=160.0, limit=150.0,
    unit="ug/m3", source_time_ns=START_NS - 5, at_ns=START_NS, principal="rule:shifan-9/dusty",
)  # fmt: skip


def fresh() -> Alert:
    return lifecycle.raised(KEY, 1, CAUSE)[0]


def cleared(alert: Alert, at_ns: int = START_NS + 100) -> Alert:
    return lifecycle.condition_changed(
        alert,
        Condition.CLEARED,
        reason=Reason.BACK_WITHIN_CLEAR_LEVEL,
        value=90.0,
        source_time_ns=at_ns,
        at_ns=at_ns,
        principal="rule:shifan-9/dusty",
    )[0]


def acknowledged(alert: Alert) -> Alert:
    step = lifecycle.acknowledged(alert, LI, "on it", START_NS + 50)
    assert step is not None
    return step[0]


def closed(alert: Alert) -> Alert:
    return lifecycle.resolved(alert, LI, "watered", START_NS + 200)[0]


def test_a_raise() -> None:
    alert, transition = lifecycle.raised(KEY, 1, CAUSE)
    assert (alert.condition, alert.handling, alert.is_open) == (Condition.FIRING, Handling.NONE, True)
    assert (alert.value, alert.last_value, alert.limit) == (160.0, 160.0, 150.0)
    assert (transition.alert_id, transition.no, transition.reason) == (alert.id, 1, Reason.OVER_LIMIT)
    assert (transition.at_ns, transition.value, transition.source_time_ns) == (START_NS, 160.0, START_NS - 5)


def test_two_raises_of_a_key_at_one_moment_are_two_alerts() -> None:
    assert lifecycle.raised(KEY, 1, CAUSE)[0].id != lifecycle.raised(KEY, 2, CAUSE)[0].id
    assert lifecycle.raised(KEY, 1, CAUSE)[0].id == lifecycle.raised(KEY, 1, CAUSE)[0].id


@pytest.mark.parametrize(
    ("alert", "is_open"),
    [
        (fresh(), True),
        (cleared(fresh()), False),
        (acknowledged(fresh()), True),
        (cleared(acknowledged(fresh())), True),
        (closed(cleared(acknowledged(fresh()))), False),
        (replace(cleared(fresh()), handling=Handling.IN_RECTIFICATION), True),
        (replace(cleared(fresh()), handling=Handling.VERIFIED), True),
        (replace(fresh(), condition=Condition.STALE), True),
    ],
)
def test_open_until_cleared_and_once_handled_closed(alert: Alert, is_open: bool) -> None:
    assert alert.is_open is is_open


def test_a_clearing_keeps_what_raised_it_and_says_the_newest_value() -> None:
    alert = cleared(fresh())
    assert (alert.value, alert.last_value, alert.cleared_at_ns) == (160.0, 90.0, START_NS + 100)


def test_a_raise_of_an_alert_that_is_still_handled_says_what_raised_it_this_time() -> None:
    """Otherwise people would be told last week's value, under a limit that no longer holds."""
    before = cleared(acknowledged(fresh()))
    again = CAUSE._replace(value=300.0, limit=200.0, severity=Severity.CRITICAL, at_ns=START_NS + 9, source_time_ns=7)
    alert, transition = lifecycle.raised_again(before, again)
    assert (alert.id, alert.raised_at_ns, alert.handling) == (before.id, START_NS, Handling.ACKNOWLEDGED)
    assert (alert.value, alert.last_value, alert.limit, alert.severity) == (300.0, 300.0, 200.0, Severity.CRITICAL)
    assert (alert.condition, alert.cleared_at_ns, alert.source_time_ns) == (Condition.FIRING, None, 7)
    assert (transition.no, transition.at_ns) == (before.transition + 1, START_NS + 9)


def test_acknowledging_names_who_and_when() -> None:
    alert = acknowledged(fresh())
    assert (alert.handling, alert.acknowledged_by, alert.acknowledged_at_ns) == (
        Handling.ACKNOWLEDGED,
        LI,
        START_NS + 50,
    )


def test_acknowledging_twice_changes_nothing() -> None:
    assert lifecycle.acknowledged(acknowledged(fresh()), "person:wang", "", START_NS + 60) is None


def test_what_is_over_cannot_be_acknowledged() -> None:
    with pytest.raises(Conflict, match="no longer open"):
        lifecycle.acknowledged(cleared(fresh()), LI, "", START_NS)
    with pytest.raises(Conflict, match="no longer open"):
        lifecycle.acknowledged(closed(cleared(acknowledged(fresh()))), LI, "", START_NS)


def test_a_note_can_be_added_at_any_time() -> None:
    for alert in (fresh(), cleared(fresh()), closed(cleared(acknowledged(fresh())))):
        noted, transition = lifecycle.noted(alert, LI, "a road grader", START_NS)
        assert (noted.notes, noted.is_open, transition.note) == (1, alert.is_open, "a road grader")
        assert transition.reason is Reason.NOTE_BY_PERSON


@pytest.mark.parametrize("note", ["", "   ", "\n\t"])
def test_a_note_needs_words(note: str) -> None:
    with pytest.raises(Refused) as refused:
        lifecycle.noted(fresh(), LI, note, START_NS)
    assert refused.value.word == "note_empty"
    with pytest.raises(Refused):
        lifecycle.resolved(cleared(acknowledged(fresh())), LI, note, START_NS)


@pytest.mark.parametrize("step", [lifecycle.noted, lifecycle.acknowledged, lifecycle.resolved])
def test_a_note_has_an_end(step: Callable[..., object]) -> None:
    alert = cleared(acknowledged(fresh()))
    with pytest.raises(Refused) as refused:
        step(alert, LI, "x" * (lifecycle.LONGEST_NOTE + 1), START_NS)
    assert refused.value.word == "note_length"
    step(alert, LI, "x" * lifecycle.LONGEST_NOTE, START_NS)


def test_nobody_can_close_what_still_holds() -> None:
    with pytest.raises(Conflict, match="still holds"):
        lifecycle.resolved(acknowledged(fresh()), LI, "watered", START_NS)
    stale = replace(acknowledged(fresh()), condition=Condition.STALE)
    with pytest.raises(Conflict, match="still holds"):
        lifecycle.resolved(stale, LI, "watered", START_NS)


def test_nor_close_it_twice() -> None:
    with pytest.raises(Conflict, match="closed already"):
        closed(closed(cleared(acknowledged(fresh()))))


@pytest.mark.parametrize(("delivered", "reason"), [(True, Reason.NOTICE_DELIVERED), (False, Reason.NOTICE_REFUSED)])
def test_who_was_told_stands_in_the_history(delivered: bool, reason: Reason) -> None:
    before = cleared(fresh())
    alert, transition = lifecycle.told(before, delivered, "service:channel-email", "raised office email", START_NS)
    assert (transition.reason, transition.no, transition.note) == (reason, before.transition + 1, "raised office email")
    assert replace(alert, transition=before.transition) == before


def test_every_step_counts_one_transition() -> None:
    alert = fresh()
    for number, step in enumerate((acknowledged, cleared, closed), 2):
        alert = step(alert)
        assert alert.transition == number
