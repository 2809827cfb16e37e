"""Admission: what an item is worth, from the item, the registry and the time of receipt alone."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core.clock import NS_PER_S
from greenmine.core.errors import DecodeRefused
from greenmine.core.metric import METRICS
from greenmine.core.quality import Quality
from greenmine.core.reading import STATS, Series
from greenmine.core.unit import UNITS, convertible
from greenmine.ingest.admit import DEFAULT_MAX_AHEAD_NS, EARLIEST_NS, Admitted, admit
from greenmine.ingest.decoded import Item
from greenmine.ingest.registry import DeviceEntry, Registry
from greenmine.policy.model import MetricSetting

NOW_NS = 1_795_305_600 * NS_PER_S
INT64 = 2**63


def setting(unit: str) -> MetricSetting:
    return MetricSetting(unit=unit, interval="10s")


REGISTRY = Registry(
    {
        ("m1", "dust-1"): DeviceEntry(None, {("pm10", "", "inst", 0): setting("ug/m3")}),
        ("m1", "dust-2"): DeviceEntry("gw-1", {("tsp", "", "inst", 0): setting("mg/m3")}),
        ("m1", "soil-1"): DeviceEntry("gw-1", {("soil_moisture", "d20", "inst", 0): setting("m3/m3")}),
        ("m1", "water-1"): DeviceEntry(None, {("water_temp", "", "inst", 0): setting("K")}),
        ("m1", "gw-1"): DeviceEntry(None, {}),
        ("m2", "dust-2"): DeviceEntry("gw-1", {}),
    },
    {"m1": 60 * NS_PER_S},
)


def item(
    metric: str = "pm10",
    value: float | None = 81.3,
    device: str | None = None,
    channel: str = "",
    time_ns: int = NOW_NS,
    unit: str | None = None,
    quality: int = 0,
) -> Item:
    return Item(device, metric, channel, "inst", 0, time_ns, value, unit, quality)


def admitted(one: Item, sender: str = "dust-1", mine: str = "m1") -> Admitted:
    return admit(one, mine, sender, REGISTRY, NOW_NS)


def test_a_registered_value_is_a_good_reading() -> None:
    found = admitted(item())
    assert found.reading.series == Series("m1", "dust-1", "pm10")
    assert (found.reading.time_ns, found.reading.value, found.reading.quality) == (NOW_NS, 81.3, 0)
    assert found.quarantine == ""


@pytest.mark.parametrize(
    ("one", "sender", "value"),
    [
        (item("tsp", 0.9), "dust-2", 900.0),
        (item("tsp", 900.0, unit="ug/m3"), "dust-2", 900.0),
        (item("soil_moisture", 0.184, channel="d20"), "soil-1", 18.4),
        (item("water_temp", 283.15), "water-1", 10.0),
        (item("water_temp", 10.0, unit="Cel"), "water-1", 10.0),
    ],
)
def test_values_are_converted_from_the_payloads_unit_or_the_registered_one(
    one: Item, sender: str, value: float
) -> None:
    found = admitted(one, sender)
    assert found.reading.value == pytest.approx(value)
    assert found.quarantine == ""


@pytest.mark.parametrize(
    ("one", "sender", "mine"),
    [
        (item("pm25"), "dust-1", "m1"),
        (item(channel="d20"), "dust-1", "m1"),
        (item(), "dust-9", "m1"),
        (item(), "dust-1", "m9"),
        (item()._replace(stat="avg", period_s=60), "dust-1", "m1"),
    ],
)
def test_what_is_not_registered_is_kept_apart(one: Item, sender: str, mine: str) -> None:
    found = admitted(one, sender, mine)
    assert found.quarantine == "unregistered"
    assert found.reading.quality == Quality.UNREGISTERED
    assert found.reading.value == 81.3


def test_a_gateway_speaks_for_the_devices_behind_it() -> None:
    found = admitted(item("tsp", 0.9, device="dust-2"), "gw-1")
    assert found.reading.series.device == "dust-2"
    assert found.quarantine == ""
    assert admitted(item(device="dust-1"), "dust-1").reading.series.device == "dust-1"


@pytest.mark.parametrize(
    ("device", "sender", "mine"),
    [("dust-1", "gw-1", "m1"), ("dust-2", "dust-1", "m1"), ("dust-9", "gw-1", "m1"), ("soil-1", "gw-1", "m2")],
)
def test_nobody_speaks_for_a_device_that_is_not_behind_him(device: str, sender: str, mine: str) -> None:
    with pytest.raises(DecodeRefused) as refused:
        admitted(item(device=device), sender, mine)
    assert refused.value.word == "scope"


@pytest.mark.parametrize(
    ("time_ns", "quarantine"),
    [
        (NOW_NS + 60 * NS_PER_S, ""),
        (NOW_NS + 60 * NS_PER_S + 1, "clock_ahead"),
        (INT64 - 1, "clock_ahead"),
        (NOW_NS - 10**17, ""),
        (EARLIEST_NS, ""),
        (EARLIEST_NS - 1, "clock_unset"),
        (-1_000_000, "clock_unset"),
        (1_767_225_600 * 1_000_000, "clock_unset"),  # seconds sent as milliseconds: 1970
        (-INT64, "clock_unset"),
    ],
)
def test_a_source_time_that_cannot_be_is_kept_apart_and_not_corrected(time_ns: int, quarantine: str) -> None:
    found = admitted(item(time_ns=time_ns))
    assert found.quarantine == quarantine
    assert found.reading.time_ns == time_ns
    assert found.reading.quality == (Quality.SKEW if quarantine else 0)


def test_a_mine_without_a_policy_has_the_usual_tolerance() -> None:
    ahead = item(time_ns=NOW_NS + DEFAULT_MAX_AHEAD_NS)
    assert admitted(ahead, mine="m9").quarantine == "unregistered"
    assert admitted(ahead, mine="m9").reading.quality == Quality.UNREGISTERED
    late = admitted(ahead._replace(time_ns=ahead.time_ns + 1), mine="m9")
    assert late.reading.quality == Quality.UNREGISTERED | Quality.SKEW


@pytest.mark.parametrize(
    ("one", "sender", "quality"),
    [
        (item(value=10_000), "dust-1", Quality.GOOD),
        (item(value=10_000.1), "dust-1", Quality.RANGE),
        (item(value=-0.1), "dust-1", Quality.RANGE | Quality.NEGATIVE),
        (item(value=-0.0), "dust-1", Quality.GOOD),
        (item("water_temp", -273.16, unit="Cel"), "water-1", Quality.RANGE),
        (item("water_temp", -1.0, unit="Cel"), "water-1", Quality.GOOD),
    ],
)
def test_a_value_beyond_what_can_be_stays_and_is_flagged(one: Item, sender: str, quality: Quality) -> None:
    found = admitted(one, sender)
    assert found.reading.quality == quality
    assert found.quarantine == ""
    assert found.reading.value is not None


def test_the_senders_own_flag_is_kept() -> None:
    found = admitted(item(value=-1, quality=Quality.MAINTENANCE))
    assert found.reading.quality == Quality.MAINTENANCE | Quality.RANGE | Quality.NEGATIVE


def test_a_missing_value_is_kept_apart() -> None:
    assert admitted(item(value=None)).quarantine == "missing"
    assert admitted(item(value=None)).reading.value is None
    assert admitted(item("pm25", value=None)).quarantine == "unregistered"
    assert admitted(item(value=None, time_ns=0)).quarantine == "clock_unset"


@pytest.mark.parametrize("unit", ["dB", "ppm"])
def test_a_unit_of_another_kind_is_refused(unit: str) -> None:
    with pytest.raises(DecodeRefused) as refused:
        admitted(item(unit=unit))
    assert refused.value.word == "unit"


def test_a_value_that_only_the_conversion_makes_infinite_is_refused() -> None:
    with pytest.raises(DecodeRefused) as refused:
        admitted(item(value=1.7e308, unit="mg/m3"))
    assert refused.value.word == "not_finite"


@given(
    st.builds(
        Item,
        device=st.sampled_from([None, "dust-1", "dust-2", "gw-1", "x"]),
        metric=st.sampled_from(sorted(METRICS)),
        channel=st.sampled_from(["", "d20"]),
        stat=st.sampled_from(STATS),
        period_s=st.sampled_from([0, 60, 3600]),
        time_ns=st.integers(-INT64, INT64 - 1),
        value=st.none() | st.floats(allow_nan=False, allow_infinity=False),
        unit=st.none() | st.sampled_from(UNITS),
        quality=st.sampled_from([0, int(Quality.INVALID)]),
    ),
    st.sampled_from(["dust-1", "dust-2", "gw-1", "water-1", "x"]),
    st.sampled_from(["m1", "m2"]),
)
def test_every_item_is_admitted_kept_apart_or_refused_with_a_word(one: Item, sender: str, mine: str) -> None:
    try:
        found = admit(one, mine, sender, REGISTRY, NOW_NS)
    except DecodeRefused as refused:
        word = refused.word
    else:
        reading = found.reading
        assert reading.time_ns == one.time_ns
        assert reading.series[2:] == (one.metric, one.channel, one.stat, one.period_s)
        assert reading.value is None or math.isfinite(reading.value)
        assert (reading.value is None) == (one.value is None)
        assert bool(found.quarantine) == (
            reading.value is None or bool(reading.quality & (Quality.UNREGISTERED | Quality.SKEW))
        )
        return
    canonical = METRICS[one.metric].unit
    if word == "unit":
        assert one.unit is not None
        assert not convertible(one.unit, canonical)
    else:
        assert word in {"scope", "not_finite"}
        assert word != "scope" or one.device not in (None, sender)


class TestSentinels:
    """Numbers that mean "no value"."""

    @pytest.mark.parametrize(
        ("value", "unit", "quarantine"),
        [
            (-9999.0, None, "sentinel"),
            (-9999, None, "sentinel"),
            (65535.0, None, "sentinel"),
            (65534.0, None, ""),
            (9999.0, None, ""),
            (655.35, None, "sentinel"),
            (65535 * 0.01, None, "sentinel"),
            (65535.0, "mg/m3", "sentinel"),  # as sent, whatever the unit
        ],
    )
    def test_one_is_quarantined_and_flagged_with_nothing_else(
        self, value: float, unit: str | None, quarantine: str
    ) -> None:
        chosen = MetricSetting(unit="ug/m3", interval="10s", sentinels=[-9999, 65535, 655.35])
        registry = Registry({("m1", "dust-1"): DeviceEntry(None, {("pm10", "", "inst", 0): chosen})}, {})
        found = admit(item(value=value, unit=unit), "m1", "dust-1", registry, NOW_NS)
        assert found.quarantine == quarantine
        if quarantine:
            assert found.reading.quality == Quality.GOOD

    def test_an_unregistered_series_has_none(self) -> None:
        found = admit(item("pm25", -9999.0), "m1", "dust-1", REGISTRY, NOW_NS)
        assert found.quarantine == "unregistered"
