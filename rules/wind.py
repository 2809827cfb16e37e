"""The wind of an hour as a vector, and which points it makes upwind and downwind (HJ/T 55)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from greenmine.core.verdict import LimitBinding, VerdictReason
from greenmine.policy.judging import WindSettings
from greenmine.rules.columns import Column
from greenmine.rules.local_time import Span
from greenmine.rules.mine_data import MineData

_EARTH_M = 6_371_008.8
_PAIRED_NS = 60_000_000_000
WIND_MINUTES = 45


@dataclass(frozen=True, slots=True)
class Wind:
    """The wind of an hour. `speed` m/s is the mean of the speeds; `from_deg` the direction from which the mean vector
    comes (0 north, 90 east); `spread_deg` the circular standard deviation of the directions; `gate` why it tells no
    points apart, None where it does."""

    speed: float | None
    from_deg: float | None
    spread_deg: float | None
    gate: VerdictReason | None

    def detail(self) -> dict[str, float | str | None]:
        """For a verdict."""
        rounded = [None if one is None else round(one, 3) for one in (self.speed, self.from_deg, self.spread_deg)]
        return {"wind_speed": rounded[0], "wind_from": rounded[1], "wind_spread": rounded[2]}


NO_WIND = Wind(None, None, None, VerdictReason.NO_WIND_DATA)


class Windfield:
    """The wind at a mine, hour by hour, of the first weather station that covers the hour."""

    def __init__(self, data: MineData) -> None:
        self._settings = data.settings.wind
        self._stations: list[tuple[Column, Column, int]] = []
        for speed in data.first_of_kind("wind_speed"):
            direction = data.series_of(speed.device, "wind_dir")
            if direction is not None:
                usable = [data.usable(one, LimitBinding.EMISSION).sure for one in (speed, direction)]
                self._stations.append((usable[0], usable[1], data.step_ns(direction)))
        self._known: dict[int, Wind] = {}

    def of(self, window: Span, turned_deg: float = 0.0) -> Wind:
        """The wind of a window; `turned_deg` turns it, for the question whether a verdict hangs on it."""
        found = self._known.get(window.start_ns)
        if found is None:
            winds = (self._at(station, window) for station in self._stations)
            found = next((wind for wind in winds if wind is not NO_WIND), NO_WIND)
            self._known[window.start_ns] = found
        if not turned_deg or found.from_deg is None:
            return found
        return Wind(found.speed, (found.from_deg + turned_deg) % 360, found.spread_deg, found.gate)

    def _at(self, station: tuple[Column, Column, int], window: Span) -> Wind:
        speed, direction, step_ns = station
        speeds, directions = (one.between(window.start_ns, window.end_ns) for one in (speed, direction))
        return vector_wind(speeds, directions, step_ns, window, self._settings)


def vector_wind(speed: Column, direction: Column, step_ns: int, window: Span, settings: WindSettings) -> Wind:
    """The vector mean of a window's pairs of speed and direction; NO_WIND where they cover too little of it."""
    if len(speed.times_ns) == 0 or len(direction.times_ns) == 0:
        return NO_WIND
    near = np.searchsorted(speed.times_ns, direction.times_ns, side="right") - 1
    known = np.maximum(near, 0)
    paired = (near >= 0) & (direction.times_ns - speed.times_ns[known] <= max(step_ns, _PAIRED_NS))
    times = direction.times_ns[paired]
    if len(times) == 0:
        return NO_WIND
    covered = np.minimum(np.append(np.diff(times), step_ns), step_ns)
    covered[-1] = min(int(covered[-1]), window.end_ns - int(times[-1]))
    if int(covered.sum()) * 60 < WIND_MINUTES * (window.end_ns - window.start_ns):
        return NO_WIND
    speeds = speed.values[known][paired].tolist()
    angles = [math.radians(one) for one in direction.values[paired].tolist()]
    east = math.fsum(v * math.sin(a) for v, a in zip(speeds, angles, strict=True))
    north = math.fsum(v * math.cos(a) for v, a in zip(speeds, angles, strict=True))
    mean_speed = round(math.fsum(speeds) / len(speeds), 6)
    unit = math.hypot(math.fsum(map(math.sin, angles)), math.fsum(map(math.cos, angles))) / len(angles)
    spread = round(math.degrees(math.sqrt(max(0.0, -2 * math.log(min(1.0, max(unit, 1e-9)))))), 6)
    from_deg = round(math.degrees(math.atan2(east, north)) % 360, 6) % 360
    return Wind(mean_speed, from_deg, spread, _gate(mean_speed, spread, settings))


def _gate(speed: float, spread: float, settings: WindSettings) -> VerdictReason | None:
    if speed < settings.calm:
        return VerdictReason.CALM
    if speed > settings.strong:
        return VerdictReason.STRONG_WIND
    return VerdictReason.VARIABLE_WIND if spread >= settings.variable else None


class Bearing(NamedTuple):
    """Where a point lies from the middle of the mine: degrees from north, metres."""

    degrees: float
    metres: float


def bearing(middle: tuple[float, float], point: tuple[float, float]) -> Bearing:
    """From one place (longitude, latitude) to another, on a sphere, along the great circle."""
    (lon1, lat1), (lon2, lat2) = ((math.radians(x), math.radians(y)) for x, y in (middle, point))
    east = math.sin(lon2 - lon1) * math.cos(lat2)
    north = math.cos(lat1) * math.sin(lat2) - math.sin(lat1) * math.cos(lat2) * math.cos(lon2 - lon1)
    haversine = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return Bearing(
        math.degrees(math.atan2(east, north)) % 360, 2 * _EARTH_M * math.asin(math.sqrt(min(1.0, haversine)))
    )


def off_axis(bearing_deg: float, axis_deg: float) -> float:
    """The angle between two directions, 0 to 180 degrees."""
    return abs((bearing_deg - axis_deg + 180) % 360 - 180)
