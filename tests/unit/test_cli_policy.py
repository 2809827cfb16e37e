"""`greenmine policy limits|diff` as a person uses them."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenmine.policy.load import EXAMPLES
from tests.service_rig import running
from tests.unit.test_cli import BAD_INPUT, gm

MINE = EXAMPLES / "shifan-1.yaml"


def test_limits_of_a_file_on_a_day_and_why() -> None:
    found = gm("policy", "limits", MINE, "--date", "2026-11-27", "--json")
    assert found.code == 0
    rows = {row["limit"]: row for row in found.json}
    pm10 = rows["GB 3095-2026/ambient-air/pm10-24h"]
    assert (pm10["at_most"], pm10["unit"], pm10["status"], pm10["binding"]) == (120, "ug/m3", "sourced", "ambient")
    assert pm10["reported_by"] == ["dust-n1/pm10", "dust-s1/pm10"]
    assert rows["GB 3095-2026/ambient-air/so2-24h"]["reported_by"] == []
    assert rows["permit/dw001-ph"]["why"]["en"] == "Discharge permit SHIFAN-PERMIT-0001 · DW001"
    assert rows["soil-moisture/relative-grade/drought"]["bands"]["light"] == 50


@pytest.mark.parametrize(
    ("language", "words"),
    [
        (
            "en",
            ["≤ 120 ug/m3", "no sensor reports it", "to confirm", "6.5 … 8.5", "policy names GB 12348-2008/boundary"],
        ),
        ("zh", ["≤ 120 ug/m3", "无传感器监测", "待核实", "6.5 … 8.5", "策略所列 GB 12348-2008/boundary"]),
    ],
)
def test_limits_read_in_both_languages(language: str, words: list[str]) -> None:
    found = gm("policy", "limits", MINE, "--date", "2026-11-27", "--language", language)
    assert found.code == 0
    for word in words:
        assert word in found.out


def test_a_day_without_any_edition_says_so() -> None:
    found = gm("policy", "limits", MINE, "--date", "1990-01-01", "--json")
    assert {row["status"] for row in found.json} == {"not_in_force"}
    assert "1990-01-01" in gm("policy", "limits", MINE, "--date", "1990-01-01", "--language", "en").out


def test_limits_in_force_at_a_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running(home, EXAMPLES / "shifan-1.yaml", with_web=False) as service:
        (mine,) = service.policies
        found = gm("policy", "limits", "--mine", mine, "--date", "2026-11-27", "--home", home, "--json")
        assert (found.code, len(found.json) > 30) == (0, True)
        refused = gm("policy", "limits", "--mine", "nobody", "--home", home)
        assert refused.code == BAD_INPUT
        assert f"known are {mine}" in refused.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--date", "yesterday"), "'yesterday' is not a day"),
        (("--language", "mn"), "write zh or en"),
        (("--mine", "shifan-9"), "there is no mine 'shifan-9' here; known are shifan-1"),
    ],
)
def test_what_cannot_be_asked(arguments: tuple[str, str], words: str) -> None:
    refused = gm("policy", "limits", MINE, *arguments)
    assert refused.code == BAD_INPUT
    assert words in refused.err


def test_diff_names_every_setting_that_changes(tmp_path: Path) -> None:
    text = MINE.read_text(encoding="utf-8")
    (tmp_path / "regions").mkdir()
    region = EXAMPLES / "regions" / "150622.yaml"
    (tmp_path / "regions" / region.name).write_bytes(region.read_bytes())
    after = tmp_path / "after.yaml"
    after.write_text(text.replace("at_most: 8.5", "at_most: 9"), encoding="utf-8")
    found = gm("policy", "diff", MINE, after, "--json")
    assert found.json == [{"field": "limits.dw001-ph.at_most", "change": "changed", "before": 8.5, "after": 9}]
    assert "limits.dw001-ph.at_most" in gm("policy", "diff", MINE, after).out
    assert "no difference" in gm("policy", "diff", MINE, MINE).out
