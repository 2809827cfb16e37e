"""What a decoder makes of a payload: items that stand, and items that are refused beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Item(NamedTuple):
    """One value as it was sent, before anything is known of the sender.

    `device` is what the payload names (a gateway's child), or None. `unit` is what the payload says, or None.
    `value` is None where the sender reports it missing. `quality` comes from the sender's own flag letters.
    """

    device: str | None
    metric: str
    channel: str
    stat: str
    period_s: int
    time_ns: int
    value: float | None
    unit: str | None
    quality: int
    seq: int | None = None
    boot: str | None = None


class RefusedItem(NamedTuple):
    """One part of a payload that cannot be understood: a stable word, and where and why."""

    word: str
    detail: str


class DeviceHealth(NamedTuple):
    """What a message says of its device and its link, for the commissioning view; None where it says nothing."""

    rssi_dbm: float | None = None
    snr_db: float | None = None
    battery_v: float | None = None
    battery_percent: float | None = None


@dataclass(slots=True)
class Decoded:
    """All of a payload. In formats of other networks `Item.device` is that network's own name of the device (MN, device
    EUI, edge node) and `Item.metric` may be a name as sent; both are mapped by the policy before admission."""

    items: list[Item] = field(default_factory=list)
    refused: list[RefusedItem] = field(default_factory=list)
    health: DeviceHealth | None = None
