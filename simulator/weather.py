"""The weather of a region: wind with persistence, temperature, humidity, pressure and rain in showers."""

from __future__ import annotations

import math
from typing import NamedTuple
from zoneinfo import ZoneInfo

from greenmine.core.clock import NS_PER_S
from greenmine.simulator.daily import day_wave, local_time, year_wave
from greenmine.simulator.randomness import SmoothNoise, uniform

_HOUR_S = 3600
_DAY_S = 86400
SHOWER_S = 6 * _HOUR_S
"""A shower fills one slot of this length."""
_SHOWER_NS = SHOWER_S * NS_PER_S
_SHOWER_CHANCE = 0.04
_SHOWERS_KEPT = 256
_DRY_AFTER = 6.0
"""Showers longer ago than so many drying times have left nothing that could be measured."""
_PREVAILING_DEG = 300.0


class Weather(NamedTuple):
    """m/s, degrees the wind comes from, Cel, % relative humidity, kPa, mm/h."""

    wind_speed: float
    wind_dir: float
    air_temp: float
    humidity: float
    pressure: float
    rain_rate: float


class Bucket(NamedTuple):
    """Something that fills with rain over `wetting_s`, `lag_s` after it begins, and empties over `drying_s`."""

    gain: float
    lag_s: float
    wetting_s: float
    drying_s: float


class WeatherField:
    """The weather over one region; mines of a region share it. A dry continental climate at 1,300 m."""

    def __init__(self, seed: int, region: str, zone: ZoneInfo) -> None:
        self._seed = seed
        self._zone = zone
        self._key = f"weather/{region}"
        self._speed_slow, self._speed_fast = self._noise("speed", 6 * _HOUR_S), self._noise("gust", 1200)
        self._dir_slow, self._dir_fast = self._noise("dir", 12 * _HOUR_S), self._noise("veer", _HOUR_S)
        self._temp_slow, self._temp_fast = self._noise("temp", 36 * _HOUR_S), self._noise("air", 1800)
        self._humid = self._noise("humidity", 12 * _HOUR_S)
        self._pressure = self._noise("pressure", 2 * _DAY_S)
        self._totals: dict[int, float] = {}
        self._last: tuple[int, Weather] | None = None

    def _noise(self, name: str, persistence_s: float) -> SmoothNoise:
        return SmoothNoise(self._seed, f"{self._key}/{name}", persistence_s)

    def at(self, time_ns: int) -> Weather:
        """The weather at a time, ns UTC."""
        if self._last is None or self._last[0] != time_ns:
            self._last = (time_ns, self._compute(time_ns))
        return self._last[1]

    def _compute(self, time_ns: int) -> Weather:
        hour, day = local_time(time_ns, self._zone)
        warm = day_wave(hour, 15)
        rain_rate = self.rain_rate(time_ns)
        speed = (
            2.6 * (1 + 0.35 * warm) * math.exp(0.4 * self._speed_slow.at(time_ns) + 0.15 * self._speed_fast.at(time_ns))
        )
        direction = _PREVAILING_DEG + 50 * self._dir_slow.at(time_ns) + 12 * self._dir_fast.at(time_ns)
        temp = 7.5 + 15.5 * year_wave(day, 202) + 5.5 * warm + 3 * self._temp_slow.at(time_ns)
        temp += 0.4 * self._temp_fast.at(time_ns) - 3 * rain_rate / (1 + rain_rate)
        humidity = 48 - 18 * warm + 14 * self._humid.at(time_ns) + 30 * rain_rate / (1 + rain_rate)
        pressure = 87.0 + 0.8 * self._pressure.at(time_ns) + 0.08 * day_wave(hour, 10)
        return Weather(speed, direction % 360, temp, min(max(humidity, 8.0), 100.0), pressure, rain_rate)

    def shower_mm(self, slot: int) -> float:
        """What falls in a slot of `SHOWER_S` since the epoch; 0 for most slots."""
        total = self._totals.get(slot)
        if total is None:
            if len(self._totals) >= _SHOWERS_KEPT:
                self._totals.clear()
            rains = uniform(self._seed, f"{self._key}/shower", slot) < _SHOWER_CHANCE
            strength = uniform(self._seed, f"{self._key}/shower-mm", slot)
            total = self._totals[slot] = 0.5 + 7.5 * strength * strength if rains else 0.0
        return total

    def rain_rate(self, time_ns: int) -> float:
        """mm/h."""
        slot, into_ns = divmod(time_ns, _SHOWER_NS)
        total = self.shower_mm(slot)
        if total == 0.0:
            return 0.0
        return total / (SHOWER_S / _HOUR_S) * (1 - math.cos(2 * math.pi * into_ns / _SHOWER_NS))

    def rain_mm(self, start_ns: int, end_ns: int, tip_mm: float) -> float:
        """Rain in [start, end) as a gauge with a bucket of `tip_mm` counts it."""
        first, last = start_ns // _SHOWER_NS, end_ns // _SHOWER_NS
        tips = self._tips(end_ns, last, tip_mm) - self._tips(start_ns, first, tip_mm)
        for slot in range(first, last):
            tips += int(self.shower_mm(slot) / tip_mm)
        return tips * tip_mm

    def _tips(self, time_ns: int, slot: int, tip_mm: float) -> int:
        """Tips since the slot began; what is left in the bucket at its end dries up."""
        total = self.shower_mm(slot)
        if total == 0.0:
            return 0
        x = (time_ns - slot * _SHOWER_NS) / _SHOWER_NS
        return int(total * (x - math.sin(2 * math.pi * x) / (2 * math.pi)) / tip_mm)

    def wetness(self, time_ns: int, bucket: Bucket) -> float:
        """What past showers have left in a bucket, in the unit of its gain times mm."""
        left = 0.0
        last = time_ns // _SHOWER_NS
        for slot in range(last - int(_DRY_AFTER * bucket.drying_s // SHOWER_S) - 1, last + 1):
            total = self.shower_mm(slot)
            since_s = (time_ns - slot * _SHOWER_NS) / NS_PER_S - bucket.lag_s
            if total and since_s > 0:
                filled = 1 - math.exp(-since_s / bucket.wetting_s)
                left += total * bucket.gain * filled * math.exp(-since_s / bucket.drying_s)
        return left
