"""Which instrument a device is, and where it stands, at any time: from dated facts. Pure.

The identity of a series stays over a replacement and a move. After a replacement `boot` and `seq` begin anew, and the
calibrations of the former instrument end.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Any, NamedTuple

from greenmine.core.fact import Fact, FactKind
from greenmine.ingest.fact_body import formed_body


class Instrument(NamedTuple):
    """What was put in place. `model` and `previous_serial` are '' where nobody said."""

    since_ns: int
    serial: str
    model: str
    previous_serial: str


class Place(NamedTuple):
    """Where a device has stood: degrees, WGS 84."""

    since_ns: int
    longitude: float
    latitude: float
    words: str


class DeviceHistory:
    """Replacements and moves of all devices. Of two facts for one moment the one recorded last counts."""

    def __init__(self) -> None:
        self._facts: dict[tuple[str, str], dict[int, tuple[Fact, dict[str, Any]]]] = {}
        self._instruments: dict[tuple[str, str], list[Instrument]] = {}
        self._places: dict[tuple[str, str], list[Place]] = {}

    @classmethod
    def of(cls, facts: Iterable[Fact]) -> DeviceHistory:
        """The history that these facts tell, in the order in which they were recorded."""
        history = cls()
        for fact in facts:
            history.add(fact)
        return history

    def add(self, fact: Fact) -> None:
        """One more fact; those of other kinds are passed over."""
        if fact.kind not in (FactKind.REPLACEMENT, FactKind.DEVICE_MOVE):
            return
        body = formed_body(fact)
        if body is None:
            return
        told = self._facts.setdefault((fact.mine, fact.subject), {})
        told.pop(body.get("corrects", 0), None)
        if not body.get("withdrawn", False):
            told[fact.id] = fact, body
        self._rebuild(fact.mine, fact.subject)

    def instrument_at(self, mine: str, device: str, time_ns: int) -> Instrument | None:
        """The instrument in place, None where none was ever named by then."""
        known = self._instruments.get((mine, device), [])
        place = bisect_right(known, time_ns, key=_since)
        return known[place - 1] if place else None

    def position_at(self, mine: str, device: str, time_ns: int) -> Place | None:
        """Where it stood, None before its first move: there the policy's `position` is what is known."""
        known = self._places.get((mine, device), [])
        place = bisect_right(known, time_ns, key=_since)
        return known[place - 1] if place else None

    def replaced_between(self, mine: str, device: str, after_ns: int, until_ns: int) -> bool:
        """Whether another instrument was put in place after `after_ns` and not after `until_ns` (source time)."""
        known = self._instruments.get((mine, device))
        if not known:
            return False
        return bisect_right(known, after_ns, key=_since) < bisect_right(known, until_ns, key=_since)

    def _rebuild(self, mine: str, device: str) -> None:
        instruments: dict[int, Instrument] = {}
        places: dict[int, Place] = {}
        for fact, body in self._facts[mine, device].values():
            since_ns = fact.valid_from_ns
            if fact.kind is FactKind.REPLACEMENT:
                model, previous = body.get("model", ""), body.get("previous_serial", "")
                instruments[since_ns] = Instrument(since_ns, body["serial"], model, previous)
            else:
                longitude, latitude = body["position"]
                places[since_ns] = Place(since_ns, longitude, latitude, body.get("place", ""))
        # New lists, never changed: other threads may be reading the former ones.
        self._instruments[mine, device] = [instruments[since_ns] for since_ns in sorted(instruments)]
        self._places[mine, device] = [places[since_ns] for since_ns in sorted(places)]


def _since(one: Instrument | Place) -> int:
    return one.since_ns
