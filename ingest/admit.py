"""Admission: what a decoded item is worth, from the item, the registry and the time of receipt alone. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

from greenmine.core.errors import DecodeRefused
from greenmine.core.metric import METRICS
from greenmine.core.quality import Quality
from greenmine.core.reading import Reading, Series
from greenmine.core.unit import convert, convertible
from greenmine.ingest.decoded import Item
from greenmine.ingest.registry import Registry
from greenmine.ingest.unit_guess import guess_unit

EARLIEST_NS = 946_684_800 * 1_000_000_000
"""2000-01-01 UTC. A source time before this is a clock that was never set, or seconds sent as milliseconds."""
DEFAULT_MAX_AHEAD_NS = 300 * 1_000_000_000


class Admitted(NamedTuple):
    """A reading in canonical units with its flags; `quarantine` says why it is kept apart, '' where it is not."""

    reading: Reading
    quarantine: str


def admit(item: Item, mine: str, sender: str, registry: Registry, received_ns: int) -> Admitted:
    """Judge one item sent by device `sender` of `mine`.

    A gateway may name another device, but only one registered behind it. A time over `quality.max_ahead` ahead or
    before 2000 is quarantined, not corrected. A value outside the physical range stays and is flagged.

    Raises:
        DecodeRefused: `scope` (speaks for a device that is not behind it), `unit` (not convertible as registered),
            `not_finite` (too large for a double in the canonical unit).
    """
    device = item.device or sender
    if device != sender:
        child = registry.devices.get((mine, device))
        if child is None or child.gateway != sender:
            raise DecodeRefused("scope", f"{sender} may not speak for {device}: it is not registered behind it")
    series = Series(mine, device, item.metric, item.channel, item.stat, item.period_s)
    metric = METRICS[item.metric]
    setting = registry.setting(series)
    quality = item.quality
    quarantine = ""
    if setting is None:
        quality |= Quality.UNREGISTERED
        quarantine = "unregistered"
    if item.time_ns > received_ns + registry.max_ahead_ns.get(mine, DEFAULT_MAX_AHEAD_NS):
        quality |= Quality.SKEW
        quarantine = quarantine or "clock_ahead"
    elif item.time_ns < EARLIEST_NS:
        quality |= Quality.SKEW
        quarantine = quarantine or "clock_unset"
    if item.value is None:
        return Admitted(Reading(series, item.time_ns, None, quality), quarantine or "missing")
    unit = item.unit or (setting.unit if setting else metric.unit)
    if not convertible(unit, metric.unit):
        raise DecodeRefused("unit", f"{item.metric} of {device} cannot be in {unit!r}")
    value = convert(item.value, unit, metric.unit)
    if not math.isfinite(value):
        raise DecodeRefused("not_finite", f"{item.metric} of {device} is beyond a double in {metric.unit}")
    if not metric.low <= value <= metric.high:
        quality |= Quality.RANGE
    if value < 0 and metric.negative_flagged:
        quality |= Quality.NEGATIVE
    return Admitted(Reading(series, item.time_ns, value, int(quality)), quarantine)


def doubted(admitted: Admitted, item: Item, registry: Registry) -> Admitted:
    """The same reading, kept apart as `unit_doubt` where its value cannot be in the registered unit and can be in
    another. A value that its sender marks as faulty is what it is marked as."""
    reading = admitted.reading
    setting = registry.setting(reading.series)
    if setting is None or item.value is None or item.quality or not reading.quality & Quality.RANGE:
        return admitted
    guess = guess_unit(item.metric, item.value, setting.unit)
    return admitted if guess is None else admitted._replace(quarantine=admitted.quarantine or "unit_doubt")
