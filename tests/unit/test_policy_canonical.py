"""The canonical text: it round-trips, and only what a policy says changes its hash."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenmine.core.errors import PolicyError
from greenmine.policy.canonical import from_canonical_json, ordered_by_id, policy_hash, to_canonical_json
from greenmine.policy.duration import LONGEST_S, duration_text, parse_duration
from greenmine.policy.load import EXAMPLES, load_policy
from greenmine.policy.model import Policy

# How long an example takes depends on what else the machine does.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

identifiers = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=12).filter(
    lambda s: s[0] != "-"
)
texts = st.fixed_dictionaries({"zh": st.text("示范矿a ", min_size=1), "en": st.text("mine' \"\n", min_size=1)})
durations = st.integers(1, LONGEST_S).map(duration_text)
numbers = st.floats(allow_nan=False, allow_infinity=False, width=32) | st.integers(-(10**6), 10**6)
free = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    rule: dict[str, Any] = {"id": draw(identifiers), "severity": draw(st.sampled_from(["notice", "critical"]))}
    optional = {"title": texts, "advice": texts, "tell": st.lists(identifiers, min_size=1), "channel": st.just("d10")}
    rule |= draw(st.fixed_dictionaries({}, optional=optional))
    kind = draw(st.sampled_from(["threshold", "mean", "absence"]))
    if kind == "absence":
        return rule | draw(
            st.fixed_dictionaries({"kind": st.just(kind), "after": durations})
            | st.fixed_dictionaries({"kind": st.just(kind), "intervals": st.integers(2, 100)})
        )
    levels = sorted(draw(st.lists(numbers, min_size=2, max_size=2, unique_by=float)))
    rule |= {"kind": kind, "metric": "pm10", "raise": levels[1], "clear": levels[0]}
    if kind == "mean":
        rule |= {"window": draw(durations), "coverage": draw(st.sampled_from([0.5, 1]))}
    return rule | draw(st.fixed_dictionaries({}, optional={"hold": durations, "unit": st.just("mg/m3")}))


def policy_data(rule_list: list[dict[str, Any]], plan: dict[str, Any], name: dict[str, str]) -> dict[str, Any]:
    pm10 = {"unit": "ug/m3", "interval": "10s", "stat": "avg", "period": "1h"}
    return {
        "schema": 1,
        "mine": {
            "id": "shifan",
            "name": name,
            "enterprise": name,
            "region": "150622",
            "timezone": "Asia/Shanghai",
            "location": [110.2, 39],
            "noise_class": 3,
            "air_grade": 2,
        },
        "valid_from": "2026-01-01",
        "devices": [
            {"id": "b", "sensors": [{"kind": "dust", "principle": "beta", "metrics": {"pm10": pm10}}]},
            {"id": "a", "position": [110, 39.5]},
        ],
        "contacts": [{"id": "me", "name": name, "channels": [{"kind": "webhook", "url": "secret:x"}]}],
        "rules": rule_list,
        "plan": plan,
    }


policies = st.builds(
    policy_data,
    st.lists(rules(), max_size=4, unique_by=lambda rule: rule["id"]),
    st.dictionaries(st.text(max_size=5), free, max_size=3),
    texts,
)


@unhurried
@given(policies)
def test_round_trip(data: dict[str, Any]) -> None:
    policy = ordered_by_id(Policy.model_validate(data))
    text = to_canonical_json(policy)
    assert from_canonical_json(text) == policy
    assert to_canonical_json(from_canonical_json(text)) == text


@unhurried
@given(policies, st.randoms(use_true_random=False))
def test_order_does_not_change_the_text(data: dict[str, Any], random: Any) -> None:
    def shuffled(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        keys = list(value)
        random.shuffle(keys)
        return {key: shuffled(value[key]) for key in keys}

    other = shuffled(data)
    for name in ("rules", "devices"):
        other[name] = [shuffled(item) for item in other[name]]
        random.shuffle(other[name])
    assert to_canonical_json(Policy.model_validate(other)) == to_canonical_json(Policy.model_validate(data))


def test_the_text_is_as_described() -> None:
    rule = {"id": "r", "kind": "threshold", "severity": "notice", "metric": "ph", "raise": 9, "clear": 8, "hold": "5m"}
    text = to_canonical_json(Policy.model_validate(policy_data([rule], {"z": 1, "a": 2}, {"zh": "示范", "en": "Demo"})))
    data = json.loads(text)
    assert data["schema"] == 1
    assert (data["rules"][0]["raise"], data["rules"][0]["hold"], data["rules"][0]["clear_hold"]) == (
        9.0,
        {"s": 300},
        {"s": 0},
    )
    assert data["quality"]["lateness"] == {"s": 300}
    assert [device["id"] for device in data["devices"]] == ["a", "b"]
    assert "示范" in text
    assert text == json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def test_the_hash_does_not_depend_on_comments_or_defaults_but_on_what_is_said(tmp_path: Path) -> None:
    text = (EXAMPLES / "shifan-2.yaml").read_text(encoding="utf-8")
    path = tmp_path / "policies" / "mine.yaml"
    path.parent.mkdir()

    def hash_of(changed: str) -> str:
        path.write_text(changed, encoding="utf-8")
        return policy_hash(load_policy(path).policy)

    same = hash_of(text)
    assert len(same) == 64
    assert hash_of("# a comment\n" + text.replace("    gateway: gw-1\n", "    gateway: gw-1 # there\n")) == same
    assert hash_of(text + "quality: {max_ahead: 300s}\n") == same
    head, rules_part = text.split("rules:\n")
    assert hash_of("rules:\n" + rules_part + head) == same
    assert hash_of(text.replace("hold: 5m", "hold: 6m")) != same
    assert hash_of(text.replace("pond-1", "pond-2")) != same


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not canonical JSON"),
        ("{", "is not canonical JSON"),
        ("[" * 100_000, "is not canonical JSON"),
        ('{"plan": {"a": NaN}}', "NaN is not a finite number"),
        ('{"schema": 1}', "mine: is missing"),
        ("[]", "must be keys and values"),
    ],
)
def test_other_texts_are_refused(text: str, words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        from_canonical_json(text)


@pytest.mark.parametrize(
    "duration", ["5m", 300, {"s": -1}, {"s": True}, {"s": LONGEST_S + 1}, {"s": 1.0}, {"s": 1, "m": 2}]
)
def test_durations_of_the_canonical_text(duration: Any) -> None:
    data = json.loads(to_canonical_json(Policy.model_validate(policy_data([], {}, {"zh": "a", "en": "b"}))))
    data["quality"]["lateness"] = duration
    if duration == "5m":
        assert from_canonical_json(json.dumps(data)).quality.lateness == 300
    else:
        with pytest.raises(PolicyError, match=r"quality\.lateness"):
            from_canonical_json(json.dumps(data))


@unhurried
@given(st.integers(0, LONGEST_S))
def test_duration_text_reads_back(seconds: int) -> None:
    assert parse_duration(duration_text(seconds)) == seconds
