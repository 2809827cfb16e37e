"""The water of a mine's outlet: daily course, slow drift, and run-off after rain."""

from __future__ import annotations

import math

from greenmine.simulator.daily import LocalTime, day_wave, year_wave
from greenmine.simulator.randomness import SmoothNoise
from greenmine.simulator.weather import Bucket, WeatherField

_RUNOFF = Bucket(gain=4.0, lag_s=1800, wetting_s=3600, drying_s=6 * 3600)
_MOST_RUNOFF = 20.0
_SLOW = {"ss": (6.0, 0.10), "cod": (18.0, 0.15), "nh3n": (0.45, 0.20), "oil": (0.25, 0.20), "fe": (0.30, 0.25)}
_SLOW |= {"mn": (0.12, 0.25), "flow": (45.0, 0.12), "level": (1.40, 0.04)}
"""Mean in the canonical unit, and the share by which it drifts."""
_PER_RUNOFF = {"ss": 0.5, "flow": 1.5, "level": 0.01}


class WaterBody:
    """The water at one place."""

    def __init__(self, seed: int, place: str, weather: WeatherField) -> None:
        self._weather = weather
        self._noise = {
            name: SmoothNoise(seed, f"water/{place}/{name}", persistence_s)
            for name, persistence_s in (
                ("ph", 21600),
                ("turbidity", 43200),
                ("eddy", 1200),
                ("salt", 86400),
                ("do", 7200),
            )
        }
        self._drift = {metric: SmoothNoise(seed, f"water/{place}/{metric}", 43200) for metric in _SLOW}

    def at(self, metric: str, time_ns: int, local: LocalTime) -> float:
        """A water metric in its canonical unit; `local` is the mine's time at `time_ns`."""
        noise = self._noise
        match metric:
            case "water_temp":
                return self._temperature(local)
            case "ph":
                return 7.7 + 0.12 * day_wave(local.hour, 16) + 0.15 * noise["ph"].at(time_ns)
            case "do":
                saturation = self._oxygen_saturation(local)
                return saturation * (0.95 + 0.07 * day_wave(local.hour, 15) + 0.03 * noise["do"].at(time_ns))
            case "turbidity":
                drift = 0.35 * noise["turbidity"].at(time_ns) + 0.08 * noise["eddy"].at(time_ns)
                return 12.0 * math.exp(drift) + self._runoff(time_ns)
            case "conductivity":
                return 950.0 * (1 + 0.08 * noise["salt"].at(time_ns)) - 8.0 * self._runoff(time_ns)
        mean, share = _SLOW[metric]
        return mean * (1 + share * self._drift[metric].at(time_ns)) + _PER_RUNOFF.get(metric, 0.0) * self._runoff(
            time_ns
        )

    def _runoff(self, time_ns: int) -> float:
        return min(self._weather.wetness(time_ns, _RUNOFF), _MOST_RUNOFF)

    @staticmethod
    def _temperature(local: LocalTime) -> float:
        return max(9.5 + 9.0 * year_wave(local.day, 215), 1.0) + 0.8 * day_wave(local.hour, 17)

    @classmethod
    def _oxygen_saturation(cls, local: LocalTime) -> float:
        """mg/L of oxygen in saturated fresh water at 87 kPa."""
        t = cls._temperature(local)
        return 0.87 * (14.6 - 0.41 * t + 0.008 * t * t - 0.00008 * t**3)
