"""How a value is shown to a person: in the unit of the limits, with the metric's digits and a printed unit symbol."""

from __future__ import annotations

from greenmine.core.metric import METRICS
from greenmine.core.unit import convert, convertible

_SYMBOLS = {
    "ug/m3": "µg/m³",
    "mg/m3": "mg/m³",
    "ng/m3": "ng/m³",
    "ug/L": "µg/L",
    "1": "",
    "uS/cm": "µS/cm",
    "Cel": "°C",
    "m3/h": "m³/h",
    "m3/s": "m³/s",
    "m3/m3": "m³/m³",
    "/": "",
    "deg": "°",
}


def unit_symbol(unit: str) -> str:
    """The unit as it is printed: `µg/m³` for `ug/m3`, empty for pure numbers; a unit without a symbol is itself."""
    return _SYMBOLS.get(unit, unit)


def shown_unit(metric: str) -> str:
    """The unit in which a person reads the metric; empty for a metric that is not known."""
    known = METRICS.get(metric)
    return known.shown_unit if known else ""


def shown_digits(metric: str) -> int:
    """Digits after the point in the shown unit; 2 for a metric that is not known."""
    known = METRICS.get(metric)
    return known.digits if known else 2


def shown_value(metric: str, value: float, unit: str | None = None) -> float:
    """`value`, given in `unit` (the metric's canonical unit if None), in the metric's shown unit.

    A value whose unit does not fit the metric is returned as it is: it came from a policy that has changed since.
    """
    known = METRICS.get(metric)
    if known is None:
        return value
    given = known.unit if unit is None else unit
    return convert(value, given, known.shown_unit) if convertible(given, known.shown_unit) else value


def number_text(value: float, digits: int) -> str:
    """The number with `digits` after the point, never `-0`; very large ones in four significant digits."""
    if abs(value) >= 1e7:
        return f"{value:.4g}"
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("-") and not text.strip("-0.") else text


def value_text(metric: str, value: float, unit: str | None = None) -> str:
    """Number and unit symbol of a value given in `unit` (canonical if None), e.g. `0.42 mg/m³`."""
    number = number_text(shown_value(metric, value, unit), shown_digits(metric))
    return f"{number} {unit_symbol(shown_unit(metric))}".rstrip()


def limit_text(metric: str, value: float, unit: str | None = None) -> str:
    """Number and unit symbol of a limit, with the digits that the limit itself needs (`1 mg/m³`, not `1.00`)."""
    return f"{limit_number(shown_value(metric, value, unit))} {unit_symbol(shown_unit(metric))}".rstrip()


def limit_number(value: float) -> str:
    """A limit as short as it can be written without loss to the eye: at most six significant digits."""
    return f"{value:.6g}"
