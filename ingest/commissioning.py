"""What an installer has to see of a device: what came last, and what about it looks wrong. Pure; time is an argument.

The log is fed with the messages that `tail` shows (`Change("message")`) and remembers a bounded little of each device.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

from greenmine.core.latest import Change
from greenmine.core.reading import Series

MOST_DEVICES = 2_000
"""Devices remembered; a device more takes the place of the one that was silent longest."""
MOST_SERIES = 200
"""Series remembered of one device."""
KEPT_VALUES = 8
KEPT_REFUSALS = 3


class Sample(NamedTuple):
    """A value in the canonical unit at a source time; `quarantine` says why it was kept apart, '' where it was not."""

    time_ns: int
    value: float | None
    flags: tuple[str, ...]
    quarantine: str


class RefusalSeen(NamedTuple):
    """A refused message or item of a device."""

    received_ns: int
    word: str
    detail: str


@dataclass
class Heard:
    """What is known of one device. `messages` and `refused` count since somebody looks; `payload` is the beginning of
    its last message (empty where it was not listened to), `topic` where it came, `health` signal and battery as far as
    the network tells them."""

    mine: str
    device: str
    messages: int = 0
    received_ns: int = 0
    topic: str = ""
    payload: str = ""
    health: Mapping[str, float | None] = field(default_factory=dict)
    samples: dict[Series, deque[Sample]] = field(default_factory=dict)
    refused: int = 0
    refusals: deque[RefusalSeen] = field(default_factory=lambda: deque(maxlen=KEPT_REFUSALS))

    def clock_behind_ns(self) -> int | None:
        """Received less source time of the newest value (a mean counts from the end of its period)."""
        newest = [
            (samples[-1].time_ns + series.period_s * 10**9) for series, samples in self.samples.items() if samples
        ]
        return self.received_ns - max(newest) if newest and self.received_ns else None

    def interval_s(self, series: Series) -> float | None:
        """The usual distance of a series' values in source time; None before there are three."""
        times = sorted({sample.time_ns for sample in self.samples.get(series, ())})
        if len(times) < 3:
            return None
        return median(after - before for before, after in pairwise(times)) / 1e9

    def copy(self) -> Heard:
        """The same, unmoved by what is heard later."""
        samples = {series: deque(kept, KEPT_VALUES) for series, kept in self.samples.items()}
        return Heard(
            self.mine, self.device, self.messages, self.received_ns, self.topic, self.payload, dict(self.health),
            samples, self.refused, deque(self.refusals, KEPT_REFUSALS),
        )  # fmt: skip


class CommissioningLog:
    """Remembers what devices sent lately. May be fed on one thread and asked on others."""

    def __init__(self, most_devices: int = MOST_DEVICES) -> None:
        self._most = most_devices
        self._lock = threading.Lock()
        self._devices: OrderedDict[tuple[str, str], Heard] = OrderedDict()

    def on_changes(self, changes: Sequence[Change]) -> None:
        """A `core.latest.ChangeListener`."""
        for change in changes:
            if change.kind == "message":
                self.hear(change.what)

    def hear(self, message: Mapping[str, Any]) -> list[Heard]:
        """Take in one message as `tail` shows it; returns the devices that it was of, the sender first."""
        by_device: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        if message["device"]:
            by_device[message["mine"], message["device"]] = []
        for reading in message["readings"]:
            by_device.setdefault((reading["mine"], reading["device"]), []).append(reading)
        with self._lock:
            heard = [self._of(key) for key in by_device]
            for one, readings in zip(heard, by_device.values(), strict=True):
                _add(one, message, readings)
            if heard:
                for refused in message["refused"]:
                    heard[0].refused += 1
                    heard[0].refusals.append(RefusalSeen(message["received_ns"], refused["word"], refused["detail"]))
            return [one.copy() for one in heard]

    def heard(self, mine: str) -> dict[str, Heard]:
        """What is remembered of a mine's devices, by device."""
        with self._lock:
            return {device: one.copy() for (of, device), one in self._devices.items() if of == mine}

    def _of(self, key: tuple[str, str]) -> Heard:
        found = self._devices.get(key)
        if found is None:
            while len(self._devices) >= self._most:
                self._devices.popitem(last=False)
            found = self._devices[key] = Heard(*key)
        self._devices.move_to_end(key)
        return found


def _add(heard: Heard, message: Mapping[str, Any], readings: Sequence[Mapping[str, Any]]) -> None:
    heard.messages += 1
    heard.received_ns, heard.topic = message["received_ns"], message["topic"]
    heard.payload = message["payload"]
    heard.health = message.get("health") or heard.health
    for one in readings:
        series = Series(
            one["mine"], one["device"], one["metric"], one["channel"], one["stat"], one["period_s"]
        )  # fmt: skip
        if series not in heard.samples and len(heard.samples) >= MOST_SERIES:
            continue
        kept = heard.samples.setdefault(series, deque(maxlen=KEPT_VALUES))
        kept.append(Sample(one["time_ns"], one["value"], tuple(one["quality"]), one["quarantine"]))
