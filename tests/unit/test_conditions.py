"""Conditions: every edge of thresholds, means and absence as a table, and a state machine against a second opinion."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from greenmine.core.alert import Condition, Reason
from greenmine.rules.binding import Binding, bind
from greenmine.rules.conditions import (
    INACTIVE,
    ConditionState,
    Event,
    EventKind,
    on_clock,
    on_data,
    on_value,
)
from tests.pipeline_scenes import NS, limit, policy

RAISE, CLEAR, STALE, RETURN = EventKind.RAISE, EventKind.CLEAR, EventKind.STALE, EventKind.RETURN
SILENCE_S = 120
"""Three intervals of 10 s are less than the shortest silence."""


def above(**more: object) -> Binding:
    """PM10 over 150, clear from 130 down."""
    (found,) = bind(policy([limit("dusty", "pm10", 150, 130, **more)]))
    return found


def below(**more: object) -> Binding:
    """PM10 under 20, clear from 30 up."""
    (found,) = bind(policy([limit("clean", "pm10", 20, 30, direction="below", **more)]))
    return found


def absence(**more: object) -> Binding:
    """No usable PM10 for 60 s."""
    rule = {"id": "silent", "kind": "absence", "severity": "warning", "metric": "pm10", **(more or {"after": "60s"})}
    (found,) = bind(policy([rule]))
    return found


def play(binding: Binding, *steps: tuple[float, float | None]) -> list[tuple[float, EventKind]]:
    """Show (second, value) steps to the condition; a value of None is the clock alone. What happened, and when."""
    state, happened, heard_s = INACTIVE, [], 0.0
    for second, value in steps:
        clock_ns = int(second * NS)
        if value is None:
            state, events = on_clock(binding, state, int(heard_s * NS), clock_ns)
        else:
            heard_s = second
            state, events = on_value(binding, state, value, clock_ns - 7, clock_ns)
        happened += [(second, event.kind) for event in events]
    return happened


EDGES: list[tuple[str, Binding, Sequence[tuple[float, float | None]], list[tuple[float, EventKind]]]] = [
    ("a value on the level is not beyond it", above(), [(0, 150.0)], []),
    ("the next double is", above(), [(0, 150.00000000000003)], [(0, RAISE)]),
    ("a value on the clear level clears", above(), [(0, 151), (1, 130.0)], [(0, RAISE), (1, CLEAR)]),
    ("one just over the clear level does not", above(), [(0, 151), (1, 130.00000000000003)], [(0, RAISE)]),
    ("between the levels nothing changes", above(), [(0, 151), (1, 140), (2, 150), (3, 131)], [(0, RAISE)]),
    ("and nothing begins", above(), [(0, 140), (1, 150), (2, 131)], []),
    ("raised, cleared and raised again", above(), [(0, 151), (1, 100), (2, 151)], [(0, RAISE), (1, CLEAR), (2, RAISE)]),
    ("a hold is not over before its time", above(hold="30s"), [(0, 151), (29.999999999, 151)], []),
    ("it is at its time, by a reading", above(hold="30s"), [(0, 151), (30, 151)], [(30, RAISE)]),
    ("or by the clock", above(hold="30s"), [(0, 151), (29, None), (30, None)], [(30, RAISE)]),
    ("a value back on the level ends the hold", above(hold="30s"), [(0, 151), (20, 150), (31, 151), (60, 151)], []),
    ("and it begins anew", above(hold="30s"), [(0, 151), (20, 150), (31, 151), (61, 151)], [(61, RAISE)]),
    ("between the levels a hold ends too", above(hold="30s"), [(0, 151), (20, 140), (40, None)], []),
    ("a clear hold needs its time", above(clear_hold="30s"), [(0, 151), (1, 100), (30.9, 100)], [(0, RAISE)]),
    ("and a reading at its end", above(clear_hold="30s"), [(0, 151), (1, 100), (31, 100)], [(0, RAISE), (31, CLEAR)]),
    ("the clock alone never clears", above(clear_hold="30s"), [(0, 151), (1, 100), (31, None), (99, None)],
     [(0, RAISE)]),
    ("a value over the clear level ends a clear hold", above(clear_hold="30s"),
     [(0, 151), (1, 100), (20, 131), (31, 100), (60, 100)], [(0, RAISE)]),
    ("even below the raise level", above(clear_hold="30s"),
     [(0, 151), (1, 100), (20, 131), (31, 100), (61, 100)], [(0, RAISE), (61, CLEAR)]),
    ("silence makes it stale", above(), [(0, 151), (SILENCE_S, None), (SILENCE_S + 0.1, None), (9999, None)],
     [(0, RAISE), (SILENCE_S + 0.1, STALE)]),
    ("a reading ends that, whatever it says", above(), [(0, 151), (200, None), (300, 140)],
     [(0, RAISE), (200, STALE), (300, RETURN)]),
    ("and clears only within the clear level", above(), [(0, 151), (200, None), (300, 130)],
     [(0, RAISE), (200, STALE), (300, RETURN), (300, CLEAR)]),
    ("staleness forgets the beginning of a clear hold", above(clear_hold="30s"),
     [(0, 151), (1, 100), (200, None), (300, 100), (329, 100)], [(0, RAISE), (200, STALE), (300, RETURN)]),
    ("which then begins anew", above(clear_hold="30s"),
     [(0, 151), (1, 100), (200, None), (300, 100), (330, 100)],
     [(0, RAISE), (200, STALE), (300, RETURN), (330, CLEAR)]),
    ("stale twice", above(), [(0, 151), (200, None), (300, 151), (500, None)],
     [(0, RAISE), (200, STALE), (300, RETURN), (500, STALE)]),
    ("a hold does not end in silence", above(hold="5m"), [(0, 151), (200, None), (300, None), (9999, None)], []),
    ("but with the first reading that is still over", above(hold="5m"), [(0, 151), (9999, 151)], [(9999, RAISE)]),
    ("not with one that is not", above(hold="5m"), [(0, 151), (9999, 150)], []),
    ("below: a value on the level", below(), [(0, 20.0)], []),
    ("below: under it", below(), [(0, 19.9)], [(0, RAISE)]),
    ("below: clears from the clear level up", below(), [(0, 19), (1, 29.9), (2, 30.0)], [(0, RAISE), (2, CLEAR)]),
    ("below: between the levels", below(), [(0, 19), (1, 25), (2, 20)], [(0, RAISE)]),
    ("below: with a hold", below(hold="30s"), [(0, 19), (10, 20), (11, 19), (40, 19), (41, None)], [(41, RAISE)]),
]  # fmt: skip


@pytest.mark.parametrize(("binding", "steps", "expected"), [e[1:] for e in EDGES], ids=[e[0] for e in EDGES])
def test_edges(
    binding: Binding, steps: Sequence[tuple[float, float | None]], expected: list[tuple[float, EventKind]]
) -> None:
    assert play(binding, *steps) == expected


def test_an_event_carries_the_value_and_source_time_that_made_it() -> None:
    binding = above(hold="30s")
    state, events = on_value(binding, INACTIVE, 160, 5, 10)
    assert (state, events) == (ConditionState(Condition.PENDING, 10, None, 160, 5), [])
    state, events = on_value(binding, state, 170, 6, 10 + 30 * NS)
    assert events == [Event(RAISE, Reason.OVER_LIMIT, 170, 6)]
    assert state == ConditionState(Condition.FIRING, 10, None, 170, 6)
    state, events = on_value(binding, state, 90, 8, 10 + 40 * NS)
    assert events == [Event(CLEAR, Reason.BACK_WITHIN_CLEAR_LEVEL, 90, 8)]
    assert state == INACTIVE


def test_a_hold_that_the_clock_ends_names_the_reading_that_began_it() -> None:
    state, _ = on_value(above(hold="30s"), INACTIVE, 160, 5, 0)
    state, _ = on_value(above(hold="30s"), state, 170, 6, 10 * NS)
    _, events = on_clock(above(hold="30s"), state, 10 * NS, 30 * NS)
    assert events == [Event(RAISE, Reason.OVER_LIMIT, 160, 5)]


@pytest.mark.parametrize(
    ("rule", "beyond", "reason"),
    [
        (limit("r", "pm10", 150, 130), 151, Reason.OVER_LIMIT),
        (limit("r", "pm10", 20, 30, direction="below"), 19, Reason.UNDER_LIMIT),
        ({**limit("r", "pm10", 150, 130), "kind": "mean", "window": "1m"}, 151, Reason.MEAN_OVER_LIMIT),
        (
            {**limit("r", "pm10", 20, 30, direction="below"), "kind": "mean", "window": "1m"},
            19,
            Reason.MEAN_UNDER_LIMIT,
        ),
    ],
)
def test_the_reason_says_which_kind_of_limit(rule: dict[str, object], beyond: float, reason: Reason) -> None:
    (binding,) = bind(policy([rule]))
    _, events = on_value(binding, INACTIVE, beyond, 0, 0)
    assert [event.reason for event in events] == [reason]


def test_a_hold_begun_under_a_level_that_was_moved_does_not_end_in_an_alert() -> None:
    state, _ = on_value(above(hold="30s"), INACTIVE, 160, 5, 0)
    (stricter,) = bind(policy([limit("dusty", "pm10", 300, 280, hold="30s")]))
    assert on_clock(stricter, state, 0, 30 * NS) == (INACTIVE, [])


class TestAbsence:
    def test_silence_longer_than_allowed(self) -> None:
        assert on_clock(absence(), INACTIVE, 0, 60 * NS) == (INACTIVE, [])
        state, events = on_clock(absence(), INACTIVE, 0, 60 * NS + 1)
        assert events == [Event(RAISE, Reason.NO_USABLE_DATA, None, None)]
        assert state == ConditionState(Condition.FIRING, 60 * NS + 1)

    def test_is_said_once(self) -> None:
        state, _ = on_clock(absence(), INACTIVE, 0, 61 * NS)
        assert on_clock(absence(), state, 0, 9999 * NS) == (state, [])

    def test_time_alone_never_ends_it(self) -> None:
        state, _ = on_clock(absence(), INACTIVE, 0, 61 * NS)
        assert on_clock(absence(), state, 61 * NS, 62 * NS) == (state, []), "expected anew, but not heard"

    def test_any_usable_reading_ends_it(self) -> None:
        state, _ = on_clock(absence(), INACTIVE, 0, 61 * NS)
        assert on_data(state, 1e9, 5) == (INACTIVE, [Event(CLEAR, Reason.DATA_RETURNED, 1e9, 5)])

    def test_without_it_a_reading_says_nothing(self) -> None:
        assert on_data(INACTIVE, 1.0, 5) == (INACTIVE, [])

    def test_in_intervals(self) -> None:
        binding = absence(intervals=3)
        assert on_clock(binding, INACTIVE, 0, 30 * NS)[1] == []
        assert [e.kind for e in on_clock(binding, INACTIVE, 0, 30 * NS + 1)[1]] == [RAISE]


VALUES = (0.0, 129.9, 130.0, 130.1, 149.0, 150.0, 150.1, 400.0)


class _SecondOpinion:
    """What the events must be, worked out anew from the whole history at each step."""

    def __init__(self, hold_s: float, clear_hold_s: float) -> None:
        self.hold_s, self.clear_hold_s = hold_s, clear_hold_s
        self.firing = self.stale = False
        self.values: list[tuple[float, float]] = []
        self.counted_from = 0
        """Values before this one do not count towards a clear hold: they came before the raise or before a silence."""

    def _unbroken_since(self, fits: object, first: int = 0) -> float | None:
        """The second at which the last values began to fit without a break, None where the last one does not."""
        since = None
        for second, value in reversed(self.values[first:]):
            if not fits(value):  # type: ignore[operator]
                break
            since = second
        return since

    def value(self, now: float, value: float) -> list[EventKind]:
        self.values.append((now, value))
        events = [RETURN] if self.stale else []
        self.stale = False
        if not self.firing:
            return self._end_of_hold(now)
        since = self._unbroken_since(lambda v: v <= 130, self.counted_from)
        if since is not None and now - since >= self.clear_hold_s:
            self.firing = False
            events.append(CLEAR)
        return events

    def clock(self, now: float) -> list[EventKind]:
        silent = not self.values or now - self.values[-1][0] > SILENCE_S
        if not self.firing:
            return [] if silent else self._end_of_hold(now)
        if silent and not self.stale:
            self.stale, self.counted_from = True, len(self.values)
            return [STALE]
        return []

    def _end_of_hold(self, now: float) -> list[EventKind]:
        since = self._unbroken_since(lambda v: v > 150)
        if since is None or now - since < self.hold_s:
            return []
        self.firing, self.counted_from = True, len(self.values)
        return [RAISE]


class ThresholdMachine(RuleBasedStateMachine):
    """Any values, any pauses, with and without holds: the condition and the second opinion agree at every step."""

    @initialize(hold_s=st.sampled_from((0, 1, 20, 60)), clear_hold_s=st.sampled_from((0, 1, 20, 60)))
    def begin(self, hold_s: int, clear_hold_s: int) -> None:
        self.binding = above(hold=f"{hold_s}s", clear_hold=f"{clear_hold_s}s")
        self.opinion = _SecondOpinion(hold_s, clear_hold_s)
        self.state, self.now, self.heard = INACTIVE, 1000.0, 0.0

    @rule(pause=st.sampled_from((0.0, 0.5, 1.0, 10.0, 20.0, 59.5, 60.0, 130.0)), value=st.sampled_from(VALUES))
    def reading(self, pause: float, value: float) -> None:
        self.now += pause
        self.heard = self.now
        clock_ns = int(self.now * NS)
        self.state, events = on_value(self.binding, self.state, value, clock_ns, clock_ns)
        assert [event.kind for event in events] == self.opinion.value(self.now, value)
        self._agree()

    @rule(pause=st.sampled_from((0.5, 1.0, 10.0, 20.0, 59.5, 60.0, 119.5, 120.5)))
    def silence(self, pause: float) -> None:
        self.now += pause
        self.state, events = on_clock(self.binding, self.state, int(self.heard * NS), int(self.now * NS))
        assert [event.kind for event in events] == self.opinion.clock(self.now)
        self._agree()

    def _agree(self) -> None:
        assert (self.state.phase in (Condition.FIRING, Condition.STALE)) == self.opinion.firing
        assert (self.state.phase is Condition.STALE) == self.opinion.stale


ThresholdMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestThresholdMachine = ThresholdMachine.TestCase
