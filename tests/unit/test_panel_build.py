"""The panel model: which panels a policy gives, which limits they show, in which unit."""

from __future__ import annotations

import pytest

from greenmine.core.alert import DISK_RULE, LINK_RULE, STORE_RULE, Severity
from greenmine.core.errors import NotFound
from greenmine.core.reading import Series
from greenmine.dashboards.build import county_dashboard, mine_dashboard, sensor_dashboard, series_title
from greenmine.dashboards.limits import limit_lines, raise_lines, rule_title, window_name
from greenmine.dashboards.panel import GRID_COLUMNS, Dashboard, PanelKind, Words
from tests.web_fakes import open_pit_document, open_pit_policy, quarry_document, quarry_policy


def test_a_mine_has_map_alerts_a_stat_for_every_series_and_a_chart_for_every_metric() -> None:
    policy = open_pit_policy()
    board = mine_dashboard(policy)
    assert board.id == "mine-demo-pit"
    assert board.timezone == "Asia/Shanghai"
    assert [p.id for p in board.panels[:2]] == ["map", "alerts"]
    shown = {target.series for panel in board.of_kind(PanelKind.STAT) for target in panel.targets}
    drawn = {target.series for panel in board.of_kind(PanelKind.TIMESERIES) for target in panel.targets}
    assert shown == drawn == set(policy.series())
    assert len({panel.id for panel in board.panels}) == len(board.panels)
    assert {marker.device for marker in board.panels[0].markers} == {device.id for device in policy.devices}


def test_the_same_policy_gives_the_same_model_and_the_model_survives_json() -> None:
    board = mine_dashboard(open_pit_policy())
    assert board == mine_dashboard(open_pit_policy())
    assert Dashboard.model_validate_json(board.model_dump_json()) == board


def test_tsp_is_shown_in_milligrams_with_its_limit() -> None:
    panel = mine_dashboard(open_pit_policy()).panel("chart.tsp.inst.0")
    assert panel is not None
    assert (panel.unit, panel.digits) == ("mg/m3", 2)
    assert panel.title == Words(zh="总悬浮颗粒物 TSP (mg/m³)", en="TSP (mg/m³)")
    assert {target.unit for target in panel.targets} == {"ug/m3"}
    assert [(line.edge, line.value, line.window_s) for line in panel.limits] == [
        ("raise", 1.0, 3600),
        ("clear", 0.8, 3600),
    ]
    assert panel.limits[0].label == Words(zh="预警 1 小时均值 > 1 mg/m³", en="warning 1 h mean > 1 mg/m³")


def test_limit_lines_are_gravest_first_and_follow_the_rule_s_device_and_channel() -> None:
    policy = open_pit_policy()
    lines = limit_lines(policy, Series("demo-pit", "dust-n1", "pm10"))
    assert [(line.severity, line.edge, line.value) for line in lines] == [
        (Severity.CRITICAL, "raise", 420),
        (Severity.CRITICAL, "clear", 350),
        (Severity.WARNING, "raise", 250),
        (Severity.WARNING, "clear", 200),
        (Severity.NOTICE, "raise", 150),
        (Severity.NOTICE, "clear", 120),
    ]
    assert raise_lines(policy, Series("demo-pit", "soil-p1", "soil_moisture", "d20")) != []
    assert raise_lines(policy, Series("demo-pit", "soil-p1", "soil_moisture", "d40")) == []
    only = [rule | {"devices": ["water-out"]} for rule in open_pit_document()["rules"] if rule["id"] == "ph-high"]
    narrow = open_pit_policy(rules=only)
    assert raise_lines(narrow, Series("demo-pit", "water-out", "ph")) != []
    assert raise_lines(narrow, Series("demo-pit", "other", "ph")) == []


def test_a_limit_from_below_says_so() -> None:
    low = [
        line for line in raise_lines(open_pit_policy(), Series("demo-pit", "water-out", "ph")) if line.rule == "ph-low"
    ]
    assert [(line.direction, line.label.en) for line in low] == [("below", "warning < 6")]


def test_a_device_has_its_own_series_with_channels_in_one_chart() -> None:
    board = sensor_dashboard(open_pit_policy(), "soil-p1")
    moisture = board.panel("chart.soil_moisture.inst.0")
    assert moisture is not None
    assert [target.channel for target in moisture.targets] == ["d20", "d40"]
    assert moisture.layout.w == GRID_COLUMNS
    assert {target.device for panel in board.panels for target in panel.targets} == {"soil-p1"}


def test_a_device_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound, match="no-such"):
        sensor_dashboard(open_pit_policy(), "no-such")


def test_the_county_shows_every_mine_and_uses_utc_where_zones_differ() -> None:
    pit, quarry = open_pit_policy(), quarry_policy()
    board = county_dashboard({"demo-quarry": quarry, "demo-pit": pit})
    assert board.timezone == "Asia/Shanghai"
    assert [p.id for p in board.panels] == ["map", "alerts", "mine-demo-pit", "mine-demo-quarry"]
    elsewhere = quarry_policy(mine=quarry_document()["mine"] | {"timezone": "Asia/Urumqi"})
    assert county_dashboard([pit, elsewhere]).timezone == "UTC"
    assert county_dashboard([]).panels[0].markers == []


def test_names_at_their_longest_still_make_titles() -> None:
    devices = [{"id": "d", "name": {"zh": "长" * 200, "en": "l" * 200}, "sensors": [
        {"kind": "soil", "principle": "fdr", "channel": "c" * 63,
         "metrics": {"soil_moisture": {"unit": "%", "interval": "60s", "stat": "avg", "period": "1h"}}}]}]  # fmt: skip
    board = mine_dashboard(open_pit_policy(devices=devices, rules=[]))
    legend = board.of_kind(PanelKind.TIMESERIES)[0].targets[0].legend
    assert legend.zh == "长" * 200 + " @" + "c" * 63


@pytest.mark.parametrize(
    ("series", "zh", "en"),
    [
        (Series("m", "d", "pm10"), "可吸入颗粒物 PM10", "PM10"),
        (Series("m", "d", "pm10", "", "avg", 3600), "可吸入颗粒物 PM10 1 小时均值", "PM10 1 h mean"),
        (Series("m", "d", "rain", "", "sum", 86400), "降水量 1 天合计", "Rain 1 d sum"),
        (Series("m", "d", "soil_temp", "d20"), "土壤温度 @d20", "Soil temperature @d20"),
    ],
)
def test_series_titles(series: Series, zh: str, en: str) -> None:
    assert series_title(series) == Words(zh=zh, en=en)


def test_windows_are_named_in_their_largest_whole_unit() -> None:
    assert [window_name(s).en for s in (1, 90, 60, 5400, 3600, 86400)] == [
        "1 s",
        "90 s",
        "1 min",
        "90 min",
        "1 h",
        "1 d",
    ]


def test_rules_have_names_also_without_a_title_and_after_they_are_gone() -> None:
    policy = open_pit_policy()
    assert rule_title(policy, "ph-low").zh == "pH 偏低"
    assert rule_title(policy, "turbidity-high").en == "Turbidity warning > 50 NTU"
    assert rule_title(policy, "removed") == Words.same("removed")
    assert rule_title(policy, LINK_RULE).zh == "与消息服务器的连接中断"
    assert rule_title(None, STORE_RULE) != Words.same(STORE_RULE)
    assert rule_title(None, DISK_RULE).en == "The disk is full, nothing is taken in"
    assert rule_title(None, "removed") == Words.same("removed")
    silent = open_pit_policy(rules=[{"id": "quiet", "kind": "absence", "severity": "notice", "after": "1h"}])
    assert rule_title(silent, "quiet") == Words(zh="数据中断", en="No data")
