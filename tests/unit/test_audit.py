"""The audit chain: whatever is done to it, `verify` names the first entry that does not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmine.store import audit
from greenmine.store.audit import GENESIS, AuditEntry, AuditReport, AuditRow
from greenmine.store.state import StateDb
from tests.pipeline_scenes import SPARE

words = st.text(st.characters(codec="utf-8"), max_size=12)
bodies = st.dictionaries(words, st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-9, 9) | words, max_size=3)
entries = st.builds(AuditEntry, st.integers(0, 2**62), words, words, words, bodies)


def entry(number: int) -> AuditEntry:
    return AuditEntry(number, "person:li", "alert.note", f"a{number}", {"note": f"note {number}"})


def chained(*given: AuditEntry) -> list[AuditRow]:
    """These entries as they are stored."""
    with SPARE.state() as state:
        with state.writing() as connection:
            audit.append(connection, given)
        return stored(state)


def stored(state: StateDb) -> list[AuditRow]:
    with state.reading() as connection:
        return list(audit.rows(connection))


TEN = chained(*(entry(n) for n in range(1, 11)))


def test_an_untouched_chain_fits() -> None:
    assert audit.verify(TEN) == AuditReport(10, TEN[-1].hash, None, "every entry fits")


def test_an_empty_one_too() -> None:
    assert audit.verify([]) == AuditReport(0, GENESIS, None, "every entry fits")


def test_it_does_not_matter_in_how_many_transactions_it_was_written() -> None:
    with SPARE.state() as state:
        for number in range(1, 11):
            with state.writing() as connection:
                audit.append(connection, [entry(number)])
                audit.append(connection, [])
        assert stored(state) == TEN


def test_an_entry_of_a_transaction_that_failed_is_not_there() -> None:
    def fail(state: StateDb) -> None:
        with state.writing() as connection:
            audit.append(connection, [entry(1)])
            raise ZeroDivisionError

    with SPARE.state() as state:
        with pytest.raises(ZeroDivisionError):
            fail(state)
        with state.writing() as connection:
            audit.append(connection, [entry(1)])
        assert stored(state) == TEN[:1]


@pytest.mark.parametrize("field", ["at_ns", "principal", "action", "subject", "body", "previous", "hash"])
@pytest.mark.parametrize("no", [1, 5, 10])
def test_an_edited_entry_is_named(field: str, no: int) -> None:
    value: Any = 12345 if field == "at_ns" else "0" * 63 + "1"
    tampered = [row._replace(**{field: value}) if row.no == no else row for row in TEN]
    assert audit.verify(tampered).broken_no == no


@pytest.mark.parametrize("no", [1, 2, 9])
def test_a_deleted_entry_is_named(no: int) -> None:
    report = audit.verify(row for row in TEN if row.no != no)
    assert (report.broken_no, report.entries) == (no, no - 1)
    assert "missing" in report.reason


def test_deleting_and_closing_the_gap_does_not_help() -> None:
    tampered = [row if row.no < 5 else row._replace(no=row.no - 1) for row in TEN if row.no != 5]
    assert audit.verify(tampered).broken_no == 5


def test_entries_in_another_order_are_named() -> None:
    swapped = [*TEN[:3], TEN[4], TEN[3], *TEN[5:]]
    assert audit.verify(swapped).broken_no == 4
    renumbered = [row._replace(no=n) for n, row in enumerate(swapped, 1)]
    assert audit.verify(renumbered).broken_no == 4


def test_an_inserted_entry_is_named() -> None:
    forged = TEN[4]._replace(subject="a99")
    rest = [row._replace(no=row.no + 1) for row in TEN[4:]]
    assert audit.verify([*TEN[:4], forged, *rest]).broken_no == 5


def test_an_inserted_entry_with_a_fitting_hash_breaks_the_one_after_it() -> None:
    forged = chained(*(entry(n) for n in (1, 2, 3, 4, 99)))[-1]
    rest = [row._replace(no=row.no + 1) for row in TEN[4:]]
    assert audit.verify([*TEN[:4], forged, *rest]).broken_no == 6


def test_an_entry_edited_together_with_its_hash_breaks_the_one_after_it() -> None:
    forged = chained(*(entry(n) for n in (1, 2, 3, 4, 99)))[-1]
    report = audit.verify([*TEN[:4], forged, *TEN[5:]])
    assert (report.broken_no, report.reason) == (6, "does not follow the entry before it")


def test_a_cut_head_is_named() -> None:
    assert audit.verify(TEN[3:]).broken_no == 1
    assert audit.verify([row._replace(no=row.no - 3) for row in TEN[3:]]).broken_no == 1


def test_a_cut_tail_is_visible_only_by_the_head_that_was_kept_elsewhere() -> None:
    """Documented in the module: the chain itself still fits."""
    report = audit.verify(TEN[:7])
    assert report.broken_no is None
    assert report.head == TEN[6].hash != audit.verify(TEN).head
    assert "kept elsewhere" in str(audit.__doc__)


def test_so_is_an_end_that_was_written_anew() -> None:
    rewritten = chained(*(entry(n) for n in (1, 2, 3)), entry(99))
    report = audit.verify(rewritten)
    assert report.broken_no is None
    assert report.head != TEN[3].hash
    assert "writing" in str(audit.__doc__)


def test_a_number_that_json_has_no_word_for_is_refused() -> None:
    with SPARE.state() as state, pytest.raises(ValueError, match="JSON"), state.writing() as connection:
        audit.append(connection, [AuditEntry(1, "p", "a", "s", {"x": float("nan")})])


@settings(max_examples=60, deadline=None)
@given(st.lists(entries, max_size=8))
def test_whatever_is_recorded_fits(given_entries: list[AuditEntry]) -> None:
    report = audit.verify(chained(*given_entries))
    assert (report.entries, report.broken_no) == (len(given_entries), None)


def _edit(rows: list[AuditRow], place: int, other: int) -> list[AuditRow]:
    edited = rows[place]._replace(body=rows[place].body + " ")
    return [*rows[:place], edited, *rows[place + 1 :]]


def _delete(rows: list[AuditRow], place: int, other: int) -> list[AuditRow]:
    return [*rows[:place], *rows[place + 1 :]]


def _swap(rows: list[AuditRow], place: int, other: int) -> list[AuditRow]:
    swapped = list(rows)
    swapped[place], swapped[other] = rows[other], rows[place]
    return swapped


def _copy(rows: list[AuditRow], place: int, other: int) -> list[AuditRow]:
    return [*rows[:place], rows[other], *rows[place:]]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from((_edit, _delete, _swap, _copy)), st.integers(0, 9), st.integers(0, 9), st.booleans())
def test_the_first_entry_that_was_tampered_with_is_named(
    tamper: Callable[[list[AuditRow], int, int], list[AuditRow]], place: int, other: int, renumber: bool
) -> None:
    tampered = tamper(TEN, place, other)
    if renumber:
        tampered = [row._replace(no=n) for n, row in enumerate(tampered, 1)]
    report = audit.verify(tampered)
    if tampered == TEN[: len(tampered)]:
        assert report.broken_no is None
    else:
        first = next(n for n, row in enumerate(tampered, 1) if n > len(TEN) or row != TEN[n - 1])
        assert report.broken_no == first
        assert report.entries == first - 1
