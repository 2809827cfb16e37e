"""The engine of verdicts: functions of the set of readings and facts, in local time, exact."""

from __future__ import annotations

import json
import random
from datetime import date
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmine.core.fact import Fact, FactKind
from greenmine.core.quality import Quality
from greenmine.core.reading import Reading, Series
from greenmine.core.verdict import Outcome, Verdict, VerdictReason
from greenmine.policy.judging import HealthLimits, WindSettings
from greenmine.policy.library import shipped_library
from greenmine.policy.limit import WindowKind
from greenmine.policy.model import Policy
from greenmine.rules.columns import MICRO, column_of, columns_of
from greenmine.rules.health import HealthInput, health_flags
from greenmine.rules.local_time import DayParts, Span, days, hours, local_day, window_at, windows
from greenmine.rules.point_statistics import energy_mean, percentile, weighted_mean
from greenmine.rules.verdicts import Asked, Review, evaluate, reviews
from greenmine.rules.wind import NO_WIND, bearing, off_axis, vector_wind

NS = 1_000_000_000
MINUTE, HOUR, DAY = 60 * NS, 3600 * NS, 86_400 * NS
START = 1_777_564_800 * NS  # 2026-05-01T00:00:00+08:00
BERLIN, BEIJING = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Shanghai")


def mine(**more: Any) -> Policy:
    dust = {"kind": "dust", "principle": "gravimetric", "metrics": {"tsp": {"unit": "ug/m3", "interval": "10m"}}}
    wind = {
        "kind": "weather",
        "principle": "ultrasonic",
        "metrics": {"wind_speed": {"unit": "m/s", "interval": "10m"}, "wind_dir": {"unit": "deg", "interval": "10m"}},
    }
    text = {"zh": "示范", "en": "Demo"}
    return Policy.model_validate(
        {
            "schema": 1,
            "valid_from": "2026-01-01",
            "mine": {
                "id": "m", "name": text, "enterprise": text, "region": "150622", "timezone": "Asia/Shanghai",
                "location": [110.0, 40.0], "noise_class": 3, "air_grade": 2,
            },
            "devices": [
                {"id": "n", "position": [110.0, 40.02], "sensors": [dust, wind]},
                {"id": "s", "position": [110.0, 39.98], "sensors": [dust]},
            ],
            "standards": ["GB 20426-2006/fugitive-tsp", "GB 3095-2026/ambient-air"],
            **more,
        }
    )  # fmt: skip


def series(device: str, metric: str = "tsp") -> Series:
    return Series("m", device, metric)


def day_of_readings(seed: int) -> list[Reading]:
    """A day of two points and the wind, some flagged, some missing, some in conflict."""
    rng = random.Random(seed)
    found = []
    for device, metric, low, high in (("n", "tsp", 50, 300), ("s", "tsp", 500, 2500), ("n", "wind_speed", 1, 5),
                                      ("n", "wind_dir", -40, 40)):  # fmt: skip
        for step in range(144):
            if rng.random() < 0.08:
                continue
            value = round(rng.uniform(low, high), 2) % 360 if metric == "wind_dir" else round(rng.uniform(low, high), 1)
            quality = rng.choice([0] * 20 + [int(Quality.MAINTENANCE), int(Quality.RATE), int(Quality.RANGE)])
            one = Reading(series(device, metric), START + step * 10 * MINUTE, value, quality)
            found.append(one)
            if rng.random() < 0.02:
                found.append(one._replace(value=value + 1))
            if rng.random() < 0.02:
                found.append(one._replace(calibrated=value * 1.1))
    return found


def judged(readings: list[Reading], facts: list[Fact] = []) -> list[Verdict]:  # noqa: B006 - never changed
    return evaluate(mine(), shipped_library(), columns_of(readings), facts, Asked(START, START + DAY))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.randoms(use_true_random=False))
def test_shuffled_and_repeated_readings_give_the_same_verdicts(seed: int, rng: random.Random) -> None:
    readings = day_of_readings(seed)
    expected = judged(readings)
    assert {one.outcome for one in expected} >= {Outcome.EXCEEDED, Outcome.NOT_EVALUABLE}
    twice = readings + rng.sample(readings, len(readings) // 3)
    rng.shuffle(twice)
    assert judged(twice) == expected


def test_facts_in_any_order_give_the_same_verdicts() -> None:
    facts = [
        Fact(n, "m", FactKind.MAINTENANCE, "s", START + n * HOUR, START + (n + 6) * HOUR, START, "person:a", "r", "{}")
        for n in range(1, 12)
    ]
    expected = judged(day_of_readings(1), facts)
    assert expected != judged(day_of_readings(1))
    assert judged(day_of_readings(1), facts[::-1]) == expected


def test_windows_asked_one_by_one_are_those_asked_together() -> None:
    readings = columns_of(day_of_readings(3))
    together = evaluate(mine(), shipped_library(), readings, [], Asked(START, START + DAY))
    hourly = [one for one in together if one.window_end_ns - one.window_start_ns == HOUR]
    apart = [
        one
        for hour in range(24)
        for one in evaluate(
            mine(), shipped_library(), readings, [],
            Asked(START + hour * HOUR, START + (hour + 1) * HOUR, frozenset({WindowKind.HOUR})),
        )
    ]  # fmt: skip
    assert apart == hourly


def test_every_verdict_is_plain_data() -> None:
    for one in judged(day_of_readings(5)):
        assert json.loads(json.dumps(one.detail)) == one.detail
        assert 0 <= one.validity <= 1
        assert (one.value is None) or one.outcome is not Outcome.MET or one.reason is VerdictReason.WITHIN_LIMIT


@pytest.mark.parametrize(
    ("times", "values", "quality", "expected"),
    [
        ([3, 1, 2], [0.3, 0.1, 0.2], None, [(1, 100_000, 0), (2, 200_000, 0), (3, 300_000, 0)]),
        ([1, 1], [5, 5], [1, 2], [(1, 5_000_000, 3)]),
        ([1, 1], [5, 6], [0, 0], [(1, 5_000_000, int(Quality.CONFLICT))]),
        ([1, 2, 2, 2], [5, 6, 6, 7], [0, 0, 0, 0], [(1, 5_000_000, 0), (2, 6_000_000, int(Quality.CONFLICT))]),
    ],
)
def test_columns(times: Any, values: Any, quality: Any, expected: Any) -> None:
    column = column_of(times, values, quality)
    assert [*zip(column.times_ns.tolist(), column.micro.tolist(), column.quality.tolist(), strict=True)] == expected


def test_a_reading_that_was_calibrated_later_is_one_reading() -> None:
    raw = Reading(series("s"), START, 10.0)
    column = columns_of([raw, raw._replace(calibrated=11.0), raw]).of(series("s"))
    assert (column.micro.tolist(), column.quality.tolist()) == ([11_000_000], [0])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 130_000), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_the_energy_mean_lies_within_and_does_not_depend_on_the_order(milli: list[int], rng: random.Random) -> None:
    levels = [one / 1000 for one in milli]
    mean = energy_mean(column_of(range(len(levels)), levels))
    assert Fraction(min(milli), 1000) <= mean <= Fraction(max(milli), 1000)
    assert mean >= Fraction(sum(milli), 1000 * len(milli)) - Fraction(1, MICRO)
    rng.shuffle(levels)
    assert energy_mean(column_of(range(len(levels)), levels)) == mean


def test_the_flow_weighted_mean_is_exact_and_leaves_out_what_has_no_flow() -> None:
    values = column_of([0, 10, 20, 90], [0.1, 0.2, 0.3, 9])
    flow = column_of([0, 10, 20], [1, 2, 1])
    assert weighted_mean(values, flow, 10) == (Fraction(2, 10), 3)
    assert weighted_mean(values, column_of([0, 10], [0, 0]), 10) == (None, 3)
    assert weighted_mean(values, column_of([], []), 10) == (None, 0)


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (50, Fraction(5, 2)), (95, Fraction(385, 100)), (100, 4)])
def test_percentiles_lie_between_ranks(percent: int, expected: Any) -> None:
    assert percentile([Fraction(n) for n in (4, 2, 1, 3)], percent) == expected


@pytest.mark.parametrize(
    ("kind", "first", "length_h", "count"),
    [
        (WindowKind.HOUR, "2026-05-01T00:00+08:00", 1, 48),
        (WindowKind.DAY, "2026-05-01T00:00+08:00", 24, 2),
        (WindowKind.DAYTIME, "2026-05-01T06:00+08:00", 16, 2),
        (WindowKind.NIGHT, "2026-05-01T22:00+08:00", 8, 1),
    ],
)
def test_windows_of_two_days(kind: WindowKind, first: str, length_h: int, count: int) -> None:
    found = windows(kind, START, START + 2 * DAY, BEIJING)
    assert len(found) == count
    assert all(one.end_ns - one.start_ns == length_h * HOUR for one in found)
    from datetime import datetime

    assert found[0].start_ns == int(datetime.fromisoformat(first).timestamp()) * NS


def test_months_quarters_and_years() -> None:
    year = windows(WindowKind.YEAR, START - 400 * DAY, START + 400 * DAY, BEIJING)
    assert [one.day for one in year] == [date(2026, 1, 1)]
    months = windows(WindowKind.MONTH, year[0].start_ns, year[0].end_ns, BEIJING)
    assert (len(months), months[-1].end_ns) == (12, year[0].end_ns)
    quarters = windows(WindowKind.SEASON, year[0].start_ns, year[0].end_ns, BEIJING)
    assert [one.day.month for one in quarters] == [1, 4, 7, 10]


@settings(max_examples=200, deadline=None)
@given(st.integers(1_577_836_800, 1_900_000_000), st.sampled_from(list(WindowKind)), st.sampled_from([BERLIN, BEIJING]))
def test_every_instant_lies_in_one_window(second: int, kind: WindowKind, zone: ZoneInfo) -> None:
    time_ns = second * NS
    found = window_at(kind, time_ns, zone)
    other = {WindowKind.DAYTIME: WindowKind.NIGHT, WindowKind.NIGHT: WindowKind.DAYTIME}.get(kind)
    if found is None:
        assert other is not None
        found = window_at(other, time_ns, zone)
    assert found is not None
    assert found.start_ns <= time_ns < found.end_ns


def test_days_of_23_and_25_hours_have_that_many() -> None:
    spring = days(1_774_738_800 * NS, 1_774_738_801 * NS, BERLIN)[0]
    assert (spring.day, len(hours(spring))) == (date(2026, 3, 29), 23)
    autumn = days(1_792_886_400 * NS, 1_792_886_401 * NS, BERLIN)[0]
    assert (autumn.day, len(hours(autumn))) == (date(2026, 10, 25), 25)
    assert local_day(START - 1, BEIJING) == date(2026, 4, 30)
    assert DayParts().night_begins.hour == 22


def health(metric: str, **limits: Any) -> HealthInput:
    return HealthInput(metric, MINUTE, HealthLimits.model_validate(limits), None, 90)


def test_health_flags_stand_where_something_is_off() -> None:
    times = [n * MINUTE for n in range(40)]
    spiky = column_of(times[:5], [10, 11, 99, 10, 11])
    assert health_flags(spiky, health("ph", spike=20)).tolist() == [0, 0, int(Quality.SPIKE), 0, 0]
    step = column_of(times[:5], [10, 11, 99, 98, 99])
    assert health_flags(step, health("ph", spike=20)).tolist() == [0] * 5
    assert health_flags(step, health("ph", rate=20)).tolist() == [0, 0, int(Quality.RATE), 0, 0]
    stuck = column_of(times, [1, *[7] * 35, 2, 3, 4, 5])
    assert health_flags(stuck, health("ph", stuck="30m")).tolist() == [0, *[int(Quality.STUCK)] * 35, 0, 0, 0, 0]
    assert health_flags(column_of(times, [0] * 40), health("wind_speed", stuck="30m")).tolist() == [0] * 40


def test_a_late_reading_lifts_the_flag_it_explains() -> None:
    times = [0, MINUTE, 2 * MINUTE, 3 * MINUTE]
    assert health_flags(column_of(times, [10, 99, 10, 10]), health("ph", spike=20)).any()
    filled = column_of([*times, MINUTE + 1], [10, 99, 10, 10, 97])
    assert not health_flags(filled, health("ph", spike=20)).any()


def test_droplets_are_told_by_the_last_humidity() -> None:
    humidity = column_of([0, 10 * MINUTE], [95, 80])
    found = health_flags(
        column_of([-1, 0, MINUTE, 11 * MINUTE], [1, 2, 3, 4]), health("pm10")._replace(humidity=humidity)
    )
    assert found.tolist() == [0, int(Quality.HUMID), int(Quality.HUMID), 0]


HOUR_SPAN = Span(START, START + HOUR, date(2026, 5, 1))


def wind_of(speeds: list[float], directions: list[float], step: int = 10 * MINUTE) -> Any:
    times = [START + n * step for n in range(len(speeds))]
    return vector_wind(column_of(times, speeds), column_of(times, directions), step, HOUR_SPAN, WindSettings())


def test_the_wind_over_north_is_north_and_not_south() -> None:
    found = wind_of([2] * 6, [350, 10] * 3)
    assert (found.from_deg % 360, found.speed, found.gate) == (0, 2, None)


@pytest.mark.parametrize(
    ("speeds", "directions", "gate"),
    [
        ([0.99] * 6, [0] * 6, VerdictReason.CALM),
        ([1.0] * 6, [0] * 6, None),
        ([4.5] * 6, [0] * 6, None),
        ([4.51] * 6, [0] * 6, VerdictReason.STRONG_WIND),
        ([3] * 6, [0, 120, 240] * 2, VerdictReason.VARIABLE_WIND),
    ],
)
def test_what_wind_tells_no_points_apart(speeds: list[float], directions: list[float], gate: Any) -> None:
    assert wind_of(speeds, directions).gate is gate


def test_an_hour_without_45_minutes_of_wind_has_none() -> None:
    assert wind_of([2] * 4, [0] * 4) is NO_WIND
    assert wind_of([2] * 5, [0] * 5).gate is None
    assert wind_of([], []) is NO_WIND


def test_bearings() -> None:
    middle = (110.0, 40.0)
    assert bearing(middle, (110.0, 40.1)).degrees == pytest.approx(0, abs=1e-9)
    assert bearing(middle, (110.1, 40.0)).degrees == pytest.approx(90, abs=0.1)
    assert bearing(middle, (110.0, 40.1)).metres == pytest.approx(11_119.5, abs=1)
    assert off_axis(350, 10) == pytest.approx(20)
    assert off_axis(10, 190) == pytest.approx(180)


def test_a_reference_that_is_often_dirtier_is_reviewed() -> None:
    one = next(v for v in judged(day_of_readings(1)) if v.detail.get("upwind") and v.outcome is Outcome.EXCEEDED)
    many = [one._replace(window_start_ns=n, value=-0.5 if n % 3 == 0 else 0.5) for n in range(30)]
    assert reviews(many) == [Review("m", one.limit, "n", 10, 30)]
    assert reviews(many[:20]) == []
    assert reviews([v._replace(value=0.1) for v in many]) == []
