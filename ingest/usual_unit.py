"""Which unit a number was probably sent in, from its size alone: dust in mg/m3 is a thousandth of dust in ug/m3. Pure.

`unit_guess` speaks up only where a value is impossible as registered; this says what is usual, for people who set a
device up.
"""

from __future__ import annotations

from greenmine.core.metric import METRICS
from greenmine.core.unit import UNITS, convert, convertible

USUAL = {
    "pm10": (4, 3_000),
    "pm25": (2, 1_500),
    "tsp": (10, 15_000),
    "conductivity": (30, 30_000),
    "water_temp": (-2, 45),
    "soil_temp": (-40, 60),
    "air_temp": (-50, 50),
    "soil_moisture": (1.5, 70),
    "pressure": (55, 108),
}
"""From where to where a metric usually is on a mine, in its canonical unit. A metric whose units lie too near to each
other to be told apart is not here."""


def usual_unit(metric: str, value: float) -> str | None:
    """The unit in which `value` is usual for the metric, the canonical one first; None where nothing can be said."""
    usual, known = USUAL.get(metric), METRICS.get(metric)
    if usual is None or known is None or value == 0:
        return None
    others = [unit for unit in UNITS if unit != known.unit and convertible(unit, known.unit)]
    fitting = [unit for unit in (known.unit, *others) if usual[0] <= convert(value, unit, known.unit) <= usual[1]]
    return fitting[0] if fitting else None
