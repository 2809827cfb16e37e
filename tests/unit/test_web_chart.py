"""Chart data: no peak lost, no line over a gap, doubtful readings apart, and never more points than were asked for."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmine.core.clock import NS_PER_S
from greenmine.core.errors import Refused
from greenmine.core.quality import Quality
from greenmine.core.reading import Reading, Series
from greenmine.core.reading_store import Selection
from greenmine.dashboards.build import sensor_dashboard
from greenmine.web import chart
from greenmine.web.chart import chart_document, draw_line, panel_lines
from tests.web_fakes import MIN_NS, NOW_NS, make_world, open_pit_policy

ROAD = Series("demo-pit", "dust-road", "pm10")
START = 1_700_000_000 * NS_PER_S


def _readings(points: list[tuple[int, float]], quality: int = 0) -> list[Reading]:
    return [Reading(ROAD, START + minute * MIN_NS, value, quality) for minute, value in points]


@st.composite
def _days(draw: st.DrawFn) -> list[Reading]:
    steps = draw(st.lists(st.sampled_from([1, 1, 1, 1, 2, 7, 30]), min_size=1, max_size=300))
    values = draw(st.lists(st.floats(-50, 500), min_size=len(steps), max_size=len(steps)))
    flags = draw(
        st.lists(st.sampled_from([0, 0, 0, Quality.RANGE, Quality.LATE]), min_size=len(steps), max_size=len(steps))
    )
    minute, found = 0, []
    for step, value, flag in zip(steps, values, flags, strict=True):
        minute += step
        found.append(Reading(ROAD, START + minute * MIN_NS, value, int(flag)))
    return found


@settings(deadline=None)
@given(_days(), st.integers(1, 50))
def test_thinning_keeps_the_extremes_of_every_bucket_and_its_promise_of_size(
    readings: list[Reading], buckets: int
) -> None:
    end = readings[-1].time_ns + 1
    line = draw_line(readings, START, end, 60, buckets)
    width = (end - START) // buckets + 1
    good = [r for r in readings if not r.quality & Quality.RANGE]
    kept = [point for point in line.points if point.value is not None]
    for index in {(r.time_ns - START) // width for r in good}:
        raw = [r.value for r in good if (r.time_ns - START) // width == index and r.value is not None]
        drawn = [p.value for p in kept if (p.time_ns - START) // width == index and p.value is not None]
        assert (min(drawn), max(drawn)) == (min(raw), max(raw))
    assert {(p.time_ns, p.value) for p in kept} <= {(r.time_ns, r.value) for r in good}
    assert len(kept) <= 4 * buckets
    assert len(line.marks) <= 4 * buckets
    assert line.readings == len(readings)
    assert [p.time_ns for p in line.points] == sorted(p.time_ns for p in line.points)


@settings(deadline=None)
@given(_days())
def test_without_thinning_every_reading_is_there_and_the_pen_lifts_at_every_gap(readings: list[Reading]) -> None:
    line = draw_line(readings, START, readings[-1].time_ns + 1, 60)
    good = [r for r in readings if not r.quality & Quality.RANGE]
    assert [(p.time_ns, p.value) for p in line.points if p.value is not None] == [(r.time_ns, r.value) for r in good]
    gaps = sum(1 for a, b in pairwise(good) if b.time_ns - a.time_ns > 3 * MIN_NS)
    assert sum(1 for p in line.points if p.value is None) == gaps
    assert [m.time_ns for m in line.marks] == [r.time_ns for r in readings if r.quality]


@pytest.mark.parametrize(("minutes", "lifts"), [(3, 0), (4, 1)])
def test_three_intervals_are_joined_and_more_are_not(minutes: int, lifts: int) -> None:
    line = draw_line(_readings([(0, 1.0), (minutes, 2.0)]), START, START + MIN_NS * 60, 60)
    assert sum(1 for point in line.points if point.value is None) == lifts


def test_a_calibration_is_a_gap_with_marks() -> None:
    before, after = _readings([(m, 80.0) for m in range(5)]), _readings([(m, 82.0) for m in range(10, 15)])
    during = _readings([(m, 5.0) for m in range(5, 10)], int(Quality.CALIBRATION))
    line = draw_line([*before, *during, *after], START, START + MIN_NS * 60, 60)
    assert 5.0 not in [point.value for point in line.points]
    assert [point.value for point in line.points].count(None) == 1
    assert [mark.value for mark in line.marks] == [5.0] * 5


def test_a_late_reading_is_marked_and_still_joined() -> None:
    line = draw_line(_readings([(0, 1.0), (1, 2.0)], int(Quality.LATE)), START, START + MIN_NS * 60, 60)
    assert [point.value for point in line.points] == [1.0, 2.0]
    assert len(line.marks) == 2


def test_a_missing_value_is_not_drawn() -> None:
    line = draw_line([Reading(ROAD, START, None)], START, START + MIN_NS, 60)
    assert (line.points, line.readings) == ([], 0)


def test_few_readings_are_not_thinned_and_many_are() -> None:
    world = make_world("one", hours=24)
    panel = sensor_dashboard(open_pit_policy(), "dust-road").panel("chart.pm10.inst.0")
    assert panel is not None
    day = panel_lines(panel, world.readings, NOW_NS - 1440 * MIN_NS, NOW_NS, 1000)[0][1]
    assert (day.thinned, day.readings) == (False, 1440)
    narrow = panel_lines(panel, world.readings, NOW_NS - 1440 * MIN_NS, NOW_NS, 300)[0][1]
    assert narrow.thinned
    assert narrow.readings == 1440
    assert len(narrow.points) <= 2 * 300


def test_too_many_readings_are_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world("one", hours=2)
    panel = sensor_dashboard(open_pit_policy(), "dust-road").panel("chart.pm10.inst.0")
    assert panel is not None
    monkeypatch.setattr(chart, "MAX_READINGS", 100)
    with pytest.raises(Refused, match="choose a shorter one"):
        panel_lines(panel, world.readings, NOW_NS - 120 * MIN_NS, NOW_NS, 1000)


def test_the_document_is_in_shown_units_local_times_and_has_alert_spans() -> None:
    world = make_world("one", hours=1)
    policy = open_pit_policy()
    tsp = Series("demo-pit", "dust-road", "tsp")
    old = world.desk.raise_alert(policy, "tsp-hour", tsp, 1.2, ago_ns=50 * MIN_NS)
    world.desk.clear(old, 0.7, NOW_NS - 20 * MIN_NS)
    world.desk.raise_alert(policy, "tsp-hour", tsp, 1.3, ago_ns=5 * MIN_NS)
    world.desk.raise_alert(policy, "pm10-warning", ROAD, 260.0)
    board = sensor_dashboard(policy, "dust-road")
    panel = board.panel("chart.tsp.inst.0")
    assert panel is not None
    start = NOW_NS - 30 * MIN_NS
    lines = panel_lines(panel, world.readings, start, NOW_NS, 1000)
    found = chart_document(board, panel, lines, world.board.alerts("demo-pit"), [], start, NOW_NS, NOW_NS)
    assert (found["unit"], found["zone"]) == ("mg/m³", "Asia/Shanghai (UTC+08:00)")
    assert (found["from"], found["to"]) == ("2026-11-22 15:30:00.000", "2026-11-22 16:00:00.000")
    first = next(iter(world.readings.query(Selection.of_series(tsp, start))))
    assert first.value is not None
    assert found["series"][0]["v"][0] == pytest.approx(first.value / 1000, rel=1e-6)
    spans = [(span["from"], span["to"], span["open"]) for span in found["alerts"]]
    assert sorted(spans) == [
        ("2026-11-22 15:30:00.000", "2026-11-22 15:40:00.000", False),
        ("2026-11-22 15:55:00.000", "2026-11-22 16:00:00.000", True),
    ]
