"""A seeded world for the registered devices of some policies: what the sensors would measure if they were perfect.

Every value depends on the seed, the place and the time alone (and, for dust episodes, on which dust devices the mine
has), so any moment can be asked for in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from greenmine.core.metric import METRICS, SensorKind
from greenmine.policy.model import Policy
from greenmine.simulator.daily import LocalTime, local_time
from greenmine.simulator.dust import Dust, DustField, Plume
from greenmine.simulator.soil import SoilColumn
from greenmine.simulator.soundscape import Sound, Soundscape
from greenmine.simulator.water import WaterBody
from greenmine.simulator.weather import WeatherField

RAIN_TIP_MM = 0.1
"""One tip of the rain gauges' bucket."""


class Site(NamedTuple):
    """A place that is measured: a device of a mine, and the depth or position of its sensor."""

    mine: str
    device: str
    channel: str = ""


class World:
    """Weather, dust, sound, water and soil of the mines of `policies`.

    Not for use from several threads: it remembers the last moment it was asked for.
    """

    def __init__(self, policies: Sequence[Policy], seed: int, plumes: Sequence[Plume] = ()) -> None:
        self._mines = {policy.mine.id: _MineWorld(policy, seed, plumes) for policy in policies}

    def value(self, site: Site, metric: str, time_ns: int) -> float:
        """The true value at a time (ns UTC) in the metric's canonical unit; for `rain` the rate in mm/h.

        Raises:
            KeyError: the mine, the device or the metric is unknown.
        """
        return self._mines[site.mine].value(site, metric, time_ns)

    def rain_mm(self, mine: str, start_ns: int, end_ns: int) -> float:
        """The rain in [start, end) in whole tips of the gauge."""
        return self._mines[mine].weather.rain_mm(start_ns, end_ns, RAIN_TIP_MM)


class _MineWorld:
    def __init__(self, policy: Policy, seed: int, plumes: Sequence[Plume]) -> None:
        self._seed = seed
        self._zone = policy.mine.zone
        self._clock: tuple[int, LocalTime] | None = None
        self.weather = WeatherField(seed, policy.mine.region, policy.mine.zone)
        positions = {
            device.id: device.position
            for device in policy.devices
            if any(sensor.kind is SensorKind.DUST for sensor in device.sensors)
        }
        self._dust = DustField(seed, policy.mine.id, policy.mine.location, positions, plumes)
        self._last_dust: tuple[str, int, Dust] | None = None
        self._last_sound: tuple[Site, int, Sound] | None = None
        self._sounds: dict[Site, Soundscape] = {}
        self._waters: dict[Site, WaterBody] = {}
        self._soils: dict[Site, SoilColumn] = {}

    def value(self, site: Site, metric: str, time_ns: int) -> float:
        match METRICS[metric].kind:
            case SensorKind.WEATHER:
                name = "rain_rate" if metric == "rain" else metric
                return float(getattr(self.weather.at(time_ns), name))
            case SensorKind.DUST:
                return float(getattr(self._dust_at(site.device, time_ns), metric))
            case SensorKind.NOISE:
                return float(getattr(self._sound_at(site, time_ns), metric))
            case SensorKind.WATER:
                if site not in self._waters:
                    self._waters[site] = WaterBody(self._seed, "/".join(site), self.weather)
                return self._waters[site].at(metric, time_ns, self._local(time_ns))
            case SensorKind.SOIL:
                if site not in self._soils:
                    self._soils[site] = SoilColumn(self._seed, f"{site.mine}/{site.device}", site.channel, self.weather)
                return self._soils[site].at(metric, time_ns, self._local(time_ns))

    def _local(self, time_ns: int) -> LocalTime:
        if self._clock is None or self._clock[0] != time_ns:
            self._clock = (time_ns, local_time(time_ns, self._zone))
        return self._clock[1]

    def _dust_at(self, device: str, time_ns: int) -> Dust:
        last = self._last_dust
        if last is None or last[:2] != (device, time_ns):
            dust = self._dust.at(device, time_ns, self._local(time_ns), self.weather.at(time_ns))
            last = self._last_dust = (device, time_ns, dust)
        return last[2]

    def _sound_at(self, site: Site, time_ns: int) -> Sound:
        last = self._last_sound
        if last is None or last[:2] != (site, time_ns):
            if site not in self._sounds:
                self._sounds[site] = Soundscape(self._seed, "/".join(site))
            last = self._last_sound = (site, time_ns, self._sounds[site].at(time_ns, self._local(time_ns)))
        return last[2]
