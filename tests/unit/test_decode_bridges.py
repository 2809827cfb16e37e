"""SenML, ChirpStack, The Things Stack and Sparkplug B: what is encoded independently is read back, what is bad has its
word, and nothing but a refusal ever leaves a decoder."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from greenmine.cli import app
from greenmine.core.clock import NS_PER_S
from greenmine.core.errors import DecodeRefused
from greenmine.core.quality import Quality
from greenmine.ingest.decode_chirpstack import decode_chirpstack
from greenmine.ingest.decode_senml import decode_senml
from greenmine.ingest.decode_sparkplug import Alias, decode_sparkplug
from greenmine.ingest.decode_tts import decode_tts
from greenmine.ingest.decoded import Decoded
from greenmine.simulator.encode_chirpstack import chirpstack_topic, chirpstack_uplink
from greenmine.simulator.encode_senml import SenmlValue, senml_pack
from greenmine.simulator.encode_sparkplug import (
    BOOLEAN,
    DOUBLE,
    INT32,
    STRING,
    EdgeSession,
    MetricValue,
    sparkplug_payload,
)
from greenmine.simulator.encode_tts import tts_topic, tts_uplink

AT_NS = 1_767_225_600 * NS_PER_S
EUI = "a84041b2c1841f3d"


def values(decoded: Decoded) -> list[tuple[str, float | None]]:
    return [(item.metric, item.value) for item in decoded.items]


# --- SenML (RFC 8428)


def senml(payload: bytes | str) -> str:
    """`OK` with the first value, or the word of what was refused."""
    try:
        decoded = decode_senml(payload.encode() if isinstance(payload, str) else payload, AT_NS)
    except DecodeRefused as refused:
        return refused.word
    if decoded.refused:
        return decoded.refused[0].word
    return "OK"


@pytest.mark.parametrize(
    ("case", "payload", "expected"),
    [
        ("senml-01", "{}", "senml_not_array"),
        ("senml-03", "[{}]", "senml_record"),
        ("senml-04", '[{"n":"t"}]', "senml_no_value"),
        ("senml-06", '[{"n":"t","v":1,"vb":true}]', "senml_two_values"),
        ("senml-07", '[{"v":1}]', "senml_name"),
        ("senml-09", '[{"n":"temp erature","v":1}]', "senml_name_charset"),
        ("senml-10", '[{"n":"-t","v":1}]', "senml_name_charset"),
        ("senml-13", '[{"bn":"' + "a" * 1_000 + '","n":"' + "b" * 1_000 + '","v":1}]', "senml_name_len"),
        ("senml-15", '[{"n":"t","v":NaN}]', "not_finite"),
        ("senml-16", '[{"n":"t","v":1e999}]', "not_finite"),
        ("senml-18", '[{"n":"t","vs":5}]', "type"),
        ("senml-19", '[{"n":"t","vd":"!!"}]', "senml_vd"),
        ("senml-21", '[{"bver":11,"n":"t","v":1}]', "senml_version"),
        ("senml-22", '[{"bver":10,"n":"a","v":1},{"bver":9,"n":"b","v":1}]', "senml_version"),
        ("senml-24", '[{"n":"t","v":1,"zz_":1}]', "senml_must_understand"),
        ("senml-25", '[{"n":"t","v":1,"zz":1}]', "OK"),
        ("senml-28", '[{"bu":"Cel","n":"p","u":"","v":1}]', "unit"),
        ("senml-31", '[{"n":"t","t":-5,"v":1}]', "OK"),
        ("senml-33", '[{"n":"t","t":"now","v":1}]', "type"),
        ("senml-34", '[{"bv":1e308,"n":"t","v":1e308}]', "not_finite"),
        ("senml-36", json.dumps([{"n": "t", "v": 1}] * 1_001), "too_many_records"),
        ("senml-39", '[{"N":"t","V":1}]', "senml_record"),
        ("senml-40", b"\x81\xa2\x00at\x02\xfb\x3f\xf0", "encoding"),
    ],
)
def test_the_catalogue_of_bad_packs(case: str, payload: bytes | str, expected: str) -> None:
    assert senml(payload) == expected, case


def test_a_negative_update_time_costs_no_reading() -> None:
    """senml-42."""
    decoded = decode_senml(b'[{"n":"t","v":1,"ut":-1}]', AT_NS)
    assert values(decoded) == [("t", 1)]


def test_an_impossible_time_is_flagged() -> None:
    """senml-30."""
    (item,) = decode_senml(b'[{"bt":1767225600,"n":"t","t":-1e12,"v":1}]', AT_NS).items
    assert item.quality & Quality.SKEW


def test_relative_times_are_from_the_moment_of_receipt() -> None:
    decoded = decode_senml(b'[{"n":"pm10","t":-5,"v":1},{"n":"pm10","v":2}]', AT_NS)
    assert [item.time_ns for item in decoded.items] == [AT_NS - 5 * NS_PER_S, AT_NS]


def test_base_fields_hold_for_the_records_that_follow() -> None:
    pack = (
        b'[{"bn":"soil_","bt":1767225600,"bu":"%","bv":10,"n":"moisture","v":8.4},{"n":"temp","u":"Cel","t":60,"v":-3}]'
    )
    first, second = decode_senml(pack, 0).items
    assert (first.metric, first.value, first.unit, first.time_ns) == ("soil_moisture", 18.4, "%", AT_NS)
    assert (second.metric, second.value, second.unit, second.time_ns) == ("soil_temp", 7, "Cel", AT_NS + 60 * NS_PER_S)


def test_a_sum_alone_and_values_that_are_no_numbers() -> None:
    decoded = decode_senml(b'[{"n":"door","vb":true},{"n":"name","vs":"x"},{"n":"pm10","v":5}]', AT_NS)
    assert values(decoded) == [("pm10", 5)]
    assert {one.name for one in decoded.unreadable} == {"door", "name"}


@given(
    st.lists(
        st.tuples(st.sampled_from(("pm10", "ph", "soil_moisture@d20")), st.floats(-1e6, 1e6)), min_size=1, max_size=9
    )
)
def test_packs_are_read_back(sent: list[tuple[str, float]]) -> None:
    decoded = decode_senml(senml_pack([SenmlValue(name, value) for name, value in sent], AT_NS), 0)
    back = [(f"{one.metric}@{one.channel}" if one.channel else one.metric, one.value) for one in decoded.items]
    assert back == sent
    assert {one.time_ns for one in decoded.items} == {AT_NS}


# --- LoRaWAN network servers


@pytest.mark.parametrize("fields", [{"soil_moisture": 18.4, "battery": 3.55}, {"soil_moisture": 0}])
def test_an_uplink_of_chirpstack_with_a_codec(fields: dict[str, float]) -> None:
    decoded = decode_chirpstack(chirpstack_uplink(EUI, AT_NS, fields=fields, counter=7))
    assert dict(values(decoded))["soil_moisture"] == fields["soil_moisture"]
    (item, *_) = decoded.items
    assert (item.device, item.time_ns, item.seq, item.boot) == (EUI, AT_NS, 7, "01a2b3c4")
    assert decoded.health is not None
    assert decoded.health.rssi_dbm == -97
    assert decoded.frame is None


def test_an_uplink_without_a_codec_keeps_its_bytes() -> None:
    decoded = decode_chirpstack(chirpstack_uplink(EUI, AT_NS, frame=b"\x01\x67\x00\xe1", port=85))
    assert decoded.items == []
    assert decoded.frame is not None
    assert (decoded.frame.payload, decoded.frame.port) == (b"\x01\x67\x00\xe1", 85)
    stack = decode_tts(tts_uplink("soil07", EUI, AT_NS, frame=b"\x01\x67\x00\xe1", port=85), "soil07")
    assert stack.frame == decoded.frame


@pytest.mark.parametrize("left_out", ["fCnt", "fPort", "rxInfo", "dr", "adr"])
def test_what_is_zero_may_be_left_out(left_out: str) -> None:
    event = json.loads(chirpstack_uplink(EUI, AT_NS, fields={"soil_moisture": 1}, counter=0))
    del event[left_out]
    (item,) = decode_chirpstack(json.dumps(event).encode()).items
    assert item.seq == 0


def test_the_things_stack_leaves_out_what_is_zero() -> None:
    payload = tts_uplink("soil07", EUI, AT_NS, fields={"soil_moisture": 18.4}, counter=0, rssi=0)
    assert b"f_cnt" not in payload
    decoded = decode_tts(payload, "soil07")
    (item,) = decoded.items
    assert (item.device, item.metric, item.value, item.seq) == (EUI, "soil_moisture", 18.4, 0)
    assert item.time_ns == AT_NS, "when the network received it, not when it was passed on"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"deviceInfo": None}, "type missing_field"),
        ({"deviceInfo": {"devEui": "xyz"}}, "device_id_charset"),
        ({"deviceInfo": {}}, "missing_field"),
        ({"time": "yesterday"}, "ts_format"),
        ({"time": "2026-01-01T00:00:00"}, "ts_zone"),
        ({"fCnt": -1}, "range"),
        ({"fCnt": 2**32}, "range"),
        ({"object": None, "data": "!!"}, "base64"),
        ({"object": None, "data": ""}, "empty"),
    ],
)
def test_uplinks_that_cannot_be_read(change: dict[str, Any], word: str) -> None:
    event = {**json.loads(chirpstack_uplink(EUI, AT_NS, fields={"soil_moisture": 1})), **change}
    with pytest.raises(DecodeRefused) as refused:
        decode_chirpstack(json.dumps(event).encode())
    assert refused.value.word in word.split()


def test_the_topic_of_the_things_stack_wins_and_the_console_is_no_sensor() -> None:
    payload = tts_uplink("soil07", EUI, AT_NS, fields={"soil_moisture": 1})
    with pytest.raises(DecodeRefused) as refused:
        decode_tts(payload, "soil08")
    assert refused.value.word == "scope"
    simulated = json.dumps({**json.loads(payload), "simulated": True}).encode()
    with pytest.raises(DecodeRefused) as refused:
        decode_tts(simulated, "soil07")
    assert refused.value.word == "simulated"


# --- Sparkplug B 3.0

DEVICE = "mine-a/gw01/pump"


def test_a_birth_names_the_aliases_that_data_use() -> None:
    session = EdgeSession("mine-a", "gw01")
    _, birth = session.device_birth("pump", {"flow": 1.5, "level": 2.25}, AT_NS)
    born = decode_sparkplug(birth, DEVICE, {})
    assert values(born.decoded) == [("flow", 1.5), ("level", 2.25)]
    assert {alias.name for alias in born.defined.values()} == {"flow", "level"}
    number = next(number for number, alias in born.defined.items() if alias.name == "level")
    sent = sparkplug_payload([MetricValue(7.5, DOUBLE, alias=number)], AT_NS + NS_PER_S, 2)
    data = decode_sparkplug(sent, DEVICE, born.defined)
    assert values(data.decoded) == [("level", 7.5)]
    assert data.decoded.items[0].time_ns == AT_NS + NS_PER_S
    nobody = decode_sparkplug(sent, DEVICE, {})
    assert values(nobody.decoded) == []
    assert [number for number, _ in nobody.unnamed] == [number]


def test_null_text_and_own_times() -> None:
    metrics = [
        MetricValue(None, DOUBLE, "flow"),
        MetricValue("open", STRING, "valve"),
        MetricValue(True, BOOLEAN, "door"),
        MetricValue(-3, INT32, "water_temp", time_ns=AT_NS - 60 * NS_PER_S, historical=True),
    ]
    message = decode_sparkplug(sparkplug_payload(metrics, AT_NS, 255), DEVICE, {})
    assert message.seq == 255
    numbers = {item.metric: (item.value, item.time_ns) for item in message.decoded.items}
    assert numbers["water_temp"] == (-3, AT_NS - 60 * NS_PER_S)
    assert numbers["flow"][0] is None, "null is a value that is missing"
    assert {"valve", "door"} <= {one.name for one in message.decoded.unreadable} | set(numbers)


@pytest.mark.parametrize("value", [21.4, 0.1, -7.3, 1e10])
def test_a_float_is_the_decimal_number_that_was_meant(value: float) -> None:
    (item,) = decode_sparkplug(sparkplug_payload([MetricValue(value, name="flow")], AT_NS, 0), DEVICE, {}).decoded.items
    assert item.value == value


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_none_is_refused_and_costs_no_other(value: float) -> None:
    payload = sparkplug_payload([MetricValue(value, DOUBLE, "flow"), MetricValue(1.0, DOUBLE, "level")], AT_NS, 0)
    decoded = decode_sparkplug(payload, DEVICE, {}).decoded
    assert values(decoded) == [("level", 1.0)]
    assert [(one.name, one.word) for one in decoded.unreadable] == [("flow", "not_finite")]


@pytest.mark.parametrize(
    ("payload", "word"),
    [
        (b"\xff" * 40, "protobuf"),
        (b"\x12\xff\xff\xff\x7f", "protobuf"),
        (bytes(300_000), "size"),
        (sparkplug_payload([], AT_NS, 256), "range"),
        (sparkplug_payload([MetricValue(1.0, name="a")] * 5_001, AT_NS, 0), "too_many_records"),
    ],
)
def test_payloads_that_cannot_be_read(payload: bytes, word: str) -> None:
    with pytest.raises(DecodeRefused) as refused:
        decode_sparkplug(payload, DEVICE, {})
    assert refused.value.word == word


# --- whatever comes

DECODERS = {
    "senml": lambda raw: decode_senml(raw, AT_NS),
    "chirpstack": decode_chirpstack,
    "tts": lambda raw: decode_tts(raw, "soil07"),
    "sparkplug": lambda raw: decode_sparkplug(raw, DEVICE, {1: Alias("flow", 10), 2: Alias("x", None)}),
}
GOOD = {
    "senml": senml_pack([SenmlValue("pm10", 81.3, "ug/m3"), SenmlValue("ph", 7.1)], AT_NS),
    "chirpstack": chirpstack_uplink(EUI, AT_NS, fields={"soil_moisture": 18.4, "deep": {"a": [1, 2]}}, frame=b"abc"),
    "tts": tts_uplink("soil07", EUI, AT_NS, fields={"soil_moisture": 18.4}, frame=b"abc"),
    "sparkplug": EdgeSession("mine-a", "gw01").device_birth("pump", {"flow": 1.5, "level": 2.0}, AT_NS)[1],
}
PIECES = [
    b"\x00",
    b"\xff",
    b"NaN",
    b"1e999",
    b"null",
    b"[[[[",
    b'{"a":',
    b'"',
    b"-",
    b"9" * 400,
    b"\xed\xa0\x80",
    b"\x12\x7f",
]


@pytest.mark.parametrize("name", sorted(DECODERS))
@given(raw=st.binary(max_size=300))
@example(raw=b"")
@example(raw=b"[" * 100_000)
@example(raw=b"\x0b" * 5_000)
def test_any_bytes_are_readings_or_a_refusal(name: str, raw: bytes) -> None:
    try:
        DECODERS[name](raw)
    except DecodeRefused as refused:
        word = refused.word
    else:
        word = "fine"
    assert word.replace("_", "").isalnum()


@pytest.mark.parametrize("name", sorted(DECODERS))
@given(data=st.data())
def test_good_bytes_that_were_tampered_with_are_readings_or_a_refusal(name: str, data: st.DataObject) -> None:
    raw = bytearray(GOOD[name])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(raw)))
        end = data.draw(st.integers(place, min(len(raw), place + 6)))
        raw[place:end] = data.draw(st.sampled_from(PIECES) | st.binary(max_size=4))
    try:
        DECODERS[name](bytes(raw))
    except DecodeRefused as refused:
        word = refused.word
    else:
        word = "fine"
    assert word.replace("_", "").isalnum()


# --- `greenmine decode`

CONTRACT = ("time", "mine", "device", "metric", "channel", "stat", "period_s", "value", "unit", "quality")


@pytest.mark.parametrize(
    ("name", "topic", "metric", "value"),
    [
        ("senml", "", "pm10", 81.3),
        ("chirpstack", chirpstack_topic("a1", EUI), "soil_moisture", 18.4),
        ("tts", tts_topic("app", "soil07"), "soil_moisture", 18.4),
        ("sparkplug", "spBv1.0/mine-a/DBIRTH/gw01/pump", "flow", 1.5),
    ],
)
def test_the_command_line_needs_no_configuration(name: str, topic: str, metric: str, value: float) -> None:
    arguments = ["decode", "--format", name, *(["--topic", topic] if topic else []), "-"]
    result = CliRunner().invoke(app, arguments, input=GOOD[name])
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    readings = [line for line in lines if "reject" not in line]
    assert readings, result.output
    assert all(tuple(line) == CONTRACT for line in readings)
    first = next(line for line in readings if line["metric"] == metric)
    assert (first["value"], first["time"], first["quality"]) == (value, "2026-01-01T00:00:00Z", [])
    assert result.exit_code == (2 if len(readings) < len(lines) else 0)


@pytest.mark.parametrize("name", sorted(DECODERS))
def test_a_refusal_is_said_and_ends_with_2(name: str) -> None:
    topics = {"chirpstack": chirpstack_topic("a1", EUI), "tts": tts_topic("app", "soil07")}
    topic = topics.get(name, "spBv1.0/mine-a/DBIRTH/gw01/pump" if name == "sparkplug" else "")
    arguments = ["decode", "--format", name, *(["--topic", topic] if topic else []), "-"]
    result = CliRunner().invoke(app, arguments, input=b"\xff\xfe nothing that anybody reads")
    assert result.exit_code == 2
    (line,) = [json.loads(line) for line in result.stdout.splitlines()]
    assert set(line) == {"reject", "detail"}
