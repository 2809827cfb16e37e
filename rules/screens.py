"""What must be so at a point for its readings to be judged at all: no wind or rain at a sound meter, no frost or dry
outlet at a water probe. A screen takes readings out and says why a window has too few left."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from greenmine.core.metric import METRICS, SensorKind
from greenmine.core.reading import Series
from greenmine.core.verdict import LimitBinding, VerdictReason
from greenmine.rules.columns import MICRO, Column, Ints, Mask
from greenmine.rules.mine_data import MineData

_WEATHER_HOLDS_NS = 600 * 1_000_000_000
"""How long a reading of wind or rain speaks for what comes after it."""


class Screen(NamedTuple):
    """Spans of time that are not judged at a point: a column whose reading says so until `holds_ns` after it."""

    column: Column
    bad: Mask
    holds_ns: int
    reason: VerdictReason

    def hides(self, times_ns: Ints) -> Mask:
        """Which of these times are not judged."""
        if len(self.column.times_ns) == 0:
            return np.zeros(len(times_ns), np.bool_)
        last = np.searchsorted(self.column.times_ns, times_ns, side="right") - 1
        known = np.maximum(last, 0)
        hidden: Mask = (last >= 0) & self.bad[known] & (times_ns - self.column.times_ns[known] <= self.holds_ns)
        return hidden


def screens_of(data: MineData, series: Series) -> list[Screen]:
    """The screens of a series, by the kind of its sensor; none where the mine measures nothing of the kind."""
    kind = METRICS[series.metric].kind
    if kind is SensorKind.NOISE:
        return _noise(data)
    return _water(data, series) if kind is SensorKind.WATER else []


def _noise(data: MineData) -> list[Screen]:
    """GB 12348-2008 5.2: no rain or snow, wind below 5 m/s."""
    found = []
    for metric, most in (("wind_speed", data.settings.noise_wind), ("rain", 0.0)):
        for series in data.first_of_kind(metric):
            column = data.usable(series, LimitBinding.EMISSION).kept
            limit = round(most * MICRO)
            bad = column.micro >= limit if metric == "wind_speed" else column.micro > limit
            holds_ns = max(_WEATHER_HOLDS_NS, data.step_ns(series))
            found.append(Screen(column, bad, holds_ns, VerdictReason.WIND_OR_RAIN))
    return found


def _water(data: MineData, series: Series) -> list[Screen]:
    """A probe in ice, or in an outlet through which nothing flows, measures something else."""
    found = []
    for metric, reason in (("water_temp", VerdictReason.FROZEN), ("flow", VerdictReason.DRY)):
        beside = data.series_of(series.device, metric)
        if beside is None or series.metric == metric:
            continue
        column = data.usable(beside, LimitBinding.EMISSION).kept
        found.append(Screen(column, column.micro <= 0, 2 * data.step_ns(beside), reason))
    return found
