"""Conditions: what the readings say of one rule on one series, in the order of arrival. Pure functions of a state.

    inactive -> pending -> firing <-> stale
        ^_________|           |         |
        ^_____________________|_________|   (clear)

Hold times run on the journal's clock. A hold may end without a further reading; a clearing may not: only a fresh
usable reading within the clear level ends a condition, silence never does.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from greenmine.core.alert import Condition, Reason
from greenmine.policy.model import MeanRule
from greenmine.rules.binding import Binding


class ConditionState(NamedTuple):
    """Where a condition stands. `since_ns` and `clear_since_ns` are on the journal's clock.

    `since_ns` is when it became pending (kept while firing), `clear_since_ns` when the value came back within the
    clear level; `value` and `time_ns` are those of the reading that made it pending or firing.
    """

    phase: Condition = Condition.INACTIVE
    since_ns: int | None = None
    clear_since_ns: int | None = None
    value: float | None = None
    time_ns: int | None = None


INACTIVE = ConditionState()


class EventKind(StrEnum):
    """What a step did to the condition, where it matters outside."""

    RAISE = "raise"
    CLEAR = "clear"
    STALE = "stale"
    RETURN = "return"


class Event(NamedTuple):
    """A change of a condition, with the judged value and the source time behind it."""

    kind: EventKind
    reason: Reason
    value: float | None
    time_ns: int | None


Step = tuple[ConditionState, list[Event]]
_NOTHING: list[Event] = []


def on_value(binding: Binding, state: ConditionState, value: float, time_ns: int, clock_ns: int) -> Step:
    """A usable reading (or a mean over a covered window) of source time `time_ns` has come."""
    phase = state.phase
    if phase is Condition.INACTIVE and not binding.beyond(value):
        return state, _NOTHING
    if phase in (Condition.INACTIVE, Condition.PENDING):
        return _towards_firing(binding, state, value, time_ns, clock_ns)
    return _while_firing(binding, state, value, time_ns, clock_ns)


def on_data(state: ConditionState, value: float, time_ns: int) -> Step:
    """For an absence rule: a usable reading has come."""
    if state.phase is Condition.INACTIVE:
        return state, _NOTHING
    return INACTIVE, [Event(EventKind.CLEAR, Reason.DATA_RETURNED, value, time_ns)]


def on_clock(binding: Binding, state: ConditionState, heard_ns: int, clock_ns: int) -> Step:
    """Time has passed. `heard_ns` is when the series was last heard of (a usable reading, or the moment from which
    hearing of it could be expected)."""
    silent = clock_ns - heard_ns > binding.silence_ns
    if binding.is_absence:
        if state.phase is Condition.INACTIVE and silent:
            fired = ConditionState(Condition.FIRING, clock_ns, None, None, None)
            return fired, [Event(EventKind.RAISE, Reason.NO_USABLE_DATA, None, None)]
        return state, _NOTHING
    if state.phase is Condition.PENDING and not silent:
        assert state.since_ns is not None
        assert state.value is not None
        if not binding.beyond(state.value):
            # The rule's level has been moved since: the reading that began the hold would not begin it now.
            return INACTIVE, _NOTHING
        if clock_ns - state.since_ns >= binding.hold_ns:
            return _fire(binding, state)
    if state.phase is Condition.FIRING and silent:
        return _stale(state)
    return state, _NOTHING


def on_death(binding: Binding, state: ConditionState) -> Step:
    """The sender is known to be gone (Sparkplug 3.0: after its death all it had said is stale). An absence rule waits
    for its time in any case: many a gateway dies and is born again within seconds."""
    if binding.is_absence or state.phase is not Condition.FIRING:
        return state, _NOTHING
    return _stale(state)


def _stale(state: ConditionState) -> Step:
    stale = state._replace(phase=Condition.STALE, clear_since_ns=None)
    return stale, [Event(EventKind.STALE, Reason.SILENT_WHILE_FIRING, state.value, state.time_ns)]


def _towards_firing(binding: Binding, state: ConditionState, value: float, time_ns: int, clock_ns: int) -> Step:
    if not binding.beyond(value):
        return INACTIVE, _NOTHING
    if state.phase is Condition.INACTIVE:
        state = ConditionState(Condition.PENDING, clock_ns, None, value, time_ns)
    assert state.since_ns is not None
    if clock_ns - state.since_ns >= binding.hold_ns:
        return _fire(binding, state._replace(value=value, time_ns=time_ns))
    return state, _NOTHING


def _fire(binding: Binding, state: ConditionState) -> Step:
    mean = isinstance(binding.rule, MeanRule)
    if binding.above:
        reason = Reason.MEAN_OVER_LIMIT if mean else Reason.OVER_LIMIT
    else:
        reason = Reason.MEAN_UNDER_LIMIT if mean else Reason.UNDER_LIMIT
    fired = state._replace(phase=Condition.FIRING, clear_since_ns=None)
    return fired, [Event(EventKind.RAISE, reason, fired.value, fired.time_ns)]


def _while_firing(binding: Binding, state: ConditionState, value: float, time_ns: int, clock_ns: int) -> Step:
    events: list[Event] = []
    if state.phase is Condition.STALE:
        state = state._replace(phase=Condition.FIRING)
        events.append(Event(EventKind.RETURN, Reason.DATA_RETURNED, value, time_ns))
    if not binding.within_clear(value):
        return state._replace(clear_since_ns=None), events
    clear_since_ns = clock_ns if state.clear_since_ns is None else state.clear_since_ns
    if clock_ns - clear_since_ns < binding.clear_hold_ns:
        return state._replace(clear_since_ns=clear_since_ns), events
    events.append(Event(EventKind.CLEAR, Reason.BACK_WITHIN_CLEAR_LEVEL, value, time_ns))
    return INACTIVE, events
