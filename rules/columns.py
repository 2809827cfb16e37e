"""Readings as columns: what verdicts, roll-ups and backtests compute on.

A value is taken as the decimal that the sensor sent, in whole millionths of the metric's canonical unit (half to even):
sums of such integers are exact, so a mean is the same in whatever order the readings came, and a value on a limit is on
it. A finer digit than a millionth is not kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from greenmine.core.quality import Quality
from greenmine.core.reading import Reading, Series

MICRO = 1_000_000
"""Millionths in one canonical unit."""

Ints = NDArray[np.int64]
Flags = NDArray[np.int32]
Mask = NDArray[np.bool_]


class Column(NamedTuple):
    """One series, in order of source time, one value a time: times in ns UTC, values in millionths of the canonical
    unit, quality bits. All of one length."""

    times_ns: Ints
    micro: Ints
    quality: Flags

    def between(self, start_ns: int, end_ns: int) -> Column:
        """The part with `start_ns <= time < end_ns`; views, not copies."""
        first, last = np.searchsorted(self.times_ns, (start_ns, end_ns))
        return Column(self.times_ns[first:last], self.micro[first:last], self.quality[first:last])

    def where(self, mask: Mask) -> Column:
        """The readings of a mask."""
        return Column(self.times_ns[mask], self.micro[mask], self.quality[mask])

    @property
    def values(self) -> NDArray[np.float64]:
        """In the canonical unit."""
        return self.micro / MICRO


EMPTY = Column(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32))


@dataclass(frozen=True)
class Readings:
    """All columns that are judged, by series; a series without readings has an empty one."""

    by_series: Mapping[Series, Column]

    def of(self, series: Series) -> Column:
        """The column of a series."""
        return self.by_series.get(series, EMPTY)


def column_of(times_ns: Any, values: Any, quality: Any = None) -> Column:
    """A column of arrays in any order. Of two readings at one time that agree one is kept, with the flags of both; two
    that differ are a conflict, and neither is judged."""
    times = np.asarray(times_ns, np.int64)
    micro = np.rint(np.asarray(values, np.float64) * MICRO).astype(np.int64)
    flags = np.zeros(len(times), np.int32) if quality is None else np.asarray(quality, np.int32)
    if len(times) < 2 or bool(np.all(times[1:] > times[:-1])):
        return Column(times, micro, flags)
    order = np.lexsort((micro, times))
    times, micro, flags = times[order], micro[order], flags[order]
    starts = np.flatnonzero(np.concatenate(([True], times[1:] != times[:-1])))
    lowest, highest = np.minimum.reduceat(micro, starts), np.maximum.reduceat(micro, starts)
    joined = np.bitwise_or.reduceat(flags, starts)
    joined = np.where(lowest == highest, joined, joined | np.int32(Quality.CONFLICT)).astype(np.int32)
    return Column(times[starts], lowest, joined)


def columns_of(readings: Iterable[Reading]) -> Readings:
    """Columns of readings in any order, any number of times; the calibrated value is judged where there is one.

    Of one reading that comes with a calibrated value and without, the calibrated one counts. Missing values are none.
    """
    kept: dict[Series, dict[int, list[Reading]]] = {}
    for reading in readings:
        if reading.value is not None:
            kept.setdefault(reading.series, {}).setdefault(reading.time_ns, []).append(reading)
    found = {}
    for series, by_time in kept.items():
        judged = [one for same in by_time.values() for one in _calibrated_first(same)]
        found[series] = column_of(
            [one.time_ns for one in judged], [one.judged_value for one in judged], [one.quality for one in judged]
        )
    return Readings(found)


def _calibrated_first(same: list[Reading]) -> list[Reading]:
    """Of one time: a raw value beside its own calibrated one is the same reading, written before it was calibrated."""
    calibrated = {one.value for one in same if one.calibrated is not None}
    return [one for one in same if one.calibrated is not None or one.value not in calibrated]
