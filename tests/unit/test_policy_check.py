"""Checks across the sections of a policy: each with the path it cites, and a good policy without any."""

from __future__ import annotations

from typing import Any

import pytest

from greenmine.core.quality import Quality
from greenmine.policy.check import FLAGS, check_policy, policy_warnings
from greenmine.policy.model import Policy


def metric(unit: str, interval: str = "10s") -> dict[str, str]:
    return {"unit": unit, "interval": interval}


def good() -> dict[str, Any]:
    """A policy of plain data without findings; tests break it."""
    text = {"zh": "示范", "en": "Demo"}
    dust = {"kind": "dust", "principle": "beta", "metrics": {"pm10": metric("ug/m3"), "tsp": metric("mg/m3")}}
    noise = {"kind": "noise", "principle": "class_1_meter", "metrics": {"laeq": metric("dB"), "lamax": metric("dB")}}
    wind = {"kind": "weather", "principle": "ultrasonic", "metrics": {"wind_dir": metric("deg")}}
    soil = {"kind": "soil", "principle": "fdr", "channel": "d10", "metrics": {"soil_moisture": metric("%", "60s")}}
    return {
        "schema": 1,
        "mine": {
            "id": "shifan",
            "name": text,
            "enterprise": text,
            "region": "150622",
            "timezone": "Asia/Shanghai",
            "location": [110.2, 39.7],
            "noise_class": 3,
            "air_grade": 2,
        },
        "valid_from": "2026-01-01",
        "devices": [
            {"id": "gw", "address": {"edge": "g/e"}},
            {"id": "d1", "gateway": "gw", "position": [110.21, 39.71], "sensors": [dust]},
            {"id": "d2", "address": {"dev_eui": "00000000000000AA"}, "sensors": [dust, noise, wind]},
            {"id": "s1", "sensors": [soil, {**soil, "channel": "d20"}]},
        ],
        "contacts": [
            {"id": "me", "name": text, "channels": [{"kind": "console"}]},
            {"id": "boss", "name": text, "min_severity": "critical", "channels": [{"kind": "console"}]},
        ],
        "rules": [
            limit("pm10-high", "pm10", 250, 200),
            limit("pm10-d1", "pm10", 300, 200, devices=["d1"], tell=["me"]),
            limit("tsp", "tsp", 1.0, 0.8, unit="mg/m3"),
            limit("dry", "soil_moisture", 8, 10, direction="below", channel="d20"),
            limit("noise", "laeq", 65, 60, kind="mean", window="20s"),
            {"id": "silent", "kind": "absence", "severity": "warning", "intervals": 3},
            {"id": "silent-d1", "kind": "absence", "severity": "warning", "after": "11s", "devices": ["d1"]},
        ],
        "models": {"drift": {"path": "drift/v1.npz"}},
        "plan": {"hook": {"url": "secret:plan-hook"}},
        "ladders": [{"id": "l", "steps": [{"after": "5m"}]}],
    }


def limit(rule_id: str, metric_name: str, raised: float, clear: float, **more: Any) -> dict[str, Any]:
    rule = {"id": rule_id, "kind": "threshold", "severity": "warning", "metric": metric_name, "raise": raised}
    return {**rule, "clear": clear, **more}


def put(data: dict[str, Any], path: tuple[Any, ...], value: Any) -> None:
    """Set a value; an index just past a list's end appends."""
    for step in path[:-1]:
        data = data[step]
    if isinstance(data, list) and path[-1] == len(data):
        data.append(value)
    else:
        data[path[-1]] = value


def test_a_good_policy_has_no_findings() -> None:
    policy = Policy.model_validate(good())
    assert check_policy(policy) == []
    assert policy_warnings(policy) == []


def test_flags_are_all_flags() -> None:
    assert len(FLAGS) == len(Quality)


R = ("rules", 7)
S2 = ("devices", 2, "sensors")
S3 = ("devices", 3, "sensors")


def own(**more: Any) -> dict[str, Any]:
    return {
        "id": "own", "basis": "permit", "document": "P-1", "clause": "3", "metric": "pm10", "devices": ["d1"],
        "statistic": "mean", "window": "day", "unit": "ug/m3", "digits": 0, "at_most": 100, **more,
    }  # fmt: skip


ERRORS: dict[str, tuple[tuple[Any, ...], Any, tuple[Any, ...], str]] = {
    "repeated rule id": (R, limit("tsp", "pm10", 9, 8), (*R, "id"), "'tsp' is already the id of rules[2]"),
    "id of the service's own alerts": (R, limit("disk-room", "pm10", 9, 8), (*R, "id"), "an alert of greenmine itself"),
    "repeated device id": (("devices", 4), {"id": "gw"}, ("devices", 4, "id"), "already the id of devices[0]"),
    "repeated ladder id": (("ladders", 1), {"id": "l"}, ("ladders", 1, "id"), "already the id of ladders[0]"),
    "no such device": (("rules", 1, "devices"), ["d3"], ("rules", 1, "devices", 0), "no device 'd3'; did you mean"),
    "device twice": (("rules", 1, "devices"), ["d1", "d1"], ("rules", 1, "devices", 1), "already in the list"),
    "device without the metric": (
        ("rules", 1, "devices"),
        ["d1", "s1"],
        ("rules", 1, "devices", 1),
        "'s1' does not report pm10",
    ),
    "named device without sensors": (("rules", 6, "devices"), ["gw"], ("rules", 6, "devices", 0), "report anything"),
    "no such contact": (("rules", 1, "tell"), ["em"], ("rules", 1, "tell", 0), "no contact 'em'; did you mean 'me'?"),
    "nothing feeds it": (R, limit("ph", "ph", 9, 8), R, "no device reports ph, so 'ph' can never judge"),
    "no such channel": (("rules", 3, "channel"), "d40", ("rules", 3), "soil_moisture on channel 'd40'"),
    "no such gateway": (
        ("devices", 1, "gateway"),
        "gx",
        ("devices", 1, "gateway"),
        "no device 'gx'; did you mean 'gw'",
    ),
    "own gateway": (("devices", 1, "gateway"), "d1", ("devices", 1, "gateway"), "cannot be its own gateway"),
    "gateway behind a gateway": (
        ("devices", 2, "gateway"),
        "d1",
        ("devices", 2, "gateway"),
        "'d1' is itself behind 'gw'",
    ),
    "address twice": (
        ("devices", 3, "address"),
        {"dev_eui": "00000000000000aa"},
        ("devices", 3, "address", "dev_eui"),
        "already the address of 'd2'",
    ),
    "series twice": (
        (*S2, 3),
        {"kind": "dust", "principle": "beta", "metrics": {"pm10": metric("mg/m3", "60s")}},
        (*S2, 3, "metrics", "pm10"),
        "devices[2].sensors[0].metrics.pm10 already reports the same series",
    ),
    "window of one reading": (("rules", 4, "window"), "19s", ("rules", 4, "window"), "fewer than two readings of 'd2'"),
    "window longer than what is kept": (("rules", 4, "window"), "73h", ("rules", 4, "window"), "longer than the 72 h"),
    "absence within the interval": (("rules", 6, "after"), "10s", ("rules", 6, "after"), "no longer than the 10 s"),
    "raise above all": (R, limit("x", "pm10", 10_000, 5, severity="notice"), (*R, "raise"), "can never be passed"),
    "raise below all": (
        R,
        limit("x", "soil_moisture", 0, 5, direction="below"),
        (*R, "raise"),
        "can never be passed, soil_moisture is between 0 and 100 %",
    ),
    "clear below all": (R, limit("x", "pm10", 99, -1), (*R, "clear"), "can never be reached"),
    "clear above all": (R, limit("x", "wind_dir", 5, 361, direction="below"), (*R, "clear"), "can never be reached"),
    "unit slip": (
        R,
        limit("x", "pm10", 250, 200, unit="mg/m3"),
        (*R, "raise"),
        "250 mg/m3 can never be passed, pm10 is between 0 and 10000 ug/m3",
    ),
    "energy mean of dust": (
        R,
        limit("x", "pm10", 99, 9, kind="mean", window="1m", statistic="energy"),
        (*R, "statistic"),
        "for sound levels, not for pm10",
    ),
    "mean of directions": (
        R,
        limit("x", "wind_dir", 99, 9, kind="mean", window="1m"),
        (*R, "metric"),
        "neighbours",
    ),
    "region of no province": (("mine", "region"), "990622", ("mine", "region"), "no province"),
    "region of another county": (("extends",), "regions/150623.yaml", ("mine", "region"), "extended region 150623"),
    "region of another city": (("extends",), "regions/150700.yaml", ("mine", "region"), "extended region 150700"),
    "not a flag": (("quality",), {"unusable": ["rang"]}, ("quality", "unusable", 0), "did you mean 'range'?"),
    "flag twice": (("quality",), {"unusable": ["late", "late"]}, ("quality", "unusable", 1), "once is enough"),
    "standard twice": (
        ("standards",),
        ["GB 3095-2026/ambient-air", "GB 12348-2008/boundary", "GB 3095-2026/ambient-air"],
        ("standards", 2),
        "'GB 3095-2026/ambient-air' is already standards[0]; once is enough",
    ),
    "no such standard": (("standards",), ["GB 3095-2027/ambient-air"], ("standards", 0), "did you mean 'GB 3095-2026"),
    "standard as a whole": (("standards",), ["GB 3095-2026"], ("standards", 0), "name a part of it"),
    "no such part": (("standards",), ["GB 3095-2026/air"], ("standards", 0), "has no part 'air'"),
    "class that is missing": (("standards",), ["GB 3838-2002/surface-water"], ("standards", 0), "class: ..."),
    "no such class": (
        ("standards",),
        [{"part": "GB 3838-2002/surface-water", "class": "VI"}],
        ("standards", 0, "class"),
        "'VI' is not a class of",
    ),
    "standard of no device": (
        ("standards",),
        [{"part": "GB 3095-2026/ambient-air", "devices": ["d3"]}],
        ("standards", 0, "devices", 0),
        "no device 'd3'",
    ),
    "reference of no device": (
        ("standards",),
        [{"part": "DB13/2934-2019/hourly-difference", "reference": "x1"}],
        ("standards", 0, "reference"),
        "no device 'x1'",
    ),
    "repeated limit id": (("limits",), [own(), own()], ("limits", 1, "id"), "already the id of limits[0]"),
    "limit of no device": (("limits",), [own(devices=["d3"])], ("limits", 0, "devices", 0), "no device 'd3'"),
    "limit of what no sensor has": (
        ("limits",),
        [own(metric="cod", unit="mg/L")],
        ("limits", 0, "devices", 0),
        "'d1' does not report cod",
    ),
    "limit on another channel": (
        ("limits",),
        [own(channel="d9")],
        ("limits", 0, "devices", 0),
        "does not report pm10 on channel 'd9'",
    ),
    "limit that ends before it begins": (
        ("limits",),
        [own(valid_from="2026-02-01", valid_to="2026-01-31")],
        ("limits", 0, "valid_to"),
        "is before valid_from",
    ),
    "reference plot of no device": (
        (*S3, 0, "soil"),
        {"field_capacity": 30, "reference_plot": "s9"},
        (*S3, 0, "soil", "reference_plot"),
        "no device 's9'",
    ),
    "probe that is its own reference": (
        (*S3, 0, "soil"),
        {"field_capacity": 30, "reference_plot": "s1"},
        (*S3, 0, "soil", "reference_plot"),
        "no reference of its own",
    ),
    "model path absolute": (
        ("models", "drift", "path"),
        "/tmp/x.npz",
        ("models", "drift", "path"),
        "inside the folder",
    ),
    "model path with drive": (("models", "drift", "path"), "C:x.npz", ("models", "drift", "path"), "without a drive"),
    "model path from Windows": (("models", "drift", "path"), "a\\b.npz", ("models", "drift", "path"), "with `/`"),
    "model path from the web": (("models", "drift", "path"), "http://x/y", ("models", "drift", "path"), "a URL"),
    "model path upwards": (("models", "drift", "path"), "a/../../x.npz", ("models", "drift", "path"), "remove `..`"),
    "pickle": (("models", "drift", "path"), "x.PKL", ("models", "drift", "path"), "a pickle runs code"),
    "joblib": (("models", "drift", "path"), "x.joblib", ("models", "drift", "path"), "a pickle runs code"),
    "model path of no text": (("models", "drift", "path"), 5, ("models", "drift", "path"), "must be text"),
    "literal URL": (("plan", "hook", "url"), "http://169.254.169.254/", ("plan", "hook", "url"), "write secret:NAME"),
    "literal token": (
        ("ladders", 0, "steps", 0),
        {"call": [{"token": "abc"}]},
        ("ladders", 0, "steps", 0, "call", 0, "token"),
        "write secret:NAME",
    ),
}


@pytest.mark.parametrize(("path", "value", "where", "words"), ERRORS.values(), ids=ERRORS.keys())
def test_errors(path: tuple[Any, ...], value: Any, where: tuple[Any, ...], words: str) -> None:
    data = good()
    put(data, path, value)
    findings = check_policy(Policy.model_validate(data))
    assert [found for found, _ in findings] == [where]
    assert words in findings[0][1]


@pytest.mark.parametrize("region", ["regions/150622.yaml", "150600.yml", "x/150000.yaml", "county.yaml"])
def test_regions_that_hold_the_mine(region: str) -> None:
    assert check_policy(Policy.model_validate({**good(), "extends": region})) == []


WARNINGS: dict[str, tuple[tuple[Any, ...], Any, tuple[Any, ...], str]] = {
    "same scope": (
        R,
        limit("x", "pm10", 100, 50),
        R,
        "'x' watches the same series at the same severity as 'pm10-high'",
    ),
    "nobody is told": (("rules", 1, "tell"), ["boss"], ("rules", 1), "no contact of 'pm10-d1' takes warning"),
    "idle device": (("devices", 4), {"id": "x"}, ("devices", 4), "'x' has no sensors"),
    "far away": (("devices", 1, "position"), [110.2, 19.7], ("devices", 1, "position"), "is 2224 km from the mine"),
    "channel twice": (
        ("contacts", 0, "channels"),
        [{"kind": "email", "to": "a@b"}, {"kind": "console"}, {"kind": "email", "to": "a@b"}],
        ("contacts", 0, "channels", 2),
        "'a@b' is here 2 times",
    ),
}


@pytest.mark.parametrize(("path", "value", "where", "words"), WARNINGS.values(), ids=WARNINGS.keys())
def test_warnings(path: tuple[Any, ...], value: Any, where: tuple[Any, ...], words: str) -> None:
    data = good()
    put(data, path, value)
    policy = Policy.model_validate(data)
    findings = policy_warnings(policy)
    assert check_policy(policy) == []
    assert [found for found, _ in findings] == [where]
    assert words in findings[0][1]


def test_a_policy_without_devices_is_allowed_and_warned_of() -> None:
    policy = Policy.model_validate({**good(), "devices": [], "rules": []})
    assert check_policy(policy) == []
    assert [message for _, message in policy_warnings(policy)] == [
        "the policy has no devices; every reading will be unregistered"
    ]


def test_steps_of_severity_are_no_repetition() -> None:
    data = good()
    data["rules"] += [limit("x", "pm10", 420, 300, severity="critical")]
    data["rules"] += [limit("y", "pm10", 250, 200, kind="mean", window="5m")]
    assert policy_warnings(Policy.model_validate(data)) == []


WARNED: dict[str, tuple[Any, tuple[Any, ...], str]] = {
    "edition that ended": (["GB 3095-2012/ambient-air"], ("standards", 0), "GB 3095-2026 is judged by instead"),
    "device that reports nothing of it": (
        [{"part": "GB 12348-2008/boundary", "devices": ["d1"]}],
        ("standards", 0, "devices", 0),
        "'d1' reports nothing of GB 12348-2008/boundary (laeq, lamax)",
    ),
    "class without classes": (
        [{"part": "GB 20426-2006/fugitive-tsp", "class": "new"}],
        ("standards", 0, "class"),
        "has no classes",
    ),
}


@pytest.mark.parametrize(("standards", "where", "words"), WARNED.values(), ids=WARNED.keys())
def test_what_is_probably_not_meant_of_standards(standards: Any, where: tuple[Any, ...], words: str) -> None:
    policy = Policy.model_validate({**good(), "valid_from": "2026-03-01", "standards": standards})
    assert check_policy(policy) == []
    ((path, message),) = policy_warnings(policy)
    assert path == where
    assert words in message


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"unit": "mg/L"}, "pm10 cannot be in mg/L"),
        ({"metric": "pm11"}, "unknown metric 'pm11'"),
        ({"at_most": None}, "a limit without a value limits nothing"),
        ({"at_least": 200}, "at_least 200 is over at_most 100"),
        ({"window": "fortnight"}, "hour"),
        ({"digits": 9}, "6"),
    ],
)
def test_a_limit_of_one_s_own_that_says_nothing_is_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Policy.model_validate({**good(), "limits": [own(**changed)]})
