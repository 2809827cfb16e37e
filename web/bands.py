"""Bands of a chart: when a mine blasted, watered, hauled, crushed, stood still or was warned of weather. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from greenmine.core.activity import ActivityInterval, ActivityKind

FINEST = 400
"""Bands of one kind are joined where less than such a part of the range lies between them."""


class Band(NamedTuple):
    """A kind of activity from a moment to another; the two are the same for one that was only planned."""

    kind: ActivityKind
    start_ns: int
    end_ns: int
    zones: tuple[str, ...]


def bands(intervals: Iterable[ActivityInterval], start_ns: int, end_ns: int, now_ns: int) -> list[Band]:
    """What lies in the range, by beginning; what goes on ends now, or where it must end at the latest."""
    apart_ns = (end_ns - start_ns) // FINEST
    open_bands: dict[tuple[ActivityKind, bool], Band] = {}
    done: list[Band] = []
    for one in sorted(intervals, key=lambda one: one.start_ns):
        last_ns = one.end_ns if one.end_ns is not None else min(one.latest_end_ns, max(now_ns, one.start_ns))
        first_ns, last_ns = max(one.start_ns, start_ns), min(last_ns, end_ns)
        if last_ns < first_ns:
            continue
        zones = (one.zone,) if one.zone else ()
        key = (one.kind, one.start_ns == one.end_ns)
        before = open_bands.get(key)
        if before is not None and first_ns - before.end_ns <= apart_ns:
            named = before.zones + tuple(zone for zone in zones if zone not in before.zones)
            open_bands[key] = before._replace(end_ns=max(before.end_ns, last_ns), zones=named)
            continue
        if before is not None:
            done.append(before)
        open_bands[key] = Band(one.kind, first_ns, last_ns, zones)
    return sorted([*done, *open_bands.values()], key=lambda band: (band.start_ns, band.kind))
