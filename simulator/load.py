"""Open-loop load: the schedule is fixed in advance, and latency counts from the scheduled moment.

A generator that waits for answers before it goes on hides the very delays it is to measure (coordinated omission);
here a message that had to wait, for whatever reason, is as late as its reader sees it.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from greenmine.core.clock import NS_PER_MS, NS_PER_S, Clock, to_rfc3339
from greenmine.core.errors import UserError
from greenmine.policy.canonical import ordered_by_id
from greenmine.policy.duration import LONGEST_S, duration_text
from greenmine.policy.model import Policy
from greenmine.simulator.encode import encode_one, reading_object
from greenmine.simulator.message import TimedMessage, account, up_topic
from greenmine.simulator.publish import MqttPublisher, run_live
from greenmine.simulator.randomness import uniform

_METRIC = "pm10"
_MOST_BATCH = 1_000
_NS_PER_US = 1_000
_LEVEL_UG_M3 = 60.0
"""All values stay near it, far from any alarm."""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """`rate` readings a second from `sensors` sensors for `duration_s`, `batch` readings a message.

    The sensors are channels `s0`, `s1`, ... of `devices` devices of mine `mine` (left out: as many devices as a batch
    leaves room for). With `clients` the messages of all devices go through these few accounts, which must be allowed
    to write for all of them; without, each device has its own connection.
    """

    rate: float
    sensors: int
    duration_s: float
    batch: int = 1
    devices: int = 0
    clients: tuple[str, ...] = ("load-1", "load-2")
    mine: str = "load"
    boot: str = "load"

    def __post_init__(self) -> None:
        """Raises UserError for numbers that cannot be met."""
        if self.rate <= 0 or self.duration_s <= 0 or self.sensors < 1:
            raise UserError("rate, sensors and duration must be positive")
        if not 1 <= self.batch <= min(_MOST_BATCH, self.sensors):
            raise UserError(
                f"a message can have 1 to {min(_MOST_BATCH, self.sensors)} of these readings, not {self.batch}"
            )
        if not 0 <= self.devices <= self.sensors // self.batch:
            raise UserError(
                f"each of the {self.devices} devices needs at least the {self.batch} sensors of one message; with "
                f"{self.sensors} sensors the most is {self.sensors // self.batch} devices"
            )

    @property
    def device_count(self) -> int:
        """How many devices there are."""
        return self.devices or self.sensors // self.batch

    @property
    def messages(self) -> int:
        """How many messages are sent: never more readings than rate times duration."""
        return int(self.rate * self.duration_s / self.batch)

    def sensors_of(self, device: int) -> int:
        """How many sensors the device with this index has."""
        return self.sensors // self.device_count + (device < self.sensors % self.device_count)


class LoadResult(NamedTuple):
    """Counts, and percentiles of scheduled time to PUBACK in ms (None where nothing was acknowledged)."""

    planned: int
    sent: int
    acknowledged: int
    readings_sent: int
    readings_acknowledged: int
    seconds: float
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    max_ms: float | None


def load_policy(plan: LoadPlan) -> Policy:
    """A policy that registers the devices and sensors of a plan, so that their readings are admitted."""
    return ordered_by_id(Policy.model_validate(load_policy_document(plan)))


def load_policy_document(plan: LoadPlan) -> dict[str, Any]:
    """The same as it would stand in a policy's file."""
    interval_s = min(max(1, round(plan.sensors / plan.rate)), LONGEST_S)
    devices = [
        {
            "id": _device(index),
            "sensors": [
                {
                    "kind": "dust",
                    "principle": "simulated",
                    "channel": f"s{channel}",
                    "metrics": {_METRIC: {"unit": "ug/m3", "interval": duration_text(interval_s)}},
                }
                for channel in range(plan.sensors_of(index))
            ],
        }
        for index in range(plan.device_count)
    ]
    mine = {
        "id": plan.mine,
        "name": {"zh": "负载试验矿", "en": "Mine for load trials"},
        "enterprise": {"zh": "负载试验", "en": "Load trial"},
        "region": "150622",
        "timezone": "Asia/Shanghai",
        "location": (0.0, 0.0),
        "noise_class": 3,
        "air_grade": 2,
    }
    return {"schema": 1, "mine": mine, "valid_from": "2020-01-01", "devices": devices}


def load_messages(plan: LoadPlan, start_ns: int) -> Iterator[TimedMessage]:
    """The whole schedule, lazily: message i at `start_ns` plus i times batch / rate, devices and sensors in turn."""
    count = plan.device_count
    for index in range(plan.messages):
        device, turn = index % count, index // count
        time_ns = start_ns + int(index * plan.batch * NS_PER_S / plan.rate)
        sensors = plan.sensors_of(device)
        channels = [(turn * plan.batch + step) % sensors for step in range(plan.batch)]
        value = round(_LEVEL_UG_M3 + 10 * uniform(0, "load", index), 1)
        name = _device(device)
        entry = reading_object(
            # Whole microseconds; the turns of a sensor are much further apart.
            to_rfc3339(time_ns // _NS_PER_US * _NS_PER_US),
            {f"{_METRIC}@s{channel}": value for channel in channels},
            seq=turn + 1,
            boot=plan.boot,
        )
        client = plan.clients[device % len(plan.clients)] if plan.clients else account(plan.mine, name)
        topic = up_topic(plan.mine, name)
        yield TimedMessage(time_ns, plan.mine, name, topic, encode_one(entry), client, ((name, turn + 1),), plan.batch)


def run_load(
    plan: LoadPlan,
    url: str,
    password: Callable[[str], str | None],
    clock: Clock,
    stop: threading.Event,
    *,
    in_flight: int = 2_000,
    ack_log: Path | None = None,
    drain_s: float = 30.0,
) -> LoadResult:
    """Send a plan to a broker and wait up to `drain_s` for the last acknowledgements.

    `stop` ends it early; what was sent by then is counted.

    Raises:
        ConfigError: as `MqttPublisher`.
    """
    meter = _Meter(clock)
    with MqttPublisher(url, password, in_flight=in_flight, ack_log=ack_log, on_ack=meter.acknowledged) as publisher:
        start_wall_ns, start_mono_ns = clock.wall_ns(), clock.monotonic_ns()
        meter.begin(start_wall_ns, start_mono_ns)
        sent = run_live(load_messages(plan, start_wall_ns), publisher, clock, stop)
        publisher.drain(drain_s)
        seconds = (clock.monotonic_ns() - start_mono_ns) / NS_PER_S
        acknowledged = publisher.acknowledged
    return LoadResult(
        plan.messages, sent, acknowledged, sent * plan.batch, acknowledged * plan.batch, seconds, *meter.percentiles()
    )


def _device(index: int) -> str:
    return f"d{index:05d}"


class _Meter:
    """Latencies from the scheduled moment, on the monotonic clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_ns = 0
        self._latencies_ms = array("d")

    def begin(self, wall_ns: int, monotonic_ns: int) -> None:
        self._offset_ns = monotonic_ns - wall_ns

    def acknowledged(self, message: TimedMessage) -> None:
        self._latencies_ms.append((self._clock.monotonic_ns() - message.time_ns - self._offset_ns) / NS_PER_MS)

    def percentiles(self) -> tuple[float | None, float | None, float | None, float | None]:
        """p50, p90, p99 (nearest rank) and the highest."""
        found = sorted(self._latencies_ms)
        if not found:
            return None, None, None, None
        at = [found[max(0, -(-len(found) * percent // 100) - 1)] for percent in (50, 90, 99)]
        return at[0], at[1], at[2], found[-1]
