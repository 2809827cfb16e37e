"""Frames of HJ 212: cut out of any stream, and no damage costs a frame that is whole."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmine.core.errors import DecodeRefused
from greenmine.ingest.hj212_frame import (
    MAX_SEGMENT_BYTES,
    Damage,
    Frame,
    FrameScanner,
    build_frame,
    crc16,
    scan_payload,
)

SAMPLE = (
    b"##0101QN=20160801085857223;ST=32;CN=1062;PW=100000;MN=010000A8900016F000169DC0;Flag=5;"
    b"CP=&&RtdInterval=30&&1C80\r\n"
)
"""The worked example of annex A."""
SEGMENT = SAMPLE[6:-6]

segments = st.binary(min_size=0, max_size=200).filter(lambda one: b"#" not in one)
garbage = st.binary(max_size=60).map(lambda one: one.replace(b"##", b"#x"))


def segments_of(found: list[Frame | Damage]) -> list[bytes]:
    return [one.segment for one in found if isinstance(one, Frame)]


def words(payload: bytes) -> list[str]:
    return ["frame" if isinstance(one, Frame) else one.word for one in scan_payload(payload)]


def in_pieces(stream: bytes, cuts: list[int]) -> list[Frame | Damage]:
    scanner = FrameScanner()
    found: list[Frame | Damage] = []
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, end in itertools.pairwise(edges):
        found += scanner.feed(stream[start:end])
        assert scanner.waiting_bytes < 6 + MAX_SEGMENT_BYTES + 4
    return [*found, *scanner.flush()]


def modbus_crc(data: bytes) -> int:
    register = 0xFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ 0xA001 if register & 1 else register >> 1
    return register


def test_the_worked_example_of_the_standard() -> None:
    assert crc16(SEGMENT) == 0x1C80
    assert build_frame(SEGMENT) == SAMPLE
    assert modbus_crc(SEGMENT) == 0x0759
    assert scan_payload(SAMPLE) == [Frame(SEGMENT, SAMPLE)]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (SAMPLE.replace(b"1C80", b"1C08"), ["crc"]),
        (SAMPLE.replace(b"1C80", b"0759"), ["crc"]),
        (SAMPLE.replace(b"1C80", b"1c80"), ["frame"]),
        (SAMPLE.replace(b"##0101", b"##0102"), ["length"]),
        (SAMPLE.replace(b"##0101", b"##9999"), ["length"]),
        (SAMPLE.replace(b"##0101", b"##01a1"), ["length"]),
        (SAMPLE.replace(b"##0101", b"##1025"), ["length"]),
        (SAMPLE[:-2] + b"\r", ["frame"]),
        (SAMPLE[:-2] + b"\n", ["frame"]),
        (SAMPLE[:-2] + SAMPLE, ["frame", "frame"]),
        (SAMPLE[:-1] + SAMPLE, ["frame", "frame"]),
        (b"\r\n" + SAMPLE + b"\r\n\r\n" + SAMPLE, ["frame", "frame"]),
        (b"noise" + SAMPLE, ["header", "frame"]),
        (b"noise#" + SAMPLE, ["header", "length", "frame"]),
        (SAMPLE[:50] + SAMPLE, ["length", "frame"]),
        (SAMPLE[:-4] + SAMPLE, ["length", "frame"]),
        (b"##01" + SAMPLE, ["length", "frame"]),
        (SAMPLE[:50], ["length"]),
        (b"no frame at all", ["header"]),
        (b"##0000FFFF\r\n", ["frame"]),
    ],
)
def test_what_a_payload_holds(payload: bytes, expected: list[str]) -> None:
    assert words(payload) == expected


@pytest.mark.parametrize("payload", [b"", b" ", b"\r\n\r\n"])
def test_nothing_is_refused_as_nothing(payload: bytes) -> None:
    with pytest.raises(DecodeRefused, match="empty"):
        scan_payload(payload)


def test_the_longest_segment() -> None:
    assert words(build_frame(b"x" * MAX_SEGMENT_BYTES)) == ["frame"]
    with pytest.raises(ValueError, match="1024"):
        build_frame(b"x" * (MAX_SEGMENT_BYTES + 1))


def test_a_frame_byte_by_byte_and_through_a_gbk_character() -> None:
    framed = build_frame("ST=22;CP=&&a-Info=超标;b-Rtd=1&&".encode("gbk"))
    for payload in (SAMPLE, framed):
        scanner = FrameScanner()
        found = [one for n in range(len(payload)) for one in scanner.feed(payload[n : n + 1])]
        assert segments_of(found) == [payload[6 : payload.rindex(b"&&") + 2]]


def test_what_does_not_end_is_damage_with_the_word_it_is_given() -> None:
    scanner = FrameScanner()
    assert scanner.feed(SAMPLE[:60]) == []
    assert scanner.waiting_bytes == 60
    assert [one.word for one in scanner.flush()] == ["timeout"]
    assert scanner.flush() == []
    assert segments_of(scanner.feed(SAMPLE)) == [SEGMENT]


def test_noise_is_counted_until_a_good_frame() -> None:
    scanner = FrameScanner()
    for _ in range(4):
        scanner.feed(b"x" * 1000)
    assert scanner.noise_bytes == 4000
    assert scanner.waiting_bytes == 0
    scanner.feed(SAMPLE)
    assert scanner.noise_bytes == 0


def test_an_encrypted_frame_waits_for_the_proof_of_its_crc() -> None:
    segment = b"CN=2011;CP=&&{0xE4,0x3E}&&"
    for sealed in (segment, segment.replace(b"0x", b"0X")):
        frame = b"##%04d%bBEEF\r\n" % (len(sealed), sealed)
        assert scan_payload(frame) == [Frame(sealed, frame, 0xBEEF)]
    assert scan_payload(build_frame(segment)) == [Frame(segment, build_frame(segment), None)]


@given(st.lists(segments, min_size=1, max_size=5), st.lists(st.integers(0, 10_000), max_size=12))
def test_any_split_of_a_stream_gives_the_same_frames(sent: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(build_frame(one) for one in sent)
    assert segments_of(in_pieces(stream, cuts)) == sent


@settings(max_examples=300)
@given(
    st.lists(st.tuples(garbage, segments), min_size=1, max_size=5),
    garbage,
    st.lists(st.integers(0, 10_000), max_size=12),
)
def test_damage_between_frames_costs_none(sent: list[tuple[bytes, bytes]], end: bytes, cuts: list[int]) -> None:
    stream = b"".join(noise + build_frame(one) for noise, one in sent) + end
    assert segments_of(in_pieces(stream, cuts)) == [one for _, one in sent]


@settings(max_examples=300)
@given(
    segments,
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, 250),
    st.lists(segments, min_size=1, max_size=3),
    st.lists(st.integers(0, 10_000), max_size=12),
)
def test_a_damaged_frame_costs_no_later_one(
    first: bytes, changes: list[tuple[int, int]], lost: int, later: list[bytes], cuts: list[int]
) -> None:
    damaged = bytearray(build_frame(first))
    for place, byte in changes:
        damaged[place % len(damaged)] = byte
    del damaged[len(damaged) - lost :]
    stream = bytes(damaged) + b"".join(build_frame(one) for one in later)
    assert segments_of(in_pieces(stream, cuts))[-len(later) :] == later


@given(st.binary(max_size=4000), st.lists(st.integers(0, 10_000), max_size=12))
def test_any_bytes_are_frames_or_damage_and_none_is_lost(stream: bytes, cuts: list[int]) -> None:
    whole = b"".join(one.raw for one in in_pieces(stream, cuts))
    left = iter(stream)
    assert all(byte in left for byte in whole)
    assert len(stream) - len(whole) == sum(map(stream.count, (b"\r", b"\n"))) - whole.count(b"\r") - whole.count(b"\n")
