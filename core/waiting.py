"""A device that speaks and that nobody has registered: it waits for a person who approves or rejects it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Network(StrEnum):
    """Whose name the address is: our own topics, LoRaWAN, HJ 212 or Sparkplug B."""

    MQTT = "mqtt"
    DEV_EUI = "dev_eui"
    MN = "mn"
    EDGE = "edge"


class WaitingKey(NamedTuple):
    """What a waiting device is known by. The address of `mqtt` is `{mine}/{device}`."""

    network: Network
    address: str


def canonical_address(network: str, address: str) -> str:
    """The address as registry and waiting list have it: device EUIs in lower case."""
    return address.lower() if network == Network.DEV_EUI else address


class WaitingValue(NamedTuple):
    """One value as it was sent: the name, the number (None where it was reported as missing), and the unit if any."""

    name: str
    value: float | None
    unit: str | None


class WaitingDevice(NamedTuple):
    """A row of the waiting list. Times on the journal's clock.

    `mine` is '' where the address names none. `record_id` is the journal's record heard last, `values` what it held (at
    most `MOST_VALUES`), `sample` the beginning of its payload (at most `LONGEST_SAMPLE` characters).
    """

    network: Network
    address: str
    mine: str
    first_seen_ns: int
    last_seen_ns: int
    messages: int
    record_id: int
    values: tuple[WaitingValue, ...]
    sample: str

    @property
    def key(self) -> WaitingKey:
        """What it is known by."""
        return WaitingKey(self.network, self.address)

    @property
    def device(self) -> str:
        """The device that an own topic names; '' for other networks."""
        return self.address.partition("/")[2] if self.network is Network.MQTT else ""


MOST_WAITING = 1_000
"""Rows of the list; a stranger beyond that takes the place of the one that has been silent longest."""
MOST_VALUES = 20
LONGEST_SAMPLE = 500
LONGEST_ADDRESS = 200
