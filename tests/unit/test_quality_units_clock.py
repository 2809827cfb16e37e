"""The vocabulary of core: quality flags, units, field names, the account, and what every clock promises."""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core import quality as q
from greenmine.core.account import Account
from greenmine.core.clock import NS_PER_S, Clock, ManualClock, ScaledClock, SystemClock, to_rfc3339
from greenmine.core.metric import METRICS
from greenmine.core.quality import Quality, flag_names, from_names
from greenmine.core.reading import STATS, field_name, split_field_name
from greenmine.core.unit import UNITS, convert, convertible, is_unit

NAMES = [
    "range", "negative", "unregistered", "rate", "spike", "stuck", "humid", "calibration", "maintenance", "manual",
    "invalid", "late", "skew", "conflict",
]  # fmt: skip


# --- quality ----------------------------------------------------------------------------------------------------------


def test_the_bits_are_in_the_order_of_the_contract() -> None:
    assert [from_names([name]) for name in NAMES] == [1 << bit for bit in range(14)]
    assert flag_names((1 << 14) - 1) == NAMES
    assert flag_names(0) == []


@given(st.integers(0, (1 << 14) - 1))
def test_names_and_bits_are_one_another(bits: int) -> None:
    assert from_names(flag_names(bits)) == bits


def test_a_name_that_is_no_flag_is_an_error() -> None:
    with pytest.raises(KeyError):
        from_names(["range", "good"])


def test_every_flag_has_exactly_one_origin() -> None:
    groups = [q.ADMISSION, q.HEALTH, q.FACTS, q.ARRIVAL]
    assert sum(int(group) for group in groups) == (1 << 14) - 1
    assert flag_names(q.ADMISSION) == ["range", "negative", "unregistered"]
    assert flag_names(q.HEALTH) == ["rate", "spike", "stuck", "humid"]
    assert flag_names(q.FACTS) == ["calibration", "maintenance", "manual", "invalid"]
    assert flag_names(q.ARRIVAL) == ["late", "skew", "conflict"]


def test_conditions_pass_over_what_cannot_be_trusted_at_once() -> None:
    assert Quality.MANUAL not in q.UNUSABLE_FOR_CONDITIONS
    assert not q.HEALTH & q.UNUSABLE_FOR_CONDITIONS
    for name in ("range", "negative", "unregistered", "calibration", "maintenance", "invalid", "late", "skew"):
        assert from_names([name]) in q.UNUSABLE_FOR_CONDITIONS


# --- units and fields -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "target", "expected"),
    [
        (0.9, "mg/m3", "ug/m3", 900.0),
        (5.0, "ng/m3", "ug/m3", 0.005),
        (1.0, "g/L", "mg/L", 1000.0),
        (0.0, "Cel", "K", 273.15),
        (273.15, "K", "Cel", 0.0),
        (3.6, "m3/h", "L/s", 1.0),
        (1.0, "m3/s", "L/s", 1000.0),
        (1.0, "mS/cm", "dS/m", 1.0),
        (0.2, "m3/m3", "%", 20.0),
        (36.0, "km/h", "m/s", 10.0),
        (1013.25, "hPa", "kPa", 101.325),
        (25.0, "mm", "m", 0.025),
        (7.2, "1", "1", 7.2),
    ],
)
def test_conversions(value: float, unit: str, target: str, expected: float) -> None:
    assert convert(value, unit, target) == pytest.approx(expected)


def test_units_of_different_kinds_do_not_convert() -> None:
    for unit, target in (("ug/m3", "mg/L"), ("dB", "1"), ("NTU", "FNU2"), ("x", "ug/m3"), ("", "1")):
        assert not convertible(unit, target)
        with pytest.raises(ValueError, match="cannot convert"):
            convert(1.0, unit, target)
    assert not is_unit("ppm")


@given(st.sampled_from(UNITS), st.sampled_from(UNITS), st.floats(-1e9, 1e9))
def test_a_conversion_can_be_undone(unit: str, target: str, value: float) -> None:
    if convertible(unit, target):
        assert convert(convert(value, unit, target), target, unit) == pytest.approx(value, rel=1e-9, abs=1e-6)


def test_every_metric_is_shown_in_a_unit_of_its_kind() -> None:
    for metric in METRICS.values():
        assert convertible(metric.unit, metric.shown_unit), metric.name
        assert metric.low < metric.high


@given(st.sampled_from(sorted(METRICS)), st.sampled_from(STATS), st.integers(1, 10**6))
def test_a_field_name_is_taken_apart_again(metric: str, stat: str, period_s: int) -> None:
    period_s = 0 if stat == "inst" else period_s
    assert split_field_name(field_name(metric, stat, period_s)) == (metric, stat, period_s)


# --- the account ------------------------------------------------------------------------------------------------------

ACCOUNTS = st.lists(st.integers(0, 2**40), min_size=6, max_size=6).map(lambda parts: Account(sum(parts), *parts))


@given(ACCOUNTS, ACCOUNTS)
def test_sums_of_balanced_accounts_balance(one: Account, other: Account) -> None:
    assert one.balanced
    assert (one + other).balanced
    assert (one + other).received == one.received + other.received
    assert one + Account() == one


@given(ACCOUNTS, st.sampled_from(Account._fields), st.integers(1, 10))
def test_one_reading_too_many_anywhere_is_seen(account: Account, name: str, extra: int) -> None:
    assert not account._replace(**{name: getattr(account, name) + extra}).balanced


def test_an_account_adds_only_to_accounts() -> None:
    numbers: object = (1, 2, 3)
    with pytest.raises(TypeError):
        operator.add(Account(), numbers)


# --- clocks -----------------------------------------------------------------------------------------------------------


class ClockCase(NamedTuple):
    """A clock, and how to let time pass on it (the machine's clock passes by itself)."""

    clock: Clock
    pass_ns: Callable[[int], None]
    speed: float


def system_case() -> ClockCase:
    return ClockCase(SystemClock(), lambda _: None, 1.0)


def manual_case() -> ClockCase:
    clock = ManualClock(10**18)
    return ClockCase(clock, clock.advance, 1.0)


def scaled_case() -> ClockCase:
    base = ManualClock(10**18)
    return ClockCase(ScaledClock(base, 60.0), base.advance, 60.0)


def scaled_system_case() -> ClockCase:
    return ClockCase(ScaledClock(SystemClock(), 3600.0, start_wall_ns=0), lambda _: None, 3600.0)


@pytest.fixture(params=[system_case, manual_case, scaled_case, scaled_system_case])
def case(request: pytest.FixtureRequest) -> ClockCase:
    made: ClockCase = request.param()
    return made


def test_monotonic_time_never_goes_back(case: ClockCase) -> None:
    seen = []
    for step_ns in (0, 1, NS_PER_S, 0, 10**15):
        case.pass_ns(step_ns)
        seen.append(case.clock.monotonic_ns())
    assert seen == sorted(seen)
    assert all(isinstance(time_ns, int) for time_ns in seen)


def test_wall_time_is_nanoseconds_in_64_bits(case: ClockCase) -> None:
    wall_ns = case.clock.wall_ns()
    assert isinstance(wall_ns, int)
    assert -(2**63) <= wall_ns < 2**63


@pytest.mark.parametrize("make", [manual_case, scaled_case])
def test_both_times_pass_at_the_speed_of_the_clock(make: Callable[[], ClockCase]) -> None:
    clock, let_pass, speed = make()
    wall_ns, monotonic_ns = clock.wall_ns(), clock.monotonic_ns()
    let_pass(7 * NS_PER_S)
    assert clock.wall_ns() - wall_ns == 7 * NS_PER_S * speed
    assert clock.monotonic_ns() - monotonic_ns == 7 * NS_PER_S * speed


def test_a_wall_clock_step_leaves_the_monotonic_clock() -> None:
    clock = ManualClock(1000)
    clock.advance(5)
    clock.set_wall(10)
    assert (clock.wall_ns(), clock.monotonic_ns()) == (10, 5)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-1)


def test_a_scaled_clock_begins_where_it_is_told_and_ignores_steps_of_its_base() -> None:
    base = ManualClock(10**18)
    clock = ScaledClock(base, 2.0, start_wall_ns=500)
    base.set_wall(0)
    assert clock.wall_ns() == 500
    base.advance(10)
    assert clock.wall_ns() == 520
    for speed in (0, -1):
        with pytest.raises(ValueError, match="positive"):
            ScaledClock(base, speed)


# --- RFC 3339 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (1_000, "1970-01-01T00:00:00.000001Z"),
        (1_000_000, "1970-01-01T00:00:00.001Z"),
        (100_000_000, "1970-01-01T00:00:00.100Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (1_795_305_600 * NS_PER_S, "2026-11-22T00:00:00Z"),
        (-(2**63), "1677-09-21T00:12:43.145224192Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854775807Z"),
    ],
)
def test_times_are_shown_with_the_digits_they_need(time_ns: int, text: str) -> None:
    assert to_rfc3339(time_ns) == text


@given(st.integers(-(2**63) // 1000 + 1, 2**63 // 1000 - 1))
def test_what_is_shown_says_the_same_to_the_standard_library(microseconds: int) -> None:
    shown = to_rfc3339(microseconds * 1000)
    seconds, rest = divmod(microseconds, 1_000_000)
    assert datetime.fromisoformat(shown) == datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)
