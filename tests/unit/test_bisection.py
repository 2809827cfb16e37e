"""Bisection: every good item stored, every bad one found with its own reason, with few calls."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.store.bisection import Refusal, isolate


class Store:
    """Refuses the bad items; what it does with the good ones of the same call is its dialect's affair."""

    def __init__(self, bad: dict[int, str], partial: bool, counts: bool) -> None:
        self.bad, self.partial, self.counts = bad, partial, counts
        self.stored: set[int] = set()
        self.calls = 0

    def attempt(self, items: Sequence[int]) -> Refusal | None:
        self.calls += 1
        assert items, "an empty call says nothing"
        kinds = [self.bad[item] for item in items if item in self.bad]
        if self.partial or not kinds:
            self.stored.update(item for item in items if item not in self.bad)
        if not kinds:
            return None
        # as InfluxDB: one kind is named, and only its items are counted
        return Refusal(kinds[0], every=self.counts and kinds.count(kinds[0]) == len(items))


@given(st.integers(0, 300).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, max(0, n - 1))))), st.data())
def test_good_items_are_stored_and_bad_ones_named_once(size_and_bad: tuple[int, set[int]], data: st.DataObject) -> None:
    size, places = size_and_bad
    bad = {place: data.draw(st.sampled_from("abc")) for place in sorted(places) if place < size}
    store = Store(bad, partial=data.draw(st.booleans()), counts=data.draw(st.booleans()))
    assert isolate(range(size), store.attempt) == sorted(bad.items())
    assert store.stored == set(range(size)) - set(bad)


def test_nothing_is_asked_for_nothing() -> None:
    store = Store({}, partial=False, counts=False)
    assert isolate([], store.attempt) == []
    assert store.calls == 0


@pytest.mark.parametrize("partial", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_few_bad_items_need_few_calls(seed: int, partial: bool) -> None:
    size, bad = 5_000, 37
    places = random.Random(seed).sample(range(size), bad)
    store = Store(dict.fromkeys(places, "conflict"), partial, counts=False)
    assert len(isolate(range(size), store.attempt)) == bad
    assert store.calls <= bad * (math.log2(size / bad) + 3) + 2 * math.log2(size)


def test_all_bad_needs_one_call_if_the_store_says_so_and_few_more_than_items_if_not() -> None:
    bad = dict.fromkeys(range(5_000), "conflict")
    says_so = Store(bad, partial=True, counts=True)
    assert len(isolate(range(5_000), says_so.attempt)) == 5_000
    assert says_so.calls == 1
    silent = Store(bad, partial=True, counts=False)
    assert len(isolate(range(5_000), silent.attempt)) == 5_000
    assert silent.calls <= 5_000 + 100


def test_an_item_that_is_taken_when_it_comes_alone_is_not_refused() -> None:
    """The second half of a refused run is suspected by elimination; suspicion alone condemns nothing."""
    calls: list[int] = []

    def overloaded_once(items: Sequence[int]) -> Refusal | None:
        calls.append(len(items))
        return Refusal("too many at once") if len(items) > 3 else None

    assert isolate(range(10), overloaded_once) == []
    assert sum(length for length in calls if length <= 3) == 10


def test_an_error_of_the_store_goes_through() -> None:
    def down(items: Sequence[int]) -> Refusal | None:
        raise ConnectionError("down")

    with pytest.raises(ConnectionError):
        isolate([1, 2], down)
