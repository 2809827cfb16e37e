"""Packets of HJ 212: joined in any order, wherever a station cuts, and never more of them than there is room for."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core.errors import DecodeRefused
from greenmine.ingest import hj212_packets
from greenmine.ingest.hj212_packets import (
    MOST_OF_A_STATION,
    Assembly,
    PacketKey,
    Part,
    given_up,
    join,
    key_of,
    with_part,
)
from greenmine.ingest.hj212_segment import Segment

DATA = b"DataTime=20260401080000;a34002-Rtd=81.3,a34002-Flag=N;a34004-Rtd=40;LA-Rtd=57.9,LA-Flag=T"


def segment(number: int, of: int, cp: bytes, qn: str = "20260401080000001") -> Segment:
    return Segment(qn, "22", "2011", "123456", "STATION_1", 7, of, number, False, cp)


def part(cp: bytes, record_id: int = 1) -> Part:
    return Part(record_id, "hj212-tcp/STATION_1", "", cp)


def assembly(parts: int, of: int, begun_ns: int = 0, size: int = 10) -> Assembly:
    return Assembly(of, begun_ns, {number: part(b"") for number in range(1, parts + 1)}, size)


def key(mn: str, qn: str = "1") -> PacketKey:
    return PacketKey(mn, qn, "2011")


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([b"a=1;b-Rtd=2", b"c-Rtd=3"], b"a=1;b-Rtd=2;c-Rtd=3"),
        ([b"a=1;", b"c-Rtd=3"], b"a=1;c-Rtd=3"),
        ([b"a=1", b";c-Rtd=3"], b"a=1;c-Rtd=3"),
        ([b"a=1,", b"c-Flag=N"], b"a=1,c-Flag=N"),
        ([b"a-R", b"td=1"], b"a-Rtd=1"),
        ([b"a-Rtd", b"=1"], b"a-Rtd=1"),
        ([b"a-Rtd=8", b"1.3,a-Flag=N"], b"a-Rtd=81.3,a-Flag=N"),
        ([b"a-Rtd=81", b".3"], b"a-Rtd=81.3"),
        ([b"a=1", b"", b"c-Rtd=3"], b"a=1;c-Rtd=3"),
        ([], b""),
    ],
)
def test_where_stations_cut(parts: list[bytes], expected: bytes) -> None:
    assert join(parts) == expected


@given(st.permutations(range(1, 5)), st.lists(st.integers(0, len(DATA)), min_size=3, max_size=3))
def test_packets_cut_inside_values_and_after_separators(order: list[int], cuts: list[int]) -> None:
    # A cut inside a name looks like one before it where a value stood before; stations do not cut there.
    cuts = sorted(cut for cut in cuts if not DATA[cut : cut + 1].isalnum() or DATA[cut - 1 : cut] in (b";", b","))
    edges = [0, *cuts, len(DATA)]
    parts = [DATA[start:end] for start, end in itertools.pairwise(edges)]
    known: Assembly | None = None
    for number in (one for one in order if one <= len(parts)):
        cp = parts[number - 1]
        known = with_part(known, segment(number, len(parts), cp), part(cp), 0)
    assert known is not None
    assert known.is_whole
    assert known.joined() == DATA


def test_what_came_before_changes_nothing_and_what_contradicts_is_refused() -> None:
    first = with_part(None, segment(1, 2, b"a"), part(b"a"), 5)
    assert (first.begun_ns, first.size_bytes, first.is_whole) == (5, 1, False)
    assert with_part(first, segment(1, 2, b"a"), part(b"a", 9), 6) is first
    for other in (segment(1, 2, b"b"), segment(2, 3, b"a")):
        with pytest.raises(DecodeRefused) as refused:
            with_part(first, other, part(other.cp), 6)
        assert refused.value.word == "packet"


def test_a_packet_without_qn_belongs_to_nothing() -> None:
    with pytest.raises(DecodeRefused) as refused:
        key_of(segment(1, 2, b"", qn=""))
    assert refused.value.word == "packet"


def test_a_station_gives_up_what_is_whole_before_what_is_not() -> None:
    held = {key("A", str(number)): assembly(1, 2, begun_ns=number) for number in range(MOST_OF_A_STATION)}
    assert given_up(held, key("A", "new"), 10) == [key("A", "0")]
    held[key("A", "2")] = assembly(2, 2, begun_ns=2)
    assert given_up(held, key("A", "new"), 10) == [key("A", "2")]
    assert given_up(held, key("A", "1"), 10) == []
    assert given_up(held, key("B", "new"), 10) == []


def test_all_stations_together_give_up_only_what_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hj212_packets, "MOST_BYTES", 100)
    held = {key("A"): assembly(2, 2, 1, 40), key("B"): assembly(2, 2, 0, 40), key("C"): assembly(1, 2, 0, 10)}
    assert given_up(held, key("D"), 10) == []
    assert given_up(held, key("D"), 11) == [key("B")]
    assert given_up(held, key("D"), 60) == [key("B"), key("A")]
    with pytest.raises(DecodeRefused, match="not yet whole") as refused:
        given_up(held, key("D"), 91)
    assert refused.value.word == "packet"
    monkeypatch.setattr(hj212_packets, "MOST_AT_ALL", 3)
    assert given_up(held, key("D"), 1) == [key("B")]
