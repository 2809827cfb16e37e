"""Readings packed as columns, and identities as chunks: what goes in comes out, and bytes of others are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core.errors import Corrupt
from greenmine.pipeline.identities import Recent, join_chunks, pack_chunk, unpack_chunk
from greenmine.store.columns import ORDINARY, Columns, Odd, pack, unpack

TIMES = st.integers(-(2**61), 2**61)
VALUES = st.floats(allow_nan=False)
ODD = st.just(ORDINARY) | st.builds(
    Odd, st.integers(0, 2**14 - 1), st.booleans(), st.booleans(), st.none() | st.floats(allow_nan=False)
)
Rows = list[tuple[int, int, float, Odd]]
ROWS = st.lists(st.tuples(st.integers(1, 2**40), TIMES, VALUES, ODD), max_size=30)


@given(ROWS, st.integers(0, 30))
def test_columns_come_out_as_they_went_in(rows: Rows, cut: int) -> None:
    columns = Columns()
    for place, row in enumerate(rows):
        if place == cut:
            columns.end_run(5, 6)
        columns.add(*row)
    columns.end_run(7, 8)
    found = unpack(pack(columns))
    assert [*found.rows()] == rows
    assert found.runs == columns.runs
    assert (found.runs[-1].upto if found.runs else 0) == len(rows) == len(found)


def test_an_ordinary_reading_costs_24_bytes() -> None:
    columns = Columns()
    empty = len(pack(columns))
    for n in range(100):
        columns.add(1, n, 0.5)
    assert len(pack(columns)) == empty + 2400


@pytest.mark.parametrize("blob", [b"", b"[1]", b"\x01" + b"\x00" * 11, pack(Columns())[:-1], pack(Columns()) + b"x"])
def test_other_bytes_are_no_columns(blob: bytes) -> None:
    with pytest.raises(Corrupt):
        unpack(blob)


@given(ROWS)
def test_a_chunk_holds_the_first_value_of_each_time(rows: Rows) -> None:
    recent, first = Recent(), {}
    for _, time_ns, value, odd in rows:
        recent.add(time_ns, value, odd)
        first.setdefault(time_ns, (value, odd))
    assert len(recent) == len(first)
    if not rows:
        return
    first_ns, last_ns, blob = pack_chunk(recent)
    assert (first_ns, last_ns) == (min(first), max(first))
    for held in (recent, unpack_chunk(blob)):
        assert {t: (value, odd) for t, value, odd in held.after(-(2**63))} == first
        assert all(held.value_at(t) == value for t, (value, _) in first.items())
        assert held.value_at(2**61 + 1) is None


@given(ROWS, ROWS)
def test_joined_chunks_keep_the_first(one: Rows, two: Rows) -> None:
    expected: dict[int, float] = {}
    blobs = []
    for rows in (one, two):
        recent = Recent()
        for _, time_ns, value, odd in rows:
            recent.add(time_ns, value, odd)
            expected.setdefault(time_ns, value)
        if rows:
            blobs.append(pack_chunk(recent)[2])
    if len(blobs) == 2:
        assert dict(unpack_chunk(join_chunks(*blobs)).all()) == expected


@given(ROWS.filter(bool), TIMES)
def test_what_is_dropped_is_before(rows: Rows, before_ns: int) -> None:
    recent = Recent()
    for _, time_ns, value, odd in rows:
        recent.add(time_ns, value, odd)
    recent.drop_before(before_ns)
    assert {t for t, _ in recent.all()} == {t for _, t, _, _ in rows if t >= before_ns}
    assert all(t >= before_ns for t in recent.odd)


@pytest.mark.parametrize("blob", [b"", b"\x01\x00", b"\x02" + b"\x00" * 8 + b"x\x9c\x03\x00\x00\x00\x00\x01"])
def test_other_bytes_are_no_chunk(blob: bytes) -> None:
    with pytest.raises(Corrupt):
        unpack_chunk(blob)
