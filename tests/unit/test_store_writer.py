"""From the outbox to the store: nothing lost, nothing twice, whatever fails and whenever."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmine.core.account import Account
from greenmine.core.clock import ManualClock
from greenmine.core.errors import StoreUnavailable
from greenmine.core.reading import Reading, Series
from greenmine.core.reading_store import InMemoryReadingStore, Rejected, Selection, WriteReport
from greenmine.store import outbox, writer
from greenmine.store.returned import give_back
from greenmine.store.state import StateDb, add_to_account
from greenmine.store.writer import StoreWriter
from tests.pipeline_scenes import DAY_NS, MINUTE_NS, SPARE, START_NS, pm10, table_rows

TIMEOUT_S = 20.0
ALL = Selection()


class Store(InMemoryReadingStore):
    """The shipped fake, which can refuse single readings for good, die after a write, and tell what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: Callable[[Reading], bool] = lambda _: False
        self.dies_after_writing = 0
        self.death = StoreUnavailable("the answer was lost on its way")
        self.asked: list[Selection] = []
        self.writes: list[int] = []
        self.wrote: list[list[Reading]] = []
        self.on_write: Callable[[], None] = lambda: None
        self.written = threading.Semaphore(0)

    def write(self, readings: Sequence[Reading]) -> WriteReport:
        self.writes.append(len(readings))
        self.wrote.append(list(readings))
        self.on_write()
        good = [reading for reading in readings if not self.bad(reading)]
        super().write(good)
        if self.dies_after_writing:
            self.dies_after_writing -= 1
            raise self.death
        self.written.release()
        rejected = [Rejected(reading, "field type conflict") for reading in readings if self.bad(reading)]
        return WriteReport(len(good), rejected)

    def query(self, selection: Selection, newest_first_limit: int | None = None) -> Iterator[Reading]:
        self.asked.append(selection)
        return super().query(selection, newest_first_limit)

    def values(self) -> list[float | None]:
        return [reading.value for reading in super().query(ALL)]


def portions(monkeypatch: pytest.MonkeyPatch, most: int, live: int) -> None:
    monkeypatch.setattr(writer, "MOST_READINGS", most)
    monkeypatch.setattr(writer, "MOST_LIVE", live)


class Bench:
    """A state with an outbox, a store, and a writer between them."""

    def __init__(self, state: StateDb) -> None:
        self.state, self.store = state, Store()
        self.writer = self.restart()

    def restart(self) -> StoreWriter:
        self.writer = StoreWriter(self.state, self.store, ManualClock(START_NS))
        return self.writer

    def put(self, *values: float, at_ns: int = START_NS, check: bool = False, replayed: bool = False) -> None:
        """A parcel of readings a minute apart, counted as the pipeline counts them."""
        parcel = [Reading(pm10(), at_ns + n * MINUTE_NS, value) for n, value in enumerate(values)]
        self.put_readings(parcel, check, replayed)

    def put_readings(self, parcel: list[Reading], check: bool = False, replayed: bool = False) -> None:
        with self.state.writing() as connection:
            outbox.push(connection, parcel, check_store=check, replayed=replayed)
            add_to_account(connection, Account(received=len(parcel), pending=len(parcel)))

    @property
    def account(self) -> Account:
        return self.state.account()


@pytest.fixture
def bench() -> Iterator[Bench]:
    with SPARE.state() as state:
        yield Bench(state)


class TestWriting:
    def test_what_is_confirmed_is_stored(self, bench: Bench) -> None:
        bench.put(1.0, 2.0)
        bench.put(3.0, at_ns=START_NS + DAY_NS)
        assert bench.writer.run_available() == 3
        assert bench.store.values() == [1.0, 2.0, 3.0]
        assert bench.account == Account(received=3, stored=3)
        assert bench.writer.run_available() == 0

    def test_parcels_are_written_together_up_to_a_size(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        portions(monkeypatch, most=5, live=5)
        for number in range(6):
            bench.put(1.0, 2.0, at_ns=START_NS + number * DAY_NS)
        bench.writer.run_available()
        assert bench.store.writes == [4, 4, 4]
        assert bench.account == Account(received=12, stored=12)

    def test_of_a_backlog_the_newest_goes_before_each_portion(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        portions(monkeypatch, most=4, live=2)
        for number in range(8):
            bench.put(float(number), number + 0.5, at_ns=START_NS + number * DAY_NS)
        bench.store.on_write = lambda: (
            bench.put(99.0, at_ns=START_NS + 99 * DAY_NS) if not bench.store.wrote[1:] else None
        )
        bench.writer.run_available()
        days = [sorted({(reading.time_ns - START_NS) // DAY_NS for reading in one}) for one in bench.store.wrote]
        # What comes while the backlog is written waits for one write at most.
        assert days == [[7], [0, 1], [99], [2, 3], [6], [4, 5]]
        assert bench.account == Account(received=17, stored=17)

    def test_what_asks_the_store_first_does_not_go_before_what_it_may_repeat(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        portions(monkeypatch, most=2, live=2)
        bench.put(1.0)
        bench.put(2.0, at_ns=START_NS + DAY_NS)
        bench.put(3.0, at_ns=START_NS + 2 * DAY_NS)
        bench.put(7.0, at_ns=START_NS + 2 * DAY_NS, check=True)
        bench.writer.run_available()
        assert bench.store.values() == [1.0, 2.0, 3.0]
        assert bench.account == Account(received=4, stored=3, conflict=1)

    def test_a_store_that_is_down_loses_nothing(self, bench: Bench) -> None:
        bench.put(1.0, 2.0)
        bench.store.down = StoreUnavailable("down")
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                bench.writer.run_available()
        assert bench.account == Account(received=2, pending=2)
        bench.store.down = None
        assert bench.writer.run_available() == 2
        assert bench.store.values() == [1.0, 2.0]
        assert bench.account == Account(received=2, stored=2)

    def test_what_the_store_can_never_take_is_a_dead_letter(self, bench: Bench) -> None:
        bench.put(1.0, 2.0, 3.0)
        bench.store.bad = lambda reading: reading.value == 2.0
        bench.writer.run_available()
        assert bench.store.values() == [1.0, 3.0]
        assert bench.account == Account(received=3, stored=2, dead=1)
        (letter,) = table_rows(bench.state, "dead_letter")
        assert (letter["word"], letter["record_id"], letter["at_ns"]) == ("store_rejected", 0, START_NS)
        assert letter["source"] == "shifan-9/dust-1"
        assert json.loads(letter["detail"]) == {
            "reason": "field type conflict",
            "reading": ["shifan-9", "dust-1", "pm10", "", "inst", 0, START_NS + MINUTE_NS, 2.0, 0, None],
        }


class TestGivenBack:
    """Dead letters of the store, replayed once whatever it found fault with was mended."""

    def refused(self, bench: Bench) -> list[int]:
        bench.put(1.0, 2.0, 3.0)
        bench.store.bad = lambda reading: reading.value == 2.0
        bench.writer.run_available()
        return [row["id"] for row in table_rows(bench.state, "dead_letter")]

    def give_back(self, bench: Bench, ids: Sequence[object]) -> int:
        with bench.state.writing() as connection:
            return give_back(connection, ids, START_NS)

    def test_are_stored_once(self, bench: Bench) -> None:
        ids = self.refused(bench)
        bench.store.bad = lambda _: False
        assert self.give_back(bench, ids) == 1
        assert bench.account == Account(received=3, stored=2, pending=1)
        bench.writer.run_available()
        assert bench.store.values() == [1.0, 2.0, 3.0]
        assert bench.account == Account(received=3, stored=3)
        assert self.give_back(bench, ids) == 0, "a second replay stores nothing"

    def test_that_came_to_the_store_meanwhile_are_duplicates(self, bench: Bench) -> None:
        ids = self.refused(bench)
        bench.store.bad = lambda _: False
        bench.store.write([Reading(pm10(), START_NS + MINUTE_NS, 2.0)])
        self.give_back(bench, ids)
        bench.writer.run_available()
        assert bench.account == Account(received=3, stored=2, duplicate=1)

    def test_that_are_refused_again_are_dead_again(self, bench: Bench) -> None:
        ids = self.refused(bench)
        self.give_back(bench, ids)
        bench.writer.run_available()
        assert bench.account == Account(received=3, stored=2, dead=1)
        first, second = table_rows(bench.state, "dead_letter")
        assert (first["replayed_ns"], second["replayed_ns"]) == (START_NS, None)

    @pytest.mark.parametrize("ids", [(), (99,), ("1",), (2**80,), (None,), (-1,)])
    def test_others_are_left_alone(self, bench: Bench, ids: Sequence[object]) -> None:
        self.refused(bench)
        assert self.give_back(bench, ids) == 0
        assert bench.account == Account(received=3, stored=2, dead=1)


class TestCrash:
    def test_between_the_store_and_the_state_counts_nothing_twice(self, bench: Bench) -> None:
        bench.put(1.0, 2.0, 3.0)
        bench.store.bad = lambda reading: reading.value == 2.0
        bench.store.dies_after_writing = 2
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                bench.writer.run_available()
            bench.restart()
        bench.writer.run_available()
        assert bench.store.values() == [1.0, 3.0]
        assert bench.account == Account(received=3, stored=2, dead=1)
        assert len(table_rows(bench.state, "dead_letter")) == 1

    def test_does_not_make_an_old_reading_its_own_duplicate(self, bench: Bench) -> None:
        """The store has it, because it was just written there; the outbox must remember that it was new."""
        bench.put(1.0, 2.0, check=True)
        bench.store.dies_after_writing = 1
        with pytest.raises(StoreUnavailable):
            bench.writer.run_available()
        bench.restart().run_available()
        assert bench.account == Account(received=2, stored=2)

    def test_in_the_state_leaves_the_parcel(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        bench.put(1.0)

        def fail(*_: object) -> None:
            raise OSError("no room")

        with monkeypatch.context() as patch:
            patch.setattr(outbox, "remove", fail)
            with pytest.raises(OSError, match="no room"):
                bench.writer.run_available()
        assert bench.account == Account(received=1, pending=1)
        bench.restart().run_available()
        assert bench.account == Account(received=1, stored=1)


class TestOldReadings:
    """Older than the index of identities: the store decides what is new."""

    def test_what_it_has_is_a_duplicate_or_a_conflict(self, bench: Bench) -> None:
        bench.put(1.0, 2.0, 3.0)
        bench.writer.run_available()
        bench.put(1.0, 9.0, 3.0, 4.0, check=True)
        bench.writer.run_available()
        assert bench.store.values() == [1.0, 2.0, 3.0, 4.0], "the first write is kept"
        assert bench.account == Account(received=7, stored=4, duplicate=2, conflict=1)
        (row,) = table_rows(bench.state, "conflict")
        assert (row["kept"], row["refused"], row["time_ns"], row["record_id"]) == (2.0, 9.0, START_NS + MINUTE_NS, 0)

    def test_two_of_the_same_in_one_parcel(self, bench: Bench) -> None:
        same = [Reading(pm10(), START_NS, value) for value in (1.0, 1.0, 2.0)]
        bench.put_readings(same, check=True)
        bench.writer.run_available()
        assert bench.store.values() == [1.0]
        assert bench.account == Account(received=3, stored=1, duplicate=1, conflict=1)

    def test_two_of_the_same_in_two_parcels_asked_together(self, bench: Bench) -> None:
        bench.put(1.0, check=True)
        bench.put(2.0, check=True)
        bench.put(1.0, check=True)
        bench.writer.run_available()
        assert bench.store.values() == [1.0]
        assert bench.account == Account(received=3, stored=1, duplicate=1, conflict=1)

    def test_of_a_replayed_dead_letter_was_counted_before(self, bench: Bench) -> None:
        bench.put(1.0, 2.0)
        bench.writer.run_available()
        bench.put(1.0, 9.0, 3.0, check=True, replayed=True)
        bench.writer.run_available()
        assert bench.account == Account(received=3, stored=3)
        assert table_rows(bench.state, "conflict") == []

    def test_that_the_store_refuses_are_dead(self, bench: Bench) -> None:
        bench.store.bad = lambda reading: True
        bench.put(1.0, check=True)
        bench.writer.run_available()
        assert bench.account == Account(received=1, dead=1)

    def test_two_far_apart_do_not_fetch_the_years_between(self, bench: Bench) -> None:
        bench.put_readings([Reading(pm10(), START_NS + days * DAY_NS, 1.0) for days in (0, 1, 2000)], check=True)
        bench.writer.run_available()
        assert [(one.start_ns, one.end_ns) for one in bench.store.asked] == [
            (START_NS, START_NS + DAY_NS + 1),
            (START_NS + 2000 * DAY_NS, START_NS + 2000 * DAY_NS + 1),
        ]

    def test_each_series_is_asked_for_by_itself(self, bench: Bench) -> None:
        other = Series("shifan-9", "dust-2", "pm10")
        bench.store.write([Reading(other, START_NS, 5.0)])
        bench.put_readings([Reading(pm10(), START_NS, 5.0), Reading(other, START_NS, 5.0)], check=True)
        bench.writer.run_available()
        assert bench.account == Account(received=2, stored=1, duplicate=1)


Parcels = list[tuple[bool, list[tuple[int, float]]]]
parcels_of = st.lists(
    st.tuples(st.booleans(), st.lists(st.tuples(st.integers(0, 4), st.sampled_from((1.0, 2.0))), max_size=5)),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(parcels_of, st.lists(st.sampled_from(("run", "down", "lost answer", "no commit", "restart")), max_size=12))
def test_whatever_fails_in_between_the_end_is_the_same(parcels: Parcels, faults: list[str]) -> None:
    """Old readings in any parcels, the store or the state failing anywhere: what is stored and counted in the end is
    what one undisturbed run stores and counts."""

    def put(bench: Bench) -> None:
        taken: set[int] = set()
        for check, rows in parcels:
            # The pipeline sends a reading unchecked only where it knows that it is new.
            new = [(n, v) for i, (n, v) in enumerate(rows) if n not in {m for m, _ in rows[:i]} | taken]
            sent = rows if check else new
            taken |= {n for n, _ in sent}
            bench.put_readings([Reading(pm10(), START_NS + n, v) for n, v in sent], check)

    def run(bench: Bench, fault: str) -> None:
        bench.store.down = StoreUnavailable("down") if fault == "down" else None
        bench.store.dies_after_writing = 1 if fault == "lost answer" else 0
        if fault == "restart":
            bench.restart()
        if fault != "no commit":
            bench.writer.run_available()
            return
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(writer, "add_to_account", _fail)
            bench.writer.run_available()

    with SPARE.state() as one, SPARE.state() as other:
        smooth, rough = Bench(one), Bench(other)
        put(smooth)
        smooth.writer.run_available()
        put(rough)
        for fault in faults:
            try:
                run(rough, fault)
            except (StoreUnavailable, _NoCommit):
                assert rough.account.balanced
        run(rough, "run")
        assert rough.store.values() == smooth.store.values()
        assert rough.account == smooth.account
        assert rough.account.pending == 0
        assert len(table_rows(other, "conflict")) == smooth.account.conflict


class _NoCommit(Exception):
    """The state's transaction fails."""


def _fail(*_: Any) -> None:
    raise _NoCommit


class TestThread:
    def test_writes_what_comes(self, bench: Bench) -> None:
        bench.writer.start()
        bench.put(1.0)
        bench.writer.wake()
        assert bench.store.written.acquire(timeout=TIMEOUT_S)
        bench.writer.stop()
        assert bench.account == Account(received=1, stored=1)

    @pytest.mark.parametrize("fault", [StoreUnavailable("down"), ZeroDivisionError("a fault of the adapter")])
    def test_outlives_any_fault_and_says_so(
        self, bench: Bench, fault: Exception, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writer, "FIRST_WAIT_S", 0.001)
        failed = threading.Event()
        troubles: list[StoreUnavailable | None] = []

        def fail(readings: Sequence[Reading]) -> WriteReport:
            if failed.is_set():
                # The trouble of the first attempt stands until one succeeds.
                troubles.append(bench.writer.trouble)
                return Store.write(bench.store, readings)
            failed.set()
            raise fault

        monkeypatch.setattr(bench.store, "write", fail)
        bench.put(1.0)
        bench.writer.start()
        assert bench.store.written.acquire(timeout=TIMEOUT_S)
        bench.writer.stop()
        assert bench.account == Account(received=1, stored=1)
        (trouble,) = troubles
        assert str(fault) in str(trouble)

    @pytest.mark.parametrize(("needs_operator", "prepared"), [(False, 1), (True, 2)])
    def test_prepares_again_only_what_waiting_does_not_mend(
        self, bench: Bench, needs_operator: bool, prepared: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writer, "FIRST_WAIT_S", 0.001)
        done: list[int] = []
        bench.writer = StoreWriter(bench.state, bench.store, ManualClock(START_NS), lambda: done.append(1))
        bench.store.dies_after_writing = 1
        bench.store.death = StoreUnavailable("gone", needs_operator=needs_operator)
        bench.put(1.0)
        bench.writer.start()
        assert bench.store.written.acquire(timeout=TIMEOUT_S)
        bench.writer.stop()
        assert len(done) == prepared
        assert bench.account == Account(received=1, stored=1)

    def test_says_when_somebody_has_to_mend_the_store_and_when_it_is_mended(self, bench: Bench) -> None:
        told: list[bool] = []
        bench.writer.on_refusing = lambda refuses, _: told.append(refuses)
        bench.put(1.0)
        for death, expected in (
            (StoreUnavailable("overloaded"), []),
            (StoreUnavailable("the token is not valid", needs_operator=True), [True]),
            (StoreUnavailable("restarting"), [True]),
        ):
            bench.store.dies_after_writing, bench.store.death = 1, death
            bench.writer.attempt()
            assert told == expected, "a store that is only away is waited for"
        bench.writer.attempt()
        assert told[1:] == [False] * len(told[1:]) != []
        assert bench.account == Account(received=1, stored=1)

    def test_the_trouble_is_over_with_the_first_write_of_a_backlog(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writer, "FIRST_WAIT_S", 0.001)
        portions(monkeypatch, most=1, live=1)
        troubles: list[bool] = []
        bench.store.on_write = lambda: troubles.append(bench.writer.trouble is not None)
        bench.store.dies_after_writing = 1
        for number in range(4):
            bench.put(1.0, at_ns=START_NS + number * DAY_NS)
        bench.writer.start()
        for _ in range(4):
            assert bench.store.written.acquire(timeout=TIMEOUT_S)
        bench.writer.stop()
        assert troubles == [False, True, False, False, False]

    def test_ends_while_the_store_is_down(self, bench: Bench) -> None:
        bench.store.down = StoreUnavailable("down", retry_after_s=3600)
        bench.put(1.0)
        bench.writer.start()
        bench.writer.stop()
        assert bench.account == Account(received=1, pending=1)


@given(failures=st.integers(1, 10_000), wish=st.none() | st.floats(0, 1e9), chance=st.floats(0, 1))
def test_a_store_in_trouble_is_asked_at_most_once_a_second(failures: int, wish: float | None, chance: float) -> None:
    waited_s = writer.wait_s(failures, wish, chance)
    assert 1.0 <= waited_s <= writer.LONGEST_WISH_S
    assert waited_s >= min(wish or 0.0, writer.LONGEST_WISH_S)
    assert wish or waited_s <= writer.LONGEST_WAIT_S


def test_the_waits_grow_and_are_spread() -> None:
    assert [writer.wait_s(failures, None, 1.0) for failures in (1, 2, 3, 4, 5, 9)] == [2, 4, 8, 16, 30, 30]
    assert writer.wait_s(5, None, 0.0) == 15
