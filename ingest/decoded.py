"""What a decoder makes of a payload: items that stand, and items that are refused beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Item(NamedTuple):
    """One value as it was sent, before anything is known of the sender.

    `device` is what the payload names (a gateway's child), or None. `unit` is what the payload says, or None.
    `value` is None where the sender reports it missing. `quality` comes from the sender's own flag letters. `place` is
    where in the payload it stands, in the words of its format (`values.pm10`, `a34002-Rtd`, `[3].v`).
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
    place: str = ""


class RefusedItem(NamedTuple):
    """One part of a payload that cannot be understood: a stable word, where and why, and its place alone."""

    word: str
    detail: str
    field: str = ""


class DeviceHealth(NamedTuple):
    """What a message says of its device and its link, for the commissioning view; None where it says nothing."""

    rssi_dbm: float | None = None
    snr_db: float | None = None
    battery_v: float | None = None
    battery_percent: float | None = None


class Unreadable(NamedTuple):
    """A named value that is no number (a door, a text). It costs nothing unless its name stands for one of our
    metrics; then it is refused with this word and detail."""

    name: str
    word: str
    detail: str
    field: str = ""


class Frame(NamedTuple):
    """The bytes of a LoRaWAN uplink, for a codec that reads them where the network has not done so."""

    payload: bytes
    port: int


@dataclass(slots=True)
class Decoded:
    """All of a payload. In formats of other networks `Item.device` is that network's own name of the device (MN, device
    EUI, edge node) and `Item.metric` may be a name as sent; both are mapped by the policy before admission.

    `frame` goes with `sender`, an item without name and value that has the message's device, time and sequence.
    `doubts_units`: the format says nothing of units, and its senders are known to use several. `notes` say what of the
    payload was passed over, for people.
    """

    items: list[Item] = field(default_factory=list)
    refused: list[RefusedItem] = field(default_factory=list)
    health: DeviceHealth | None = None
    unreadable: list[Unreadable] = field(default_factory=list)
    frame: Frame | None = None
    sender: Item | None = None
    notes: list[str] = field(default_factory=list)
    doubts_units: bool = False
