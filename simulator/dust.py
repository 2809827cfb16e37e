"""Dust over a mine: the region's background, the mine's own sources by shift, and plumes of scheduled episodes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from greenmine.simulator.daily import SHIFT_WORK, DailyCourse, LocalTime
from greenmine.simulator.randomness import SmoothNoise, uniform
from greenmine.simulator.weather import Weather

_BACKGROUND = DailyCourse((0, 1.0), (5, 0.9), (8, 1.12), (14, 0.92), (20, 1.12), (24, 1.0))
_BACKGROUND_UG_M3 = 45.0
_SOURCE_UG_M3 = 24.0
_PLUME_WIDTH_DEG = 45.0
_UPWIND_SHARE = 0.05


class Dust(NamedTuple):
    """ug/m3; tsp > pm10 > pm25 > 0."""

    tsp: float
    pm10: float
    pm25: float


@dataclass(frozen=True, slots=True)
class Plume:
    """Dust of one episode: it rises smoothly over `ramp_ns`, stays, and has fallen again at `end_ns`.

    `strength` is the PM10 in ug/m3 that it adds, at its height, at the device of the mine that lies most downwind.
    """

    mine: str
    start_ns: int
    end_ns: int
    ramp_ns: int
    strength: float

    def envelope(self, time_ns: int) -> float:
        """How much of the strength there is, 0 to 1."""
        edge = min(time_ns - self.start_ns, self.end_ns - time_ns)
        if edge <= 0:
            return 0.0
        if edge >= self.ramp_ns:
            return 1.0
        return 0.5 - 0.5 * math.cos(math.pi * edge / self.ramp_ns)


def bearing_deg(origin: tuple[float, float], target: tuple[float, float]) -> float:
    """Compass direction from one (lon, lat) to another near it."""
    east = (target[0] - origin[0]) * math.cos(math.radians(origin[1]))
    return math.degrees(math.atan2(east, target[1] - origin[1])) % 360


class DustField:
    """The dust at the dust devices of one mine.

    Devices without a position are given a direction from the mine's centre by the seed. A plume meets the device
    that lies most downwind in full, whatever the wind, because roads run where monitors stand; the others meet it
    in the measure in which they lie downwind too.
    """

    def __init__(
        self,
        seed: int,
        mine: str,
        centre: tuple[float, float],
        positions: Mapping[str, tuple[float, float] | None],
        plumes: Sequence[Plume],
    ) -> None:
        self._plumes = [plume for plume in plumes if plume.mine == mine]
        self._bearings = {
            device: 360 * uniform(seed, f"dust/{mine}/{device}/bearing")
            if position is None or position == centre
            else bearing_deg(centre, position)
            for device, position in positions.items()
        }
        self._background_slow = SmoothNoise(seed, f"dust/{mine}/background", 24 * 3600)
        self._background_fast = SmoothNoise(seed, f"dust/{mine}/background-fast", 2 * 3600)
        self._work = {d: SmoothNoise(seed, f"dust/{mine}/{d}/work", 900) for d in self._bearings}

    def at(self, device: str, time_ns: int, local: LocalTime, weather: Weather) -> Dust:
        """The dust at one device. `local` and `weather` are those of `time_ns`."""
        background = _BACKGROUND_UG_M3 * _BACKGROUND.at(local.hour) / (1 + 0.5 * weather.rain_rate)
        background *= math.exp(0.3 * self._background_slow.at(time_ns) + 0.12 * self._background_fast.at(time_ns))
        share = self._downwind(device, weather.wind_dir)
        dilution = min((3.0 / max(weather.wind_speed, 0.5)) ** 0.5, 1.4)
        source = (
            _SOURCE_UG_M3 * SHIFT_WORK.at(local.hour) * (1 + 0.3 * self._work[device].at(time_ns)) * share * dilution
        )
        plume = 0.0
        strength = sum(p.strength * p.envelope(time_ns) for p in self._plumes)
        if strength:
            plume = strength * share / max(self._downwind(other, weather.wind_dir) for other in self._bearings)
        return Dust(
            tsp=1.5 * background + 2.0 * source + 2.2 * plume,
            pm10=background + source + plume,
            pm25=0.45 * background + 0.18 * source + 0.12 * plume,
        )

    def _downwind(self, device: str, wind_from_deg: float) -> float:
        """1 straight downwind of the mine's centre, down to a small share upwind."""
        leeward_deg = wind_from_deg + 180
        off = abs((self._bearings[device] - leeward_deg + 180) % 360 - 180)
        return _UPWIND_SHARE + (1 - _UPWIND_SHARE) * math.exp(-((off / _PLUME_WIDTH_DEG) ** 2))
