"""Relative soil moisture: the volumetric moisture in percent of the field capacity of the soil around the probe."""

from __future__ import annotations

from dataclasses import replace

from greenmine.core.reading import Series
from greenmine.core.verdict import VerdictReason
from greenmine.policy.applicable import AppliedLimit
from greenmine.policy.limit import Statistic
from greenmine.rules.columns import Column
from greenmine.rules.finding import INSUFFICIENT, Decision, Finding, decide, in_limit_unit, written
from greenmine.rules.local_time import Span
from greenmine.rules.mine_data import MineData
from greenmine.rules.point_statistics import of_readings

_HUNDRED = 100


class SoilJudge:
    """Judges days of one probe. At or below 0 degrees a probe reads ice as dry; outside of the growing season dry soil
    says nothing; more than 100 % of the field capacity means that the constant is wrong. The reference plot on
    undisturbed land, where there is one, is told beside: a drought that it shares is not the reclamation's."""

    def __init__(self, data: MineData, limit: AppliedLimit, series: Series) -> None:
        self._data = data
        self._limit = replace(limit, statistic=Statistic.MEAN)
        self.series = series
        self._interval_ns = data.interval_ns(series)
        self._usable = data.usable(series, limit.binding)
        temperature = data.series_of(series.device, "soil_temp", series.channel)
        self._temperature = None if temperature is None else data.usable(temperature, limit.binding).kept
        sensor = data.sensor(series)
        self._soil = None if sensor is None else sensor.soil

    def judge(self, window: Span) -> tuple[Decision, float]:
        """The decision of a day, and the share of its readings that flags took out."""
        every = self._finding(self._usable.kept, window)
        doubtful = self._usable.doubtful(window.start_ns, window.end_ns)
        sure = self._finding(self._usable.sure, window) if doubtful else every
        decision = decide(self._limit, every, sure, self._usable.doubt(window.start_ns, window.end_ns))
        graded = decision._replace(detail={**decision.detail, **self._grade(decision.value), **self._reference(window)})
        return graded, self._usable.excluded(window.start_ns, window.end_ns)

    def _finding(self, column: Column, window: Span) -> Finding:
        if self._soil is None:
            return Finding(None, VerdictReason.NO_SOIL_CONSTANTS, 0.0)
        season = self._data.settings.growing_season
        if not season.first <= f"{window.day:%m-%d}" <= season.last:
            return Finding(None, VerdictReason.NOT_GROWING_SEASON, 0.0)
        if self._temperature is not None:
            part = self._temperature.between(window.start_ns, window.end_ns)
            if len(part.micro) and int(part.micro.min()) <= 0:
                return Finding(None, VerdictReason.FROZEN, 0.0)
        found = of_readings(self._limit, column, window, self._interval_ns)
        if found.value is None:
            return found
        relative = found.value * _HUNDRED / written(self._soil.field_capacity)
        detail = {**found.detail, "field_capacity": self._soil.field_capacity}
        too_wet = found.gate not in INSUFFICIENT and round(in_limit_unit(self._limit, relative)) > _HUNDRED
        return Finding(relative, VerdictReason.SOIL_CONSTANTS_WRONG if too_wet else found.gate, found.validity, detail)

    def _grade(self, value: float | None) -> dict[str, str]:
        """The grade of the scale in which the value lies."""
        if value is None or not self._limit.bands:
            return {}
        below = [band for band in self._limit.bands if band.at_least <= value]
        return {"band": max(below, key=lambda band: band.at_least).id} if below else {}

    def _reference(self, window: Span) -> dict[str, object]:
        plot = None if self._soil is None else self._soil.reference_plot
        series = None if plot is None else self._data.series_of(plot, "soil_moisture", self.series.channel)
        if series is None:
            return {}
        decision, _ = SoilJudge(self._data, self._limit, series).judge(window)
        shown = {"device": plot, "outcome": decision.outcome.value, "value": decision.value}
        return {"reference": shown | ({"band": decision.detail["band"]} if "band" in decision.detail else {})}
