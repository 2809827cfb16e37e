"""Hours of a series as arrays: how many readings, their sum, their extremes, and how much of the hour they cover."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from greenmine.rules.columns import MICRO, Column, Ints
from greenmine.rules.local_time import Span, hours

MINUTE_NS = 60_000_000_000


@dataclass(frozen=True)
class Hours:
    """The hours of successive local days. `starts_ns` ascending; `first[d]` is the index of the first hour of day d,
    and one more for the end."""

    days: list[Span]
    starts_ns: Ints
    ends_ns: Ints
    first: list[int]

    @classmethod
    def of(cls, days: list[Span]) -> Hours:
        """All hours of these days (successive and in order)."""
        starts: list[int] = []
        ends: list[int] = []
        first = [0]
        for day in days:
            begins = hours(day)
            starts += begins
            ends += [*begins[1:], day.end_ns]
            first.append(len(starts))
        return cls(days, np.array(starts, np.int64), np.array(ends, np.int64), first)

    def index_of(self, start_ns: int) -> int:
        """The index of the hour that begins then."""
        return int(np.searchsorted(self.starts_ns, start_ns))


@dataclass(frozen=True)
class HourTable:
    """One row an hour. `total` in millionths of the canonical unit, `covered_ns` of the hour; lists, for a reader that
    goes hour by hour."""

    count: list[int]
    total: list[int]
    low: list[int]
    high: list[int]
    covered_ns: list[int]

    def mean(self, hour: int) -> Fraction:
        """The arithmetic mean of an hour that has readings, exact, in the canonical unit."""
        return Fraction(self.total[hour], self.count[hour] * MICRO)

    def valid(self, hour: int, minutes: int) -> bool:
        """Whether readings cover at least so many minutes of the hour."""
        return self.count[hour] > 0 and self.covered_ns[hour] >= minutes * MINUTE_NS


def hour_table(column: Column, step_ns: int, grid: Hours) -> HourTable:
    """The table of a column. A reading covers the time to the next one, at most `step_ns` (its interval or its period,
    whichever is longer), and never beyond its hour."""
    size = len(grid.starts_ns)
    part = column if size == 0 else column.between(int(grid.starts_ns[0]), int(grid.ends_ns[-1]))
    times = part.times_ns
    count, total, low, high, covered = (np.zeros(size, np.int64) for _ in range(5))
    if len(times):
        hour = np.searchsorted(grid.starts_ns, times, side="right") - 1
        to_next = np.append(times[1:] - times[:-1], step_ns)
        span = np.minimum(np.minimum(to_next, step_ns), grid.ends_ns[hour] - times)
        begins = np.flatnonzero(np.concatenate(([True], hour[1:] != hour[:-1])))
        filled = hour[begins]
        count[filled] = np.diff(np.append(begins, len(times)))
        total[filled] = np.add.reduceat(part.micro, begins)
        low[filled] = np.minimum.reduceat(part.micro, begins)
        high[filled] = np.maximum.reduceat(part.micro, begins)
        covered[filled] = np.add.reduceat(span, begins)
    return HourTable(count.tolist(), total.tolist(), low.tolist(), high.tolist(), covered.tolist())


def due_readings(start_ns: int, end_ns: int, interval_ns: int) -> int:
    """How many readings a sensor owes a window, at least one."""
    return max(1, (end_ns - start_ns) // interval_ns)
