"""The simulator's HJ 212 against the standard's worked example, and against the decoder, written apart from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmine.core.quality import HJ212_LETTERS
from greenmine.ingest.decode_hj212 import decode_hj212
from greenmine.ingest.hj212_frame import Frame, scan_payload
from greenmine.ingest.hj212_segment import parse_segment
from greenmine.simulator.encode_hj212 import (
    DAY,
    HOUR,
    MINUTE,
    MOST_SEGMENT_BYTES,
    REAL_TIME,
    FactorData,
    Station,
    encode_data,
    encode_frame,
)

ROOT = Path(__file__).resolve().parents[2]
FRAMES = ROOT.parent / "shared" / "hj212_frames.json"
NS = 1_000_000_000
AT_NS = 1_775_001_600 * NS
"""2026-04-01 08:00:00 at +08:00."""
STATION = Station("010000A8900016F000169DC0", "123456")
SUFFIXES = {REAL_TIME: ["Rtd"], MINUTE: ["Min", "Avg", "Max"], HOUR: ["Min", "Avg", "Max"], DAY: ["Avg"]}
STATS = {"Rtd": "inst", "Min": "min", "Avg": "avg", "Max": "max"}
PERIODS_S = {REAL_TIME: 0, MINUTE: 60, HOUR: 3600, DAY: 86400}

numbers = st.integers(-(10**12), 10**12).map(lambda thousandths: thousandths / 1000)
unknown_codes = st.integers(0, 99_999).map(lambda number: f"q{number:05d}")
"""Codes that no table has: each is a series of its own, whatever else is in the frame."""


@st.composite
def factors_of(draw: st.DrawFn, command: str) -> list[FactorData]:
    codes = draw(st.lists(unknown_codes, min_size=1, max_size=40, unique=True))
    letters = st.one_of(st.none(), st.sampled_from(sorted(HJ212_LETTERS)))
    return [FactorData(code, {suffix: draw(numbers) for suffix in SUFFIXES[command]}, draw(letters)) for code in codes]


def test_the_worked_example_of_the_standard() -> None:
    segment = b"QN=20160801085857223;ST=32;CN=1062;PW=100000;MN=010000A8900016F000169DC0;Flag=5;CP=&&RtdInterval=30&&"
    assert encode_frame(segment) == b"##0101" + segment + b"1C80\r\n"


def test_frames_from_the_field_are_framed_alike() -> None:
    if not FRAMES.is_file():
        pytest.skip("the folder ../shared with hj212_frames.json is absent")
    for sent in json.loads(FRAMES.read_text(encoding="utf-8"))["accept"]:
        raw = sent["frame"].encode()
        assert encode_frame(raw[6:-6]).upper() == raw.upper(), sent["id"]


def test_a_frame_as_it_is_written() -> None:
    factors = [FactorData("a34002", {"Rtd": 81.3}), FactorData("LA", {"Rtd": 57}, None)]
    (frame,) = encode_data(STATION, REAL_TIME, AT_NS, factors, sent_ns=AT_NS + 7_000_000)
    assert frame[6:-6] == (
        b"QN=20260401080000007;ST=22;CN=2011;PW=123456;MN=010000A8900016F000169DC0;Flag=5;"
        b"CP=&&DataTime=20260401080000;a34002-Rtd=81.3,a34002-Flag=N;LA-Rtd=57&&"
    )


def test_flag_and_resending() -> None:
    factors = [FactorData("a34002", {"Rtd": 1e-7})]
    station = Station("A110000_0001", "x", "21", version=2)
    (frame,) = encode_data(station, REAL_TIME, AT_NS, factors, sent_ns=AT_NS, wants_answer=False, resent=True)
    assert b"MN=A110000_0001;Flag=8;RF=1;CP=&&DataTime=20260401080000;a34002-Rtd=0.0000001," in frame
    segment = parse_segment(frame[6:-6])
    assert (segment.flag, segment.is_resent, segment.wants_answer) == (8, True, False)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_no_number_is_not_sent(number: float) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        encode_data(STATION, REAL_TIME, AT_NS, [FactorData("a34002", {"Rtd": number})], sent_ns=AT_NS)


def test_what_does_not_fit_is_not_sent() -> None:
    with pytest.raises(ValueError, match="1024"):
        encode_frame(b"x" * (MOST_SEGMENT_BYTES + 1))
    with pytest.raises(ValueError, match="packet"):
        encode_data(STATION, REAL_TIME, AT_NS, [FactorData("a" * 1000, {"Rtd": 1})], sent_ns=AT_NS)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from(sorted(SUFFIXES)), st.integers(0, 10**9), st.booleans())
def test_what_is_sent_is_what_is_read(data: st.DataObject, command: str, second: int, backwards: bool) -> None:
    factors = data.draw(factors_of(command))
    data_time_ns = AT_NS + second * NS
    frames = encode_data(STATION, command, data_time_ns, factors, sent_ns=data_time_ns + 250_000_000)
    if backwards:
        frames.reverse()
    assert all(isinstance(one, Frame) for one in scan_payload(b"".join(frames)))
    decoded = decode_hj212(b"".join(frames))
    assert decoded.refused == []
    expected = [
        (
            STATION.mn,
            factor.code,
            STATS[suffix],
            PERIODS_S[command],
            data_time_ns,
            number,
            0 if factor.letter is None else int(HJ212_LETTERS[factor.letter]),
        )
        for factor in factors
        for suffix, number in factor.numbers.items()
    ]
    assert [(i.device, i.metric, i.stat, i.period_s, i.time_ns, i.value, i.quality) for i in decoded.items] == expected


def test_many_factors_go_into_packets() -> None:
    factors = [FactorData(f"q{number:05d}", {"Min": 1.25, "Avg": 2.5, "Max": 3.75}) for number in range(60)]
    frames = encode_data(STATION, HOUR, AT_NS, factors, sent_ns=AT_NS)
    segments = [parse_segment(frame[6:-6]) for frame in frames]
    assert [(one.packets, one.packet_no, one.flag) for one in segments] == [
        (len(frames), number, 7) for number in range(1, len(frames) + 1)
    ]
    assert len(frames) > 2
    assert len(decode_hj212(b"".join(frames)).items) == 180
