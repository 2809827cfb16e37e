"""Units as SenML packs write them, in our spelling."""

from __future__ import annotations

from greenmine.core.errors import DecodeRefused
from greenmine.core.unit import is_unit

_OURS = {"%RH": "%", "/100": "%", "l/s": "L/s", "pH": "1", "count": "1"}
"""Units that we spell otherwise. `%RH` is a ratio like any other once the metric is known."""

_REGISTERED = frozenset(
    [
        *(
            "m",
            "kg",
            "g",
            "s",
            "A",
            "K",
            "cd",
            "mol",
            "Hz",
            "rad",
            "sr",
            "N",
            "Pa",
            "J",
            "W",
            "C",
            "V",
            "F",
            "Ohm",
            "S",
        ),
        *("Wb", "T", "H", "Cel", "lm", "lx", "Bq", "Gy", "Sv", "kat", "m2", "m3", "l", "m/s", "m/s2", "m3/s", "l/s"),
        *("W/m2", "cd/m2", "bit", "bit/s", "lat", "lon", "pH", "dB", "dBW", "Bspl", "count", "/", "%RH", "%", "%EL"),
        *("EL", "1/s", "1/min", "beat/min", "beats", "S/m", "B", "VA", "VAs", "var", "vars", "J/m", "kg/m3", "deg"),
        *("NTU", "ms", "min", "h", "MHz", "kW", "kVA", "kvar", "Ah", "Wh", "kWh", "varh", "kvarh", "kVAh", "Wh/km"),
        *("KiB", "GB", "Mbit/s", "B/s", "MB/s", "mV", "mA", "dBm", "ug/m3", "mm/h", "m/h", "ppm", "/100", "/1000"),
        *("hPa", "mm", "cm", "km", "km/h"),
    ]
)
"""RFC 8428 section 12.1 and RFC 8798."""


def senml_unit(unit: str) -> str:
    """A unit in our spelling; one that SenML knows and we do not comes back as it is, and no metric can be in it.

    Raises:
        DecodeRefused: `unit`, for what neither knows. The empty unit is none.
    """
    if unit in _OURS:
        return _OURS[unit]
    if unit in _REGISTERED or is_unit(unit):
        return unit
    raise DecodeRefused("unit", f"{unit[:20]!r} is no unit of SenML (RFC 8428, RFC 8798) or of ours")
