"""The compact notation of series in rule tests.

A text of words, one reading an interval after the other:

    81.3            one value
    120x24          24 readings of 120
    100+2x10        10 readings: 100, 102, ... 118
    100-2x10        10 readings: 100, 98, ... 82
    _  _x5          one, or five, that never came
    null            one that the sender reports as missing
    (199 201)x30    what stands in the brackets, 30 times; brackets may hold brackets
    stale           as null, and nothing after it
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

MOST_READINGS = 2_000_000
_DEEPEST = 8
_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"
_WORD = re.compile(rf"({_NUMBER})(?:([+-][0-9]+(?:\.[0-9]+)?)?x([0-9]{{1,7}}))?", re.ASCII)
_GAP = re.compile(r"_(?:x([0-9]{1,7}))?", re.ASCII)
_CLOSING = re.compile(r"\)(?:x([0-9]{1,7}))?", re.ASCII)
_TOKEN = re.compile(r"\(|\)[^\s()]*|[^\s()]+", re.ASCII)

_Cells = list[float | str | None]
_GONE = "gone"
"""Stands where nothing came."""


class Sample(NamedTuple):
    """A reading by its place in the series, from 0; None where the sender reports it missing."""

    place: int
    value: float | None


def samples(text: str) -> list[Sample]:
    """The readings of a text, in order.

    Raises:
        ValueError: a word is not understood, brackets do not match, or there are too many readings.
    """
    stack: list[_Cells] = [[]]
    ended = False
    for word in _TOKEN.findall(text):
        if ended:
            raise ValueError(f"{word!r} stands after stale; nothing comes after it")
        if word == "(":
            stack.append([])
            if len(stack) > _DEEPEST:
                raise ValueError(f"brackets are more than {_DEEPEST - 1} deep")
        elif word.startswith(")"):
            _close(stack, word)
        else:
            ended = word == "stale"
            if ended and len(stack) > 1:
                raise ValueError("stale stands within brackets; it is the end of a series")
            _extend(stack[-1], _cells(word), 1)
    if len(stack) > 1:
        raise ValueError("a bracket is not closed")
    return [Sample(place, cell) for place, cell in enumerate(stack[0]) if not isinstance(cell, str)]


def _close(stack: list[_Cells], word: str) -> None:
    closing = _CLOSING.fullmatch(word)
    if closing is None:
        raise ValueError(f"{word!r} is not understood; write )x30")
    if len(stack) < 2:
        raise ValueError(f"{word!r} closes nothing")
    inner = stack.pop()
    _extend(stack[-1], inner, int(closing[1] or 1))


def _extend(cells: _Cells, more: _Cells, times: int) -> None:
    if len(cells) + len(more) * times > MOST_READINGS:
        raise ValueError(f"a series has at most {MOST_READINGS} readings")
    cells += more * times


def _cells(word: str) -> _Cells:
    if word in ("null", "stale"):
        return [None]
    gap = _GAP.fullmatch(word)
    if gap is not None:
        return [_GONE] * min(int(gap[1] or 1), MOST_READINGS + 1)
    number = _WORD.fullmatch(word)
    if number is None:
        raise ValueError(f"{word!r} is not understood; write 81.3, 120x24, 100+2x10, _, _x5, null, (1 2)x30 or stale")
    count = int(number[3] or 1)
    if count > MOST_READINGS:
        raise ValueError(f"a series has at most {MOST_READINGS} readings")
    first, step = Decimal(number[1]), Decimal(number[2] or 0)
    return [float(first + n * step) for n in range(count)]
