"""SenML, ChirpStack, The Things Stack and Sparkplug B: what is encoded independently is read back, what is bad has its
word, and nothing but a refusal ever leaves a decoder."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from greenmine.cli import app
from greenmine.core.clock import NS_PER_S
from greenmine.core.dead_letter import DeadReason
from greenmine.core.errors import DecodeRefused
from greenmine.core.quality import Quality
from greenmine.ingest.decode_chirpstack import decode_chirpstack
from greenmine.ingest.decode_senml import decode_senml
from greenmine.ingest.decode_sparkplug import Alias, SparkplugMessage, decode_sparkplug
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


ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = ROOT.parent / "shared" / "bad_inputs.jsonl"
BAD_PACKS: list[tuple[str, bytes | str, str]] = [
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
]
BAD_PACKS_ELSEWHERE = {
    "senml-12": "scenarios/test_bridges.py::test_senml_of_another_device_is_refused_and_its_own_is_stored",
    "senml-27": "unit/test_decode_bridges.py::test_humidity_beyond_100_is_flagged_whatever_it_is_of",
    "senml-30": "unit/test_decode_bridges.py::test_an_impossible_time_is_flagged",
    "senml-37": "scenarios/test_bridges.py::test_a_pack_that_contradicts_itself_keeps_its_first_value",
    "senml-42": "unit/test_decode_bridges.py::test_a_negative_update_time_costs_no_reading",
}


@pytest.mark.parametrize(("case", "payload", "expected"), BAD_PACKS)
def test_the_catalogue_of_bad_packs(case: str, payload: bytes | str, expected: str) -> None:
    assert senml(payload) == expected, case


def test_no_case_of_the_catalogue_of_bad_packs_is_left_out() -> None:
    if not CATALOGUE.is_file():
        pytest.skip("the folder ../shared with bad_inputs.jsonl is absent")
    asked = {
        one["id"]: one["expect"]
        for one in map(json.loads, CATALOGUE.read_text(encoding="utf-8").splitlines())
        if one["id"].startswith("senml-")
    }
    here = {case: expected for case, _, expected in BAD_PACKS}
    assert set(asked) == {*here, *BAD_PACKS_ELSEWHERE}
    for case, expected in here.items():
        wanted = asked[case].partition("DLQ:")[2].split()
        assert expected == (wanted[0] if wanted else "OK"), case
    for test in BAD_PACKS_ELSEWHERE.values():
        path, name = test.split("::")
        assert f"def {name}(" in (ROOT / "tests" / path).read_text(encoding="utf-8"), test


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


@pytest.mark.parametrize(
    ("pack", "expected"),
    [
        ('[{"n":"pm10","v":1},{"zz_":1}]', "senml_must_understand"),  # costs the pack wherever it stands
        ('[{"n":"pm10","v":1},{"n":"ph","v":1,"bt":"x"}]', "type"),
        ('[{"n":"pm10","v":1},{"bt":1,"bt":2}]', "duplicate_key"),
        ('[{"bver":true,"n":"t","v":1}]', "type"),
        ('[{"bver":0,"n":"t","v":1}]', "senml_version"),
        ('[{"bn":"pm10"}]', "empty"),
        ("[]", "empty"),
        ("", "empty"),
        ("[[]]", "senml_record"),
        ('[{"n":"t","n":"u","v":1}]', "duplicate_key"),
        ('[{"n":"t","v":true}]', "type"),
        ('[{"n":"t","v":"1"}]', "type"),
        ('[{"n":"t","v":18446744073709551616}]', "range"),
        ('[{"n":"t","u":"furlong","v":1}]', "unit"),
        ('[{"n":"t","bu":5,"v":1}]', "type"),
        ('[{"n":"t\\ud800","v":1}]', "encoding"),
        ('[{"bn":"a\\ud800"},{"n":"b","v":1}]', "encoding"),
        ('[{"n":"urn:dev:mac:xyz:t","v":1}]', "senml_scope"),
        ('[{"n":"t","v":1,"x":' + "[" * 9 + "]" * 9 + "}]", "depth"),
        ("[" * 200_000, "depth"),
        ("[" + "{}," * 90_000 + "{}]", "too_many_records"),
    ],
)
def test_other_packs_that_are_refused(pack: str, expected: str) -> None:
    assert senml(pack) == expected


@pytest.mark.parametrize(
    ("seconds", "expected_ns"),
    [
        (0, AT_NS),
        (-0.5, AT_NS - NS_PER_S // 2),
        (2**28 - 1, AT_NS + (2**28 - 1) * NS_PER_S),
        (2**28, 2**28 * NS_PER_S),
        (1767225600.123456, AT_NS + 123_456_000),
    ],
)
def test_times_are_absolute_from_2_to_the_28th_and_exact(seconds: float, expected_ns: int) -> None:
    (item,) = decode_senml(json.dumps([{"bt": seconds, "n": "pm10", "v": 1}]).encode(), AT_NS).items
    assert item.time_ns == expected_ns


@pytest.mark.parametrize(
    ("name", "device", "metric", "channel"),
    [
        ("soil_moisture", None, "soil_moisture", ""),
        ("soil_moisture/d20", None, "soil_moisture", "d20"),
        ("soil_moisture@d20", None, "soil_moisture", "d20"),
        ("soil_moisture/D20", None, "soil_moisture/D20", ""),
        ("other/d20", None, "other/d20", ""),
        ("urn:dev:mac:0024BEFFFE804FF1:pm10", "0024befffe804ff1", "pm10", ""),
        ("urn:dev:mac:0024befffe804ff1:soil_moisture/d20", "0024befffe804ff1", "soil_moisture", "d20"),
        ("urn:dev:ow:10e2073a01080063:pm10", "10e2073a01080063", "pm10", ""),
        ("urn:dev:org:32473-foo:bar:pm10", "32473-foo:bar", "pm10", ""),
    ],
)
def test_names_are_split(name: str, device: str | None, metric: str, channel: str) -> None:
    (item,) = decode_senml(json.dumps([{"n": name, "v": 1}]).encode(), AT_NS).items
    assert (item.device, item.metric, item.channel) == (device, metric, channel)


def test_humidity_beyond_100_is_flagged_whatever_it_is_of() -> None:
    """senml-27."""
    items = decode_senml(b'[{"n":"t","u":"%RH","v":140},{"n":"u","u":"%RH","v":40}]', AT_NS).items
    assert [bool(item.quality & Quality.RANGE) for item in items] == [True, False]


def test_the_battery_is_health() -> None:
    decoded = decode_senml(b'[{"n":"bat","u":"%EL","v":87},{"n":"pm10","v":1}]', AT_NS)
    assert decoded.health is not None
    assert decoded.health.battery_percent == 87
    assert values(decoded) == [("pm10", 1)]


def test_a_record_that_is_refused_still_sets_the_base() -> None:
    decoded = decode_senml(b'[{"bn":"p","bv":1,"n":" ","v":1},{"n":"m10","v":1}]', AT_NS)
    assert values(decoded) == [("pm10", 2)]
    assert [one.word for one in decoded.refused] == ["senml_name_charset"]


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


@pytest.mark.parametrize("decode", [decode_chirpstack, decode_tts])
@pytest.mark.parametrize(
    ("fields", "items", "unreadable"),
    [
        ({"a": "21.40"}, [("a", 21.4)], []),
        ({"a": " -1e3 "}, [("a", -1000.0)], []),
        ({"a": None}, [("a", None)], []),
        ({"a": True, "b": "open", "c": [1, 2]}, [], ["type", "type", "type"]),
        ({"a": "NaN", "b": "Infinity", "c": "1e999"}, [], ["type", "type", "not_finite"]),
        ({"a": "١٢"}, [], ["type"]),
        ({"a": 2**63}, [], ["range"]),
        ({"soil": {"d20": {"moisture": 1}}}, [("soil.d20.moisture", 1.0)], []),
        ({"": 1}, [("", 1.0)], []),
        ({"x" * 256: 1}, [("x" * 256, 1.0)], []),
        ({"x" * 257: 1}, [("x" * 256 + "…", 1.0)], []),
        ({"x" * 300: {"y": 1}}, [("x" * 256 + "…", 1.0)], []),
    ],
)
def test_what_a_networks_codec_may_give(
    decode: Any, fields: dict[str, Any], items: list[tuple[str, float | None]], unreadable: list[str]
) -> None:
    payload = (
        chirpstack_uplink(EUI, AT_NS, fields=fields)
        if decode is decode_chirpstack
        else tts_uplink("soil07", EUI, AT_NS, fields=fields)
    )
    decoded = decode(payload)
    assert values(decoded) == items
    assert [one.word for one in decoded.unreadable] == unreadable


def test_numbers_that_json_does_not_have() -> None:
    payload = chirpstack_uplink(EUI, AT_NS, fields={"a": 1}).replace(b'{"a": 1}', b'{"a": NaN, "b": 1e999, "c": 1}')
    decoded = decode_chirpstack(payload)
    assert values(decoded) == [("c", 1.0)]
    assert [one.word for one in decoded.unreadable] == ["not_finite", "not_finite"]


def test_names_that_stand_twice() -> None:
    good = chirpstack_uplink(EUI, AT_NS, fields={"a": 1, "b": 2})
    with pytest.raises(DecodeRefused, match="duplicate_key"):
        decode_chirpstack(good.replace(b'{"a": 1, "b": 2}', b'{"a": 1, "a": 2, "b": 2}'))
    nested = decode_chirpstack(good.replace(b'{"a": 1, "b": 2}', b'{"o": {"a": 1, "a": 2, "b": 2}}'))
    assert values(nested) == [("o.b", 2.0)]
    assert [(one.name, one.word) for one in nested.unreadable] == [("o.a", "duplicate_key")]


def test_many_values_under_a_long_name_have_names_that_are_cut() -> None:
    fields = {"k" * 90_000: {f"g{i}": {f"{j}": 1 for j in range(900)} for i in range(15)}}
    payload = chirpstack_uplink(EUI, AT_NS, fields=fields)
    assert len(payload) < 256 * 1024
    items = decode_chirpstack(payload).items
    assert len(items) == 13_500
    assert max(len(item.metric) for item in items) == 257


@pytest.mark.parametrize(
    ("gateways", "expected"),
    [
        ([{"rssi": -97, "snr": 7.2}, {"rssi": -80, "snr": -3}], (-80, -3)),
        ([{"rssi": -97}], (-97, 0)),
        ([{"snr": 7.2}], None),
        ([{"rssi": True}, {"rssi": "x"}, 5, None, {"rssi": 10**400}], None),
        ({"rssi": -97}, None),
        ([], None),
    ],
)
def test_the_signal_is_that_of_the_gateway_that_heard_best(gateways: Any, expected: tuple[float, float] | None) -> None:
    event = json.loads(chirpstack_uplink(EUI, AT_NS, fields={"a": 1}))
    decoded = decode_chirpstack(json.dumps({**event, "rxInfo": gateways}).encode())
    assert (decoded.health and (decoded.health.rssi_dbm, decoded.health.snr_db)) == expected


def test_the_topic_of_chirpstack_wins() -> None:
    payload = chirpstack_uplink(EUI, AT_NS, fields={"a": 1})
    assert values(decode_chirpstack(payload, EUI.upper())) == [("a", 1.0)]
    with pytest.raises(DecodeRefused) as refused:
        decode_chirpstack(payload, "00000000000000ff")
    assert refused.value.word == "scope"


def test_a_device_of_the_things_stack_without_an_eui_is_named_by_its_id() -> None:
    message = json.loads(tts_uplink("soil07", EUI, AT_NS, fields={"a": 1}))
    del message["end_device_ids"]["dev_eui"]
    (item,) = decode_tts(json.dumps(message).encode(), "soil07").items
    assert item.device == "soil07"


# --- Sparkplug B 3.0

DEVICE = "mine-a/gw01/pump"


def base128(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def field(number: int, content: int | bytes) -> bytes:
    """A field on the wire of Protocol Buffers: a whole number, or bytes."""
    if isinstance(content, int):
        return base128(number << 3) + base128(content)
    return base128(number << 3 | 2) + base128(len(content)) + content


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


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_every_float_is_read_back_as_the_same_float(value: float) -> None:
    (item,) = decode_sparkplug(sparkplug_payload([MetricValue(value, name="flow")], AT_NS, 0), DEVICE, {}).decoded.items
    assert item.value is not None
    assert struct.pack("<f", item.value) == struct.pack("<f", value)


@pytest.mark.parametrize(
    ("datatype", "wire", "value"),
    [
        (1, 0xFF, -1), (1, 0xFFFFFFFF, -1), (2, 0x8000, -32768), (3, 0xFFFFFFFF, -1), (3, 0x7FFFFFFF, 2**31 - 1),
        (5, 0xFF, 255), (6, 0xFFFF, 65535), (7, 0xFFFFFFFF, 2**32 - 1), (None, 5, 5),
    ],
)  # fmt: skip
def test_integers_go_in_twos_complement(datatype: int | None, wire: int, value: int) -> None:
    metric = field(1, b"flow") + (b"" if datatype is None else field(4, datatype)) + field(10, wire)
    (item,) = decode_sparkplug(field(1, AT_NS // 10**6) + field(2, metric), DEVICE, {}).decoded.items
    assert item.value == value


@pytest.mark.parametrize(
    ("datatype", "wire", "value"),
    [(4, 2**64 - 1, -1), (4, 2**63, -(2**63)), (8, 2**64 - 1, float(2**64 - 1)), (3, 2**64 - 5, -5)],
)
def test_long_integers(datatype: int, wire: int, value: float) -> None:
    metric = field(1, b"flow") + field(4, datatype) + field(11, wire)
    (item,) = decode_sparkplug(field(1, AT_NS // 10**6) + field(2, metric), DEVICE, {}).decoded.items
    assert item.value == value


@pytest.mark.parametrize(
    ("metric", "word"),
    [
        (lambda: field(1, b"flow") + field(4, 11) + field(10, 1), "type"),  # a Boolean in the field of integers
        (lambda: field(1, b"flow") + field(4, 13) + field(11, 5), "type"),  # DateTime
        (lambda: field(1, b"flow") + field(4, 2**32 - 1) + field(10, 5), "type"),
        (lambda: field(1, b"flow") + field(10, 2**31), "type"),  # may be negative
        (lambda: field(1, b"flow") + field(17, b"\x0a\x00"), "type"),  # data set
        (lambda: field(1, b"flow") + field(18, b"\xff\xff"), "type"),  # template, not even read
        (lambda: field(1, b"flow"), "type"),  # no value at all
    ],
)
def test_values_that_are_no_numbers(metric: Any, word: str) -> None:
    decoded = decode_sparkplug(field(1, 1) + field(2, metric()), DEVICE, {}).decoded
    assert decoded.items == []
    assert [(one.name, one.word) for one in decoded.unreadable] == [("flow", word)]


@pytest.mark.parametrize(
    ("metric", "word"),
    [
        (lambda: field(10, 1), "missing_field"),  # neither name nor alias
        (lambda: field(1, b"") + field(10, 1), "missing_field"),
        (lambda: field(1, b"\xff\xfe") + field(10, 1), "encoding"),
        (lambda: field(1, b"x" * 257) + field(10, 1), "size"),
        (lambda: field(1, b"flow") + field(3, 2**64 - 1) + field(10, 1), "range"),
        (lambda: field(1, b"flow") + field(3, 2**62) + field(10, 1), "ts_range"),
        (lambda: field(1, b"bdSeq") + field(4, 8) + field(11, 2**63), "range"),
        (lambda: field(1, b"bdSeq") + field(4, 12) + field(15, b"7"), "range"),
    ],
)
def test_a_metric_that_is_refused_costs_no_other(metric: Any, word: str) -> None:
    payload = field(1, AT_NS // 10**6) + field(2, metric()) + field(2, field(1, b"level") + field(10, 7))
    decoded = decode_sparkplug(payload, DEVICE, {}).decoded
    assert values(decoded) == [("level", 7.0)]
    assert [one.word for one in decoded.refused] == [word]


def test_a_metric_without_any_time_is_refused() -> None:
    decoded = decode_sparkplug(field(2, field(1, b"level") + field(10, 7)), DEVICE, {}).decoded
    assert [one.word for one in decoded.refused] == ["missing_field"]


def properties(*pairs: tuple[bytes, bytes]) -> bytes:
    return field(9, b"".join(field(1, key) for key, _ in pairs) + b"".join(field(2, value) for _, value in pairs))


@pytest.mark.parametrize(
    ("sent", "unit", "invalid"),
    [
        (lambda: properties((b"engUnit", field(8, b"m3/h")), (b"Quality", field(3, 192))), "m3/h", False),
        (lambda: properties((b"Quality", field(3, 0))), None, True),
        (lambda: properties((b"Quality", field(4, 500))), None, True),
        (lambda: properties((b"Quality", field(8, b"good"))), None, False),  # says nothing that is defined
        (lambda: properties((b"Quality", b"")), None, False),
        (lambda: properties((b"engUnit", field(3, 5))), None, False),
        (lambda: field(9, field(1, b"Quality") * 3), None, False),  # keys without values
    ],
)
def test_properties_say_unit_and_quality(sent: Any, unit: str | None, invalid: bool) -> None:
    metric = field(1, b"flow") + sent() + field(10, 5)
    (item,) = decode_sparkplug(field(1, 5) + field(2, metric), DEVICE, {}).decoded.items
    assert (item.unit, bool(item.quality & Quality.INVALID)) == (unit, invalid)


def test_commands_in_a_birth_are_no_readings() -> None:
    _, birth = EdgeSession("mine-a", "gw01", bd_seq=7).node_birth({"flow": 1.5}, AT_NS)
    message = decode_sparkplug(birth, "mine-a/gw01", {})
    assert (message.bd_seq, message.seq) == (7, 0)
    assert values(message.decoded) == [("flow", 1.5)]
    assert message.decoded.unreadable == []


def test_an_alias_that_is_named_anew_in_its_message_has_the_new_name() -> None:
    payload = sparkplug_payload([MetricValue(1.0, name="new", alias=1), MetricValue(2.0, alias=1)], AT_NS, 1)
    message = decode_sparkplug(payload, DEVICE, {1: Alias("old", 9)})
    assert values(message.decoded) == [("new", 1.0), ("new", 2.0)]


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
        (b"\x12\x00" * 131_072, "too_many_records"),  # two bytes each
        (b"\x12\x40" + b"\xa3\x06" * 32, "protobuf"),  # groups that never end
        (bytes([8]) + b"\xff" * 11, "protobuf"),  # a number of more than 64 bits
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
    assert word in {"fine", *DeadReason}


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
    assert word in {"fine", *DeadReason}


WIRE = st.one_of(
    st.builds(field, st.integers(1, 30), st.integers(0, 2**64 - 1)),
    st.builds(field, st.integers(1, 30), st.binary(max_size=20)),
    st.builds(
        lambda number, raw: base128(number << 3 | 1) + raw, st.integers(1, 30), st.binary(min_size=8, max_size=8)
    ),
    st.builds(
        lambda number, raw: base128(number << 3 | 5) + raw, st.integers(1, 30), st.binary(min_size=4, max_size=4)
    ),
)
METRIC = st.builds(
    lambda parts, properties: b"".join(parts) + b"".join(field(9, one) for one in properties),
    st.lists(WIRE, max_size=6),
    st.lists(st.lists(WIRE, max_size=4).map(b"".join), max_size=2),
)


@given(st.lists(METRIC, max_size=5), st.lists(WIRE, max_size=3))
def test_any_fields_of_protocol_buffers_are_readings_or_a_refusal(metrics: list[bytes], others: list[bytes]) -> None:
    payload = b"".join(field(2, metric) for metric in metrics) + b"".join(others)
    try:
        message = decode_sparkplug(payload, DEVICE, {1: Alias("flow", 10), 2: Alias("x", None)})
    except DecodeRefused as refused:
        word = refused.word
        message = SparkplugMessage(Decoded(), None, None)
    else:
        word = DeadReason.PROTOBUF
    assert word in set(DeadReason)
    decoded = message.decoded
    found = [*decoded.items, *(item for _, item in message.unnamed)]
    assert all(item.value is None or math.isfinite(item.value) for item in found)
    assert all(-(2**63) <= item.time_ns < 2**63 for item in found)
    assert {one.word for one in (*decoded.refused, *decoded.unreadable)} <= set(DeadReason)
    assert message.bd_seq is None or 0 <= message.bd_seq < 2**63
    json.dumps([item._asdict() for item in found], allow_nan=False).encode()


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
