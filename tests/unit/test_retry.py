"""When a notice is tried again."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmine.alerts.retry import FIRST_S, GIVE_UP_AFTER_NS, LONGEST_S, next_attempt_ns
from tests.pipeline_scenes import NS, START_NS

keys = st.text("0123456789abcdef", min_size=64, max_size=64)


def wait_s(key: str, attempts: int, retry_after_s: float | None = None) -> float:
    return (next_attempt_ns(key, attempts, START_NS, retry_after_s) - START_NS) / NS


@settings(max_examples=200, deadline=None)
@given(keys, st.integers(1, 10_000))
def test_waits_double_up_to_a_quarter_of_an_hour_and_are_spread(key: str, attempts: int) -> None:
    longest = min(LONGEST_S, FIRST_S * 2 ** min(attempts - 1, 20))
    assert longest / 2 - 1e-6 <= wait_s(key, attempts) < longest


@settings(max_examples=50, deadline=None)
@given(keys)
def test_a_wait_is_never_shorter_than_the_one_before_until_the_longest(key: str) -> None:
    waits = [wait_s(key, attempts) for attempts in range(1, 9)]
    assert waits == sorted(waits)


def test_notices_that_failed_together_are_not_tried_together() -> None:
    waits = {wait_s(f"{n:064x}", 8) for n in range(100)}
    assert len(waits) == 100
    assert max(waits) - min(waits) > LONGEST_S / 4


def test_the_jitter_is_the_same_in_every_replay() -> None:
    assert [wait_s("k", n) for n in (1, 2, 3)] == [wait_s("k", n) for n in (1, 2, 3)]
    assert wait_s("k", 1) != wait_s("l", 1)


@pytest.mark.parametrize(
    ("wish_s", "least_s", "most_s"),
    [
        (0.0, 2.5, 5.0),
        (1.0, 2.5, 5.0),
        (60.0, 60.0, 60.0),
        (3600.0, 3600.0, 3600.0),
        (86400.0, 3600.0, 3600.0),
        (math.inf, 3600.0, 3600.0),
        (-5.0, 2.5, 5.0),
        (math.nan, 2.5, 5.0),
    ],
)
def test_the_other_sides_wish_is_a_lower_bound_within_reason(wish_s: float, least_s: float, most_s: float) -> None:
    assert least_s <= wait_s("k", 1, wish_s) <= most_s


def test_a_day_holds_about_a_hundred_attempts() -> None:
    """Enough to get through, few enough not to be a flood."""
    now_ns, attempts = START_NS, 0
    while now_ns - START_NS <= GIVE_UP_AFTER_NS:
        attempts += 1
        now_ns = next_attempt_ns("k", attempts, now_ns, None)
    assert 96 <= attempts <= 210
