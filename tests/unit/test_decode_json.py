"""Own JSON: what each payload becomes, word by word, and that nothing bad in a payload costs what is good in it."""

from __future__ import annotations

import gzip
import json
import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from greenmine.core.errors import DecodeRefused
from greenmine.core.metric import METRICS
from greenmine.core.quality import HJ212_LETTERS, Quality
from greenmine.core.unit import UNITS, convertible
from greenmine.ingest.decode_json import MAX_OBJECTS, decode_json
from greenmine.ingest.decoded import Decoded, Item
from greenmine.ingest.strict_json import MAX_BYTES, MAX_BYTES_TO_EXPLAIN, MAX_FIELDS

TS = 1_767_225_600_000
TIME_NS = TS * 1_000_000
PAYLOAD_WORDS = {
    "empty", "size", "encoding", "json", "depth", "not_finite", "too_many_fields", "too_many_records", "type",
}  # fmt: skip
ITEM_WORDS = {
    "type", "duplicate_key", "unknown_field", "ts_format", "ts_zone", "ts_range", "range", "missing_field", "encoding",
    "device_id_charset", "stat", "channel_charset", "not_finite", "unit", "flag", "depth", "too_many_fields",
}  # fmt: skip


def payload(values: str = '{"pm10": 81.3}', ts: str = str(TS), rest: str = "") -> bytes:
    return f'{{"ts": {ts}, "values": {values}{rest}}}'.encode()


def decoded_or_refused(raw: bytes) -> Decoded | DecodeRefused:
    try:
        return decode_json(raw)
    except DecodeRefused as refused:
        return refused


def outcome(raw: bytes) -> str | list[str]:
    """The word that refuses all of the payload, or a word for each item: its own, or its name."""
    decoded = decoded_or_refused(raw)
    if isinstance(decoded, DecodeRefused):
        return decoded.word
    return [one.word for one in decoded.refused] + [item.metric for item in decoded.items]


def only(raw: bytes) -> Item:
    decoded = decode_json(raw)
    assert not decoded.refused
    (item,) = decoded.items
    return item


def test_the_example_of_the_contract() -> None:
    decoded = decode_json(
        b'{"ts": "2026-11-22T08:00:00+08:00", "values": {"pm10": 81.3, "soil_moisture@d20": 18.4}, "seq": 1042,'
        b' "boot": "a1", "flags": {"pm10": "N"}}'
    )
    time_ns = 1_795_305_600 * 10**9
    assert decoded == Decoded(
        [
            Item(None, "pm10", "", "inst", 0, time_ns, 81.3, None, 0, 1042, "a1", "values.pm10"),
            Item(
                None, "soil_moisture", "d20", "inst", 0, time_ns, 18.4, None, 0, 1042, "a1", "values.soil_moisture@d20"
            ),
        ],
        [],
    )


def test_a_statistic_of_a_device_behind_a_gateway_in_its_own_unit() -> None:
    item = only(payload(rest=', "stat": "avg", "period_s": 3600, "device": "dust-2", "unit": "mg/m3"'))
    assert item == Item("dust-2", "pm10", "", "avg", 3600, TIME_NS, 81.3, "mg/m3", 0, place="values.pm10")


@pytest.mark.parametrize(("letter", "quality"), HJ212_LETTERS.items())
def test_the_senders_letter_becomes_a_quality(letter: str, quality: Quality) -> None:
    assert only(payload(rest=f', "flags": {{"pm10": "{letter}"}}')).quality == quality


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("0", 0.0),
        ("-0.0", 0.0),
        ("1e-400", 0.0),
        ("-273.16", -273.16),
        ("9223372036854775807", 2.0**63),
        ("1E2", 100.0),
    ],
)
def test_numbers(value: str, number: float) -> None:
    assert only(payload(f'{{"water_temp": {value}}}')).value == number


def test_a_missing_value_stands_as_missing() -> None:
    assert only(payload('{"pm10": null}')).value is None


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"", "empty"),
        (b"[]", "empty"),
        (b" ", "json"),
        (b'{"values":{"pm10":1}', "json"),
        (b"\xef\xbb\xbf" + payload(), "json"),
        (payload() + b"x", "json"),
        (b"{'ts': 1}", "json"),
        (payload('{"pm10": 01}'), "json"),
        (payload('{"pm10": "a\nb"}'), "json"),
        (payload().replace(b"pm10", b"pm\xff"), "encoding"),
        (gzip.compress(payload()), "encoding"),
        (payload().decode().encode("utf-16"), "encoding"),
        (b"[" * 100_000, "depth"),
        (b'{"a":' * 100_000, "depth"),
        (b"NaN", "not_finite"),
        (b"-Infinity", "not_finite"),
        (b"1e999", "not_finite"),
        (b"1", "type"),
        (b"null", "type"),
        (b"true", "type"),
        (b'"\\ud800"', "type"),
        (b"1" * 5_000, "type"),
        (b"[" + b"1," * MAX_OBJECTS + b"1]", "too_many_records"),
        (payload(rest=" " * MAX_BYTES), "size"),
        (payload(rest=" " * MAX_BYTES)[: MAX_BYTES + 1], "size"),
        (b"\xff" * (MAX_BYTES + 1), "size"),
        (b"[" * (MAX_BYTES_TO_EXPLAIN + 1), "size"),
        (json.dumps({f"k{i}": 1 for i in range(100_000)}).encode(), "too_many_fields"),
        (b"[" * 9 + b"1," * MAX_BYTES + b"1" + b"]" * 9, "depth"),
    ],
)  # fmt: skip
def test_what_refuses_the_whole_payload(raw: bytes, word: str) -> None:
    assert outcome(raw) == word


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"[1]", "type"),
        (b"[[]]", "type"),
        (b'{"a":' * 50 + b"1" + b"}" * 50, "depth"),
        (json.dumps({f"k{i}": 1 for i in range(MAX_FIELDS + 1)}).encode(), "too_many_fields"),
        (payload(json.dumps({f"k{i}": 1 for i in range(MAX_FIELDS + 1)})), "too_many_fields"),
        (b"{}", "missing_field"),
        (b'{"values": {"pm10": 1}}', "missing_field"),
        (f'{{"ts": {TS}}}'.encode(), "missing_field"),
        (payload("{}"), "missing_field"),
        (payload("[]"), "type"),
        (payload("1"), "type"),
        (payload("null"), "type"),
        (payload(rest=', "Ts": 1'), "unknown_field"),
        (payload(rest=', "v": 1'), "unknown_field"),
        (payload(rest=f', "ts": {TS}'), "duplicate_key"),
        (payload(rest=', "values": {"pm25": 2}'), "duplicate_key"),
        (payload(ts="null"), "missing_field"),
        (payload(ts="true"), "type"),
        (payload(ts="1.5"), "type"),
        (payload(ts="NaN"), "type"),
        (payload(ts="{}"), "type"),
        (payload(ts="9" * 5_000), "range"),
        (payload(ts="1767225600000000000"), "ts_range"),
        (payload(ts="253402300799999"), "ts_range"),
        (payload(ts='"9999-12-31T23:59:59Z"'), "ts_range"),
        (payload(ts='"2026-03-29T02:30:00"'), "ts_zone"),
        (payload(ts='"yesterday"'), "ts_format"),
        (payload(rest=', "device": 7'), "type"),
        (payload(rest=', "device": "../x"'), "device_id_charset"),
        (payload(rest=', "device": ""'), "device_id_charset"),
        (payload(rest=', "stat": "median"'), "stat"),
        (payload(rest=', "stat": []'), "stat"),
        (payload(rest=', "stat": {}'), "stat"),
        (payload(rest=', "stat": "avg"'), "stat"),
        (payload(rest=', "period_s": 60'), "stat"),
        (payload(rest=', "stat": "avg", "period_s": true'), "type"),
        (payload(rest=', "stat": "avg", "period_s": 60.0'), "type"),
        (payload(rest=', "stat": "avg", "period_s": -60'), "range"),
        (payload(rest=', "stat": "avg", "period_s": 99999999999999999999999'), "range"),
        (payload(rest=', "unit": 7'), "type"),
        (payload(rest=', "unit": "ppm"'), "unit"),
        (payload(rest=', "unit": "dB"'), "unit"),
        (payload(rest=', "flags": []'), "type"),
        (payload(rest=', "flags": {"pm10": 1}'), "flag"),
        (payload(rest=', "flags": {"pm10": "n"}'), "flag"),
        (payload(rest=', "flags": {"pm10": []}'), "flag"),
        (payload(rest=', "seq": -1'), "range"),
        (payload(rest=', "seq": 9223372036854775808'), "range"),
        (payload(rest=', "seq": 1.0'), "type"),
        (payload(rest=', "seq": true'), "type"),
        (payload(rest=', "boot": 1'), "type"),
        (payload(rest=f', "boot": "{"x" * 65}"'), "type"),
        (payload(rest=', "boot": "\\ud800"'), "encoding"),
        (payload(rest=', "\\udfff": 1'), "encoding"),
        (payload('{"PM10": 1}'), "unknown_field"),
        (payload('{"": 1}'), "unknown_field"),
        (payload('{"pm10@": 1}'), "channel_charset"),
        (payload('{"pm10@a@b": 1}'), "channel_charset"),
        (payload('{"pm10@../x": 1}'), "channel_charset"),
        (payload('{"pm10": 1, "pm10": 99}'), "duplicate_key"),
        (payload('{"pm10": NaN}'), "not_finite"),
        (payload('{"pm10": Infinity}'), "not_finite"),
        (payload('{"pm10": 1e999}'), "not_finite"),
        (payload('{"pm10": -1e999}'), "not_finite"),
        (payload('{"pm10": 9223372036854775808}'), "range"),
        (payload('{"pm10": -9223372036854775809}'), "range"),
        (payload('{"pm10": %s}' % ("9" * 5_000)), "range"),
        (payload('{"pm10": "12.5"}'), "type"),
        (payload('{"pm10": true}'), "type"),
        (payload('{"pm10": [1]}'), "type"),
        (payload('{"pm10": {}}'), "type"),
        (payload('{"pm10": "\\ud800"}'), "encoding"),
        (payload('{"\\ud800": 1}'), "encoding"),
    ],
)  # fmt: skip
def test_what_refuses_one_object_or_value(raw: bytes, word: str) -> None:
    assert outcome(raw) == [word]


def test_at_the_limits() -> None:
    assert len(decode_json(b"[" + b",".join([payload()] * MAX_OBJECTS) + b"]").items) == MAX_OBJECTS
    padded = payload(rest=" " * (MAX_BYTES - len(payload())))
    assert len(padded) == MAX_BYTES
    assert outcome(padded) == ["pm10"]
    channels = {f"soil_moisture@d{i}": i for i in range(MAX_FIELDS)}
    assert len(decode_json(payload(json.dumps(channels))).items) == MAX_FIELDS
    # Eight levels of a value in an array: refused for its type, not for its depth.
    assert outcome(b"[" + payload('{"pm10": %s}' % ("[" * 5 + "]" * 5)) + b"]") == ["type"]
    assert outcome(b"[" + payload('{"pm10": %s}' % ("[" * 6 + "]" * 6)) + b"]") == ["depth"]


@pytest.mark.parametrize(
    "bad",
    [
        "1", "null", "{}", '{"values": {"pm10": 1}}', '{"ts": "x", "values": {"pm10": 1}}',
        '{"ts": 1, "ts": 2, "values": {"pm10": 1}}', '{"ts": 1, "values": {"pm10": 1}, "x": "\\ud800"}',
        '{"ts": 1, "values": {"pm10": %s}}' % ("[" * 40 + "]" * 40), json.dumps({f"k{i}": 1 for i in range(1_001)}),
        json.dumps({"ts": 1, "values": {f"k{i}": 1 for i in range(1_001)}}),
        "9" * 5_000, "NaN", "[]", '"\\ud800"',
    ],
)  # fmt: skip
def test_a_bad_object_costs_no_good_one(bad: str) -> None:
    good = [payload(ts=str(TS + i)).decode() for i in range(2)]
    decoded = decode_json(f"[{good[0]}, {bad}, {good[1]}]".encode())
    assert [item.time_ns for item in decoded.items] == [TIME_NS, TIME_NS + 1_000_000]
    assert len(decoded.refused) == 1
    assert decoded.refused[0].word in ITEM_WORDS


@pytest.mark.parametrize(
    "bad",
    ['"x": 1', '"pm10": "1"', '"pm10": NaN', '"pm10": 1, "pm10": 2', '"pm10": true', '"pm10@": 1', '"pm10": "\\ud800"'],
)
def test_a_bad_value_costs_no_good_one(bad: str) -> None:
    decoded = decode_json(payload(f'{{"pm25": 1, {bad}, "tsp": 3}}'))
    assert [(item.metric, item.value) for item in decoded.items] == [("pm25", 1.0), ("tsp", 3.0)]
    assert len(decoded.refused) == 1


def test_a_bad_flag_or_unit_costs_only_the_values_it_speaks_of() -> None:
    assert outcome(payload('{"pm10": 1, "pm25": 2}', rest=', "flags": {"pm10": "?"}')) == ["flag", "pm25"]
    repeated = ', "flags": {"pm10": "N", "pm10": "D", "pm25": "N"}'
    assert outcome(payload('{"pm10": 1, "pm25": 2}', rest=repeated)) == ["duplicate_key", "pm25"]
    assert outcome(payload('{"pm10": 1, "laeq": 2}', rest=', "unit": "dB"')) == ["unit", "laeq"]
    assert outcome(payload('{"pm10": 1}', rest=', "flags": {"pm25": "\\ud800"}')) == ["pm10"]


def test_a_refusal_says_where() -> None:
    decoded = decode_json(b'[%s, {"ts": 1, "values": {"pm10": "x"}}]' % payload())
    assert decoded.refused[0].detail == "[1].values.pm10 is not a number"


def checked(raw: bytes) -> Decoded | DecodeRefused:
    """Decode; whatever it is, what comes out must be usable by all that follows."""
    decoded = decoded_or_refused(raw)
    if isinstance(decoded, DecodeRefused):
        assert decoded.word in PAYLOAD_WORDS
        decoded.detail.encode()
        return decoded
    assert decoded.items or decoded.refused
    for item in decoded.items:
        assert item.metric in METRICS
        assert -(2**63) <= item.time_ns < 2**63
        assert item.value is None or math.isfinite(item.value)
        assert item.unit is None or convertible(item.unit, METRICS[item.metric].unit)
        assert item.seq is None or 0 <= item.seq < 2**63
        assert item.quality in HJ212_LETTERS.values()
    for refused in decoded.refused:
        assert refused.word in ITEM_WORDS
        refused.detail.encode()
    return decoded


@given(st.binary(max_size=200))
@example(b"\xed\xa0\x80")
@example(b'{"ts":1,"values":{"pm10":1e309}}')
@example(b'{"ts":-9223372036855,"values":{"pm10":1}}')
def test_only_a_refusal_leaves_the_decoder_for_any_bytes(raw: bytes) -> None:
    checked(raw)


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
    | st.sampled_from([TS, "N", "avg", "inst", "mg/m3", "2026-11-22T08:00:00+08:00", "\ud800", 2**63, 10**400])
)  # fmt: skip
NAMES = st.text(max_size=6) | st.sampled_from(
    ["ts", "values", "seq", "boot", "flags", "stat", "period_s", "device", "unit", "pm10", "pm25", "soil_moisture@d20"]
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6), max_leaves=20
)


@given(JSON)
def test_only_a_refusal_leaves_the_decoder_for_any_json(document: Any) -> None:
    checked(json.dumps(document).encode())


VALUES = st.dictionaries(
    st.sampled_from(["pm10", "pm25", "laeq", "soil_moisture@d20", "water_temp"]),
    st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1),
    min_size=1,
)
OBJECTS = st.fixed_dictionaries(
    {"ts": st.integers(-(10**12), 4 * 10**12), "values": VALUES},
    optional={
        "seq": st.integers(0, 2**63 - 1),
        "boot": st.text(st.characters(exclude_categories=["Cs"]), max_size=64),
        "flags": st.dictionaries(st.sampled_from(["pm10", "laeq"]), st.sampled_from(sorted(HJ212_LETTERS))),
        "device": st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True),
    },
)


@given(st.lists(OBJECTS, min_size=1, max_size=5), st.booleans())
def test_every_valid_payload_is_taken_whole(objects: list[dict[str, Any]], ascii_only: bool) -> None:
    decoded = checked(json.dumps(objects, ensure_ascii=ascii_only).encode())
    assert isinstance(decoded, Decoded)
    assert decoded.refused == []
    sent = [
        (o.get("device"), name.partition("@")[0], o["ts"] * 1_000_000, None if v is None else float(v), o.get("seq"))
        for o in objects
        for name, v in o["values"].items()
    ]
    assert [(i.device, i.metric, i.time_ns, i.value, i.seq) for i in decoded.items] == sent


@settings(max_examples=200)
@given(OBJECTS, st.data())
def test_a_mutated_object_costs_none_of_its_neighbours(good: dict[str, Any], data: st.DataObject) -> None:
    """Any field of a valid object replaced by any JSON: the objects around it come through as if they were alone."""
    mutated = json.loads(json.dumps(data.draw(OBJECTS)))
    field = data.draw(
        st.sampled_from(["ts", "values", "seq", "boot", "flags", "stat", "period_s", "device", "unit", "x"])
    )
    mutated[field] = data.draw(JSON)
    alone = decode_json(json.dumps(good).encode())
    decoded = checked(json.dumps([good, mutated, good]).encode())
    assert isinstance(decoded, Decoded)
    count = len(alone.items)
    for index, items in ((0, decoded.items[:count]), (2, decoded.items[-count:])):
        assert items == [item._replace(place=f"[{index}].{item.place}") for item in alone.items]


@given(OBJECTS, st.data())
def test_a_mutated_text_never_breaks_the_decoder(good: dict[str, Any], data: st.DataObject) -> None:
    raw = bytearray(json.dumps(good).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    checked(bytes(raw))


@given(st.sampled_from(sorted(METRICS)), st.sampled_from(UNITS))
def test_a_unit_is_taken_exactly_where_it_converts(metric: str, unit: str) -> None:
    fits = convertible(unit, METRICS[metric].unit)
    assert outcome(payload(f'{{"{metric}": 1}}', rest=f', "unit": "{unit}"')) == [metric if fits else "unit"]
