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


@dataclass(frozen=True, slots=True)
class Decoded:
    """All of a payload."""

    items: list[Item] = field(default_factory=list)
    refused: list[RefusedItem] = field(default_factory=list)
