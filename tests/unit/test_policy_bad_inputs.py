"""The hostile policy files: each is refused with the file, the line and what to do. Exit 2 is a PolicyError's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from greenmine.core.errors import PolicyError, UserError
from greenmine.policy.load import load_policy

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "bad_inputs.jsonl"

GOOD = """\
schema: 1
valid_from: 2026-01-01
mine:
  id: shifan
  name: {zh: 示范, en: Demo}
  enterprise: {zh: 示范, en: Demo}
  region: "150622"
  timezone: Asia/Shanghai
  location: [110.2, 39.7]
  noise_class: 3
  air_grade: 2
devices:
  - id: d1
    sensors:
      - {kind: dust, principle: beta, metrics: {pm10: {unit: ug/m3, interval: 10s}}}
contacts:
  - id: me
    name: {zh: 我, en: I}
    channels:
      - {kind: console}
rules:
  - id: high
    kind: mean
    severity: warning
    metric: pm10
    window: 5m
    raise: 250
    clear: 200
"""


class Case(NamedTuple):
    """Replace `old` (there once) by `new`; the problem stands where `new`'s text `at` is, in `where`."""

    old: str
    new: str
    at: str
    where: str
    words: str


SHOULD_BE_AN_ID = "is not an identifier"

CASES: dict[str, Case] = {
    "policy-02": Case("    sensors:\n", "\tsensors:\n", "\tsensors", "", "there is a tab here"),
    "policy-03": Case(
        "    raise: 250\n", "    raise: 250\n    raise: 9\n", "raise: 9", "rules[0].raise", "duplicate key"
    ),
    "policy-03 threshold": Case(
        "    raise: 250\n",
        "    threshold: 2\n    threshold: 9\n",
        "threshold: 9",
        "rules[0].threshold",
        "duplicate key",
    ),
    "policy-05": Case(
        "rules:\n",
        "plan:\n  a0: &a0 [lol]\n"
        + "".join(f"  a{n}: &a{n} [{f'*a{n - 1}, ' * 9}]\n" for n in range(1, 9))
        + "rules:\n",
        "a0: &a0",
        "plan.a0",
        "anchors (&a0) are not supported",
    ),
    "policy-06": Case(
        "    raise: 250\n", "    <<: {raise: 250}\n", "<<", "rules[0]", "merge keys (<<) are not supported"
    ),
    "policy-08": Case("rules:\n", "---\nschema: 1\nrules:\n", "---", "", "a second document"),
    "policy-09": Case("rules:\n", "on: 1\nrules:\n", "on: 1", "on", "unknown key 'on'"),
    "policy-09 true": Case("rules:\n", "true: 1\nrules:\n", "true: 1", "", "the key 'true' is not text"),
    "policy-11": Case("  id: shifan\n", "  id: 012\n", "012", "mine.id", '"012" in quotes'),
    "policy-11 mine": Case("rules:\n", "plan: {mine: 012}\nrules:\n", "012", "plan.mine", "may be read as octal"),
    "policy-12": Case("window: 5m", "window: 12:30:45", "12:30:45", "rules[0].window", "is not a duration; write"),
    "policy-12 number": Case("window: 5m", "window: 45045", "45045", "rules[0].window", "with its unit"),
    "policy-14": Case("window: 5m", "window: -5m", "-5m", "rules[0].window", "'-5m' is not a duration"),
    "policy-15": Case("window: 5m", "window: 400d", "400d", "rules[0].window", "longer than 31d"),
    "policy-17": Case("raise: 250", "raise: .inf", ".inf", "rules[0].raise", "write a finite number"),
    "policy-17 nan": Case("clear: 200", "clear: .nan", ".nan", "rules[0].clear", "write a finite number"),
    "policy-17 large": Case("raise: 250", "raise: 1e999", "1e999", "rules[0].raise", "write a finite number"),
    "policy-18": Case("raise: 250", 'raise: "1.0"', '"1.0"', "rules[0].raise", "must be a number without quotes"),
    "policy-20": Case("raise: 250", "raise: 1_000", "1_000", "rules[0].raise", "write 1000"),
    "policy-21": Case("clear: 200", "clear: 250", "- id: high", "rules[0]", "clear 250 must be below raise 250"),
    "policy-21 below": Case(
        "clear: 200", "clear: 200\n    direction: below", "- id: high", "rules[0]", "must be above raise 250"
    ),
    "policy-24": Case(
        "metric: pm10", "metric: ch5", "metric: ch5", "rules[0].metric", "unknown metric 'ch5'; known are"
    ),
    "policy-26": Case(
        "  - id: high\n    kind: mean\n", "  - kind: mean\n", "- kind: mean", "rules[0].id", "is missing"
    ),
    "policy-26 repeated": Case(
        "rules:\n",
        "rules:\n  - {id: high, kind: absence, severity: notice, intervals: 3}\n",
        "- id: high",
        "rules[1].id",
        "'high' is already the id of rules[0]",
    ),
    "policy-27": Case("- id: high", "- id: a/b", "a/b", "rules[0].id", SHOULD_BE_AN_ID),
    "policy-27 long": Case("- id: high", "- id: " + "a" * 300, "aaa", "rules[0].id", SHOULD_BE_AN_ID),
    "policy-29": Case("  id: shifan\n", '  id: "*"\n', '"*"', "mine.id", "no wildcards"),
    "policy-29 rule": Case(
        "    raise: 250\n", '    raise: 250\n    mine: "*"\n', 'mine: "*"', "rules[0].mine", "unknown key"
    ),
    "policy-29 devices": Case(
        "    raise: 250\n", '    raise: 250\n    devices: ["*"]\n', '["*"]', "rules[0].devices[0]", "no wildcards"
    ),
    "policy-30": Case(
        "    raise: 250\n",
        '    raise: 250\n    devices: ["(a+)+$"]\n',
        "(a+)+$",
        "rules[0].devices[0]",
        "no wildcards or regular expressions here",
    ),
    "policy-36": Case(
        "{kind: console}",
        '{kind: webhook, url: "http://169.254.169.254/"}',
        "169.254",
        "contacts[0].channels[0].url",
        "write secret:NAME",
    ),
    "policy-41": Case(
        "rules:\n",
        "models:\n  x: {path: /tmp/x.pkl}\nrules:\n",
        "/tmp/x.pkl",
        "models.x.path",
        "write a path inside the folder of models",
    ),
    "policy-41 upwards": Case(
        "rules:\n", "models:\n  x: {path: ../x.joblib}\nrules:\n", "../x.joblib", "models.x.path", "remove `..`"
    ),
    "policy-41 pickle": Case("rules:\n", "models:\n  x: {path: x.pkl}\nrules:\n", "x.pkl", "models.x.path", "a pickle"),
    "policy-44": Case(
        "Asia/Shanghai", "Asia/Pekin", "Asia/Pekin", "mine.timezone", "use an IANA name such as Asia/Shanghai"
    ),
}

ELSEWHERE = {
    "policy-38": "sending: a webhook's address is checked when it connects",
    "policy-39": "sending: redirects are not followed",
    "policy-42": "models: checked when one is loaded",
    "policy-45": "silences: acts at run time, no part of the file",
    "policy-48": "the test of a GBK file below",
}


def refuse(path: Path) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    return caught.value


def test_the_file_that_the_cases_break_is_good(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert load_policy(path).warnings == []


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_refused_with_file_and_line(tmp_path: Path, case: Case) -> None:
    assert GOOD.count(case.old) == 1
    text = GOOD.replace(case.old, case.new)
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    error = refuse(path)
    assert isinstance(error, UserError)
    first = error.problems[0]
    assert (first.file, first.field) == (str(path), case.where)
    assert first.line == text[: text.index(case.at)].count("\n") + 1
    assert case.words in first.message
    assert f"{path}:{first.line}: " in str(error)


def test_a_gbk_file_gets_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(GOOD.encode("gbk"))
    (problem,) = refuse(path).problems
    assert (problem.file, problem.line) == (str(path), 5)
    assert "GBK" in problem.message
    assert "save as UTF-8" in problem.message


@pytest.mark.skipif(not CORPUS.is_file(), reason="the folder ../shared with bad_inputs.jsonl is absent")
def test_every_case_of_the_corpus_is_here_or_elsewhere() -> None:
    lines = (json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines())
    wanted = {line["id"] for line in lines if line["id"].startswith("policy-")}
    assert wanted == {name.split()[0] for name in CASES} | set(ELSEWHERE)
