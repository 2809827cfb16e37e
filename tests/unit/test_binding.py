"""Which rule judges which series, with which levels and times."""

from __future__ import annotations

import pytest

from greenmine.core.reading import Series
from greenmine.rules.binding import NS, SHORTEST_SILENCE_NS, bind, by_series
from tests.pipeline_scenes import MINE, device, limit, policy

DEVICES = [
    device("dust-1", pm10="ug/m3", tsp="ug/m3"),
    device("dust-2", interval="60s", pm10="ug/m3"),
    {
        "id": "soil-1",
        "sensors": [
            {"kind": "soil", "principle": "fdr", "channel": depth,
             "metrics": {"soil_moisture": {"unit": "%", "interval": "60s"}}}
            for depth in ("d10", "d20")
        ],
    },
    device("gw-1"),
]  # fmt: skip


def bound(*rules: dict[str, object]) -> list[tuple[str, str, str, str]]:
    return [
        (b.rule.id, b.series.device, b.series.metric, b.series.channel) for b in bind(policy(rules, devices=DEVICES))
    ]


def test_a_rule_holds_for_every_device_that_reports_the_metric() -> None:
    assert bound(limit("r", "pm10", 150, 130)) == [("r", "dust-1", "pm10", ""), ("r", "dust-2", "pm10", "")]


def test_unless_it_names_devices_or_a_channel() -> None:
    assert bound(limit("r", "pm10", 150, 130, devices=["dust-2"])) == [("r", "dust-2", "pm10", "")]
    assert bound(limit("r", "soil_moisture", 10, 12, direction="below", channel="d20")) == [
        ("r", "soil-1", "soil_moisture", "d20")
    ]


def test_absence_without_a_metric_watches_all_series() -> None:
    watched = bound({"id": "silent", "kind": "absence", "severity": "notice", "after": "5m"})
    assert watched == [
        ("silent", "dust-1", "pm10", ""),
        ("silent", "dust-1", "tsp", ""),
        ("silent", "dust-2", "pm10", ""),
        ("silent", "soil-1", "soil_moisture", "d10"),
        ("silent", "soil-1", "soil_moisture", "d20"),
    ]


def test_series_of_one_device_and_channel_share_an_alert() -> None:
    bindings = bind(policy([{"id": "s", "kind": "absence", "severity": "notice", "after": "5m"}], devices=DEVICES))
    keys = [tuple(binding.key) for binding in bindings]
    assert keys[0] == keys[1] == (MINE, "s", "dust-1", "")
    assert keys[3] == (MINE, "s", "soil-1", "d10")


def test_levels_are_in_the_canonical_unit_and_times_in_ns() -> None:
    (binding,) = bind(policy([limit("r", "tsp", 1.0, 0.8, unit="mg/m3", hold="2m", clear_hold="1m")], devices=DEVICES))
    assert (binding.raise_level, binding.clear_level) == (1000.0, 800.0)
    assert (binding.hold_ns, binding.clear_hold_ns, binding.window_ns) == (120 * NS, 60 * NS, 0)
    assert not binding.is_absence


def test_a_mean_knows_how_many_readings_are_due() -> None:
    rule = {**limit("r", "pm10", 150, 130, devices=["dust-2"]), "kind": "mean", "window": "10m", "coverage": 0.75}
    (binding,) = bind(policy([rule], devices=DEVICES))
    assert (binding.window_ns, binding.due) == (600 * NS, 7.5)


@pytest.mark.parametrize(("interval", "silence_ns"), [("10s", SHORTEST_SILENCE_NS), ("60s", 180 * NS)])
def test_three_intervals_and_two_minutes_are_silence(interval: str, silence_ns: int) -> None:
    rules = [limit("r", "pm10", 150, 130)]
    (binding,) = bind(policy(rules, devices=[device("dust-1", interval=interval, pm10="ug/m3")]))
    assert binding.silence_ns == silence_ns


@pytest.mark.parametrize(("given_as", "silence_ns"), [({"after": "90s"}, 90 * NS), ({"intervals": 4}, 40 * NS)])
def test_absence_is_given_in_time_or_in_intervals(given_as: dict[str, object], silence_ns: int) -> None:
    rule = {"id": "s", "kind": "absence", "severity": "notice", "metric": "pm10", **given_as}
    (binding,) = bind(policy([rule], devices=[device("dust-1", pm10="ug/m3")]))
    assert binding.silence_ns == silence_ns
    assert binding.is_absence


def test_bindings_of_a_series_keep_the_order_of_the_rules() -> None:
    rules = [limit("b", "pm10", 150, 130), limit("a", "pm10", 250, 200)]
    found = by_series(bind(policy(rules, devices=DEVICES)))
    assert [binding.rule.id for binding in found[Series(MINE, "dust-1", "pm10")]] == ["b", "a"]
    assert Series(MINE, "dust-1", "tsp") not in found
