"""Admission: what a decoded item is worth, from the item, the registry and the time of receipt alone. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from greenmine.core.errors import DecodeRefused
from greenmine.core.metric import METRICS
from greenmine.core.quality import Quality, Quarantine
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
    before 2000 is quarantined, not corrected, and so is a number that stands for "no value" with this sensor. A value
    outside the physical range stays and is flagged.

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
        quarantine = Quarantine.UNREGISTERED.value
    if item.time_ns > received_ns + registry.max_ahead_ns.get(mine, DEFAULT_MAX_AHEAD_NS):
        quality |= Quality.SKEW
        quarantine = quarantine or Quarantine.CLOCK_AHEAD.value
    elif item.time_ns < EARLIEST_NS:
        quality |= Quality.SKEW
        quarantine = quarantine or Quarantine.CLOCK_UNSET.value
    if item.value is None:
        return Admitted(Reading(series, item.time_ns, None, quality), quarantine or Quarantine.MISSING.value)
    unit = item.unit or (setting.unit if setting else metric.unit)
    if not convertible(unit, metric.unit):
        raise DecodeRefused("unit", f"{item.metric} of {device} cannot be in {unit!r}")
    value = convert(item.value, unit, metric.unit)
    if not math.isfinite(value):
        raise DecodeRefused("not_finite", f"{item.metric} of {device} is beyond a double in {metric.unit}")
    if setting is not None and setting.sentinels and is_sentinel(item.value, setting.sentinels):
        return Admitted(Reading(series, item.time_ns, value, int(quality)), quarantine or Quarantine.SENTINEL.value)
    if not metric.low <= value <= metric.high:
        quality |= Quality.RANGE
    if value < 0 and metric.negative_flagged:
        quality |= Quality.NEGATIVE
    return Admitted(Reading(series, item.time_ns, value, int(quality)), quarantine)


def is_sentinel(value: float, sentinels: Sequence[float]) -> bool:
    """Whether a value as sent is one of these, but for the rounding of a scale that a codec may have applied."""
    return any(math.isclose(value, one, rel_tol=1e-9) for one in sentinels)


def doubted(admitted: Admitted, item: Item, registry: Registry) -> Admitted:
    """The same reading, kept apart as `unit_doubt` where its value cannot be in the registered unit and can be in
    another. A value that its sender marks as faulty is what it is marked as."""
    reading = admitted.reading
    setting = registry.setting(reading.series)
    if setting is None or item.value is None or item.quality or not reading.quality & Quality.RANGE:
        return admitted
    guess = guess_unit(item.metric, item.value, setting.unit)
    if guess is None:
        return admitted
    return admitted._replace(quarantine=admitted.quarantine or Quarantine.UNIT_DOUBT.value)
