"""Rule tests: the shipped ones pass, every shipped limit that sensors can feed has some, and a wrong one fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from greenmine.core.errors import UserError
from greenmine.core.verdict import LimitBinding
from greenmine.policy.library import shipped_library
from greenmine.policy.load import EXAMPLES
from greenmine.policy.typed_yaml import read_typed
from greenmine.replay.notation import MOST_READINGS, Sample, samples
from greenmine.replay.rule_test import run_file
from greenmine.replay.rule_test_model import RuleTestFile
from tests.unit.test_cli import BAD_INPUT, FAILED, gm

FOLDER = EXAMPLES / "rule-tests"
REAL = FOLDER / "real-data.yaml"
FILES = sorted(path for path in FOLDER.rglob("*.yaml") if path != REAL)
DATA = Path(os.environ.get("GREENMINE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_rule_tests_pass(path: Path) -> None:
    failures = [f"{result.name}: {result.failures}" for result in run_file(path) if not result.passed]
    assert failures == []


@pytest.mark.skipif(not DATA.is_dir(), reason="no real measurements: set GREENMINE_DATA to the folder that holds them")
def test_facts_about_real_measurements() -> None:
    failures = [f"{result.name}: {result.failures}" for result in run_file(REAL, DATA) if not result.passed]
    assert failures == []


def test_every_limit_that_sensors_can_feed_is_tested_on_both_sides_and_at_its_gate() -> None:
    seen: dict[str, set[str]] = {}
    for path in [*FILES, REAL]:
        for test in read_typed(path.read_bytes(), path.name, RuleTestFile).tests:
            for verdict in test.verdicts:
                seen.setdefault(verdict.limit, set()).add(verdict.outcome.value)
            for count in test.counts:
                seen.setdefault(count.limit, set()).update({"met", "exceeded"})
    missing = []
    for standard in shipped_library().standards.values():
        for row in standard.limits:
            judged = standard.parts[row.part].binding is not LimitBinding.OPERATING and row.measured
            name = f"{standard.standard}/{row.part}/{row.id}"
            if judged and not {"met", "exceeded"} <= seen.get(name, set()):
                missing.append(f"{name}: {sorted(seen.get(name, set()))}")
    assert missing == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("81.3", [(0, 81.3)]),
        ("1 _ 2", [(0, 1), (2, 2)]),
        ("5x3", [(0, 5), (1, 5), (2, 5)]),
        ("0.1+0.1x3", [(0, 0.1), (1, 0.2), (2, 0.3)]),
        ("10-2x3", [(0, 10), (1, 8), (2, 6)]),
        ("-1_", None),
        ("_x2 null 1 stale", [(2, None), (3, 1), (4, None)]),
        ("(1 _ 2)x2", [(0, 1), (2, 2), (3, 1), (5, 2)]),
        ("((1)x2 3)x2", [(0, 1), (1, 1), (2, 3), (3, 1), (4, 1), (5, 3)]),
        ("stale 1", None),
        ("(stale)x2", None),
        ("(1 2", None),
        ("1)x2", None),
        ("1)x", None),
        ("1x", None),
        ("nan", None),
        (f"1x{MOST_READINGS + 1}", None),
        (f"(1)x{MOST_READINGS} 1", None),
        ("((((((((((1)x9)x9)x9)x9)x9)x9)x9)x9)x9)x9", None),
    ],
)
def test_notation(text: str, expected: list[tuple[int, float | None]] | None) -> None:
    if expected is None:
        with pytest.raises(ValueError):
            samples(text)
    else:
        assert samples(text) == [Sample(*one) for one in expected]


POLICY = """schema: 1
policy:
  devices: [{id: d1, sensors: [{kind: dust, principle: beta, metrics: {pm10: {unit: ug/m3, interval: 1h}}}]}]
  standards: [GB 3095-2026/ambient-air]
  rules: [{id: high, kind: threshold, severity: warning, metric: pm10, raise: 150, clear: 130, hold: 2h}]
  contacts: [{id: me, name: {zh: 甲, en: me}, channels: [{kind: console}]}]
tests:
  - name: t
    start: 2026-05-01T00:00:00+08:00
    interval: 1h
"""
L = "GB 3095-2026/ambient-air/pm10-24h"


def written(tmp_path: Path, rest: str, head: str = POLICY) -> Path:
    path = tmp_path / "t.yaml"
    path.write_text(head + rest, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (
            f"verdicts: [{{limit: {L}, subject: d1, window: 2026-05-01, outcome: met}}]",
            "outcome is exceeded, expected met",
        ),
        (f"verdicts: [{{limit: {L}, subject: d2, window: 2026-05-01, outcome: met}}]", "no such verdict; there are: "),
        (
            f"verdicts: [{{limit: {L}, subject: d1, window: 2026-05-01, outcome: exceeded, value: 201}}]",
            "value is 200.0",
        ),
        (f"counts: [{{limit: {L}, subject: d1, outcome: met, count: 1}}]", "0 verdicts met of"),
        ("alerts: [{at: 5h, alerts: []}]", "alert high/d1 at 5h: is firing, expected none"),
        ("alerts: [{at: 1h, alerts: [{rule: high, device: d1}]}]", "there is none, expected firing"),
        ("alerts: [{at: 5h, alerts: [{rule: high, device: d1, severity: critical}]}]", "expected critical"),
    ],
)
def test_what_did_not_come_out_is_said(tmp_path: Path, expected: str, words: str) -> None:
    path = written(tmp_path, f"    series: {{d1/pm10: (199 201)x12}}\n    {expected}\n")
    (result,) = run_file(path)
    assert words in "\n".join(result.failures)


def test_alerts_come_and_go_with_their_holds(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "    series: {d1/pm10: 100x2 200x4 100x2}\n"
        "    alerts:\n"
        "      - {at: 1h, alerts: []}\n"
        "      - {at: 4h, alerts: [{rule: high, device: d1, severity: warning}]}\n"
        "      - {at: 6h, alerts: []}\n",
    )
    (result,) = run_file(path)
    assert result.failures == []


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("    series: {d1/pm10: 1x3}\n", "expects nothing"),
        (
            "    series: {d9/pm10: 1x3}\n    counts: [{limit: x, subject: y, outcome: met, count: 0}]\n",
            "d1/pm10",
        ),
        (
            "    series: {d1/pm10: 1y3}\n    counts: [{limit: x, subject: y, outcome: met, count: 0}]\n",
            "is not understood",
        ),
        (
            "    data: {folder: dust, standards: [x]}\n    counts: [{limit: x, subject: y, outcome: met, count: 0}]\n",
            "--data",
        ),
        ("    serie: {}\n", "serie"),
    ],
)
def test_a_file_that_is_not_right_is_refused_with_its_place(tmp_path: Path, rest: str, words: str) -> None:
    path = written(tmp_path, rest)
    with pytest.raises(UserError) as refused:
        list(run_file(path))
    assert words in str(refused.value)
    assert str(path) in str(refused.value)


def test_the_command_says_how_many_and_fails_where_one_does(tmp_path: Path) -> None:
    good = gm("rules", "test", FOLDER / "summer-time.yaml")
    assert (good.code, good.out.split()[0]) == (0, "4")
    path = written(
        tmp_path, f"    series: {{d1/pm10: 1x24}}\n    counts: [{{limit: {L}, subject: d1, outcome: met, count: 9}}]\n"
    )
    bad = gm("rules", "test", path, "--json")
    assert bad.code == FAILED
    assert bad.json[0]["passed"] is False
    assert gm("rules", "test", tmp_path / "none.yaml").code == BAD_INPUT
    (tmp_path / "empty").mkdir()
    assert gm("rules", "test", tmp_path / "empty").code == BAD_INPUT
