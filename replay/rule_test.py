"""Runs rule tests: the series of a test through the same judging as live data, and what came out against what was
expected. Nothing is stored and nobody is told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from greenmine.core.clock import to_rfc3339
from greenmine.core.errors import PolicyError, Problem, UserError
from greenmine.core.fact import Fact
from greenmine.core.reading import Reading
from greenmine.core.verdict import Outcome, Verdict
from greenmine.ingest.admit import admit
from greenmine.ingest.decode_json import decode_json
from greenmine.ingest.registry import Registry
from greenmine.ingest.timestamp import from_rfc3339
from greenmine.policy.canonical import ordered_by_id
from greenmine.policy.check import check_policy
from greenmine.policy.duration import parse_duration
from greenmine.policy.explain import explain
from greenmine.policy.judging import StandardChoice
from greenmine.policy.library import shipped_library
from greenmine.policy.limit import WindowKind
from greenmine.policy.load import load_policy
from greenmine.policy.model import Policy
from greenmine.policy.typed_yaml import read_typed
from greenmine.policy.yaml import field_name
from greenmine.replay.alerts_of_readings import AlertsAt
from greenmine.replay.given_series import given_readings
from greenmine.replay.rule_test_model import ExpectedAlerts, ExpectedCount, ExpectedVerdict, RuleTest, RuleTestFile
from greenmine.rules.columns import Readings, columns_of
from greenmine.rules.local_time import instant_ns
from greenmine.rules.verdicts import LONG_WINDOWS, Asked, Evaluation
from greenmine.simulator.csv_replay import messages
from greenmine.simulator.mapping import data_sets, policies

_DAY_NS = 86_400 * 1_000_000_000
_YEAR_NS = 366 * _DAY_NS
_SHORT = frozenset(WindowKind) - LONG_WINDOWS
_FAR_FUTURE_NS = 2**62
_MINE: dict[str, Any] = {
    "id": "shifan-test",
    "name": {"zh": "示范测试矿", "en": "Demo test mine"},
    "enterprise": {"zh": "示范公司", "en": "Demo Ltd"},
    "region": "150622",
    "timezone": "Asia/Shanghai",
    "location": [110.0, 40.0],
    "noise_class": 3,
    "air_grade": 2,
}


@dataclass(frozen=True)
class Result:
    """What became of one test; no failures where it passed."""

    file: str
    name: str
    failures: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether all came out as expected."""
        return not self.failures


class _Given(NamedTuple):
    policy: Policy
    readings: list[Reading]
    columns: Readings
    facts: list[Fact]
    start_ns: int
    end_ns: int


def run_file(path: Path, data: Path | None = None) -> Iterator[Result]:
    """Run all tests of a file, in order. `data` is where folders of real files lie.

    Raises:
        UserError: the file or its policy is not right, with file and line; or a test needs `data`.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    file = read_typed(raw, str(path), RuleTestFile)
    policy = _policy_of(file, path)
    loaded: dict[str, tuple[Policy, list[Reading]]] = {}
    for test in file.tests:
        try:
            given = _given(test, policy, path, data, loaded)
            failures = list(_failures(test, given))
        except ValueError as error:
            raise UserError(f"{path}: test {test.name!r}: {error}") from error
        yield Result(str(path), test.name, failures)


def _policy_of(file: RuleTestFile, path: Path) -> Policy | None:
    if file.policy is None:
        return None
    if isinstance(file.policy, str):
        return load_policy(path.parent / file.policy).policy
    written = {"schema": 1, "valid_from": "2000-01-01", **file.policy, "mine": {**_MINE, **file.policy.get("mine", {})}}
    try:
        policy = ordered_by_id(Policy.model_validate(written))
    except ValidationError as error:
        found = [explain(detail) for detail in error.errors(include_url=False)]
        problems = [Problem(str(path), None, f"policy.{field_name(where)}", words) for where, words in found]
        raise PolicyError(problems) from error
    findings = check_policy(policy)
    if findings:
        raise PolicyError([Problem(str(path), None, f"policy.{field_name(where)}", words) for where, words in findings])
    return policy


def _given(
    test: RuleTest,
    policy: Policy | None,
    path: Path,
    data: Path | None,
    loaded: dict[str, tuple[Policy, list[Reading]]],
) -> _Given:
    if test.data is not None:
        if data is None:
            raise UserError(f"{path}: test {test.name!r} is on real files; say with --data where {test.data.folder} is")
        if test.data.folder not in loaded:
            loaded[test.data.folder] = _of_files(data / test.data.folder)
        played, readings = loaded[test.data.folder]
        policy = _with_standards(played, test)
        start_ns = min(reading.time_ns for reading in readings)
    else:
        if policy is None:
            raise UserError(f"{path}: test {test.name!r} has series, so the file needs a policy")
        assert test.start is not None
        start_ns = moment_ns(test.start, 0, policy)
        readings = given_readings(test, policy, start_ns)
    if not readings:
        raise UserError(f"{path}: test {test.name!r} has no readings")
    end_ns = max(reading.time_ns for reading in readings) + 1
    facts = [
        Fact(
            number,
            policy.mine.id,
            one.kind,
            one.subject,
            moment_ns(one.since, start_ns, policy),
            None if one.until is None else moment_ns(one.until, start_ns, policy),
            start_ns,
            "person:test",
            one.reason,
            json.dumps(one.body),
        )
        for number, one in enumerate(test.facts, 1)
    ]
    return _Given(policy, readings, columns_of(readings), facts, start_ns, end_ns)


def _of_files(folder: Path) -> tuple[Policy, list[Reading]]:
    """The one mine that the files of a folder play, and its readings as they would be admitted."""
    found = data_sets(folder)
    played = policies(found)
    if len(played) != 1:
        raise UserError(f"{folder} plays {len(played)} mines; a test is of one")
    registry = Registry.of(played)
    readings = [
        admit(item, one.mine, one.device, registry, _FAR_FUTURE_NS).reading
        for one in messages(found)
        for item in decode_json(one.payload).items
    ]
    return played[0], readings


def _with_standards(policy: Policy, test: RuleTest) -> Policy:
    assert test.data is not None
    classes = {"air_grade": test.data.air_grade, "noise_class": test.data.noise_class}
    mine = policy.mine.model_copy(update={name: value for name, value in classes.items() if value is not None})
    return policy.model_copy(
        update={"mine": mine, "standards": [StandardChoice(part=part) for part in test.data.standards]}
    )


def moment_ns(text: str, start_ns: int, policy: Policy) -> int:
    """UTC ns of a moment of a rule test.

    Raises:
        ValueError: it is none.
    """
    if len(text) == 10 and text[4] == text[7] == "-":
        return instant_ns(date.fromisoformat(text), time(0), policy.mine.zone)
    if "T" in text:
        return from_rfc3339(text)
    return start_ns + parse_duration(text) * 1_000_000_000


def _failures(test: RuleTest, given: _Given) -> Iterator[str]:
    if test.verdicts or test.counts:
        found = _verdicts(test, given)
        yield from _verdict_failures(test.verdicts, found, given)
        yield from _count_failures(test.counts, found)
    if test.alerts:
        yield from _alert_failures(test.alerts, given)


def _verdicts(test: RuleTest, given: _Given) -> list[Verdict]:
    """All windows that the readings touch, those that they do not fill among them."""
    short = Asked(given.start_ns - _DAY_NS, given.end_ns + 2 * _DAY_NS, _SHORT, test.as_if)
    long = Asked(given.start_ns - _YEAR_NS, given.end_ns + _YEAR_NS, LONG_WINDOWS, test.as_if)
    looked = Evaluation(given.policy, shipped_library(), given.columns, given.facts)
    return [*looked.verdicts(short), *looked.verdicts(long)]


def _verdict_failures(expected: Sequence[ExpectedVerdict], found: list[Verdict], given: _Given) -> Iterator[str]:
    by_key = {(one.limit, one.subject, one.window_start_ns): one for one in found}
    for want in expected:
        day = want.window
        start_ns = moment_ns(day, given.start_ns, given.policy)
        of_limit = [one for one in found if (one.limit, one.subject) == (want.limit, want.subject)]
        # A day names whatever window begins on it, a night its evening.
        one = by_key.get((want.limit, want.subject, start_ns)) or next(
            (v for v in of_limit if len(day) == 10 and start_ns <= v.window_start_ns < start_ns + _DAY_NS), None
        )
        what = f"{want.limit} of {want.subject} at {want.window}"
        if one is None:
            known = ", ".join(sorted({f"{v.limit} of {v.subject}" for v in found})) or "none"
            yield f"{what}: no such verdict; there are: {known}"
            continue
        yield from (f"{what}: {words}" for words in _differences(want, one))
        if want.highest and one.value is not None:
            higher = [v for v in of_limit if v.unrounded is not None and v.unrounded > (one.unrounded or 0.0)]
            told = [v for v in higher if v.outcome in (Outcome.MET, Outcome.EXCEEDED)]
            if told:
                yield f"{what}: is not the highest; {to_rfc3339(told[0].window_start_ns)} has {told[0].unrounded}"


def _differences(want: ExpectedVerdict, one: Verdict) -> Iterator[str]:
    for name in ("outcome", "reason", "grade", "value", "limit_value"):
        wanted, got = getattr(want, name), getattr(one, name)
        if wanted is not None and wanted != got:
            yield f"{name} is {got!s}, expected {wanted!s} ({one.outcome.value}: {one.reason.value}, {one.detail})"
    for name in ("unrounded", "validity"):
        wanted, got = getattr(want, name), getattr(one, name)
        if wanted is not None and (got is None or not _agree(got, wanted)):
            yield f"{name} is {got}, expected {wanted}"
    for key, wanted in want.detail.items():
        if one.detail.get(key) != wanted:
            yield f"detail {key} is {one.detail.get(key)!r}, expected {wanted!r}"


def _agree(got: float, wanted: float) -> bool:
    """To the digits that somebody wrote."""
    digits = len(repr(wanted).partition(".")[2])
    return abs(got - wanted) <= 0.5 / float(10**digits) + 1e-9


def _count_failures(expected: Iterable[ExpectedCount], found: list[Verdict]) -> Iterator[str]:
    for want in expected:
        outcomes = [want.outcome] if isinstance(want.outcome, Outcome) else want.outcome
        of_limit = [one for one in found if (one.limit, one.subject) == (want.limit, want.subject)]
        got = sum(1 for one in of_limit if one.outcome in outcomes)
        if got != want.count:
            names = "/".join(outcome.value for outcome in outcomes)
            yield f"{want.limit} of {want.subject}: {got} verdicts {names} of {len(of_limit)}, expected {want.count}"


def _alert_failures(expected: Sequence[ExpectedAlerts], given: _Given) -> Iterator[str]:
    moments = sorted({moment_ns(one.at, given.start_ns, given.policy) for one in expected})
    with AlertsAt(given.policy, given.readings) as alerts:
        at = {moment: alerts.at(moment) for moment in moments}
    for want in expected:
        got: Mapping[tuple[str, str, str], Any] = at[moment_ns(want.at, given.start_ns, given.policy)]
        wanted = {(one.rule, one.device, one.channel): one for one in want.alerts}
        for key in sorted({*got, *wanted}):
            what = f"alert {'/'.join(part for part in key if part)} at {want.at}"
            if key not in got:
                yield f"{what}: there is none, expected {wanted[key].condition.value}"
            elif key not in wanted:
                yield f"{what}: is {got[key].condition.value}, expected none"
            elif got[key].condition is not wanted[key].condition:
                yield f"{what}: is {got[key].condition.value}, expected {wanted[key].condition.value}"
            elif wanted[key].severity not in (None, got[key].severity):
                yield f"{what}: is {got[key].severity.value}, expected {wanted[key].severity}"
