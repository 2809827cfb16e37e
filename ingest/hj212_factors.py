"""Factors of HJ 212: what a code means, and which of them are metrics of ours.

Codes and default units are those of HJ 212-2017 table B (water, air, noise), read in the standard itself; w01003
(turbidity) is not in the table and stands here because stations send it; the old codes are those of HJ/T 212-2005 as
frames from the field show them. A station's true unit is what its policy registers: PM is sent in ng/m3 (the table's
unit), ug/m3 and mg/m3.
"""

from __future__ import annotations

from typing import NamedTuple


class Factor(NamedTuple):
    """A factor that is a metric of ours. `unit` is the default of the table, '' where the table has none."""

    metric: str
    unit: str


class Code(NamedTuple):
    """What a metric of ours is called there, and in which unit the table has it, '' where it has none."""

    code: str
    unit: str


FACTORS: dict[str, Factor] = {
    "a34001": Factor("tsp", "ng/m3"),
    "a34002": Factor("pm10", "ng/m3"),
    "a34004": Factor("pm25", "ng/m3"),
    "a01001": Factor("air_temp", "Cel"),
    "a01002": Factor("humidity", "%"),
    "a01006": Factor("pressure", "kPa"),
    "a01007": Factor("wind_speed", "m/s"),
    "a01008": Factor("wind_dir", "deg"),
    "w00000": Factor("flow", "L/s"),
    "w01001": Factor("ph", "1"),
    "w01003": Factor("turbidity", ""),
    "w01009": Factor("do", "mg/L"),
    "w01010": Factor("water_temp", "Cel"),
    "w01012": Factor("ss", "mg/L"),
    "w01014": Factor("conductivity", "uS/cm"),
    "w01018": Factor("cod", "mg/L"),
    "w20124": Factor("mn", "mg/L"),
    "w20125": Factor("fe", "mg/L"),
    "w21003": Factor("nh3n", "mg/L"),
    "w22001": Factor("oil", "mg/L"),
    "Leq": Factor("laeq", "dB"),
    "LA": Factor("laeq", "dB"),
    "LMx": Factor("lamax", "dB"),
    "L10": Factor("l10", "dB"),
    "L50": Factor("l50", "dB"),
    "L90": Factor("l90", "dB"),
    "B01": Factor("flow", "L/s"),
    "001": Factor("ph", "1"),
    "011": Factor("cod", "mg/L"),
    "060": Factor("nh3n", "mg/L"),
}
"""By code as the standard writes it. Of two codes of one metric in a frame (LA and Leq, an old and a new code) the
first here is the metric, and the other stays as sent."""

_BY_METRIC: dict[str, Code] = {}
for _code, _factor in FACTORS.items():
    _BY_METRIC.setdefault(_factor.metric, Code(_code, _factor.unit))
_BY_LOWER_CODE = {code.lower(): factor for code, factor in FACTORS.items()}
_RANK = {code.lower(): rank for rank, code in enumerate(FACTORS)}


def factor_of(code: str) -> Factor | None:
    """The factor of a code in any case, or None."""
    return _BY_LOWER_CODE.get(code.lower())


def code_of(metric: str) -> Code | None:
    """How a metric of ours is sent: by the standard's code, before those of older days. None where HJ 212 has no word
    for it."""
    return _BY_METRIC.get(metric)


def rank_of(code: str) -> int:
    """The place of a known code in the table."""
    return _RANK[code.lower()]
