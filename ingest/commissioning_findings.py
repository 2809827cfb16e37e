"""What looks wrong about a device that is being set up, and what to do: from what was heard and what is registered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from statistics import median
from typing import NamedTuple

from greenmine.core.clock import NS_PER_S
from greenmine.core.metric import METRICS
from greenmine.core.reading import Series
from greenmine.core.unit import convert, convertible
from greenmine.ingest.commissioning import Heard
from greenmine.ingest.usual_unit import usual_unit

ENOUGH_VALUES = 5
"""So many equal values in a row are called constant."""
REST_AT_ZERO = frozenset(("rain",))
"""Metrics that are 0 most of the time."""
CLOCK_TOLERANCE_S = 120.0
ZONE_STEP_S, ZONE_TOLERANCE_S = 3600.0, 120.0
SILENT_INTERVALS = 3
INTERVAL_TOLERANCE = 0.25
WEAK_RSSI_DBM, WEAK_SNR_DB, LOW_BATTERY_PERCENT = -115.0, -10.0, 20.0


class FindingKind(StrEnum):
    """What can be found."""

    NEVER_HEARD = "never_heard"
    SERIES_NEVER_HEARD = "series_never_heard"
    SILENT = "silent"
    REFUSED = "refused"
    NOT_REGISTERED = "not_registered"
    CLOCK_ZONE = "clock_zone"
    CLOCK_AHEAD = "clock_ahead"
    CLOCK_BEHIND = "clock_behind"
    UNIT = "unit"
    ALL_ZERO = "all_zero"
    CONSTANT = "constant"
    OUT_OF_RANGE = "out_of_range"
    FLAGGED_BY_SENDER = "flagged_by_sender"
    INTERVAL = "interval"
    SIGNAL = "signal"
    BATTERY = "battery"


class Registered(NamedTuple):
    """How a series is registered: the unit that its device sends, and how often."""

    unit: str
    interval_s: int


class Finding(NamedTuple):
    """One thing to look at. `series` is None where it is of the device; the numbers and words that a sentence about it
    needs are in `facts`."""

    kind: FindingKind
    series: Series | None = None
    facts: Mapping[str, object] = {}


def findings(registered: Mapping[Series, Registered], heard: Heard | None, now_ns: int) -> list[Finding]:
    """What to look at, of one device, in the order of FindingKind.

    Args:
        registered: its series in the policy; none of them for a device that no policy names, or a gateway.
        heard: None where nothing ever came.
    """
    if heard is None:
        return [Finding(FindingKind.NEVER_HEARD)] if registered else []
    found = [*_of_device(registered, heard, now_ns)]
    for series in heard.samples:
        found += _of_series(series, registered.get(series), heard)
    order = list(FindingKind)
    return sorted(found, key=lambda one: order.index(one.kind))


def _of_device(registered: Mapping[Series, Registered], heard: Heard, now_ns: int) -> Iterator[Finding]:
    if heard.refusals and heard.refusals[-1].received_ns == heard.received_ns:
        last = heard.refusals[-1]
        yield Finding(FindingKind.REFUSED, None, {"word": last.word, "detail": last.detail})
    if heard.samples:
        for series in registered.keys() - heard.samples.keys():
            yield Finding(FindingKind.SERIES_NEVER_HEARD, series)
    shortest_s = min((setting.interval_s for setting in registered.values()), default=0)
    silent_s = (now_ns - heard.received_ns) / NS_PER_S
    if shortest_s and silent_s > SILENT_INTERVALS * shortest_s:
        yield Finding(FindingKind.SILENT, None, {"seconds": silent_s, "registered": shortest_s})
    yield from _of_clock(heard)
    yield from _of_health(heard.health)


def _of_clock(heard: Heard) -> Iterator[Finding]:
    behind_ns = heard.clock_behind_ns()
    if behind_ns is None:
        return
    behind_s = behind_ns / NS_PER_S
    hours = round(behind_s / ZONE_STEP_S)
    if hours and abs(hours) <= 14 and abs(behind_s - hours * ZONE_STEP_S) <= ZONE_TOLERANCE_S:
        yield Finding(FindingKind.CLOCK_ZONE, None, {"hours": -hours})
    elif behind_s < -CLOCK_TOLERANCE_S:
        yield Finding(FindingKind.CLOCK_AHEAD, None, {"seconds": -behind_s})
    elif behind_s > CLOCK_TOLERANCE_S:
        yield Finding(FindingKind.CLOCK_BEHIND, None, {"seconds": behind_s})


def _of_health(health: Mapping[str, float | None]) -> Iterator[Finding]:
    rssi, snr, percent = (health.get(name) for name in ("rssi_dbm", "snr_db", "battery_percent"))
    if (rssi is not None and rssi < WEAK_RSSI_DBM) or (snr is not None and snr < WEAK_SNR_DB):
        yield Finding(FindingKind.SIGNAL)
    if percent is not None and percent < LOW_BATTERY_PERCENT:
        yield Finding(FindingKind.BATTERY, None, {"percent": percent})


def _of_series(series: Series, setting: Registered | None, heard: Heard) -> Iterator[Finding]:
    kept = heard.samples[series]
    values = [sample.value for sample in kept if sample.value is not None]
    if setting is None:
        yield Finding(FindingKind.NOT_REGISTERED, series)
    is_at_rest = series.metric in REST_AT_ZERO and not any(values)
    if len(values) >= ENOUGH_VALUES and len(set(values)) == 1 and not is_at_rest:
        kind = FindingKind.ALL_ZERO if values[0] == 0 else FindingKind.CONSTANT
        yield Finding(kind, series, {"count": len(values)})
    if kept and not {"range", "negative"}.isdisjoint(kept[-1].flags):
        yield Finding(_range_kind(series, kept[-1].value), series)
    if setting is None:
        return
    guess = probable_unit(series, setting, values)
    if guess is not None and guess != setting.unit:
        yield Finding(FindingKind.UNIT, series, {"registered": setting.unit, "probable": guess})
    seen_s = heard.interval_s(series)
    if seen_s is not None and abs(seen_s - setting.interval_s) > INTERVAL_TOLERANCE * setting.interval_s:
        yield Finding(FindingKind.INTERVAL, series, {"seconds": seen_s, "registered": setting.interval_s})


def _range_kind(series: Series, value: float | None) -> FindingKind:
    """Whether a value that is flagged `range` or `negative` is so by itself, or only by the sender's word."""
    known = METRICS.get(series.metric)
    if known is not None and value is not None and known.low <= value <= known.high:
        return FindingKind.FLAGGED_BY_SENDER
    return FindingKind.OUT_OF_RANGE


def probable_unit(series: Series, setting: Registered, values: list[float]) -> str | None:
    """The unit in which the numbers were probably sent, by their median; None where nothing can be said. The values are
    canonical, taken to have come in the registered unit."""
    known = METRICS.get(series.metric)
    if not values or known is None or not convertible(known.unit, setting.unit):
        return None
    return usual_unit(series.metric, convert(median(values), known.unit, setting.unit))
