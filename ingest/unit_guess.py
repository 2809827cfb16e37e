"""Which unit a value is really in, where it cannot be in the one that is registered. Pure.

Stations send particulates in ng/m3, ug/m3 or mg/m3, pressure in kPa or hPa, and say nothing of it. A guess is made only
for a value that is physically impossible as registered; it is shown to people and never applied.
"""

from __future__ import annotations

from greenmine.core.metric import METRICS
from greenmine.core.unit import UNITS, convert, convertible


def guess_unit(metric: str, value: float, registered_unit: str) -> str | None:
    """The unit in which `value` is possible, where it is not in `registered_unit`; None where it is, or nothing fits.

    Of several units that fit it is the one next to the registered one. A value below zero is no guess at all: it is how
    stations write a fault.
    """
    ours = METRICS[metric]
    if value < 0 or not convertible(registered_unit, ours.unit) or _fits(metric, value, registered_unit):
        return None
    as_registered = convert(value, registered_unit, ours.unit)
    fitting = [unit for unit in UNITS if convertible(unit, ours.unit) and _fits(metric, value, unit)]
    return min(fitting, key=lambda unit: abs(convert(value, unit, ours.unit) - as_registered), default=None)


def _fits(metric: str, value: float, unit: str) -> bool:
    ours = METRICS[metric]
    return ours.low <= convert(value, unit, ours.unit) <= ours.high
