"""Scenarios, their messages and their truth, on the mines that ship as examples."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmine.core.clock import NS_PER_S
from greenmine.core.errors import UserError
from greenmine.ingest.admit import admit
from greenmine.ingest.decode_json import decode_json
from greenmine.ingest.registry import Registry
from greenmine.ingest.topic import parse_topic
from greenmine.policy.load import EXAMPLES, load_policy
from greenmine.policy.model import LimitRule, Policy
from greenmine.simulator.message import TimedMessage
from greenmine.simulator.run import messages
from greenmine.simulator.scenario import DEFAULT_SCENARIO, Scenario, list_scenarios, load_scenario
from greenmine.simulator.truth import truth

POLICIES = [load_policy(EXAMPLES / f"shifan-{number}.yaml").policy for number in (1, 2)]
START_NS = int(datetime(2026, 11, 22, tzinfo=UTC).timestamp()) * NS_PER_S
MINUTE_NS = 60 * NS_PER_S
HOUR_NS = 60 * MINUTE_NS
CALM, EPISODE, SILENT = (load_scenario(name) for name in ("calm", "dust-episode", "silent-sensor"))


def hour_of(scenario: Scenario) -> list[TimedMessage]:
    return list(messages(POLICIES, scenario, START_NS, START_NS + HOUR_NS))


@pytest.fixture(scope="module")
def episode() -> list[TimedMessage]:
    return hour_of(EPISODE)


def values_of(sent: list[TimedMessage], metric: str) -> dict[str, list[tuple[int, float]]]:
    """Times and values of a metric by device."""
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for message in sent:
        for item in decode_json(message.payload).items:
            if item.metric == metric and item.value is not None:
                found[f"{message.mine}/{item.device or message.device}"].append((item.time_ns, item.value))
    return dict(found)


def test_scenarios_are_listed_by_name() -> None:
    assert [scenario.name for scenario in list_scenarios()] == ["calm", "dust-episode", "silent-sensor"]
    assert load_scenario(DEFAULT_SCENARIO) == EPISODE
    for scenario in list_scenarios():
        assert load_scenario(scenario.name) == scenario
        assert scenario.title.zh != scenario.title.en


def test_a_run_is_repeatable(episode: list[TimedMessage]) -> None:
    assert hour_of(EPISODE) == episode
    assert hour_of(EPISODE.model_copy(update={"seed": 1})) != episode


def test_messages_are_in_time_order_and_inside_the_run(episode: list[TimedMessage]) -> None:
    times = [message.time_ns for message in episode]
    assert times == sorted(times)
    assert times[0] >= START_NS
    assert times[-1] < START_NS + HOUR_NS


def test_every_message_keeps_the_contract_and_is_admitted(episode: list[TimedMessage]) -> None:
    """Judged by the ingest of this very project: registered, in range, on the right topic, by the right account."""
    registry = Registry.of(POLICIES)
    for message in episode:
        topic = parse_topic(message.topic)
        assert (topic.mine, topic.device) == (message.mine, message.device)
        assert message.client == f"{message.mine}.{message.device}"
        decoded = decode_json(message.payload)
        assert decoded.refused == []
        assert len(decoded.items) == message.readings
        for item in decoded.items:
            admitted = admit(item, message.mine, message.device, registry, message.time_ns)
            assert (admitted.quarantine, admitted.reading.quality) == ("", 0), admitted


def test_every_registered_series_reports_at_its_interval(episode: list[TimedMessage]) -> None:
    seen: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for message in episode:
        for item in decode_json(message.payload).items:
            device = item.device or message.device
            seen[message.mine, device, item.metric, item.channel, item.stat, item.period_s].append(item.time_ns)
    registered = {tuple(series): setting for policy in POLICIES for series, setting in policy.series().items()}
    assert set(seen) == set(registered)
    for series, times in seen.items():
        steps = {after - before for before, after in pairwise(times)}
        assert steps == {registered[series].interval * NS_PER_S}, series


def test_devices_behind_a_gateway_speak_through_it(episode: list[TimedMessage]) -> None:
    through = [json.loads(message.payload) for message in episode if message.device == "gw-1"]
    assert through
    assert all(isinstance(payload, list) for payload in through)
    assert {entry["device"] for payload in through for entry in payload} == {
        device.id for device in POLICIES[1].devices if device.gateway == "gw-1"
    }
    own = [json.loads(message.payload) for message in episode if message.mine == "shifan-1"]
    assert all("device" not in payload for payload in own)


def test_sequence_numbers_have_no_gap_and_name_the_run(episode: list[TimedMessage]) -> None:
    numbers: dict[tuple[str, str], list[int]] = defaultdict(list)
    boots = set()
    for message in episode:
        payload = json.loads(message.payload)
        objects = payload if isinstance(payload, list) else [payload]
        assert message.sequence == tuple((entry.get("device", message.device), entry["seq"]) for entry in objects)
        boots |= {entry["boot"] for entry in objects}
        for device, seq in message.sequence:
            numbers[message.mine, device].append(seq)
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())
    assert len(boots) == 1
    assert json.loads(next(messages(POLICIES, EPISODE, START_NS + HOUR_NS, None)).payload)["boot"] not in boots


def test_steps_may_be_skipped(episode: list[TimedMessage]) -> None:
    """A run that begins in the middle has the same values; only its counters start anew."""
    middle_ns = START_NS + 20 * MINUTE_NS
    late = list(messages(POLICIES, EPISODE, middle_ns, START_NS + HOUR_NS, scenario_start_ns=START_NS))
    for metric in ("pm10", "ph", "laeq", "soil_moisture"):
        rest = {d: [v for v in values if v[0] >= middle_ns] for d, values in values_of(episode, metric).items()}
        assert values_of(late, metric) == rest


def test_a_run_without_end_is_lazy() -> None:
    assert len(list(islice(messages(POLICIES, CALM, START_NS, None), 500))) == 500


def test_the_episode_exceeds_and_settles(episode: list[TimedMessage]) -> None:
    pm10 = values_of(episode, "pm10")
    downwind = [value for _, value in pm10["shifan-1/dust-s1"]]
    assert max(downwind) > 450
    assert max(downwind[:48]) < 150, "before it begins"
    assert max(downwind[-150:]) < 150, "after it has settled"
    assert max(value for _, value in pm10["shifan-1/dust-n1"]) < 200, "upwind"
    assert max(value for _, value in pm10["shifan-2/dust-1"]) < 150, "at the other mine"


def test_the_truth_of_the_episode_is_what_the_sensors_saw(episode: list[TimedMessage]) -> None:
    found = truth(POLICIES, EPISODE, START_NS, START_NS + HOUR_NS)
    assert found.silences == []
    (high,) = [seen for seen in found.exceedances if seen.rule == "pm10-high"]
    assert (high.mine, high.device, high.metric) == ("shifan-1", "dust-s1", "pm10")
    assert high.end_ns is not None
    assert START_NS + 8 * MINUTE_NS < high.start_ns < high.end_ns < START_NS + 30 * MINUTE_NS
    course = values_of(episode, "pm10")["shifan-1/dust-s1"]
    over = [time_ns for time_ns, value in course if value > 250]
    assert abs(over[0] - high.start_ns) <= 30 * NS_PER_S, "up to the noise of the sensor"
    cleared = next(time_ns for time_ns, value in course if time_ns > over[-1] and value < 200)
    assert abs(cleared - high.end_ns) <= 10 * NS_PER_S, "it lasts until it is below the clear level"
    assert cleared - over[-1] >= 30 * NS_PER_S, "which is later than below the raise level"
    assert high.extreme == pytest.approx(max(value for _, value in course), rel=0.05)


@given(seed=st.integers(0, 2**32), hour=st.integers(0, 24 * 365))
@settings(max_examples=12, deadline=None)
def test_nothing_exceeds_on_a_calm_hour(seed: int, hour: int) -> None:
    start_ns = START_NS + hour * HOUR_NS
    calm = CALM.model_copy(update={"seed": seed})
    assert truth(POLICIES, calm, start_ns, start_ns + HOUR_NS).exceedances == []
    levels = {
        r.metric: r.raise_level for p in POLICIES for r in p.rules if isinstance(r, LimitRule) and r.id == "pm10-high"
    }
    sent = list(messages(POLICIES, calm, start_ns, start_ns + HOUR_NS))
    for values in values_of(sent, "pm10").values():
        assert max(value for _, value in values) < levels["pm10"]


@given(seed=st.integers(0, 2**32), hour=st.integers(0, 24 * 365))
@settings(max_examples=25, deadline=None)
def test_the_episode_exceeds_in_any_weather(seed: int, hour: int) -> None:
    start_ns = START_NS + hour * HOUR_NS
    found = truth(POLICIES[:1], EPISODE.model_copy(update={"seed": seed}), start_ns, start_ns + HOUR_NS)
    high = [seen for seen in found.exceedances if seen.rule == "pm10-high"]
    assert high
    assert all(seen.end_ns is not None for seen in high)


def test_the_silent_device_is_silent_for_as_long_as_the_truth_says() -> None:
    end_ns = START_NS + SILENT.duration * NS_PER_S
    (silence,) = truth(POLICIES, SILENT, START_NS, end_ns).silences
    sent = list(messages(POLICIES, SILENT, START_NS, end_ns))
    mute = [message.time_ns for message in sent if (message.mine, message.device) == (silence.mine, silence.device)]
    assert mute
    assert not [time_ns for time_ns in mute if silence.start_ns <= time_ns < silence.end_ns]
    assert min(mute) < silence.start_ns < silence.end_ns <= max(mute)
    everyone = list(messages(POLICIES, CALM, START_NS, end_ns))
    assert {m.device for m in sent} == {m.device for m in everyone}
    others = [m.time_ns for m in sent if m.device != silence.device]
    assert others == [m.time_ns for m in everyone if m.device != silence.device], "nobody else is"


def scenario_file(folder: Path, text: str) -> Path:
    path = folder / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return path


GOOD = """\
schema: 1
name: own
title: {zh: 自己的, en: Own}
seed: 5
start: 2026-11-22T08:00:00+08:00
duration: 2h
episodes:
  - {kind: dust, mine: shifan-2, start: 10m, length: 20m, ramp: 2m, strength: 300}
outages:
  - {mine: shifan-2, device: gw-1, start: 30m, length: 5m}
"""


def test_a_scenario_of_ones_own(tmp_path: Path) -> None:
    own = load_scenario(scenario_file(tmp_path, GOOD))
    assert own.start_ns(now_ns=1) == START_NS
    assert CALM.start_ns(now_ns=1) == 1
    sent = list(messages(POLICIES, own, START_NS, START_NS + HOUR_NS))
    assert max(value for _, value in values_of(sent, "pm10")["shifan-2/dust-1"]) > 280
    gateway = [message.time_ns for message in sent if message.device == "gw-1"]
    off = (START_NS + 30 * MINUTE_NS, START_NS + 35 * MINUTE_NS)
    assert not [time_ns for time_ns in gateway if off[0] <= time_ns < off[1]], "all behind a silent gateway are"


def test_one_device_behind_a_gateway_can_be_silent(tmp_path: Path) -> None:
    own = load_scenario(scenario_file(tmp_path, GOOD.replace("device: gw-1", "device: pond-1")))
    sent = [m for m in messages(POLICIES, own, START_NS, START_NS + HOUR_NS) if m.device == "gw-1"]
    off = [m for m in sent if START_NS + 30 * MINUTE_NS <= m.time_ns < START_NS + 35 * MINUTE_NS]
    assert {device for m in off for device, _ in m.sequence} == {"dust-1"}
    assert {device for m in sent for device, _ in m.sequence} == {"dust-1", "pond-1"}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("seed: 5", "seed: 5\nseed: 6", r"own\.yaml:5: seed: "),
        ("seed: 5", "sed: 5", r"own\.yaml:4: sed: "),
        ("duration: 2h", "duration: 120", r"own\.yaml:6: duration: write a duration with its unit"),
        ("T08:00:00+08:00", "T08:00:00", r"own\.yaml:5: start: the time needs its offset"),
        ("2026-11-22T08:00:00+08:00", "tomorrow", r"own\.yaml:5: start: write now, or a time"),
        ("ramp: 2m", "ramp: 11m", r"own\.yaml:8: episodes\[0\]: rise and fall"),
        ("kind: dust", "kind: flood", r"own\.yaml:8: episodes\[0\]\.kind: "),
        ("strength: 300", "strength: -3", r"own\.yaml:8: episodes\[0\]\.strength: "),
        ("schema: 1", "schema: 2", r"own\.yaml:1: schema: "),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = scenario_file(tmp_path, GOOD.replace(old, new))
    with pytest.raises(UserError, match=told):
        load_scenario(path)


def test_unknown_scenarios_are_told() -> None:
    with pytest.raises(UserError, match="no scenario 'storm'; known are calm, dust-episode, silent-sensor"):
        load_scenario("storm")
    with pytest.raises(UserError, match=r"absent\.yaml: cannot be read"):
        load_scenario("absent.yaml")


def without_dust(policy: Policy) -> Policy:
    return policy.model_copy(update={"devices": [d for d in policy.devices if not d.id.startswith("dust")]})


def test_a_scenario_that_does_not_fit_the_mines_is_refused_at_once(tmp_path: Path) -> None:
    own = load_scenario(scenario_file(tmp_path, GOOD))
    with pytest.raises(UserError, match="needs mine 'shifan-2' with dust sensors; such mines here: shifan-1"):
        messages(POLICIES[:1], own, START_NS, None)
    with pytest.raises(UserError, match="needs a mine with dust sensors; such mines here: none"):
        messages([without_dust(POLICIES[0])], EPISODE, START_NS, None)
    typo = load_scenario(scenario_file(tmp_path, GOOD.replace("device: gw-1", "device: gw-7")))
    with pytest.raises(UserError, match=r"needs device 'gw-7' of mine shifan-2; there are: dust-1, gw-1"):
        messages(POLICIES, typo, START_NS, None)
    orphan = POLICIES[1].model_copy(update={"devices": [d for d in POLICIES[1].devices if d.id != "gw-1"]})
    with pytest.raises(UserError, match="its gateway 'gw-1' is not registered"):
        messages([orphan], CALM, START_NS, None)
