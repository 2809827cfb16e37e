"""The messages of simulated devices, in time order, made one at a time."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from greenmine.core.clock import NS_PER_S
from greenmine.core.errors import UserError
from greenmine.policy.model import Device, Policy
from greenmine.simulator.encode import encode_array, encode_one, reading_object, timestamp
from greenmine.simulator.message import TimedMessage, account, up_topic
from greenmine.simulator.randomness import uniform
from greenmine.simulator.scenario import Scenario, Silence
from greenmine.simulator.sensor import Gauge, gauges
from greenmine.simulator.world import World


@dataclass(frozen=True, slots=True)
class Station:
    """A device that publishes, with its own gauges and those of the devices behind it.

    Gauges of instants sample at the multiples of their interval plus the station's own `phase_ns`, so that devices
    do not all speak at once; statistics are ready exactly when their period ends.
    """

    mine: str
    device: str
    zone: ZoneInfo
    gauges: tuple[Gauge, ...]
    is_gateway: bool
    phase_ns: int

    def next_ns(self, time_ns: int) -> int:
        """The first moment from `time_ns` on at which a gauge is due."""
        return min(self._due_ns(time_ns, gauge) for gauge in self.gauges)

    def due(self, time_ns: int) -> list[Gauge]:
        """The gauges that are due at exactly this moment."""
        return [gauge for gauge in self.gauges if self._due_ns(time_ns, gauge) == time_ns]

    def _due_ns(self, time_ns: int, gauge: Gauge) -> int:
        phase_ns = 0 if gauge.setting.period else self.phase_ns
        return time_ns + (phase_ns - time_ns) % (gauge.setting.interval * NS_PER_S)


class Sampling(NamedTuple):
    """A moment at which some gauges of a station are due."""

    time_ns: int
    station: Station
    gauges: list[Gauge]


def stations(policies: Sequence[Policy], seed: int) -> list[Station]:
    """Everybody who publishes at these mines.

    Raises:
        UserError: a device is behind a gateway that is not registered, or reports what cannot be simulated.
    """
    found = []
    for policy in policies:
        behind: dict[str, list[Device]] = {}
        for device in policy.devices:
            if device.gateway is not None and policy.device(device.gateway) is None:
                raise UserError(f"{policy.mine.id}/{device.id}: its gateway {device.gateway!r} is not registered")
            behind.setdefault(device.gateway or device.id, []).append(device)
        for speaker, devices in behind.items():
            all_gauges = tuple(gauge for device in devices for gauge in gauges(policy, device, seed))
            if all_gauges:
                shortest_s = min(gauge.setting.interval for gauge in all_gauges)
                phase_s = int(uniform(seed, f"phase/{policy.mine.id}/{speaker}") * shortest_s)
                is_gateway = any(device.id != speaker for device in devices)
                zone = policy.mine.zone
                found.append(Station(policy.mine.id, speaker, zone, all_gauges, is_gateway, phase_s * NS_PER_S))
    return found


def samplings(of: Sequence[Station], start_ns: int, end_ns: int | None) -> Iterator[Sampling]:
    """When which gauges are due, in time order from `start_ns` until before `end_ns` (None: without end)."""
    heap = [(station.next_ns(start_ns), index) for index, station in enumerate(of)]
    heapq.heapify(heap)
    while heap and (end_ns is None or heap[0][0] < end_ns):
        time_ns, index = heap[0]
        station = of[index]
        yield Sampling(time_ns, station, station.due(time_ns))
        heapq.heapreplace(heap, (station.next_ns(time_ns + 1), index))


def messages(
    policies: Sequence[Policy],
    scenario: Scenario,
    start_ns: int,
    end_ns: int | None,
    scenario_start_ns: int | None = None,
) -> Iterator[TimedMessage]:
    """What the devices of these mines publish from `start_ns` until before `end_ns` (None: without end).

    Episodes and outages count from `scenario_start_ns`, which is `start_ns` if left out. The values of a moment do
    not depend on where a run starts; `seq` counts from 1 in every run, and `boot` names the run.

    Raises:
        UserError: the scenario does not fit the mines, or a policy cannot be simulated.
    """
    origin_ns = start_ns if scenario_start_ns is None else scenario_start_ns
    world = World(policies, scenario.seed, scenario.plumes(policies, origin_ns))
    speaker = _Speaker(world, scenario, scenario.silences(policies, origin_ns), start_ns)
    # Checked at the call, not at the first message.
    return speaker.speak(samplings(stations(policies, scenario.seed), start_ns, end_ns))


class _Speaker:
    """Turns due gauges into messages and keeps the sequence numbers."""

    def __init__(self, world: World, scenario: Scenario, silences: Sequence[Silence], start_ns: int) -> None:
        self._world = world
        self._silences = silences
        self._boot = f"{int(uniform(scenario.seed, 'boot', start_ns) * 2**32):08x}"
        self._seq: dict[tuple[str, str], int] = {}

    def speak(self, due: Iterator[Sampling]) -> Iterator[TimedMessage]:
        for sampling in due:
            yield from self._messages(sampling)

    def _messages(self, sampling: Sampling) -> Iterator[TimedMessage]:
        time_ns, station, _ = sampling
        if self._silent(station.mine, station.device, time_ns):
            return
        objects = self._objects(sampling)
        if not objects:
            return
        if station.is_gateway or len(objects) > 1:
            payloads = encode_array(objects)
        else:
            payloads = iter([(encode_one(objects[0]), 1)])
        done = 0
        for payload, count in payloads:
            part = objects[done : done + count]
            done += count
            yield TimedMessage(
                time_ns,
                station.mine,
                station.device,
                up_topic(station.mine, station.device),
                payload,
                account(station.mine, station.device),
                tuple((entry.get("device", station.device), entry["seq"]) for entry in part),
                sum(len(entry["values"]) for entry in part),
            )

    def _objects(self, sampling: Sampling) -> list[dict[str, Any]]:
        time_ns, station, due = sampling
        groups: dict[tuple[str, str, int], dict[str, float]] = {}
        for gauge in due:
            series = gauge.series
            if not self._silent(series.mine, series.device, time_ns):
                values = groups.setdefault((series.device, series.stat, series.period_s), {})
                values[gauge.key] = gauge.measure(self._world, time_ns)
        objects = []
        for (device, stat, period_s), values in groups.items():
            seq = self._seq[station.mine, device] = self._seq.get((station.mine, device), 0) + 1
            objects.append(
                reading_object(
                    timestamp(time_ns - period_s * NS_PER_S, station.zone),
                    values,
                    stat=stat,
                    period_s=period_s,
                    seq=seq,
                    boot=self._boot,
                    device=device if device != station.device else None,
                )
            )
        return objects

    def _silent(self, mine: str, device: str, time_ns: int) -> bool:
        return any(
            silence.start_ns <= time_ns < silence.end_ns and (silence.mine, silence.device) == (mine, device)
            for silence in self._silences
        )
