"""The quick way of ordinary messages and the general way end in the same state, whatever is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from greenmine.core.errors import DecodeRefused
from greenmine.core.latest import ALL_MESSAGES, Change, Wants
from greenmine.ingest.decode_json import decode_json
from greenmine.ingest.ordinary_json import (
    TEXTS_OF_AN_OBJECT,
    TEXTS_OF_BOOT,
    TEXTS_OF_DEVICE,
    TEXTS_OF_SEQ,
    TEXTS_OF_TS,
    has_texts,
    ordinary_objects,
)
from greenmine.ingest.timestamp import from_milliseconds, from_rfc3339
from greenmine.pipeline.ordinary import Ordinary
from tests.pipeline_scenes import (
    DUSTY,
    MINE,
    NS,
    SILENT,
    SPARE,
    Scene,
    device,
    entry,
    everything,
    mean,
    message,
    policy,
    scene,
)

WILD = st.sampled_from(
    [
        '{"ts": 1795334400000, "values": {"pm10": 81.3}}',
        '{"ts": 1795334400000, "values": {"pm10": 81.3, "pm10": 82}}',
        '{"ts": 1795334400000, "ts": 1795334400001, "values": {"pm10": 1}}',
        '[{"ts":"2026-11-22T08:00:00Z", "values": {"pm10": 1, "pm25@a": 2}, "device": "d", "seq": 7, "boot": "a"}]',
        '{"ts": 1795334400000, "values": {"pm10": NaN}}',
        '{"ts": 1795334400000, "values": {"pm10": 1e999}}',
        '{"ts": 1795334400000, "values": {"pm10": true}}',
        '{"ts": 1795334400000, "values": {"pm10": null}}',
        '{"ts": 1795334400000, "values": {"pm10": "1"}}',
        '{"ts": 1795334400000, "values": {"p\\u006d10": 1}}',
        '{"ts": 1795334400000, "values": {}}',
        '{"ts": 1795334400000.5, "values": {"pm10": 1}}',
        '{"ts": 1795334400000, "values": {"pm10": 1}, "seq": -1}',
        '{"ts": 1795334400000, "values": {"pm10": 1}, "seq": 1.5}',
        '{"ts": 1795334400000, "values": {"pm10": 1}, "device": null}',
        '{"ts": 1795334400000, "values": {"pm10": 1}, "x": 1}',
        '{"ts": 1795334400000, "values": {"pm10": 1}} ',
        "[]",
        "[[]]",
        "",
        "\ufeff{}",
    ]
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A payload, and perhaps some of its bytes changed, doubled or dropped."""
    raw = bytearray(draw(WILD).encode())
    for _ in range(draw(st.integers(0, 3))):
        if raw:
            place = draw(st.integers(0, len(raw) - 1))
            raw[place : place + draw(st.integers(0, 2))] = draw(
                st.sampled_from([b'"', b":", b",", b"1", b"{", b"\xff", b"\\"])
            )
    return bytes(raw)


@settings(max_examples=600, deadline=None)
@given(mutated())
def test_what_is_taken_as_ordinary_is_what_the_decoder_reads(payload: bytes) -> None:
    objects = ordinary_objects(payload)
    if objects is None:
        return
    expected: list[tuple[Any, ...]] = []
    texts = 0
    for one in objects:
        texts += TEXTS_OF_AN_OBJECT + len(one.values)
        texts += TEXTS_OF_TS * isinstance(one.ts, str) + TEXTS_OF_SEQ * (one.seq is not None)
        texts += TEXTS_OF_DEVICE * (one.device is not None) + TEXTS_OF_BOOT * (one.boot is not None)
        try:
            time_ns = from_milliseconds(one.ts) if isinstance(one.ts, int) else from_rfc3339(one.ts)
        except DecodeRefused:
            return  # the pipeline leaves such a message to the decoder
        for name, value in one.values.items():
            metric, _, channel = name.partition("@")
            expected.append((one.device, metric, channel, time_ns, value, one.seq, one.boot))
    if not has_texts(payload, texts):
        return  # so is one in which a name stands twice
    decoded = decode_json(payload)
    if decoded.refused:  # names that nothing is registered under: left to the decoder as well
        assert {refusal.word for refusal in decoded.refused} <= {
            "unknown_field",
            "channel_charset",
            "device_id_charset",
        }
        return
    found = [(i.device, i.metric, i.channel, i.time_ns, i.value, i.seq, i.boot) for i in decoded.items]
    assert found == expected


OLD_S = 100 * 3600
"""Older than identities are kept."""
STEPS = st.lists(
    st.tuples(
        st.sampled_from([1, 10, 31, 400, 4000]),
        st.lists(
            st.tuples(
                st.sampled_from(["pm10", "pm25"]),
                st.sampled_from([20.0, 100.0, 151.0, 260, 900.0, -5.0, 20_000.0]),
                st.sampled_from([0, 0, 0, 0, -5, -30, 400, -OLD_S]),
            ),
            min_size=1,
            max_size=4,
        ),
    ),
    max_size=12,
)
RULES = [DUSTY, SILENT, mean(window="60s", coverage=0.1)]


def told(steps: list[tuple[int, list[tuple[str, float, int]]]], ordinary: bool) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch, SPARE.state() as state:
        if not ordinary:
            patch.setattr(Ordinary, "take", lambda *_: None)
        s = Scene(state).begin(policy(RULES, devices=[device("dust-1", pm10="ug/m3", pm25="mg/m3")]))
        number = 0
        for seconds, values in steps:
            s.tick(seconds)
            objects = []
            for metric, value, late in values:
                number += {260: 0, 900.0: 3, -5.0: -2}.get(value, 1)  # on, the same again, passed over, back
                sequence = {"seq": abs(number), "boot": "b" if seconds == 4000 else "a"} if value != 151.0 else {}
                objects.append(entry(s.now_ns + late * NS, {metric: value}, **sequence))
            s.batch(message(objects if len(objects) > 1 else objects[0]))
        held = everything(state)
        # The quick way puts the late readings of a message behind the others of that message.
        held["outbox"] = {kind: sorted(readings) for kind, readings in held["outbox"].items()}
        held["windows"] = [
            (one.series, one.window and list(one.window._samples), one.active)
            for one in s.pipeline.judge.state.series.values()
        ]
        return held


@settings(max_examples=60, deadline=None)
@given(STEPS)
@example([(1, [("pm10", 20.0, 0), ("pm10", 900.0, 0), ("pm10", -5.0, 0)]), (1, [("pm10", 20.0, 0), ("pm10", 260, 0)])])
@example([(1, [("pm10", 20.0, -OLD_S)]), (10, [("pm10", 100.0, -OLD_S), ("pm10", 260, -OLD_S)])])
def test_both_ways_end_in_the_same_state(steps: list[tuple[int, list[tuple[str, float, int]]]]) -> None:
    assert told(steps, ordinary=True) == told(steps, ordinary=False)


def test_ordinary_messages_do_go_the_quick_way() -> None:
    with SPARE.state() as state:
        s = Scene(state).begin(policy(RULES, devices=[device("dust-1", pm10="ug/m3")]))
        s.say(1)  # the series is made on the general way
        quick = s.pipeline.judge.intake._ordinary
        counted = []
        take = quick.take
        quick.take = lambda *args: counted.append(take(*args)) or counted[-1]  # type: ignore[method-assign,func-returns-value]
        s.say(2)
        s.batch(message([json.loads(json.dumps(entry(s.now_ns + n * NS, {"pm10": n}))) for n in range(1, 5)]))
        assert counted == [[], []]


@pytest.mark.parametrize(
    ("wanted", "slow"),
    [
        (set(), set()),
        ({("other", "")}, {("other", "dust-1"), ("other", "gw-1")}),
        ({("other", "dust-2")}, {("other", "gw-1")}),
        ({(MINE, "dust-1"), (MINE, "nobody")}, {(MINE, "dust-1")}),
        ({("", "dust-1")}, {(MINE, "dust-1"), ("other", "dust-1")}),
        (ALL_MESSAGES, {(MINE, "dust-1"), ("other", "dust-1"), ("other", "gw-1")}),
    ],
)
def test_who_looks_at_one_mine_or_device_sends_no_other_the_slow_way(
    wanted: set[tuple[str, str]], slow: set[tuple[str, str]]
) -> None:
    behind = {**device("dust-2", pm10="ug/m3"), "gateway": "gw-1"}
    here = policy([DUSTY], devices=[device("dust-1", pm10="ug/m3")])
    there = policy([DUSTY], "other", devices=[device("dust-1", pm10="ug/m3"), device("gw-1"), behind])
    quick: set[tuple[str, str]] = set()
    seen: list[Change] = []
    with SPARE.state() as state:
        s = Scene(state).begin(here, there)
        take = s.pipeline.judge.intake._ordinary.take

        def counted(payload: bytes, topic: Any, *rest: Any) -> Any:
            quick.add((topic.mine, topic.device))
            return take(payload, topic, *rest)

        s.pipeline.judge.intake._ordinary.take = counted  # type: ignore[method-assign]
        s.pipeline.subscribe(seen.extend, lambda: Wants(False, frozenset(wanted)))
        s.batch(
            message(entry(s.now_ns, {"pm10": 1.0})),
            message(entry(s.now_ns, {"pm10": 2.0}), mine="other"),
            message(entry(s.now_ns, {"pm10": 3.0}, device="dust-2"), "gw-1", "other"),
        )
        assert {(MINE, "dust-1"), ("other", "dust-1"), ("other", "gw-1")} - quick == slow
        shown = [(one.what["mine"], one.what["device"]) for one in seen if one.kind == "message"]
        assert sorted(shown) == sorted(slow)
        assert s.account.pending == 3


def test_names_that_a_sender_invents_cost_no_memory() -> None:
    """Nothing is kept of a device that is not there: a gateway could name millions."""
    with scene() as s:
        s.begin(policy([DUSTY])).say(10, 20)
        ways = s.pipeline.judge.intake._ordinary._senders
        before = {topic: len(senders) for topic, senders in ways.items()}
        for number in range(50):
            s.batch(message([{**entry(s.now_ns, {"pm10": 1.0}), "device": f"invented-{number}"}]))
            s.batch(message(entry(s.now_ns, {"pm10": 1.0}), f"stranger-{number}"))
        assert {topic: len(senders) for topic, senders in ways.items()} == before != {}
