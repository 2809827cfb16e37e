"""The shipped region and mines load without a finding and have what the demo shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from greenmine.core.errors import PolicyError
from greenmine.core.metric import METRICS
from greenmine.policy.load import EXAMPLES, check_region, load_policy
from greenmine.policy.model import LimitRule, Policy, ThresholdRule

MINES = ["shifan-1", "shifan-2"]


def mine(name: str) -> Policy:
    return load_policy(EXAMPLES / f"{name}.yaml").policy


@pytest.mark.parametrize("name", MINES)
def test_mines_load_without_problems_or_warnings(name: str) -> None:
    loaded = load_policy(EXAMPLES / f"{name}.yaml")
    assert loaded.warnings == []
    assert loaded.policy.mine.id == name
    assert loaded.files == [EXAMPLES / f"{name}.yaml", EXAMPLES / "regions" / "150622.yaml"]


def test_the_mine_of_other_networks_stands_for_itself() -> None:
    loaded = load_policy(EXAMPLES / "networks" / "shifan-3.yaml")
    assert loaded.warnings == []
    assert len(loaded.files) == 1
    assert {device.codec for device in loaded.policy.devices} == {"soil-probe", "pump-house", None}


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("codec: pump-house", "codec: pump-hose", "did you mean 'pump-house'?"),
        ("{metric: flow, unit: m3/h}", "{metric: flow, unit: mg/L}", "flow cannot be in mg/L; its unit is L/s"),
        ("battery_unit: V", "battery_unit: Ah", "'V', 'mV' or '%'"),
        ("edge: shifan-3/gw-01/pump-1", "edge: shifan-3/+/pump-1", "edge"),
        ("at: 4, length: 2", "at: 4, length: 3", "1, 2 or 4"),
    ],
)
def test_what_is_wrong_with_a_codec_is_said_with_file_and_line(
    tmp_path: Path, right: str, wrong: str, says: str
) -> None:
    text = (EXAMPLES / "networks" / "shifan-3.yaml").read_text(encoding="utf-8")
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(right, wrong), encoding="utf-8")
    with pytest.raises(PolicyError) as refused:
        load_policy(path)
    problem = next(one for one in refused.value.problems if says in str(one))
    assert problem.line is not None
    assert wrong in path.read_text(encoding="utf-8").splitlines()[problem.line - 1]


@pytest.mark.parametrize("path", sorted((EXAMPLES / "regions").glob("*.yaml")), ids=lambda path: path.stem)
def test_regions_are_right(path: Path) -> None:
    check_region(path)


@pytest.mark.parametrize("name", MINES)
def test_devices_have_names_and_positions_near_their_mine(name: str) -> None:
    policy = mine(name)
    for device in policy.devices:
        assert device.name is not None
        assert device.position is not None
        assert abs(device.position[0] - policy.mine.location[0]) < 0.03
        assert abs(device.position[1] - policy.mine.location[1]) < 0.03


@pytest.mark.parametrize("name", MINES)
def test_rules_say_what_to_do(name: str) -> None:
    for rule in mine(name).rules:
        assert rule.title is not None, rule.id
        assert rule.advice is not None, rule.id


def test_the_first_mine_watches_all_kinds() -> None:
    policy = mine("shifan-1")
    reported = {series.metric for series in policy.series()}
    assert {METRICS[metric].kind.value for metric in reported} == {"dust", "water", "noise", "soil", "weather"}
    assert {series.channel for series in policy.series() if series.metric == "soil_moisture"} == {"d10", "d20", "d40"}
    assert all(10 <= setting.interval <= 60 for setting in policy.series().values())


def test_the_second_mine_is_behind_a_gateway() -> None:
    policy = mine("shifan-2")
    assert {device.gateway for device in policy.devices if device.sensors} == {"gw-1"}
    assert "noise-high" not in [rule.id for rule in policy.rules]


@pytest.mark.parametrize("name", MINES)
def test_the_demo_s_dust_episode_has_its_rule(name: str) -> None:
    (rule,) = (rule for rule in mine(name).rules if rule.id == "pm10-high")
    assert isinstance(rule, ThresholdRule)
    assert (rule.raise_level, rule.clear, rule.hold, rule.severity.value) == (250, 200, 30, "warning")


def test_operating_steps_rise_with_severity() -> None:
    steps = [rule for rule in mine("shifan-1").rules if isinstance(rule, LimitRule) and rule.metric == "pm10"]
    levels = [rule.raise_level for rule in sorted(steps, key=lambda rule: rule.severity.rank)]
    assert levels == [150, 250, 420]


def test_the_readme_names_every_file() -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    files = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.yaml")}
    files = {name for name in files if not name.startswith("rule-tests/")} | {"rule-tests/"}
    assert set(re.findall(r"^\| `([^`]+)`", readme, re.MULTILINE)) == files
