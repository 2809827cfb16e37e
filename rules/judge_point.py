"""Limits that are asked of one point: air, water and noise."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from greenmine.core.reading import Series
from greenmine.core.verdict import LimitBinding, Outcome, VerdictReason
from greenmine.policy.applicable import AppliedLimit
from greenmine.policy.limit import Statistic, WindowKind
from greenmine.rules.columns import MICRO, Column, Ints
from greenmine.rules.finding import INSUFFICIENT, Decision, Finding, decide, written
from greenmine.rules.hour_table import Hours, due_readings, hour_table
from greenmine.rules.local_time import Span
from greenmine.rules.mine_data import MineData
from greenmine.rules.point_statistics import PERCENTILES, SHARE, HourlyPoint, days_of, of_readings, weighted_mean
from greenmine.rules.screens import Screen, screens_of

_FREQUENT_OVER_DB, _OCCASIONAL_OVER_DB = 10, 15
"""GB 12348-2008 4.1.2 and 4.1.3: how far Lmax may pass the night's limit."""


class _Way(NamedTuple):
    """One way of reading the data: with the doubtful readings, or without."""

    column: Column
    hours: HourlyPoint


class PointJudge:
    """Judges windows of one limit at one point."""

    def __init__(self, data: MineData, limit: AppliedLimit, series: Series, grid: Hours) -> None:
        self._data = data
        self._limit = limit
        self.series = series
        self._grid = grid
        self._interval_ns = data.interval_ns(series)
        self._usable = data.usable(series, limit.binding)
        self._screens = screens_of(data, series)
        self._hidden: list[tuple[VerdictReason, Ints]] = []
        self._all = self._way(self._usable.kept)
        self._sure = self._all if self._usable.sure is self._usable.kept else self._way(self._usable.sure)

    def judge(self, window: Span) -> tuple[Decision, float]:
        """The decision of a window, and the share of its readings that flags took out."""
        every = self._finding(self._all, window)
        doubtful = self._usable.doubtful(window.start_ns, window.end_ns)
        sure = self._finding(self._sure, window) if doubtful else every
        decision = decide(self._limit, every, sure, self._usable.doubt(window.start_ns, window.end_ns))
        excluded = self._usable.excluded(window.start_ns, window.end_ns)
        if self._limit.statistic is Statistic.ENERGY_MEAN:
            decision = self._less_background(decision, window)
        return decision, excluded

    def _way(self, column: Column) -> _Way:
        for screen in self._screens:
            column = self._screened(screen, column)
        table = hour_table(column, self._data.step_ns(self.series), self._grid)
        return _Way(column, HourlyPoint(table, self._grid, self._limit.validity))

    def _screened(self, screen: Screen, column: Column) -> Column:
        hidden = screen.hides(column.times_ns)
        if not hidden.any():
            return column
        self._hidden.append((screen.reason, column.times_ns[hidden]))
        return column.where(~hidden)

    def _finding(self, way: _Way, window: Span) -> Finding:
        finding = self._statistic(way, window)
        if self._limit.binding is LimitBinding.AMBIENT and self._limit.window in (WindowKind.HOUR, WindowKind.DAY):
            event = self._data.facts.event_over(window.start_ns, window.end_ns, self._data.policy.mine.location)
            if event is not None:
                detail = {**finding.detail, "event": event.number}
                return Finding(finding.value, VerdictReason.EXCEPTIONAL_EVENT, finding.validity, detail)
        return self._why_too_few(finding, window) if finding.gate in INSUFFICIENT and self._hidden else finding

    def _statistic(self, way: _Way, window: Span) -> Finding:
        limit = self._limit
        if limit.statistic is Statistic.MEAN and limit.window is WindowKind.HOUR:
            return way.hours.hour(window)
        if limit.statistic is Statistic.MEAN and limit.window is WindowKind.DAY and _by_hours(limit):
            assert limit.validity is not None
            return way.hours.day(window.day, limit.validity.day_hours or 20)
        if limit.statistic in PERCENTILES:
            days = days_of(window, limit, self._grid)
            return way.hours.percentile_of_days(days, self._left_out, PERCENTILES[limit.statistic])
        if limit.window in (WindowKind.MONTH, WindowKind.SEASON, WindowKind.YEAR):
            return way.hours.mean_of_days(days_of(window, limit, self._grid), self._left_out)
        if limit.statistic is Statistic.ROLLING_8H_MAXIMUM:
            return way.hours.highest_rolling(window)
        if limit.statistic is Statistic.HOURS_OVER:
            assert limit.level is not None
            return way.hours.exceedances(window, written(limit.level))
        finding = of_readings(limit, way.column, window, self._interval_ns)
        if limit.statistic is Statistic.FLOW_WEIGHTED_MEAN:
            return self._flow_weighted(way.column, window, finding)
        if limit.statistic in (Statistic.SUDDEN_FREQUENT, Statistic.SUDDEN_OCCASIONAL):
            return self._sudden(way.column, window, finding)
        return finding

    def _left_out(self, day: date) -> bool:
        """Days of an exceptional event count in no month or year of the air around the mine (HJ 663)."""
        if self._limit.binding is not LimitBinding.AMBIENT:
            return False
        span = next(one for one in self._grid.days if one.day == day)
        place = self._data.policy.mine.location
        return self._data.facts.event_over(span.start_ns, span.end_ns, place) is not None

    def _flow_weighted(self, column: Column, window: Span, finding: Finding) -> Finding:
        """By the flow of the same outlet; where nobody measures it the plain mean, and the verdict says so."""
        flow = self._data.series_of(self.series.device, "flow")
        if flow is None:
            return Finding(finding.value, finding.gate, finding.validity, {**finding.detail, "flow": "not measured"})
        step_ns = self._data.step_ns(flow)
        flows = self._data.usable(flow, self._limit.binding).kept.between(window.start_ns - 2 * step_ns, window.end_ns)
        part = column.between(window.start_ns, window.end_ns)
        mean, weighted = weighted_mean(part, flows, 2 * step_ns)
        share = min(1.0, weighted / due_readings(window.start_ns, window.end_ns, self._interval_ns))
        needed = (self._limit.validity.share if self._limit.validity else None) or SHARE
        gate = finding.gate if share >= needed else VerdictReason.TOO_FEW_DATA
        gate = VerdictReason.NO_DATA if mean is None and gate is None else gate
        return Finding(mean, gate, min(finding.validity, share), {**finding.detail, "with_flow": weighted})

    def _sudden(self, column: Column, window: Span, finding: Finding) -> Finding:
        """Sudden noise at night: loud events are counted; from `frequent_from` of them they are frequent and held to
        +10 dB, fewer are occasional and held to +15 dB. An event is a run of readings over the frequent ones' limit."""
        limit = self._limit
        if finding.value is None or limit.at_most is None:
            return finding
        frequent = limit.statistic is Statistic.SUDDEN_FREQUENT
        over = 0 if frequent else _OCCASIONAL_OVER_DB - _FREQUENT_OVER_DB
        level = written(limit.at_most) - over
        part = column.between(window.start_ns, window.end_ns)
        loud = np.array([round(Fraction(one, MICRO), limit.digits) > level for one in part.micro.tolist()])
        events = int(loud[0]) + int(np.count_nonzero(loud[1:] & ~loud[:-1]))
        detail = {**finding.detail, "events": events, "frequent_from": self._data.settings.frequent_from}
        value = finding.value
        if frequent and events < self._data.settings.frequent_from:
            # Too few to be frequent: the limit of the occasional ones judges them.
            value = min(value, written(limit.at_most))
        return Finding(value, finding.gate, finding.validity, detail)

    def _less_background(self, decision: Decision, window: Span) -> Decision:
        """GB 12348-2008 5.4 with HJ 706: the level less the background's part of it, by whole decibels. Less than 3 dB
        above the background nothing can be told but that the total is within the limit."""
        known = self._data.facts.background(self.series.device, window.start_ns)
        if known is None or decision.unrounded is None or decision.outcome is not Outcome.EXCEEDED:
            return decision
        measured = round(written(decision.unrounded))
        above = measured - round(written(known[0]))
        detail = {**decision.detail, "measured": decision.value, "background": known[0], "background_fact": known[1]}
        if above < 3:
            return decision._replace(outcome=Outcome.NOT_EVALUABLE, reason=VerdictReason.NEAR_BACKGROUND, detail=detail)
        corrected = measured - (3 if above == 3 else 2 if above <= 5 else 1 if above <= 10 else 0)
        less = Finding(Fraction(corrected), None, decision.validity, detail)
        again = decide(self._limit, less, less, decision.reason)
        return again._replace(unrounded=decision.unrounded)

    def _why_too_few(self, finding: Finding, window: Span) -> Finding:
        """Where what the screens hid would have been enough, they are why nothing can be told."""
        hidden = {
            reason: int(np.diff(np.searchsorted(times, (window.start_ns, window.end_ns)))[0])
            for reason, times in self._hidden
        }
        most = max(hidden, key=lambda reason: (hidden[reason], reason.value))
        due = due_readings(window.start_ns, window.end_ns, self._interval_ns)
        needed = (self._limit.validity.share if self._limit.validity else None) or SHARE
        detail = {**finding.detail, "hidden": {reason.value: count for reason, count in hidden.items() if count}}
        enough = finding.validity + sum(hidden.values()) / due >= needed
        return Finding(finding.value, most if enough else finding.gate, finding.validity, detail)


def _by_hours(limit: AppliedLimit) -> bool:
    return limit.validity is not None and limit.validity.day_hours is not None
