"""From the names of a device's maker to ours: what a codec maps, what it passes over, what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from greenmine.core.errors import DecodeRefused
from greenmine.core.metric import METRICS
from greenmine.ingest.codec import apply_codec
from greenmine.ingest.decoded import Decoded, DeviceHealth, Frame, Item, Unreadable
from greenmine.ingest.senml_units import senml_unit
from greenmine.policy.check import check_policy, policy_warnings
from greenmine.policy.codec import Codec
from greenmine.policy.model import Policy
from tests.unit.test_policy_check import good, put

SENDER = Item("a84041b2c1841f3d", "", "", "inst", 0, 5, None, None, 0, 7, "boot")


def codec(**sections: Any) -> Codec:
    return Codec.model_validate(sections)


def named(name: str, value: float | None = 1.0, unit: str | None = None, channel: str = "") -> Item:
    return SENDER._replace(metric=name, value=value, unit=unit, channel=channel)


def sent(*items: Item, **more: Any) -> Decoded:
    return Decoded(items=list(items), sender=SENDER, **more)


def words(decoded: Decoded) -> list[str]:
    return [one.word for one in decoded.refused]


MAPPED = codec(
    fields={
        "SM": {"metric": "soil_moisture", "channel": "d20", "scale": 100, "unit": "%"},
        "T": {"metric": "soil_temp", "offset": -40},
        "dust": {"metric": "pm10", "unit": "mg/m3"},
        "hourly": {"metric": "pm10", "stat": "avg", "period": "1h"},
        "soil_moisture@d40": {"metric": "soil_moisture", "channel": "d10"},
    },
    battery="Bat",
    battery_unit="mV",
    ignore=["noise"],
)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (named("SM", 0.184), ("soil_moisture", "d20", "inst", 0, 18.4, "%")),
        (named("T", 52.8), ("soil_temp", "", "inst", 0, 12.8, None)),
        (named("dust", 0.08, "ug/m3"), ("pm10", "", "inst", 0, 0.08, "mg/m3")),  # the codec's unit wins
        (named("hourly", 80.0, "ug/m3"), ("pm10", "", "avg", 3600, 80.0, "ug/m3")),
        (named("T", 52.8, "K"), ("soil_temp", "", "inst", 0, 12.8, None)),  # the unit was of the unshifted number
        (named("SM", None), ("soil_moisture", "d20", "inst", 0, None, "%")),
        (named("ph", 7.1), ("ph", "", "inst", 0, 7.1, None)),  # ours need no mapping
        (named("soil_temp@d20", 7.1), ("soil_temp", "d20", "inst", 0, 7.1, None)),
        (named("soil_moisture", 9.0, channel="d40"), ("soil_moisture", "d10", "inst", 0, 9.0, None)),  # mapped wins
    ],
)
def test_a_name_becomes_a_series(item: Item, expected: tuple[Any, ...]) -> None:
    decoded = apply_codec(sent(item), MAPPED)
    assert words(decoded) == []
    (one,) = decoded.items
    value = one.value if one.value is None else round(one.value, 9)
    assert (one.metric, one.channel, one.stat, one.period_s, value, one.unit) == expected
    assert (one.device, one.time_ns, one.seq, one.boot) == (None, 5, 7, "boot")


def test_unknown_names_are_one_refusal_and_ignored_ones_none() -> None:
    decoded = apply_codec(sent(*(named(f"x{n}") for n in range(20)), named("noise"), named("pm10@D 20")), MAPPED)
    (refused,) = decoded.refused
    assert refused.word == "unknown_field"
    assert "x0, x1" in refused.detail
    assert "and 13 more" in refused.detail, "eight of twenty-one are shown"
    assert len(apply_codec(sent(named("y" * 256)), None).refused[0].detail) < 120


@pytest.mark.parametrize(("unit", "value", "health"), [("V", 3.6, (3.6, None)), ("%", 88, (None, 88))])
def test_the_battery_is_health_and_no_reading(unit: str, value: float, health: tuple[float | None, ...]) -> None:
    known = sent(named("Bat", value), health=DeviceHealth(-97, 7.2))
    decoded = apply_codec(known, codec(battery="Bat", battery_unit=unit))
    assert decoded.health == DeviceHealth(-97, 7.2, *health)
    assert (decoded.items, decoded.refused) == ([], [])
    without = apply_codec(sent(named("Bat", 3600.0)), MAPPED)
    assert without.health == DeviceHealth(battery_v=3.6)


def test_a_battery_that_says_nothing_costs_nothing() -> None:
    decoded = apply_codec(sent(named("Bat", None)), MAPPED)
    assert (decoded.items, decoded.refused, decoded.health) == ([], [], None)


@pytest.mark.parametrize(("name", "costs"), [("SM", True), ("ph", True), ("soil_temp/d20", True), ("door", False)])
def test_what_is_no_number_costs_where_a_number_was_due(name: str, costs: bool) -> None:
    decoded = apply_codec(sent(unreadable=[Unreadable(name, "type", "is text")]), MAPPED)
    assert words(decoded) == (["type"] if costs else [])
    assert decoded.notes == ([] if costs else ["is text"])


def test_a_scale_beyond_a_double() -> None:
    large = codec(fields={"x": {"metric": "pm10", "scale": 1e300}})
    assert words(apply_codec(sent(named("x", 1e300)), large)) == ["not_finite"]


FRAME = bytes.fromhex("0d1201070 85cff3800646410".replace(" ", ""))


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ({"at": 0, "length": 1}, 0x0D),
        ({"at": 0, "length": 2}, 0x0D12),
        ({"at": 0, "length": 2, "little_endian": True}, 0x120D),
        ({"at": 6, "length": 2}, 0xFF38),
        ({"at": 6, "length": 2, "signed": True}, -200),
        ({"at": 6, "length": 4, "signed": True, "scale": 0.01}, -13107100 * 0.01),
        ({"at": 6, "length": 2, "signed": True, "scale": 0.1, "offset": 1}, -19.0),
        ({"at": 11, "length": 1}, 0x10),
    ],
)
def test_bytes_are_read_where_the_codec_says(where: dict[str, Any], value: float) -> None:
    reads = codec(bytes=[{"metric": "soil_temp", "channel": "d20", **where}])
    (item,) = apply_codec(sent(frame=Frame(FRAME, 2)), reads).items
    assert item.value == pytest.approx(value, rel=1e-12)
    assert (item.metric, item.channel, item.seq, item.device) == ("soil_temp", "d20", 7, None)


def test_a_frame_that_is_too_short_costs_only_what_it_lacks() -> None:
    reads = codec(bytes=[{"metric": "ph", "at": 0, "length": 2}, {"metric": "turbidity", "at": 11, "length": 2}])
    decoded = apply_codec(sent(frame=Frame(FRAME, 2)), reads)
    assert [item.metric for item in decoded.items] == ["ph"]
    assert words(decoded) == ["frame_short"]


def test_bytes_of_another_port_are_passed_over_with_a_note() -> None:
    reads = codec(bytes=[{"metric": "ph", "at": 0, "length": 2, "port": 2}])
    decoded = apply_codec(sent(frame=Frame(FRAME, 5)), reads)
    assert (decoded.items, decoded.refused) == ([], [])
    assert "port 5" in decoded.notes[0]


@pytest.mark.parametrize("reads", [None, MAPPED])
def test_bytes_that_nobody_reads_are_refused(reads: Codec | None) -> None:
    with pytest.raises(DecodeRefused) as refused:
        apply_codec(sent(frame=Frame(FRAME, 2)), reads)
    assert refused.value.word == "no_codec"


@given(st.binary(max_size=255), st.integers(0, 254), st.sampled_from((1, 2, 4)), st.booleans(), st.booleans())
def test_any_frame_is_read_or_refused(payload: bytes, at: int, length: int, signed: bool, little: bool) -> None:
    one = {"metric": "ph", "at": at, "length": length, "signed": signed, "little_endian": little}
    decoded = apply_codec(sent(frame=Frame(payload, 0)), codec(bytes=[one]))
    fits = at + length <= len(payload)
    assert (len(decoded.items), words(decoded)) == ((1, []) if fits else (0, ["frame_short"]))


# --- what a policy may say of a codec


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"fields": {"x": {"metric": "dust"}}}, "unknown metric"),
        ({"fields": {"x": {"metric": "pm10", "unit": "mg/L"}}}, "pm10 cannot be in mg/L; its unit is ug/m3"),
        ({"fields": {"x": {"metric": "pm10", "unit": "furlong"}}}, "unknown unit"),
        ({"fields": {"x": {"metric": "pm10", "scale": 0}}}, "scale 0"),
        ({"fields": {"x": {"metric": "pm10", "scale": float("nan")}}}, "finite"),
        ({"fields": {"x": {"metric": "pm10", "scale": "2"}}}, "number"),
        ({"fields": {"x": {"metric": "pm10", "stat": "avg"}}}, "every other stat needs its period"),
        ({"fields": {"x": {"metric": "pm10", "period": "1h"}}}, "stat inst goes with period 0s"),
        ({"fields": {"x": {"metric": "pm10", "chanel": "a"}}}, "chanel"),
        ({"fields": {"": {"metric": "pm10"}}}, "at least 1"),
        ({"bytes": [{"metric": "ph", "at": 255, "length": 1}]}, "254"),
        ({"bytes": [{"metric": "ph", "at": 0, "length": 3}]}, "1, 2 or 4"),
        ({"bytes": [{"metric": "ph", "at": 0, "length": True}]}, "whole number"),
        ({"bytes": [{"metric": "ph", "at": 0, "length": 2, "port": 256}]}, "255"),
        ({"fields": {"x": {"metric": "ph"}}, "ignore": ["x"]}, "mapped and ignored"),
        ({"battery": "x", "ignore": ["x"]}, "mapped and ignored"),
        ({"battery_unit": "A"}, "'V', 'mV' or '%'"),
    ],
)
def test_what_no_codec_can_say(section: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Codec.model_validate(section)


def with_codec(name: str, **sections: Any) -> Policy:
    document = good()
    put(document, ("devices", 2, "codec"), name)
    document["codecs"] = {"probe": sections}
    return Policy.model_validate(document)


def test_a_codec_that_does_not_exist() -> None:
    ((path, message),) = check_policy(with_codec("prob", fields={"x": {"metric": "pm10"}}))
    assert path == ("devices", 2, "codec")
    assert "there is no codec 'prob'; did you mean 'probe'?" in message


def test_a_codec_whose_values_nobody_is_registered_for() -> None:
    policy = with_codec("probe", fields={"x": {"metric": "ph"}, "y": {"metric": "pm10"}}, ignore=["z"])
    assert check_policy(policy) == []
    assert (("devices", 2, "codec"), "'probe' also gives ph, which no sensor of 'd2' is registered for") in (
        policy_warnings(policy)
    )


# --- units of SenML


@pytest.mark.parametrize(
    ("unit", "ours"),
    [
        ("%RH", "%"),
        ("/100", "%"),
        ("/", "/"),
        ("l/s", "L/s"),
        ("pH", "1"),
        ("Cel", "Cel"),
        ("ug/m3", "ug/m3"),
        ("V", "V"),
    ],
)
def test_units_of_senml_in_our_spelling(unit: str, ours: str) -> None:
    assert senml_unit(unit) == ours


@pytest.mark.parametrize("unit", ["", "degC", "%rh", "cel", "uSv/h " * 40])
def test_units_that_nobody_knows(unit: str) -> None:
    with pytest.raises(DecodeRefused) as refused:
        senml_unit(unit)
    assert refused.value.word == "unit"
    assert len(refused.value.detail) < 120


def test_every_unit_of_ours_can_be_sent_in_senml() -> None:
    assert all(senml_unit(metric.unit) == metric.unit for metric in METRICS.values())
