"""A message that a device publishes, with the time at which it does so."""

from __future__ import annotations

from typing import NamedTuple


class TimedMessage(NamedTuple):
    """One MQTT message of a simulated or replayed device.

    `time_ns` is when it is published (ns UTC), not the source time of its readings. `device` is the device of the
    topic (for a gateway's array the gateway), `client` the account that publishes. `sequence` has the device and
    `seq` of every object in the payload, in order; `readings` is the number of values.
    """

    time_ns: int
    mine: str
    device: str
    topic: str
    payload: bytes
    client: str
    sequence: tuple[tuple[str, int], ...] = ()
    readings: int = 0


def up_topic(mine: str, device: str) -> str:
    """Where a device publishes own JSON."""
    return f"mines/{mine}/{device}/up"


def account(mine: str, device: str) -> str:
    """A device's user name and client id."""
    return f"{mine}.{device}"
