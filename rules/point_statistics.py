"""Statistics of one point over a window, each with its validity gate: the hourly means and what is built on them, and
what is taken from the readings themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import date
from fractions import Fraction

import numpy as np

from greenmine.core.verdict import VerdictReason
from greenmine.policy.applicable import AppliedLimit
from greenmine.policy.limit import Statistic, Validity, WindowKind
from greenmine.rules.columns import MICRO, Column
from greenmine.rules.finding import Finding, worse
from greenmine.rules.hour_table import Hours, HourTable, due_readings
from greenmine.rules.local_time import HOUR_NS, Span

HOUR_MINUTES = 45
"""Minutes of data that make an hour valid where a limit does not say (GB 3095, HJ 75)."""
SHARE = 0.75
ROLLING_HOURS, ROLLING_NEEDED = 8, 6
"""GB 3095: an 8 h mean needs 6 hourly means."""

PERCENTILES = {Statistic.PERCENTILE_95: 95, Statistic.PERCENTILE_98: 98}


class HourlyPoint:
    """A point's hours, and the means of hours, days, months and years that GB 3095 builds on each other: each the mean
    of the valid ones a step below, never of all readings at once."""

    def __init__(self, table: HourTable, grid: Hours, validity: Validity | None) -> None:
        self._table = table
        self._grid = grid
        self._validity = validity
        self._minutes = (validity.hour_minutes if validity else None) or HOUR_MINUTES
        self._day_index = {day.day: index for index, day in enumerate(grid.days)}
        self._day_means: dict[date, Finding] = {}

    def hour(self, window: Span) -> Finding:
        """The mean of an hour."""
        index = self._grid.index_of(window.start_ns)
        return self._hour(index)

    def day(self, day: date, needed: int) -> Finding:
        """The mean of a day's valid hourly means, if there are `needed` of them (all of a shorter day)."""
        if day not in self._day_means:
            self._day_means[day] = self._day(day, needed)
        return self._day_means[day]

    def mean_of_days(self, zone_days: list[Span], left_out: Callable[[date], bool]) -> Finding:
        """The mean of the valid daily means of a month, a quarter or a year, with the days that each month needs."""
        means, per_month, possible = self._daily(zone_days, left_out)
        return self._of_days(means, per_month, possible, sum(means, Fraction(0)) / max(1, len(means)))

    def percentile_of_days(self, zone_days: list[Span], left_out: Callable[[date], bool], percent: int) -> Finding:
        """The percentile of the valid daily means (HJ 663: rank k = 1 + (n - 1) * p, between its two neighbours)."""
        means, per_month, possible = self._daily(zone_days, left_out)
        return self._of_days(means, per_month, possible, percentile(means, percent) if means else Fraction(0))

    def highest_rolling(self, window: Span) -> Finding:
        """The highest 8 h mean that ends within a day, of at least 6 hourly means each; as many as the day has hours
        are due, less those that would begin before it."""
        first, last = self._grid.index_of(window.start_ns), self._grid.index_of(window.end_ns)
        best: Fraction | None = None
        found = 0
        due = max(1, last - first - ROLLING_HOURS + 1)
        for begin in range(first, last - ROLLING_HOURS + 1):
            valid = [h for h in range(begin, begin + ROLLING_HOURS) if self._table.valid(h, self._minutes)]
            if len(valid) >= ROLLING_NEEDED:
                found += 1
                mean = sum((self._table.mean(h) for h in valid), Fraction(0)) / len(valid)
                best = mean if best is None else max(best, mean)
        # HJ 633: a day's value needs 14 of its 8 h means.
        needed = min(14, due)
        return _gated(best, found >= needed, found / due, {"windows": found, "windows_due": due})

    def exceedances(self, window: Span, level: Fraction) -> Finding:
        """How many valid hours of a window have a mean over `level`."""
        first, last = self._grid.index_of(window.start_ns), self._grid.index_of(window.end_ns)
        valid = [h for h in range(first, last) if self._table.valid(h, self._minutes)]
        over = sum(1 for hour in valid if self._table.mean(hour) > level)
        share = len(valid) / max(1, last - first)
        needed = (self._validity.share if self._validity else None) or SHARE
        return _gated(Fraction(over) if valid else None, share >= needed, share, {"hours": len(valid)})

    def _hour(self, index: int) -> Finding:
        table = self._table
        length = int(self._grid.ends_ns[index] - self._grid.starts_ns[index])
        covered = table.covered_ns[index]
        value = table.mean(index) if table.count[index] else None
        minutes = self._minutes * length // HOUR_NS if length < HOUR_NS else self._minutes
        detail = {"readings": table.count[index], "minutes": covered // 60_000_000_000}
        return _gated(value, table.valid(index, minutes), min(1.0, covered / length), detail)

    def _day(self, day: date, needed: int) -> Finding:
        index = self._day_index[day]
        first, last = self._grid.first[index], self._grid.first[index + 1]
        valid = [hour for hour in range(first, last) if self._table.valid(hour, self._minutes)]
        total = sum((self._table.mean(hour) for hour in valid), Fraction(0))
        readings = sum(self._table.count[first:last])
        value = total / len(valid) if valid else None
        detail = {"readings": readings, "hours": len(valid), "hours_needed": min(needed, last - first)}
        return _gated(value, len(valid) >= min(needed, last - first), len(valid) / (last - first), detail)

    def _daily(
        self, zone_days: list[Span], left_out: Callable[[date], bool]
    ) -> tuple[list[Fraction], dict[int, int], dict[int, int]]:
        needed = (self._validity.day_hours if self._validity else None) or 20
        means: list[Fraction] = []
        per_month: dict[int, int] = {}
        possible: dict[int, int] = {}
        for span in zone_days:
            possible[span.day.month] = possible.get(span.day.month, 0) + 1
            found = self.day(span.day, needed)
            if found.gate is None and found.value is not None and not left_out(span.day):
                means.append(found.value)
                per_month[span.day.month] = per_month.get(span.day.month, 0) + 1
        return means, per_month, possible

    def _of_days(
        self, means: list[Fraction], per_month: dict[int, int], possible: dict[int, int], value: Fraction
    ) -> Finding:
        rule = self._validity
        enough = bool(means)
        thin = []
        for month, length in possible.items():
            needed = rule.month_days if rule else None
            if rule and month == 2 and rule.february_days is not None:
                needed = rule.february_days
            if needed is not None and per_month.get(month, 0) < min(needed, length):
                thin.append(month)
        if thin or (rule and rule.year_days is not None and len(possible) == 12 and len(means) < rule.year_days):
            enough = False
        total = sum(possible.values())
        detail = {"days": len(means), "days_in_window": total, "months_too_thin": thin}
        return _gated(value if means else None, enough, len(means) / max(1, total), detail)


def of_readings(limit: AppliedLimit, column: Column, window: Span, interval_ns: int) -> Finding:
    """A statistic of the readings of a window, which has to have its share of what was due."""
    part = column.between(window.start_ns, window.end_ns)
    count = len(part.times_ns)
    due = due_readings(window.start_ns, window.end_ns, interval_ns)
    share = min(1.0, count / due)
    needed = (limit.validity.share if limit.validity else None) or SHARE
    value = _statistic(limit, part) if count else None
    return _gated(value, share >= needed, share, {"readings": count, "due": due})


def weighted_mean(column: Column, flow: Column, holds_ns: int) -> tuple[Fraction | None, int]:
    """The flow-weighted mean of a column: each reading by the flow last told, at most `holds_ns` before it; and how
    many readings had one."""
    if len(column.times_ns) == 0 or len(flow.times_ns) == 0:
        return None, 0
    last = np.searchsorted(flow.times_ns, column.times_ns, side="right") - 1
    known = np.maximum(last, 0)
    fresh = (last >= 0) & (column.times_ns - flow.times_ns[known] <= holds_ns)
    weights = flow.micro[known][fresh].tolist()
    values = column.micro[fresh].tolist()
    total = sum(weights)
    if total <= 0:
        return None, len(values)
    return Fraction(sum(v * w for v, w in zip(values, weights, strict=True)), total * MICRO), len(values)


def energy_mean(column: Column) -> Fraction:
    """Leq of equal intervals, 10 lg(mean(10^(L/10))), dB, to a millionth (GB 12348-2008 3.2); of at least one."""
    levels = column.micro / MICRO
    highest = float(levels.max())
    energies = np.power(10.0, (levels - highest) / 10).tolist()
    level = highest + 10 * math.log10(math.fsum(energies) / len(energies))
    # The mean of equal levels is that level.
    return Fraction(round(min(max(level, float(levels.min())), highest) * MICRO), MICRO)


def percentile(values: list[Fraction], percent: int) -> Fraction:
    """The percentile between ranks, exact (HJ 663-2013 annex A); `values` not empty, in any order."""
    ordered = sorted(values)
    place = Fraction((len(ordered) - 1) * percent, 100)
    below = int(place)
    if below + 1 >= len(ordered):
        return ordered[-1]
    return ordered[below] + (ordered[below + 1] - ordered[below]) * (place - below)


def days_of(window: Span, limit: AppliedLimit, grid: Hours) -> list[Span]:
    """The local days of a window that the grid knows."""
    assert limit.window in (WindowKind.MONTH, WindowKind.SEASON, WindowKind.YEAR)
    return [day for day in grid.days if window.start_ns <= day.start_ns < window.end_ns]


def _statistic(limit: AppliedLimit, part: Column) -> Fraction:
    if limit.statistic is Statistic.ENERGY_MEAN:
        return energy_mean(part)
    low, high = (Fraction(int(one), MICRO) for one in (part.micro.min(), part.micro.max()))
    if limit.statistic is Statistic.MINIMUM:
        return low
    if limit.statistic is Statistic.WORST:
        return worse(limit, low, high)
    if limit.statistic in (Statistic.MAXIMUM, Statistic.SUDDEN_FREQUENT, Statistic.SUDDEN_OCCASIONAL):
        return high
    return Fraction(int(part.micro.sum()), len(part.micro) * MICRO)


def _gated(value: Fraction | None, enough: bool, validity: float, detail: Mapping[str, object]) -> Finding:
    gate = (
        None if enough and value is not None else VerdictReason.NO_DATA if value is None else VerdictReason.TOO_FEW_DATA
    )
    return Finding(value, gate, validity, dict(detail))
