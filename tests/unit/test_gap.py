"""The arithmetic of gaps: what is missing is exactly what was passed over and has not come, in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core.gap import Gap, GapReason, Stream, all_of, gap_id
from greenmine.pipeline.effects import Effects
from greenmine.pipeline.gaps import DECLARED_AFTER_NS, Gaps
from greenmine.pipeline.state import JudgeState
from greenmine.store import gaps
from greenmine.store.state import StateDb

NS = 1_000_000_000
STREAM = Stream("m1", "dust-1", "seq")


def a_gap(first: int, last: int) -> Gap:
    identity = gap_id(STREAM, "a", first, 0)
    return Gap(identity, STREAM, "a", first, last, 0, 1, 0, None, 0, all_of(first, last), 0, 0, None, GapReason.OPEN)


def numbers(gap: Gap) -> set[int]:
    return {n for first, last in gap.remaining for n in range(first, last + 1)}


@given(st.integers(0, 50), st.integers(0, 50), st.lists(st.integers(-5, 110), max_size=60))
def test_a_gap_without_numbers_is_what_is_left(first: int, length: int, came: list[int]) -> None:
    gap = a_gap(first, first + length)
    for seq in came:
        before, after = numbers(gap), gap.without(seq)
        if after is None:
            assert seq not in before
        else:
            assert numbers(after) == before - {seq} != before
            gap = after
    assert gap.missing == len(numbers(gap))
    assert gap.filled == length + 1 - gap.missing
    assert list(gap.remaining) == sorted(gap.remaining)
    assert all(a <= b for a, b in gap.remaining)
    assert all(b + 1 < c for (_, b), (c, _) in zip(gap.remaining, gap.remaining[1:], strict=False))


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 12)), min_size=1, max_size=60))
def test_what_is_missing_is_what_was_passed_over_and_has_not_come(came: list[tuple[int, int]]) -> None:
    """Numbers rise with source time; messages come in any order, each some seconds after the one before."""
    state, fx, clock_ns = JudgeState(), Effects(0), 1_000 * NS
    watched, highest, expected, declared = Gaps(state), came[0][0], set[int](), set[int]()
    opened: dict[int, int] = {}
    for seq, pause_s in came:
        clock_ns += pause_s * NS
        watched.on_clock(clock_ns, fx)
        watched.observe(STREAM, seq, "a", 1_000 * NS + seq * NS, clock_ns, fx)
        if seq > highest:
            new = set(range(highest + 1, seq))
            expected |= new
            opened.update(dict.fromkeys(new, clock_ns))
            highest = seq
        expected.discard(seq)
        known = state.sequences[STREAM]
        assert set().union(*(numbers(gap) for gap in known.missing.values())) == expected
        assert sum(gap.missing for gap in known.missing.values()) == len(expected), "no number is in two gaps"
        declared = {n for gap in known.missing.values() if gap.found_ns is not None for n in numbers(gap)}
        assert all(clock_ns - opened[n] >= DECLARED_AFTER_NS for n in declared)
        assert bool(state.gapped) == bool(expected)
    watched.on_clock(clock_ns + DECLARED_AFTER_NS, fx)
    assert all(gap.found_ns is not None for gap in state.sequences[STREAM].missing.values())
    assert state.sequences[STREAM].highest == highest


@given(
    st.lists(
        st.tuples(st.sampled_from(["row", "log", "both", "round"]), st.integers(0, 9), st.integers(0, 2**62)),
        max_size=12,
    )
)
def test_rows_and_log_together_say_where_a_sequence_is(commits: list[tuple[str, int, int]]) -> None:
    """Each commit writes the row, the log or both; a round writes the row and cuts the log behind itself."""
    watched, fx = Gaps(JudgeState()), Effects(0)
    watched.observe(STREAM, 5, "a", 7, 0, fx)
    (known,) = fx.sequences.values()
    state = StateDb(None)
    try:
        with state.writing() as connection:
            gaps.save_sequences(connection, [known], 1)
            for cursor, (how, highest, highest_ns) in enumerate(commits, 2):
                known.highest, known.highest_ns = highest, highest_ns
                if how != "row":
                    gaps.log_advances(connection, [known], cursor)
                if how != "log":
                    gaps.save_sequences(connection, [known], cursor)
                if how == "round":
                    gaps.cut_log(connection, cursor)
        with state.reading() as connection:
            assert gaps.sequences(connection) == [known]
    finally:
        state.close()


@pytest.mark.parametrize("missing", [1, 255, 5_000])
def test_a_gap_that_is_filled_in_any_order_is_filled(missing: int) -> None:
    """Every other number first, which leaves as many pieces as there can be; it rests in the state meanwhile."""
    state, fx = JudgeState(), Effects(0)
    watched, first = Gaps(state), 7
    watched.observe(STREAM, first - 1, "a", NS, NS, fx)
    watched.observe(STREAM, first + missing, "a", 2 * NS, NS, fx)
    for seq in range(first + 1, first + missing, 2):
        watched.observe(STREAM, seq, "a", NS, NS, fx)
    (left,) = state.sequences[STREAM].missing.values()
    assert left.pieces == left.missing == (missing + 1) // 2
    kept = StateDb(None)
    try:
        with kept.writing() as connection:
            gaps.save(connection, dict(fx.gaps))
        with kept.reading() as connection:
            assert gaps.waiting(connection) == [left]
    finally:
        kept.close()
    for seq in range(first, first + missing, 2):
        watched.observe(STREAM, seq, "a", NS, NS, fx)
    assert state.sequences[STREAM].missing == {}
