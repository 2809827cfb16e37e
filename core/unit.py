"""Units of measurement and their conversion, in UCUM-like spelling as `design.md` uses it."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple


class _Scale(NamedTuple):
    dimension: str
    factor: float
    offset: float = 0.0


_UNITS: dict[str, _Scale] = {
    "ug/m3": _Scale("mass concentration in air", 1.0),
    "mg/m3": _Scale("mass concentration in air", 1e3),
    "ng/m3": _Scale("mass concentration in air", 1e-3),
    "mg/L": _Scale("mass concentration in water", 1.0),
    "ug/L": _Scale("mass concentration in water", 1e-3),
    "g/L": _Scale("mass concentration in water", 1e3),
    "1": _Scale("number", 1.0),
    "NTU": _Scale("turbidity", 1.0),
    "FNU": _Scale("turbidity", 1.0),
    "uS/cm": _Scale("conductivity", 1.0),
    "mS/cm": _Scale("conductivity", 1e3),
    "dS/m": _Scale("conductivity", 1e3),
    "Cel": _Scale("temperature", 1.0),
    "K": _Scale("temperature", 1.0, -273.15),
    "m": _Scale("length", 1.0),
    "cm": _Scale("length", 0.01),
    "mm": _Scale("length", 0.001),
    "L/s": _Scale("flow", 1.0),
    "m3/h": _Scale("flow", 1 / 3.6),
    "m3/s": _Scale("flow", 1e3),
    "dB": _Scale("level", 1.0),
    "%": _Scale("ratio", 1.0),
    "m3/m3": _Scale("ratio", 100.0),
    "/": _Scale("ratio", 100.0),
    "m/s": _Scale("speed", 1.0),
    "km/h": _Scale("speed", 1 / 3.6),
    "deg": _Scale("angle", 1.0),
    "kPa": _Scale("pressure", 1.0),
    "hPa": _Scale("pressure", 0.1),
    "Pa": _Scale("pressure", 0.001),
}

UNITS = tuple(_UNITS)


def is_unit(unit: str) -> bool:
    """Whether the unit is known."""
    return unit in _UNITS


def convertible(unit: str, target: str) -> bool:
    """Whether both units are known and of one dimension."""
    return unit in _UNITS and target in _UNITS and _UNITS[unit].dimension == _UNITS[target].dimension


def convert(value: float, unit: str, target: str) -> float:
    """`value` in `unit`, expressed in `target`.

    Raises:
        ValueError: a unit is unknown or the dimensions differ.
    """
    found = conversion(unit, target)
    return value if found is None else found.apply(value)


def exactly(value: Fraction, unit: str, target: str) -> Fraction:
    """`value` in `unit`, expressed in `target`, with the factors as they are written here: no rounding of its own.

    Raises:
        ValueError: a unit is unknown or the dimensions differ.
    """
    found = conversion(unit, target)
    if found is None:
        return value
    source, goal = found.source, found.goal
    moved = value * _written(source.factor) + _written(source.offset) - _written(goal.offset)
    return moved / _written(goal.factor)


def _written(number: float) -> Fraction:
    return Fraction(repr(number))


class Conversion(NamedTuple):
    """From one unit to another of its dimension."""

    source: _Scale
    goal: _Scale

    def apply(self, value: float) -> float:
        """The value in the other unit."""
        source, goal = self.source, self.goal
        return (value * source.factor + source.offset - goal.offset) / goal.factor


def conversion(unit: str, target: str) -> Conversion | None:
    """How values in `unit` become values in `target`; None where they are the same.

    Raises:
        ValueError: a unit is unknown or the dimensions differ.
    """
    if unit == target:
        return None
    if not convertible(unit, target):
        raise ValueError(f"cannot convert {unit!r} to {target!r}")
    return Conversion(_UNITS[unit], _UNITS[target])
