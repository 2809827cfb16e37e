"""What a mine's verdicts are given on: its readings with all their flags, its facts, its policy, and the choices that
follow from them (which readings count, which series speaks for a point)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np

from greenmine.core.fact import Fact
from greenmine.core.metric import METRICS, SensorKind
from greenmine.core.quality import Quality, from_names
from greenmine.core.reading import Series
from greenmine.core.verdict import LimitBinding, VerdictReason
from greenmine.policy.applicable import AppliedLimit, feeding
from greenmine.policy.judging import FlagUse
from greenmine.policy.limit import Statistic
from greenmine.policy.model import MetricSetting, Policy, Sensor
from greenmine.rules.columns import EMPTY, Column, Ints, Readings
from greenmine.rules.facts_in_force import COVERED, FactsInForce
from greenmine.rules.health import HealthInput, health_flags, health_limits
from greenmine.rules.local_time import DayParts

NS = 1_000_000_000
_SENDERS = Quality.MAINTENANCE | Quality.CALIBRATION | Quality.INVALID
"""Flags with which a sender may take its own readings out: believed only with a fact behind them."""
_OPTICAL = "light_scattering"


@dataclass(frozen=True)
class Usable:
    """A series as one kind of limit may use it.

    `kept`: all readings but those that are out; `sure`: without the doubtful ones too. `doubt_ns` and `out_ns` are the
    times of what is doubtful and what is out, `sender_ns` of what is doubtful by a sender's own flags.
    """

    kept: Column
    sure: Column
    doubt_ns: Ints
    out_ns: Ints
    sender_ns: Ints

    def doubtful(self, start_ns: int, end_ns: int) -> bool:
        """Whether anything of a window is doubtful."""
        return _any(self.doubt_ns, start_ns, end_ns)

    def doubt(self, start_ns: int, end_ns: int) -> VerdictReason:
        """The word for the doubt about a window."""
        by_sender = _any(self.sender_ns, start_ns, end_ns)
        return VerdictReason.EXCLUDED_BY_SENDER if by_sender else VerdictReason.DOUBTFUL_DATA

    def excluded(self, start_ns: int, end_ns: int) -> float:
        """The share of the readings of a window that flags take out."""
        out, kept = _count(self.out_ns, start_ns, end_ns), _count(self.kept.times_ns, start_ns, end_ns)
        return out / (out + kept) if out else 0.0


NOTHING = Usable(EMPTY, EMPTY, EMPTY.times_ns, EMPTY.times_ns, EMPTY.times_ns)


class MineData:
    """The data of one mine, prepared once for all limits; pure of anything but what it is given."""

    def __init__(self, policy: Policy, readings: Readings, facts: Sequence[Fact] = ()) -> None:
        self.policy = policy
        self.settings = policy.verdicts
        self.zone: ZoneInfo = policy.mine.zone
        self.facts = FactsInForce(facts, policy.mine.id, self.zone, policy.verdicts.maintenance_hours)
        self._readings = readings
        self._registered = policy.series()
        self._flagged: dict[Series, Column] = {}
        self._usable: dict[tuple[Series, LimitBinding], Usable] = {}

    @cached_property
    def parts(self) -> DayParts:
        """When day and night of noise begin here."""
        return DayParts(time.fromisoformat(self.settings.day_begins), time.fromisoformat(self.settings.night_begins))

    def points(self, limit: AppliedLimit) -> list[Series]:
        """The series that speaks for each point (device and channel) that the limit is asked of, in order."""
        chosen: dict[tuple[str, str], Series] = {}
        for series in feeding(self.policy, limit):
            if series.stat not in _speaking(limit):
                continue
            place = series.device, series.channel
            if place not in chosen or _fitness(series, limit) < _fitness(chosen[place], limit):
                chosen[place] = series
        return [chosen[place] for place in sorted(chosen)]

    def series_of(self, device: str, metric: str, channel: str | None = None) -> Series | None:
        """The series in which a device reports a metric, the finest instants or means; None where it has none."""
        found = [
            series
            for series in self._registered
            if series.device == device and series.metric == metric and channel in (None, series.channel)
        ]
        return min(found, key=_plainness, default=None)

    def first_of_kind(self, metric: str) -> list[Series]:
        """Every device's series of a metric, in order."""
        devices = sorted({series.device for series in self._registered if series.metric == metric})
        found = [self.series_of(device, metric) for device in devices]
        return [series for series in found if series is not None]

    def setting(self, series: Series) -> MetricSetting | None:
        """How the policy registers a series; None for one of a neighbour's."""
        return self._registered.get(series)

    def interval_ns(self, series: Series) -> int:
        """The reporting interval; of a neighbour's series as long as its readings show."""
        setting = self.setting(series)
        if setting is not None:
            return setting.interval * NS
        gaps = np.diff(self._readings.of(series).times_ns)
        return int(np.median(gaps)) if len(gaps) else 60 * NS

    def step_ns(self, series: Series) -> int:
        """How long a reading speaks at most."""
        return max(self.interval_ns(series), series.period_s * NS)

    def sensor(self, series: Series) -> Sensor | None:
        """The sensor behind a series."""
        device = self.policy.device(series.device)
        if device is None or series.mine != self.policy.mine.id:
            return None
        return next(
            (one for one in device.sensors if one.channel == series.channel and series.metric in one.metrics), None
        )

    def flagged(self, series: Series) -> Column:
        """The readings of a series with health flags and facts added to their quality."""
        if series not in self._flagged:
            raw = self._readings.of(series)
            quality = self.facts.flags(series, raw) | health_flags(raw, self._health_input(series))
            self._flagged[series] = Column(raw.times_ns, raw.micro, quality.astype(np.int32))
        return self._flagged[series]

    def usable(self, series: Series, binding: LimitBinding) -> Usable:
        """The readings of a series as a limit of this binding may use them."""
        key = series, binding
        if key not in self._usable:
            column = self.flagged(series)
            self._usable[key] = NOTHING if len(column.times_ns) == 0 else self._sorted_out(column, binding)
        return self._usable[key]

    def _sorted_out(self, column: Column, binding: LimitBinding) -> Usable:
        bits = {use: from_names(n for n, u in self.settings.uses(binding).items() if u is use) for use in FlagUse}
        quality = column.quality
        alone = (quality & COVERED) == 0
        # What a sender says of itself is believed where a fact stands behind it; else it is a doubt.
        senders = (quality & np.int32(_SENDERS & bits[FlagUse.OUT])) != 0
        out = ((quality & np.int32(bits[FlagUse.OUT] & ~_SENDERS)) != 0) | (senders & ~alone)
        doubt = ~out & (((quality & np.int32(bits[FlagUse.DOUBT])) != 0) | (senders & alone))
        times = column.times_ns
        if not out.any() and not doubt.any():
            return Usable(column, column, times[:0], times[:0], times[:0])
        kept = column.where(~out)
        return Usable(kept, column.where(~out & ~doubt), times[doubt], times[out], times[senders & alone])

    def _health_input(self, series: Series) -> HealthInput:
        sensor = self.sensor(series)
        optical = sensor is not None and sensor.principle == _OPTICAL and METRICS[series.metric].kind is SensorKind.DUST
        humidity = self.first_of_kind("humidity") if optical else []
        return HealthInput(
            series.metric,
            self.interval_ns(series),
            health_limits(series.metric, self.settings.health.get(series.metric)),
            self._readings.of(humidity[0]) if humidity else None,
            self.settings.humid,
        )


_EXTREMES = {Statistic.MAXIMUM: "max", Statistic.MINIMUM: "min", Statistic.SUDDEN_FREQUENT: "max",
             Statistic.SUDDEN_OCCASIONAL: "max"}  # fmt: skip


def _speaking(limit: AppliedLimit) -> list[str]:
    """The statistics of a point that a limit can be asked of, the best first: a mean of maxima is no mean."""
    extreme = _EXTREMES.get(limit.statistic)
    return ["inst", "avg"] if extreme is None else [extreme, "inst", "avg"]


def _fitness(series: Series, limit: AppliedLimit) -> tuple[int, int, Series]:
    return _speaking(limit).index(series.stat), series.period_s, series


def _plainness(series: Series) -> tuple[int, int, Series]:
    return (["inst", "avg", "max", "min", "sum"].index(series.stat), series.period_s, series)


def _count(times_ns: Ints, start_ns: int, end_ns: int) -> int:
    if len(times_ns) == 0:
        return 0
    first, last = np.searchsorted(times_ns, (start_ns, end_ns))
    return int(last - first)


def _any(times_ns: Ints, start_ns: int, end_ns: int) -> bool:
    return _count(times_ns, start_ns, end_ns) > 0
