"""Limits on what a mine adds to the air around it: the highest difference between points downwind and the point upwind
(GB 20426-2006 with HJ/T 55), or the highest point outside (GB 16297-1996).

Which point is upwind follows from where it lies and from the hour's wind, not from a role that somebody gave it; a
neighbour's station may be the one. The difference keeps its sign.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from greenmine.core.reading import Series
from greenmine.core.verdict import LimitBinding, VerdictReason
from greenmine.policy.applicable import AppliedLimit
from greenmine.policy.limit import Comparison
from greenmine.rules.finding import Decision, Finding, beyond, decide, in_limit_unit
from greenmine.rules.hour_table import Hours, hour_table
from greenmine.rules.local_time import Span
from greenmine.rules.mine_data import MineData, Usable
from greenmine.rules.point_statistics import HourlyPoint
from greenmine.rules.wind import Windfield, bearing, off_axis

SUBJECT = "boundary"


class _Point(NamedTuple):
    name: str
    series: Series
    own: bool
    usable: Usable
    all_hours: HourlyPoint
    sure_hours: HourlyPoint


class BoundaryJudge:
    """Judges hours of one limit. `without` leaves points out and `turned_deg` turns the wind, to ask how much a verdict
    hangs on either."""

    def __init__(
        self,
        data: MineData,
        limit: AppliedLimit,
        wind: Windfield,
        grid: Hours,
        without: frozenset[str] = frozenset(),
        turned_deg: float = 0.0,
    ) -> None:
        self._data = data
        self._limit = limit
        self._wind = wind
        self._turned_deg = turned_deg
        self._points = [one for one in _points(data, limit, grid) if one.name not in without]

    def behind(self, decision: Decision) -> list[Series]:
        """The series that a decision rests on, wind aside; all that there are where it names none."""
        named = {*decision.detail.get("upwind", ()), *decision.detail.get("downwind", ())}
        return [point.series for point in self._points if not named or point.name in named]

    def judge(self, window: Span) -> tuple[Decision, float]:
        """The decision of an hour, and the share of readings that flags took out."""
        doubtful = any(one.usable.doubtful(window.start_ns, window.end_ns) for one in self._points)
        all_readings = self._finding(window, sure=False)
        sure = self._finding(window, sure=True) if doubtful else all_readings
        doubt = next(
            (one.usable.doubt(*window[:2]) for one in self._points if one.usable.doubtful(*window[:2])),
            VerdictReason.DOUBTFUL_DATA,
        )
        excluded = max((one.usable.excluded(*window[:2]) for one in self._points), default=0.0)
        return decide(self._limit, all_readings, sure, doubt), excluded

    def _finding(self, window: Span, sure: bool) -> Finding:
        if self._limit.compare is Comparison.HIGHEST_OUTSIDE:
            return self._highest([point for point in self._points if point.own], window, sure, Fraction(0), {})
        wind = self._wind.of(window, self._turned_deg)
        detail: dict[str, object] = dict(wind.detail())
        if wind.gate is not None or wind.from_deg is None:
            return Finding(None, wind.gate or VerdictReason.NO_WIND_DATA, 0.0, detail)
        up, down = self._sides(window, wind.from_deg)
        valid = [point for point in up if _hour(point, window, sure).gate is None]
        reference_point = next(iter(valid or up), None)
        detail |= {
            "upwind": [reference_point.name] if reference_point else [],
            "downwind": [point.name for point in down],
        }
        if reference_point is None or not down:
            missing = VerdictReason.NO_UPWIND_POINT if reference_point is None else VerdictReason.NO_DOWNWIND_POINT
            return Finding(None, missing, 0.0, detail)
        reference = _hour(reference_point, window, sure)
        if reference.value is None or reference.gate is not None:
            return Finding(None, reference.gate or VerdictReason.NO_DATA, reference.validity, detail)
        detail["background"] = self._shown(reference.value)
        if reference.value >= Fraction(repr(self._data.settings.dust_background)):
            return Finding(None, VerdictReason.BACKGROUND_TOO_HIGH, reference.validity, detail)
        return self._highest(down, window, sure, reference.value, detail)

    def _highest(
        self, points: list[_Point], window: Span, sure: bool, off: Fraction, detail: dict[str, object]
    ) -> Finding:
        """The highest of the points less `off`. Where one has no valid hour the highest may be there: then only an
        exceedance by another one can be told."""
        found = {point.name: _hour(point, window, sure) for point in points}
        valid = {name: one.value - off for name, one in found.items() if one.gate is None and one.value is not None}
        detail = {**detail, "differences" if off else "values": {name: self._shown(v) for name, v in valid.items()}}
        share = min((one.validity for one in found.values()), default=0.0)
        if not valid:
            gate = next((one.gate for one in found.values() if one.gate is not None), VerdictReason.NO_DATA)
            return Finding(None, gate, share, detail)
        highest = max(valid.values())
        detail["highest_at"] = min(name for name, value in valid.items() if value == highest)
        short = len(valid) < len(found) and beyond(self._limit, highest) is None
        return Finding(highest, VerdictReason.TOO_FEW_DATA if short else None, share, detail)

    def _sides(self, window: Span, from_deg: float) -> tuple[list[_Point], list[_Point]]:
        """The points upwind, nearest to the wind's axis first, and our own downwind."""
        data, sector = self._data, self._data.settings.wind.sector
        middle = data.policy.mine.location
        up: list[tuple[float, str, _Point]] = []
        down: list[_Point] = []
        for point in self._points:
            place = self._place(point, window.start_ns)
            if place is None:
                continue
            degrees = bearing(middle, place).degrees
            if off_axis(degrees, from_deg) <= sector:
                up.append((off_axis(degrees, from_deg), point.name, point))
            elif point.own and off_axis(degrees, from_deg + 180) <= sector:
                down.append(point)
        return [point for _, _, point in sorted(up, key=lambda one: one[:2])], down

    def _place(self, point: _Point, time_ns: int) -> tuple[float, float] | None:
        data = self._data
        if not point.own:
            stations = data.settings.neighbours
            return next(one.position for one in stations if f"{one.mine}/{one.device}" == point.name)
        device = data.policy.device(point.series.device)
        return data.facts.position(point.series.device, time_ns) or (None if device is None else device.position)

    def _shown(self, value: Fraction) -> float:
        return round(float(in_limit_unit(self._limit, value)), 6)


def _points(data: MineData, limit: AppliedLimit, grid: Hours) -> Iterator[_Point]:
    own = data.points(limit)
    for series in own:
        yield _point(data, limit, series, series.device, True, grid)
    like = own[0] if own else Series(data.policy.mine.id, "", limit.item)
    if limit.compare is Comparison.DOWNWIND_MINUS_UPWIND:
        for station in data.settings.neighbours:
            series = Series(station.mine, station.device, limit.item, "", like.stat, like.period_s)
            yield _point(data, limit, series, f"{station.mine}/{station.device}", False, grid)


def _point(data: MineData, limit: AppliedLimit, series: Series, name: str, own: bool, grid: Hours) -> _Point:
    usable = data.usable(series, LimitBinding.EMISSION if limit.binding is LimitBinding.OPERATING else limit.binding)
    hours = [
        HourlyPoint(hour_table(column, data.step_ns(series), grid), grid, limit.validity)
        for column in ((usable.kept,) if usable.sure is usable.kept else (usable.kept, usable.sure))
    ]
    return _Point(name, series, own, usable, hours[0], hours[-1])


def _hour(point: _Point, window: Span, sure: bool) -> Finding:
    return (point.sure_hours if sure else point.all_hours).hour(window)
