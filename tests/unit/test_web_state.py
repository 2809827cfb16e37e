"""The state that the board shows: late, unknown, suspect, alarmed; never good by default."""

from __future__ import annotations

import dataclasses

import pytest

from greenmine.core.alert import Condition, Severity
from greenmine.core.clock import NS_PER_S
from greenmine.core.latest import Latest
from greenmine.core.quality import Quality
from greenmine.core.reading import Series
from greenmine.web.state import State, limit_share, mine_state, severity_of
from tests.web_fakes import MIN_NS, NOW_NS, make_world, open_pit_policy

PIT = open_pit_policy()
ROAD = Series("demo-pit", "dust-road", "pm10")
RESERVED = Series("demo-pit", "soil-p1", "soil_moisture", "d20")


def _state(latest: list[Latest], alerts: list | None = None, now_ns: int = NOW_NS):  # type: ignore[no-untyped-def, type-arg]
    return mine_state(PIT, latest, alerts or [], now_ns)


def _of(state, series: Series):  # type: ignore[no-untyped-def]
    return next(one for one in state.series if one.series == series)


@pytest.mark.parametrize(
    ("measured_s", "received_s", "quality", "expected"),
    [
        (10, 9, 0, State.OK),
        (180, 180, 0, State.OK),
        (181, 181, 0, State.LATE),
        (3600, 5, 0, State.OK),
        (5, 3600, 0, State.OK),
        (-60, 5, 0, State.OK),
        (10, 9, int(Quality.RANGE), State.SUSPECT),
        (10, 9, int(Quality.MANUAL), State.OK),
        (400, 400, int(Quality.RANGE), State.LATE),
    ],
    ids=[
        "fresh", "three intervals", "over three intervals", "slow clock", "resent", "ahead",
        "out of range", "by hand", "late and bad",
    ],
)  # fmt: skip
def test_a_value_is_fresh_late_or_suspect(measured_s: int, received_s: int, quality: int, expected: State) -> None:
    latest = Latest(ROAD, NOW_NS - measured_s * NS_PER_S, 81.0, quality, NOW_NS - received_s * NS_PER_S)
    assert _of(_state([latest]), ROAD).state is expected


def test_a_series_that_never_came_is_no_data_and_not_good() -> None:
    state = _state([])
    assert {one.state for one in state.series} == {State.NO_DATA}
    assert state.state is State.NO_DATA
    assert state.devices["gw-1"] is State.UNWATCHED


def test_slow_sensors_are_late_by_their_own_interval() -> None:
    latest = Latest(RESERVED, NOW_NS - 25 * MIN_NS, 19.0, 0, NOW_NS - 25 * MIN_NS)
    assert _of(_state([latest]), RESERVED).state is State.OK
    assert _of(_state([latest], now_ns=NOW_NS + 6 * MIN_NS), RESERVED).state is State.LATE


def test_the_gravest_alert_is_the_state_of_series_device_and_mine_even_when_data_stop() -> None:
    world = make_world("rest")
    world.desk.raise_alert(PIT, "pm10-notice", ROAD, 160.0)
    grave = world.desk.raise_alert(PIT, "pm10-critical", ROAD, 460.0)
    alerts = world.board.alerts("demo-pit")
    state = _state(world.board.latest("demo-pit"), alerts)
    assert (_of(state, ROAD).state, state.devices["dust-road"], state.state) == (State.CRITICAL,) * 3
    assert state.devices["dust-n1"] is State.OK
    silent = dataclasses.replace(grave, condition=Condition.STALE)
    assert _of(_state([], [silent]), ROAD).state is State.CRITICAL


def test_a_cleared_alert_that_people_still_handle_no_longer_alarms_but_changes_the_version() -> None:
    world = make_world("rest")
    alert = world.desk.raise_alert(PIT, "pm10-warning", ROAD, 260.0)
    newest = world.board.latest("demo-pit")
    before = _state(newest)
    firing = _state(newest, [alert])
    cleared = _state(newest, [dataclasses.replace(alert, condition=Condition.CLEARED, transition=2)])
    assert (firing.state, cleared.state) == (State.WARNING, State.OK)
    assert len({before.version, firing.version}) == 2


def test_the_version_tells_every_change_that_a_page_shows() -> None:
    world = make_world("rest")
    newest = world.board.latest("demo-pit")
    first = world.desk.raise_alert(PIT, "pm10-warning", ROAD, 260.0)
    handled = dataclasses.replace(first, transition=first.transition + 1)
    versions = [
        _state(newest).version,
        _state(newest, [first]).version,
        _state(newest, [handled]).version,
        _state(newest, now_ns=NOW_NS + 10 * MIN_NS).version,
    ]
    assert len(set(versions)) == 4
    assert _state(newest, [first]).version == _state(list(reversed(newest)), [first]).version


def test_a_value_is_over_only_beyond_limits_that_judge_single_readings() -> None:
    tsp = Series("demo-pit", "dust-road", "tsp")
    far = Latest(tsp, NOW_NS, 5000.0, 0, NOW_NS)
    assert _of(_state([far]), tsp).over is None, "TSP has a limit on its hourly mean only"
    limits = _of(_state([]), ROAD).limits
    assert [severity_of(limits, v) for v in (150.0, 150.1, 251.0, 421.0)] == [
        None,
        Severity.NOTICE,
        Severity.WARNING,
        Severity.CRITICAL,
    ]
    suspect = Latest(ROAD, NOW_NS, 9000.0, int(Quality.RANGE), NOW_NS)
    assert _of(_state([suspect]), ROAD).over is None


def test_the_share_of_a_limit_counts_from_both_sides() -> None:
    ph = _of(_state([]), Series("demo-pit", "water-out", "ph")).limits
    assert limit_share(ph, 9.0) == 1.5 / 1.5
    assert limit_share(ph, 3.0) == 2.0
    assert limit_share(ph, None) is None
    assert limit_share([], 3.0) is None


def test_counts_are_of_devices() -> None:
    counts = _state(make_world("rest").board.latest("demo-pit")).counts()
    assert (counts[State.OK], counts[State.UNWATCHED]) == (8, 1)
