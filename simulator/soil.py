"""The soil of a reclaimed dump by depth: a slow bucket of moisture, and temperature waves that fade downward."""

from __future__ import annotations

import math
import re

from greenmine.simulator.daily import LocalTime, day_wave, year_wave
from greenmine.simulator.randomness import SmoothNoise
from greenmine.simulator.weather import Bucket, WeatherField

_DEPTH = re.compile(r"d([0-9]{1,3})", re.ASCII)
_DEFAULT_DEPTH_CM = 20.0
_WETTEST = 45.0


def depth_cm(channel: str) -> float:
    """The depth that a channel such as `d20` names; 20 cm where it names none."""
    match = _DEPTH.fullmatch(channel)
    return float(match[1]) if match else _DEFAULT_DEPTH_CM


class SoilColumn:
    """The soil at one place and depth."""

    def __init__(self, seed: int, place: str, channel: str, weather: WeatherField) -> None:
        self._depth_cm = depth_cm(channel)
        self._weather = weather
        self._slow = SmoothNoise(seed, f"soil/{place}/{channel}", 10 * 86400)
        self._bucket = Bucket(
            gain=0.9 * math.exp(-self._depth_cm / 25),
            lag_s=1080 * self._depth_cm,
            wetting_s=10800,
            drying_s=(3 + self._depth_cm / 10) * 86400,
        )

    def at(self, metric: str, time_ns: int, local: LocalTime) -> float:
        """A soil metric in its canonical unit; `local` is the mine's time at `time_ns`."""
        if metric == "soil_temp":
            return self._temperature(local)
        moisture = self._moisture(time_ns, local)
        return moisture if metric == "soil_moisture" else 0.25 + 0.018 * moisture

    def _moisture(self, time_ns: int, local: LocalTime) -> float:
        # Moisture of reclaimed dumps rises with depth; the top breathes with the day.
        base = 20.5 + 0.05 * self._depth_cm + 1.8 * self._slow.at(time_ns)
        breath = 0.15 * math.exp(-self._depth_cm / 10) * day_wave(local.hour, 5)
        return min(base + breath + self._weather.wetness(time_ns, self._bucket), _WETTEST)

    def _temperature(self, local: LocalTime) -> float:
        z = self._depth_cm
        year = 13.0 * math.exp(-z / 120) * year_wave(local.day, 208 + z / 4)
        return 9.0 + year + 4.5 * math.exp(-z / 12) * day_wave(local.hour, 16 + z / 4)
