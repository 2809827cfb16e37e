"""The waiting list: devices that speak and that nobody has registered, kept in the order in which they were heard.

The list is bounded, since whoever may publish anything can invent names: a newcomer takes the place of the one that has
been silent longest. Addresses that a person rejected do not come back.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile

from greenmine.core.errors import UnknownAddress
from greenmine.core.waiting import (
    LONGEST_ADDRESS,
    LONGEST_SAMPLE,
    MOST_VALUES,
    MOST_WAITING,
    Network,
    WaitingDevice,
    WaitingKey,
    WaitingValue,
)
from greenmine.ingest.decoded import Item
from greenmine.ingest.hj212_segment import shown_payload
from greenmine.ingest.raw_text import raw_text
from greenmine.ingest.record import Batch, StoredRecord
from greenmine.pipeline.effects import Effects
from greenmine.pipeline.state import JudgeState

MOST_OF_A_MESSAGE = 20
"""Devices behind a gateway; a message of invented names must not take the places of all others."""


class WaitingList:
    """Keeps the list of a state."""

    def __init__(self, state: JudgeState) -> None:
        self._state = state

    def own_topic(
        self, mine: str, device: str, items: Iterable[Item], stored: StoredRecord, batch: Batch, fx: Effects
    ) -> None:
        """A device spoke on a topic of its own; it waits if no policy names it."""
        if (mine, device) not in self._state.registry.devices:
            self._heard(WaitingKey(Network.MQTT, f"{mine}/{device}"), mine, items, stored, batch, fx)

    def behind_gateway(
        self, mine: str, gateway: str, items: Iterable[Item], stored: StoredRecord, batch: Batch, fx: Effects
    ) -> None:
        """A gateway spoke for devices; those wait that no policy names, so many of one message."""
        strangers: dict[str, list[Item]] = {}
        for item in items:
            child = item.device
            if child is None or child == gateway or (mine, child) in self._state.registry.devices:
                continue
            if child in strangers or len(strangers) < MOST_OF_A_MESSAGE:
                strangers.setdefault(child, []).append(item)
        for child, its in strangers.items():
            self.own_topic(mine, child, its, stored, batch, fx)

    def unknown(self, refused: UnknownAddress, stored: StoredRecord, batch: Batch, fx: Effects) -> None:
        """A message of another network was refused since nobody maps its address."""
        key = WaitingKey(Network(refused.network), refused.address[:LONGEST_ADDRESS])
        self._heard(key, "", refused.items, stored, batch, fx)

    def drop_registered(self, fx: Effects) -> None:
        """Take off the list whoever is registered by now."""
        registry = self._state.registry
        for key, one in list(self._state.waiting.items()):
            known = (one.mine, one.device) in registry.devices
            if known if key.network is Network.MQTT else (key.network.value, key.address) in registry.addresses:
                self.drop(key, fx)

    def drop(self, key: WaitingKey, fx: Effects) -> bool:
        """Take one off the list; whether it was on it."""
        fx.waiting[key] = None
        return self._state.waiting.pop(key, None) is not None

    def mute(self, key: WaitingKey, by: str, clock_ns: int, fx: Effects) -> None:
        """Take one off the list, and keep it off."""
        self.drop(key, fx)
        self._state.muted.add(key)
        fx.muted[key] = clock_ns, by

    def unmute(self, key: WaitingKey, fx: Effects) -> None:
        """Forget that one was rejected."""
        if key in self._state.muted:
            self._state.muted.discard(key)
            fx.muted[key] = None

    def order(self) -> None:
        """Put the list in the order of records again, after some came out of a backlog."""
        ordered = sorted(self._state.waiting.items(), key=lambda one: one[1].record_id)
        self._state.waiting.clear()
        self._state.waiting.update(ordered)

    def _heard(
        self, key: WaitingKey, mine: str, items: Iterable[Item], stored: StoredRecord, batch: Batch, fx: Effects
    ) -> None:
        waiting = self._state.waiting
        if key in self._state.muted:
            return
        before = waiting.get(key)
        if before is not None and before.record_id > stored.id:
            # Out of a backlog: it has been heard again since.
            waiting[key] = fx.waiting[key] = before._replace(messages=before.messages + 1)
            return
        waiting.pop(key, None)
        if before is None and len(waiting) >= MOST_WAITING:
            self._make_room(fx)
        device = WaitingDevice(
            key.network,
            key.address,
            mine,
            batch.clock_ns if before is None else before.first_seen_ns,
            batch.clock_ns,
            1 if before is None else before.messages + 1,
            stored.id,
            _values(items) or (() if before is None else before.values),
            raw_text(shown_payload(stored.record.source, stored.record.payload), LONGEST_SAMPLE),
        )
        waiting[key] = fx.waiting[key] = device

    def _make_room(self, fx: Effects) -> None:
        """The list is in the order of records; of several in one record a restart knows no order but that of names."""
        waiting = self._state.waiting
        oldest = next(iter(waiting.values())).record_id
        key = min(one.key for one in takewhile(lambda one: one.record_id == oldest, waiting.values()))
        del waiting[key]
        fx.waiting[key] = None
        self._state.waiting_evicted += 1
        fx.waiting_evicted = self._state.waiting_evicted


def _values(items: Iterable[Item]) -> tuple[WaitingValue, ...]:
    """What was sent, each name once with its first value."""
    found: dict[str, WaitingValue] = {}
    for item in items:
        name = f"{item.metric}@{item.channel}" if item.channel else item.metric
        if name not in found and len(found) < MOST_VALUES:
            found[name] = WaitingValue(name[:100], item.value, item.unit)
    return tuple(found.values())
