"""Sensors that measure the world at their interval, with noise and the resolution of common instruments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from greenmine.core.clock import NS_PER_S
from greenmine.core.errors import UserError
from greenmine.core.metric import METRICS, SensorKind
from greenmine.core.reading import Series
from greenmine.core.unit import convert
from greenmine.policy.model import Device, MetricSetting, Policy
from greenmine.simulator.randomness import symmetric
from greenmine.simulator.world import RAIN_TIP_MM, Site, World

_PARTS_OF_A_PERIOD = 12
_MEAN_NOISE_SHARE = 0.3
"""A mean over a period is so much less noisy than an instant."""


class Trait(NamedTuple):
    """Noise as a share of the value and in the canonical unit (both are bounds), and the resolution."""

    relative: float
    absolute: float
    resolution: float


_LEVEL = Trait(0, 0.3, 0.1)
TRAITS: dict[str, Trait] = {
    "pm10": Trait(0.03, 0, 0.1),
    "pm25": Trait(0.03, 0, 0.1),
    "tsp": Trait(0.03, 0, 0.1),
    "ph": Trait(0, 0.02, 0.01),
    "turbidity": Trait(0.03, 0, 0.1),
    "conductivity": Trait(0.005, 0, 1),
    "do": Trait(0, 0.05, 0.01),
    "water_temp": Trait(0, 0.05, 0.1),
    "level": Trait(0, 0.002, 0.001),
    "flow": Trait(0.02, 0, 0.1),
    "ss": Trait(0.04, 0, 1),
    "cod": Trait(0.05, 0, 1),
    "nh3n": Trait(0.05, 0, 0.01),
    "oil": Trait(0.05, 0, 0.01),
    "fe": Trait(0.05, 0, 0.01),
    "mn": Trait(0.05, 0, 0.01),
    "laeq": _LEVEL,
    "lamax": _LEVEL,
    "l10": _LEVEL,
    "l50": _LEVEL,
    "l90": _LEVEL,
    "soil_moisture": Trait(0, 0.2, 0.1),
    "soil_temp": Trait(0, 0.1, 0.1),
    "ec": Trait(0, 0.01, 0.01),
    "wind_speed": Trait(0.05, 0, 0.1),
    "wind_dir": Trait(0, 4, 1),
    "air_temp": Trait(0, 0.15, 0.1),
    "humidity": Trait(0, 1.5, 1),
    "rain": Trait(0, 0, RAIN_TIP_MM),
    "pressure": Trait(0, 0.03, 0.01),
}
_ONE_ERROR_FOR_ALL = (SensorKind.DUST, SensorKind.NOISE)
"""In these sensors one signal gives all metrics, so they err together and stay in order (TSP >= PM10 >= PM2.5)."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """One metric of one sensor of a device, as the policy registers it."""

    series: Series
    setting: MetricSetting
    seed: int

    @property
    def key(self) -> str:
        """Its name in the `values` of own JSON."""
        return f"{self.series.metric}@{self.series.channel}" if self.series.channel else self.series.metric

    def source_time_ns(self, sample_ns: int) -> int:
        """The source time of the value that is ready at `sample_ns`: the start of its period."""
        return sample_ns - self.setting.period * NS_PER_S

    def measure(self, world: World, sample_ns: int) -> float:
        """The value ready at `sample_ns`, in the unit of the policy, as the instrument reports it."""
        metric = METRICS[self.series.metric]
        trait = TRAITS[metric.name]
        value = self.ideal(world, sample_ns)
        error = self._error(sample_ns) * (_MEAN_NOISE_SHARE if self.series.stat == "avg" else 1.0)
        value += error * (trait.absolute + trait.relative * abs(value))
        value = round(value / trait.resolution) * trait.resolution
        value = value % 360 if metric.name == "wind_dir" else min(max(value, metric.low), metric.high)
        return float(f"{convert(value, metric.unit, self.setting.unit):.10g}")

    def ideal(self, world: World, sample_ns: int) -> float:
        """The same without noise and resolution, in the canonical unit."""
        mine, device, metric, channel, stat, period_s = self.series
        start_ns = self.source_time_ns(sample_ns)
        if metric == "rain":
            since_ns = start_ns if period_s else sample_ns - self.setting.interval * NS_PER_S
            return world.rain_mm(mine, since_ns, sample_ns)
        site = Site(mine, device, channel)
        if stat == "inst":
            return world.value(site, metric, sample_ns)
        part_ns = period_s * NS_PER_S // _PARTS_OF_A_PERIOD
        parts = [
            world.value(site, metric, start_ns + part_ns // 2 + part * part_ns) for part in range(_PARTS_OF_A_PERIOD)
        ]
        if stat == "avg":
            return _mean(metric, parts)
        return max(parts) if stat == "max" else min(parts)

    def _error(self, sample_ns: int) -> float:
        mine, device, metric, channel, *_ = self.series
        kind = METRICS[metric].kind
        signal = kind.value if kind in _ONE_ERROR_FOR_ALL else metric
        return symmetric(self.seed, f"error/{mine}/{device}/{signal}@{channel}", sample_ns)


def gauges(policy: Policy, device: Device, seed: int) -> list[Gauge]:
    """All gauges of a device.

    Raises:
        UserError: the policy registers a statistic that the simulator cannot make.
    """
    found = []
    for sensor in device.sensors:
        for metric, setting in sensor.metrics.items():
            if setting.stat == "sum" and metric != "rain":
                raise UserError(
                    f"{policy.mine.id}/{device.id}: the simulator makes sums of rain only, not of {metric}; "
                    "register it as inst, avg, min or max, or leave the device out of the simulation"
                )
            series = Series(policy.mine.id, device.id, metric, sensor.channel, setting.stat, setting.period)
            found.append(Gauge(series, setting, seed))
    return found


def _mean(metric: str, values: list[float]) -> float:
    if METRICS[metric].energy_mean:
        return 10 * math.log10(sum(10 ** (value / 10) for value in values) / len(values))
    if metric == "wind_dir":
        east = sum(math.sin(math.radians(value)) for value in values)
        north = sum(math.cos(math.radians(value)) for value in values)
        return math.degrees(math.atan2(east, north)) % 360
    return sum(values) / len(values)
