"""Every decoder names the place of what it refuses, in the words of its format, wherever there is one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from greenmine.core.errors import DecodeRefused
from greenmine.ingest.codec import apply_codec
from greenmine.ingest.decode_activity import decode_activity
from greenmine.ingest.decode_chirpstack import decode_chirpstack
from greenmine.ingest.decode_hj212 import decode_hj212
from greenmine.ingest.decode_json import decode_json
from greenmine.ingest.decode_senml import decode_senml
from greenmine.ingest.decode_sparkplug import decode_sparkplug
from greenmine.ingest.decode_tts import decode_tts
from greenmine.ingest.decoded import Decoded
from greenmine.ingest.hj212_frame import build_frame
from greenmine.policy.codec import Codec
from greenmine.simulator.encode_chirpstack import chirpstack_uplink
from greenmine.simulator.encode_sparkplug import INT64, STRING, MetricValue, sparkplug_payload
from greenmine.simulator.encode_tts import tts_uplink

AT_NS = 1_795_334_400 * 10**9
TS = "2026-11-22T08:00:00Z"
EUI = "a84041b2c1841f3d"


def refusals(decode: Callable[[], Decoded]) -> list[tuple[str, str]]:
    try:
        return [(one.word, one.field) for one in decode().refused]
    except DecodeRefused as refused:
        return [(refused.word, refused.field)]


def own(**more: Any) -> bytes:
    return json.dumps({"ts": TS, "values": {"pm10": 1.0}, **more}).encode()


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (own(values={"pm10": "1"}), ("type", "values.pm10")),
        (own(values={"soil_moisture@D": 1}), ("channel_charset", "values.soil_moisture@D")),
        (own(values={"pm11": 1}), ("unknown_field", "values.pm11")),
        (own(unit="dB"), ("unit", "values.pm10")),
        (own(flags={"pm10": "x"}), ("flag", "flags.pm10")),
        (own(flags=3), ("type", "flags")),
        (own(ts="yesterday"), ("ts_format", "ts")),
        (own(ts=None), ("missing_field", "ts")),
        (own(seq="1"), ("type", "seq")),
        (own(boot=1), ("type", "boot")),
        (own(stat="mode"), ("stat", "stat")),
        (own(stat="avg", period_s="60"), ("type", "period_s")),
        (own(device="X"), ("device_id_charset", "device")),
        (own(colour=1), ("unknown_field", "colour")),
        (b"[" + own() + b"," + own(values={"pm10": "1"}) + b"]", ("type", "[1].values.pm10")),
        (b"[" + own() + b"," + own(flags={"pm10": "x"}) + b"]", ("flag", "[1].flags.pm10")),
        (b"[" + own() + b",7]", ("type", "[1]")),
        (b'{"ts": 1, "ts": 2, "values": {"pm10": 1}}', ("duplicate_key", "ts")),
        (b'{"ts": 1, "values": {"pm10": 1, "pm10": 2}}', ("duplicate_key", "values.pm10")),
        (b"not json", ("json", "")),
    ],
)
def test_own_json(payload: bytes, expected: tuple[str, str]) -> None:
    assert refusals(lambda: decode_json(payload)) == [expected]


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([{"n": "pm10", "v": 1}, {"n": "pm10", "v": "1"}], ("type", "[1].v")),
        ([{"n": "pm10", "v": 1, "u": "furlong"}], ("unit", "[0].u")),
        ([{"bu": "furlong", "n": "pm10", "v": 1}], ("unit", "[0].bu")),
        ([{"n": "pm10", "v": 1, "vs": "a"}], ("senml_two_values", "[0].vs")),
        ([{"n": "pm 10", "v": 1}], ("senml_name_charset", "[0].n")),
        ([{"bn": "é", "v": 1}], ("senml_name_charset", "[0].bn")),
        ([{"n": "pm10", "v": 1, "t": "now"}], ("type", "[0].t")),
        ([{"n": "pm10", "vb": 1}], ("type", "[0].vb")),
        ([{"n": "pm10", "vd": "?"}], ("senml_vd", "[0].vd")),
        ([{"n": "pm10", "v": 1}, {"bt": "x", "n": "pm10", "v": 1}], ("type", "[1].bt")),
        ([{"bver": 99, "n": "pm10", "v": 1}], ("senml_version", "[0].bver")),
        ([{"must_": 1, "n": "pm10", "v": 1}], ("senml_must_understand", "[0].must_")),
        ([{"n": "pm10", "v": 1}, 7], ("senml_record", "[1]")),
        ([{"n": "pm10"}], ("senml_no_value", "[0]")),
        ([{"n": "x" * 200, "v": 1}], ("senml_name_len", "[0].n")),
        ({"n": "pm10"}, ("senml_not_array", "")),
    ],
)
def test_senml(records: Any, expected: tuple[str, str]) -> None:
    assert refusals(lambda: decode_senml(json.dumps(records).encode(), AT_NS)) == [expected]


def test_senml_that_is_no_number_and_repeats_a_label() -> None:
    records = b'{"n": "pm10", "vs": "a"}, {"n": "pm10", "v": 1, "v": 2}'
    found = refusals(lambda: apply_codec(decode_senml(b"[%b]" % records, AT_NS), None))
    assert found == [("duplicate_key", "[1].v"), ("type", "[0].vs")]
    based = b'[%b, {"bn": "a", "bn": "b", "v": 1}]' % records
    assert refusals(lambda: decode_senml(based, AT_NS)) == [("duplicate_key", "[2].bn")]


def hj212(cp: str, head: str = "QN=20261122160000001;ST=22;CN=2011;PW=123456;MN=STATION_1;Flag=5") -> bytes:
    return build_frame(f"{head};CP=&&{cp}&&".encode())


CP = "DataTime=20261122160000;"
GOOD = f"{CP}a34002-Rtd=1"


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (hj212(f"{CP}a34002-Rtd=1e3"), ("number", "a34002-Rtd")),
        (hj212(f"{CP}a34002-Rtd=1,a34002-Flag=?"), ("flag", "a34002-Flag")),
        (hj212(f"{CP}a34002-Rtd=1;a34002-Rtd=2"), ("duplicate_key", "a34002-Rtd")),
        (hj212(f"{CP}a34002-Xyz=1"), ("field", "a34002-Xyz")),
        (hj212(f"{CP}a34002-Avg=1"), ("field", "a34002-Avg")),
        (hj212(f"{CP}a34002-Rtd"), ("field", "a34002-Rtd")),
        (hj212(f"{CP}?=1"), ("field", "CP.?=1")),
        (hj212("DataTime=2026;a34002-Rtd=1"), ("data_time", "CP.DataTime")),
        (hj212("DataTime=20261322160000;a34002-Rtd=1"), ("data_time", "CP.DataTime")),
        (hj212("a34002-Rtd=1"), ("data_time", "CP.DataTime")),
        (hj212(GOOD, "QN=1;ST=22;CN=2011;PW=1;MN=S;Flag=5"), ("qn", "QN")),
        (hj212(GOOD, "ST=22;CN=77;PW=1;MN=S;Flag=5"), ("cn", "CN")),
        (hj212(GOOD, "ST=x;CN=2011;PW=1;MN=S;Flag=5"), ("field", "ST")),
        (hj212(GOOD, "ST=22;CN=2011;MN=S;Flag=5"), ("auth", "PW")),
        (hj212(GOOD, "ST=22;CN=2011;PW=1;MN=?;Flag=5"), ("mn", "MN")),
        (hj212(GOOD, "ST=22;CN=2011;PW=1;MN=S;Flag=999"), ("field", "Flag")),
        (hj212(GOOD, "ST=22;CN=2011;PW=1;MN=S;Flag=7"), ("packet", "PNUM")),
        (hj212(GOOD, "ST=22;CN=2011;PW=1;MN=S;Flag=7;PNUM=2;PNO=3"), ("packet", "PNO")),
        (hj212(GOOD, "ST=22;CN=2011;PW=1;MN=S;Flag=5;RF=2"), ("field", "RF")),
        (hj212(GOOD, "ST=22;ST=22;CN=2011;PW=1;MN=S;Flag=5"), ("field", "ST")),
        (build_frame(b"ST=22;CN=2011;PW=1;MN=S;Flag=5"), ("cp", "CP")),
        (hj212(GOOD)[:-6] + b"0000\r\n", ("crc", "")),
    ],
)
def test_hj212(payload: bytes, expected: tuple[str, str]) -> None:
    assert refusals(lambda: decode_hj212(payload)) == [expected]


def test_hj212_that_contradicts_itself() -> None:
    other = GOOD.replace("=1", "=2")
    assert refusals(lambda: decode_hj212(hj212(GOOD) + hj212(other))) == [("qn_reuse", "a34002-Rtd")]


CODEC = Codec.model_validate({"fields": {"temp": {"metric": "soil_temp", "scale": 1e300}}})
BYTES = Codec.model_validate({"bytes": [{"at": 9, "length": 2, "metric": "soil_temp"}]})


@pytest.mark.parametrize(
    ("fields", "codec", "expected"),
    [
        ({"temp": "warm"}, CODEC, ("type", "{}temp")),
        ({"temp": 1e300}, CODEC, ("not_finite", "{}temp")),
        ({"probe": {"depth": 3}}, CODEC, ("unknown_field", "{}probe.depth")),
    ],
)
def test_values_of_lorawan(fields: dict[str, Any], codec: Codec, expected: tuple[str, str]) -> None:
    word, place = expected
    for decode, at in (
        (lambda: decode_chirpstack(chirpstack_uplink(EUI, AT_NS, fields=fields)), "object."),
        (lambda: decode_tts(tts_uplink("soil", EUI, AT_NS, fields=fields)), "uplink_message.decoded_payload."),
    ):
        assert refusals(lambda decode=decode: apply_codec(decode(), codec)) == [(word, place.format(at))]


def test_bytes_of_lorawan() -> None:
    for decode, at in (
        (lambda: decode_chirpstack(chirpstack_uplink(EUI, AT_NS, frame=b"\x07\x30")), "data"),
        (lambda: decode_tts(tts_uplink("soil", EUI, AT_NS, frame=b"\x07\x30")), "uplink_message.frm_payload"),
    ):
        assert refusals(lambda decode=decode: apply_codec(decode(), BYTES)) == [("frame_short", at)]
        assert refusals(lambda decode=decode: apply_codec(decode(), None)) == [("no_codec", at)]


def changed(payload: bytes, path: str, value: Any) -> bytes:
    document = json.loads(payload)
    *outer, last = path.split(".")
    here = document
    for key in outer:
        here = here[key]
    if value is None:
        here.pop(last, None)
    else:
        here[last] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("path", "value", "word"),
    [
        ("deviceInfo.devEui", "xyz", "device_id_charset"),
        ("deviceInfo.devEui", None, "missing_field"),
        ("deviceInfo", 7, "type"),
        ("time", "now", "ts_format"),
        ("fCnt", -1, "range"),
        ("object", 7, "type"),
    ],
)
def test_the_head_of_chirpstack(path: str, value: Any, word: str) -> None:
    payload = changed(chirpstack_uplink(EUI, AT_NS, fields={"temp": 1}), path, value)
    assert refusals(lambda: decode_chirpstack(payload)) == [(word, path)]
    other = chirpstack_uplink(EUI, AT_NS, fields={"temp": 1})
    assert refusals(lambda: decode_chirpstack(other, "00")) == [("scope", "deviceInfo.devEui")]
    data = changed(chirpstack_uplink(EUI, AT_NS, frame=b"1"), "data", "?")
    assert refusals(lambda: decode_chirpstack(data)) == [("base64", "data")]


@pytest.mark.parametrize(
    ("path", "value", "word"),
    [
        ("end_device_ids.dev_eui", "xyz", "device_id_charset"),
        ("end_device_ids", 7, "type"),
        ("uplink_message", None, "missing_field"),
        ("uplink_message.received_at", "now", "ts_format"),
        ("uplink_message.received_at", None, "missing_field"),
        ("uplink_message.f_cnt", "3", "type"),
        ("uplink_message.decoded_payload", 7, "type"),
        ("simulated", True, "simulated"),
    ],
)
def test_the_head_of_tts(path: str, value: Any, word: str) -> None:
    payload = changed(tts_uplink("soil", EUI, AT_NS, fields={"temp": 1}), path, value)
    assert refusals(lambda: decode_tts(payload)) == [(word, path)]
    other = tts_uplink("soil", EUI, AT_NS, fields={"temp": 1})
    assert refusals(lambda: decode_tts(other, "x")) == [("scope", "end_device_ids.device_id")]


@pytest.mark.parametrize(
    ("metrics", "seq", "expected"),
    [
        ([MetricValue(1.0, name="Flow")], 256, ("range", "seq")),
        ([MetricValue("open", STRING, "flow", time_ns=AT_NS)], 1, ("type", "flow")),
        ([MetricValue(1.0, name="Flow")], 1, ("missing_field", "Flow")),
        ([MetricValue(1.0, name="Flow", time_ns=2**63 // 1000 * 1_000_000)], 1, ("ts_range", "Flow")),
        ([MetricValue(1.0, time_ns=AT_NS)], 1, ("missing_field", "metrics[0]")),
        ([MetricValue(-1, INT64, "bdSeq")], 1, ("range", "bdSeq")),
    ],
)
def test_sparkplug(metrics: list[MetricValue], seq: int, expected: tuple[str, str]) -> None:
    payload = sparkplug_payload(metrics, None, seq)
    assert refusals(lambda: apply_codec(decode_sparkplug(payload, "g/e/pump", {}).decoded, None)) == [expected]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"ts": "now"}, ("ts_format", "ts")),
        ({"kind": "party"}, ("kind", "kind")),
        ({"state": None}, ("missing_field", "state")),
        ({"zone": 1}, ("type", "zone")),
        ({"lat": 91, "lon": 1}, ("range", "lat")),
        ({"lat": 1}, ("missing_field", "lon")),
        ({"why": 1}, ("unknown_field", "why")),
    ],
)
def test_activity(change: dict[str, Any], expected: tuple[str, str]) -> None:
    payload = json.dumps({"ts": TS, "kind": "blast", "state": "start", **change}).encode()
    with pytest.raises(DecodeRefused) as caught:
        decode_activity(payload)
    assert (caught.value.word, caught.value.field) == expected
