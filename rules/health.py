"""Health flags `rate spike stuck humid`: what looks as if the sensor and not the world had changed. In event time: they
follow from the readings of a series around each other, whenever those came, so late data may set or lift them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from greenmine.core.quality import Quality
from greenmine.policy.judging import HealthLimits
from greenmine.rules.columns import MICRO, Column, Flags, Ints, Mask

_MINUTE_NS = 60_000_000_000
HUMIDITY_HOLDS_NS = 3600 * 1_000_000_000
"""How long a reading of the humidity speaks for what comes after it."""
LOOK_BACK_NS = 3 * 24 * 3600 * 1_000_000_000
"""How far back a flag may depend on readings: the longest usual `stuck`, and a day."""

_USUAL: dict[str, dict[str, Any]] = {
    "pm10": {"spike": 1500, "stuck": "6h"},
    "pm25": {"spike": 1500, "stuck": "6h"},
    "tsp": {"spike": 3000, "stuck": "6h"},
    "ph": {"rate": 2, "spike": 2, "stuck": "24h"},
    "turbidity": {"spike": 500, "stuck": "24h"},
    "conductivity": {"spike": 5000, "stuck": "48h"},
    "do": {"rate": 3, "spike": 4, "stuck": "24h"},
    "water_temp": {"rate": 2, "spike": 5, "stuck": "48h"},
    "ss": {"spike": 500, "stuck": "24h"},
    "cod": {"spike": 500, "stuck": "48h"},
    "nh3n": {"spike": 20, "stuck": "48h"},
    "laeq": {"stuck": "2h"},
    "lamax": {"stuck": "2h"},
    "soil_moisture": {"rate": 10, "spike": 10},
    "soil_temp": {"rate": 2, "spike": 5, "stuck": "48h"},
    "air_temp": {"rate": 3, "spike": 8, "stuck": "24h"},
    "wind_speed": {"stuck": "12h"},
    "wind_dir": {"stuck": "12h"},
}
"""Our own choice, to be read against each site: no standard gives them. A metric that is not here is not flagged."""
USUAL = {metric: HealthLimits.model_validate(limits) for metric, limits in _USUAL.items()}
_STUCK_AT_LEAST = 30
_CALM_METRICS = {"wind_speed", "wind_dir"}


class HealthInput(NamedTuple):
    """What beside its own readings a series is flagged by. `interval_ns` is its reporting interval; `humidity` None
    where droplets do not disturb it."""

    metric: str
    interval_ns: int
    limits: HealthLimits
    humidity: Column | None
    humid: float


def health_limits(metric: str, given: HealthLimits | None) -> HealthLimits:
    """What the policy says of a metric over what is usual."""
    usual = USUAL.get(metric, HealthLimits())
    if given is None:
        return usual
    said = {name: getattr(given, name) for name in HealthLimits.model_fields if getattr(given, name) is not None}
    return usual.model_copy(update=said)


def health_flags(column: Column, health: HealthInput) -> Flags:
    """The health bits of every reading of a column, in its order."""
    found = np.zeros(len(column.times_ns), np.int32)
    if len(found) == 0:
        return found
    limits = health.limits
    if limits.rate is not None:
        found[_too_fast(column, limits.rate)] |= Quality.RATE
    if limits.spike is not None:
        found[_standing_out(column, limits.spike, health.interval_ns)] |= Quality.SPIKE
    if limits.stuck is not None:
        found[_stuck(column, limits.stuck * 1_000_000_000, health.metric in _CALM_METRICS)] |= Quality.STUCK
    if health.humidity is not None:
        found[_humid(column.times_ns, health.humidity, health.humid)] |= Quality.HUMID
    return found


def _too_fast(column: Column, rate: float) -> Mask:
    """A reading that is further from the one before than `rate` a minute allows; a pause allows more."""
    mask = np.zeros(len(column.times_ns), np.bool_)
    change = np.abs(np.diff(column.micro)) / MICRO
    minutes = np.diff(column.times_ns) / _MINUTE_NS
    mask[1:] = change > rate * np.maximum(minutes, 1.0)
    return mask


def _standing_out(column: Column, spike: float, interval_ns: int) -> Mask:
    """One reading that is above both its neighbours, or below both, by more than `spike`, while they agree with each
    other; neighbours more than three intervals away are none."""
    mask = np.zeros(len(column.times_ns), np.bool_)
    if len(mask) < 3:
        return mask
    value = column.micro
    before, after = value[1:-1] - value[:-2], value[1:-1] - value[2:]
    gap = np.diff(column.times_ns)
    near = (gap[:-1] <= 3 * interval_ns) & (gap[1:] <= 3 * interval_ns)
    out = (np.sign(before) == np.sign(after)) & (np.minimum(np.abs(before), np.abs(after)) > spike * MICRO)
    agree = np.abs(value[2:] - value[:-2]) * 2 < np.minimum(np.abs(before), np.abs(after))
    mask[1:-1] = near & out & agree
    return mask


def _stuck(column: Column, longest_ns: int, zero_is_natural: bool) -> Mask:
    """All readings of a run of one value that lasts longer than a sensor that lives can show."""
    value, times = column.micro, column.times_ns
    starts = np.flatnonzero(np.concatenate(([True], value[1:] != value[:-1])))
    ends = np.append(starts[1:], len(value)) - 1
    long = (times[ends] - times[starts] >= longest_ns) & (ends - starts + 1 >= _STUCK_AT_LEAST)
    if zero_is_natural:
        long &= value[starts] != 0
    return np.repeat(long, ends - starts + 1)


def _humid(times_ns: Ints, humidity: Column, humid: float) -> Mask:
    """Readings at which the humidity last told is over `humid` percent."""
    if len(humidity.times_ns) == 0:
        return np.zeros(len(times_ns), np.bool_)
    last = np.searchsorted(humidity.times_ns, times_ns, side="right") - 1
    known = np.maximum(last, 0)
    fresh = (last >= 0) & (times_ns - humidity.times_ns[known] <= HUMIDITY_HOLDS_NS)
    found: Mask = fresh & (humidity.micro[known] > humid * MICRO)
    return found
