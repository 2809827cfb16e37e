"""What facts say of readings and places at the time that is judged: maintenance within its quota, what was declared
invalid, background levels, exceptional events, where stations stood."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from greenmine.core.fact import Fact, FactKind
from greenmine.core.quality import Quality
from greenmine.core.reading import Series
from greenmine.policy.limit import WindowKind
from greenmine.rules.columns import Column, Flags
from greenmine.rules.local_time import window_at

COVERED = np.int32(1 << 30)
"""Bit beside the quality bits: a fact with reason, time limit and quota stands behind the flag."""
_FLAG = {FactKind.MAINTENANCE: Quality.MAINTENANCE, FactKind.INVALIDATION: Quality.INVALID}
_HOUR_NS = 3_600_000_000_000


class Cover(NamedTuple):
    """A span in which a fact takes readings out; `backed` only while within the quota."""

    start_ns: int
    end_ns: int
    flag: int
    backed: bool
    fact_id: int


class Event(NamedTuple):
    """An exceptional event that an outside body numbered, with the ring of its footprint (longitude, latitude)."""

    start_ns: int
    end_ns: int
    number: str
    footprint: tuple[tuple[float, float], ...]


class FactsInForce:
    """The facts of one mine, looked up by subject and time. Corrections are by later facts of the same kind with
    `corrects`; a withdrawn one says nothing."""

    def __init__(self, facts: Iterable[Fact], mine: str, zone: ZoneInfo, quota_hours: int) -> None:
        self._of_kind: dict[FactKind, list[tuple[Fact, dict[str, Any]]]] = {}
        for fact, body in _standing(facts, mine):
            self._of_kind.setdefault(fact.kind, []).append((fact, body))
        self._zone = zone
        self._quota_ns = quota_hours * _HOUR_NS
        self._covers: dict[str, list[Cover]] = {}

    def flags(self, series: Series, column: Column) -> Flags:
        """The quality of a column with what facts add to it."""
        flags = column.quality
        for cover in self._covers_of(series):
            first, last = np.searchsorted(column.times_ns, (cover.start_ns, cover.end_ns))
            if first < last:
                flags = flags.copy() if flags is column.quality else flags
                flags[first:last] |= np.int32(cover.flag) | (COVERED if cover.backed else np.int32(0))
        return flags

    def background(self, device: str, time_ns: int) -> tuple[float, int] | None:
        """The measured background level (dB) at a point, and the fact that says so; the one recorded last counts."""
        for fact, body in reversed(self._of_kind.get(FactKind.BACKGROUND, [])):
            level = body.get("laeq")
            about = fact.subject.split("/")[0] == device and fact.valid_from_ns <= time_ns
            if about and (fact.valid_to_ns is None or time_ns < fact.valid_to_ns) and isinstance(level, int | float):
                return float(level), fact.id
        return None

    def position(self, device: str, time_ns: int) -> tuple[float, float] | None:
        """Where a device stood after its last move; None before any."""
        moves = [
            (fact.valid_from_ns, fact.id, body["position"])
            for fact, body in self._of_kind.get(FactKind.DEVICE_MOVE, [])
            if fact.subject == device and fact.valid_from_ns <= time_ns and "position" in body
        ]
        return None if not moves else (float(max(moves)[2][0]), float(max(moves)[2][1]))

    def event_over(self, start_ns: int, end_ns: int, place: Sequence[float]) -> Event | None:
        """An exceptional event over a place that touches a span of time."""
        for fact, body in self._of_kind.get(FactKind.EXCEPTIONAL, []):
            event = exceptional_event(fact, body)
            if event and event.start_ns < end_ns and start_ns < event.end_ns and _inside(place, event.footprint):
                return event
        return None

    def _covers_of(self, series: Series) -> list[Cover]:
        name = "/".join(series[1:4])
        if name not in self._covers:
            subjects = {"", series.device, f"{series.device}/{series.metric}", name}
            found = []
            for kind, flag in _FLAG.items():
                about = [fact for fact, _ in self._of_kind.get(kind, []) if fact.subject.rstrip("/") in subjects]
                found += self._within_quota(about, flag)
            self._covers[name] = found
        return self._covers[name]

    def _within_quota(self, facts: list[Fact], flag: Quality) -> list[Cover]:
        """Maintenance is backed up to its hours a month; an invalidation by hand names its principal and has none. One
        without an end has no time limit and is never backed."""
        used: dict[int, int] = {}
        found = []
        for fact in sorted(facts, key=lambda one: (one.valid_from_ns, one.id)):
            if fact.valid_to_ns is None:
                found.append(Cover(fact.valid_from_ns, 2**63 - 1, int(flag), False, fact.id))
                continue
            if flag is Quality.INVALID:
                found.append(Cover(fact.valid_from_ns, fact.valid_to_ns, int(flag), True, fact.id))
                continue
            month = window_at(WindowKind.MONTH, fact.valid_from_ns, self._zone)
            assert month is not None
            rest_ns = self._quota_ns - used.get(month.start_ns, 0)
            backed_to = max(fact.valid_from_ns, min(fact.valid_to_ns, fact.valid_from_ns + rest_ns))
            used[month.start_ns] = used.get(month.start_ns, 0) + backed_to - fact.valid_from_ns
            found.append(Cover(fact.valid_from_ns, backed_to, int(flag), True, fact.id))
            found.append(Cover(backed_to, fact.valid_to_ns, int(flag), False, fact.id))
        return found


def exceptional_event(fact: Fact, body: dict[str, Any]) -> Event | None:
    """The event of a fact, None where it has no outside number, no end or no area: then it excuses nothing."""
    number, ring = body.get("event"), body.get("footprint")
    if not isinstance(number, str) or not number.strip() or fact.valid_to_ns is None or not isinstance(ring, list):
        return None
    try:
        points = tuple((float(longitude), float(latitude)) for longitude, latitude in ring)
    except (TypeError, ValueError):
        return None
    return Event(fact.valid_from_ns, fact.valid_to_ns, number, points) if len(points) >= 3 else None


def _standing(facts: Iterable[Fact], mine: str) -> list[tuple[Fact, dict[str, Any]]]:
    """The facts of a mine that no later one corrected, in the order in which they were recorded."""
    found: dict[int, tuple[Fact, dict[str, Any]]] = {}
    for fact in sorted((one for one in facts if one.mine == mine), key=lambda one: one.id):
        body: dict[str, Any] = json.loads(fact.body)
        corrected = found.get(body.get("corrects", 0)) if isinstance(body.get("corrects", 0), int) else None
        if corrected is not None and corrected[0].kind is fact.kind:
            del found[corrected[0].id]
        if body.get("withdrawn") is not True:
            found[fact.id] = fact, body
    return list(found.values())


def _inside(place: Sequence[float], ring: Sequence[tuple[float, float]]) -> bool:
    """Whether a point lies within a ring of longitudes and latitudes (even-odd rule)."""
    x, y = place
    inside = False
    for (x1, y1), (x2, y2) in zip(ring, (*ring[1:], ring[0]), strict=True):
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            inside = not inside
    return inside
