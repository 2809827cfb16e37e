"""Finding the few items that a store refuses among many that it takes, with few calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A store's answer to a call that it did not take as a whole, in its own words.

    `every` is set where the store says that each item of the call was refused; otherwise at least one was, and what
    became of the others is not known.
    """

    reason: str
    every: bool = False


def isolate(items: Sequence[T], attempt: Callable[[Sequence[T]], Refusal | None]) -> list[tuple[T, str]]:
    """Store all items that can be stored; return those that cannot, with the reason the store gave for them.

    `attempt` stores a run of items and returns None, or a refusal; it has to be idempotent, as a good item beside a bad
    one is sent again until it was part of a call that was taken. An item is returned only after a refusal of this item
    alone, or of a call of which every item was refused. What `attempt` raises goes through.

    The calls for b bad items among n are about b * (log2(n / b) + 2): after a bad item is found the next runs are
    half as long, and they grow again while they are taken. All of n bad, and never said so, need n calls and a few.
    """
    refused: list[tuple[T, str]] = []
    start, length = 0, len(items)
    while start < len(items):
        run = items[start : start + length]
        refusal = attempt(run)
        if refusal is None:
            start += len(run)
            length *= 2
        elif refusal.every or len(run) == 1:
            refused += [(item, refusal.reason) for item in run]
            start += len(run)
        else:
            settled, found = _first_bad(run, attempt)
            refused += found
            start += settled
            length = max(1, len(run) // 2)
    return refused


def _first_bad(run: Sequence[T], attempt: Callable[[Sequence[T]], Refusal | None]) -> tuple[int, list[tuple[T, str]]]:
    """Search a run that was refused up to its first bad item: how many items are settled, and the bad ones of them."""
    low, high = 0, len(run)  # items before `low` are stored; there is a bad one in [low, high)
    while high - low > 1:
        middle = (low + high) // 2
        refusal = attempt(run[low:middle])
        if refusal is None:
            low = middle
        elif refusal.every or middle - low == 1:
            return middle, [(item, refusal.reason) for item in run[low:middle]]
        else:
            high = middle
    refusal = attempt(run[low:high])  # found by elimination, and so far never refused alone
    return high, [] if refusal is None else [(run[low], refusal.reason)]
