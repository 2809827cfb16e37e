"""Line protocol: what is written can be read back exactly, and what could not be is rejected before it is sent."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core.metric import METRICS
from greenmine.core.reading import Reading, Series, split_field_name
from greenmine.store.line_protocol import MAX_TIME_NS, MIN_TIME_NS, LineEncoder

T = 1_795_334_400_000_000_000

identifiers = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
series = st.builds(
    lambda mine, device, metric, channel, statistic: Series(mine, device, metric, channel, *statistic),
    identifiers,
    identifiers,
    st.sampled_from(sorted(METRICS)),
    st.just("") | identifiers,
    st.just(("inst", 0)) | st.tuples(st.sampled_from(("avg", "min", "max", "sum")), st.integers(0, 10**9)),
)
readings = st.builds(
    Reading,
    series,
    st.integers(MIN_TIME_NS, MAX_TIME_NS),
    st.floats(allow_nan=False, allow_infinity=False),
    st.just(0) | st.integers(1, 2**14 - 1),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
)


def parse(text: str) -> list[Reading]:
    """A line without escapes, read by the grammar of line protocol and by nothing of the encoder."""
    head, fields, time = text.split(" ")
    measurement, *pairs = head.split(",")
    tags = dict(pair.split("=") for pair in pairs)
    assert [pair.split("=")[0] for pair in pairs] == sorted(tags), "InfluxDB wants the tags sorted"
    named = dict(item.split("=") for item in fields.split(","))
    assert len(named) == fields.count(",") + 1, "a field stands in the line twice"
    found = []
    for name, value in named.items():
        if name.endswith("_q"):
            assert name.removesuffix("_q") in named, "quality without its value"
            continue
        if name.endswith("_cal"):
            assert name.removesuffix("_cal") in named, "calibrated without its raw value"
            continue
        assert not value.endswith("i")
        metric, stat, period_s = split_field_name(name)
        assert METRICS[metric].kind.value == measurement
        bits = named.get(f"{name}_q", "0i")
        assert bits.endswith("i")
        key = Series(tags["mine"], tags["device"], metric, tags.get("channel", ""), stat, period_s)
        calibrated = float(named[f"{name}_cal"]) if f"{name}_cal" in named else None
        found.append(Reading(key, int(time), float(value), int(bits[:-1]), calibrated))
    return found


def encode(wanted: list[Reading]) -> list[str]:
    lines, rejected = LineEncoder().encode(wanted)
    assert rejected == []
    return [line.text for line in lines]


@given(st.lists(readings, max_size=30, unique_by=lambda r: (r.series, r.time_ns)))
def test_what_is_encoded_is_read_back_exactly(wanted: list[Reading]) -> None:
    lines, rejected = LineEncoder().encode(wanted)
    assert rejected == []
    back = [reading for line in lines for reading in parse(line.text)]
    # repr tells -0.0 from 0.0
    assert sorted(map(repr, back)) == sorted(map(repr, wanted))
    assert sorted(map(repr, (reading for line in lines for reading in line.readings))) == sorted(map(repr, wanted))
    assert "\n" not in "".join(line.text for line in lines)


def columns(wanted: list[Reading]) -> list[str] | None:
    return LineEncoder().columns(*zip(*((one.series, one.time_ns, one.value) for one in wanted), strict=True))


@given(st.lists(readings, min_size=1, max_size=10))
def test_columns_become_lines_of_their_own_that_say_the_same(wanted: list[Reading]) -> None:
    plain = [one._replace(quality=0, calibrated=None) for one in wanted]
    distinct = len({(one.series, one.time_ns) for one in plain}) == len(plain)
    lines = columns(plain)
    assert (lines is not None) == distinct
    if lines is not None:
        assert list(map(repr, (one for line in lines for one in parse(line)))) == list(map(repr, plain))


@pytest.mark.parametrize(
    "odd",
    [
        {"time_ns": T},
        {"value": float("nan")},
        {"value": float("inf")},
        {"time_ns": MAX_TIME_NS + 1},
        {"series": Series("m1", "dust-1", "smell")},
        {"series": Series("m 1", "dust-1", "pm10")},
    ],
)
def test_columns_that_cannot_all_be_stored_are_left_to_the_careful_way(odd: dict[str, Any]) -> None:
    good = Reading(Series("m1", "dust-1", "pm10"), T, 1.0)
    assert columns([good]) == [f"dust,device=dust-1,mine=m1 pm10=1.0 {T}"]
    assert columns([good, good._replace(**{"time_ns": T + 1, **odd})]) is None


@given(st.lists(readings, max_size=10), st.lists(readings, max_size=10))
def test_an_encoder_that_has_seen_other_readings_encodes_alike(before: list[Reading], wanted: list[Reading]) -> None:
    used = LineEncoder()
    used.encode(before)
    assert used.encode(wanted) == LineEncoder().encode(wanted)


def test_a_line_is_what_the_design_says() -> None:
    pm10 = Reading(Series("m1", "dust-1", "pm10"), T, 81.3, 3)
    hourly = Reading(Series("m1", "dust-1", "pm10", "", "avg", 3600), T, 80.0)
    assert encode([pm10, hourly]) == [f"dust,device=dust-1,mine=m1 pm10=81.3,pm10_q=3i,pm10_avg_3600=80.0 {T}"]
    calibrated = Reading(Series("m1", "dust-1", "pm10"), T, 81.3, 3, 82)
    assert encode([calibrated]) == [f"dust,device=dust-1,mine=m1 pm10=81.3,pm10_q=3i,pm10_cal=82.0 {T}"]
    soil = Reading(Series("m1", "soil-1", "soil_moisture", "d20"), T + 1, 18)
    assert encode([soil]) == [f"soil,channel=d20,device=soil-1,mine=m1 soil_moisture=18.0 {T + 1}"]
    flagged = soil._replace(quality=1)
    assert encode([flagged]) == [
        f"soil,channel=d20,device=soil-1,mine=m1 soil_moisture=18.0,soil_moisture_q=1i {T + 1}"
    ]


def test_only_readings_of_one_place_and_time_share_a_line() -> None:
    base = Series("m1", "d1", "pm10")
    wanted = [
        Reading(base, T, 1.0),
        Reading(base._replace(metric="pm25"), T, 2.0),
        Reading(base, T + 1, 3.0),
        Reading(base._replace(channel="c1"), T, 4.0),
        Reading(base._replace(device="d2"), T, 5.0),
        Reading(base._replace(mine="m2"), T, 6.0),
        Reading(base._replace(metric="wind_speed"), T, 7.0),
    ]
    lines, _ = LineEncoder().encode(wanted)
    assert [len(line.readings) for line in lines] == [2, 1, 1, 1, 1, 1]


def test_the_first_of_two_values_in_one_call_is_written() -> None:
    key = Series("m1", "d1", "pm10")
    assert encode([Reading(key, T, 1.0, 2), Reading(key, T, 9.0)]) == [f"dust,device=d1,mine=m1 pm10=1.0,pm10_q=2i {T}"]


def test_alone_takes_a_line_apart() -> None:
    encoder = LineEncoder()
    key = Series("m1", "d1", "pm10")
    wanted = [Reading(key, T, 1.0, 2), Reading(key._replace(metric="tsp"), T, 2.0)]
    (line,), _ = encoder.encode(wanted)
    assert [single.text for single in encoder.alone(line)] == [
        f"dust,device=d1,mine=m1 pm10=1.0,pm10_q=2i {T}",
        f"dust,device=d1,mine=m1 tsp=2.0 {T}",
    ]


GOOD = Reading(Series("m1", "d1", "pm10", "c1", "avg", 60), T, 1.0)


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (GOOD._replace(value=None), "finite"),
        (GOOD._replace(value=math.nan), "finite"),
        (GOOD._replace(value=-math.inf), "finite"),
        (GOOD._replace(time_ns=MIN_TIME_NS - 1), "time"),
        (GOOD._replace(time_ns=MAX_TIME_NS + 1), "time"),
        (GOOD._replace(quality=-1), "quality"),
        (GOOD._replace(quality=2**31), "quality"),
        (GOOD._replace(series=GOOD.series._replace(metric="pm10,x=1 ")), "metric"),
        (GOOD._replace(series=GOOD.series._replace(metric="pm10_q")), "metric"),
        (GOOD._replace(series=GOOD.series._replace(mine="")), "mine"),
        (GOOD._replace(series=GOOD.series._replace(mine="#m")), "mine"),
        (GOOD._replace(series=GOOD.series._replace(mine="m1,device=d2")), "mine"),
        (GOOD._replace(series=GOOD.series._replace(device="d1\\")), "device"),
        (GOOD._replace(series=GOOD.series._replace(device="d1\ndust v=1")), "device"),
        (GOOD._replace(series=GOOD.series._replace(device="矿")), "device"),
        (GOOD._replace(series=GOOD.series._replace(channel="a b")), "channel"),
        (GOOD._replace(series=GOOD.series._replace(stat="median")), "statistic"),
        (GOOD._replace(series=GOOD.series._replace(stat="inst")), "statistic"),
        (GOOD._replace(series=GOOD.series._replace(period_s=-60)), "statistic"),
    ],
)
def test_what_no_line_can_carry_is_rejected_and_the_rest_is_encoded(bad: Reading, word: str) -> None:
    lines, rejected = LineEncoder().encode([bad, GOOD, bad])
    assert [line.readings for line in lines] == [(GOOD,)]
    assert [refused.reading for refused in rejected] == [bad, bad]
    assert all(word in refused.reason for refused in rejected)
