"""Quality flags of a reading: fourteen bits in a fixed order, grouped by who may set them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntFlag, StrEnum


class Quality(IntFlag):
    """Bits of a reading's quality; 0 is good. The order is part of the stored format."""

    GOOD = 0
    RANGE = 1 << 0
    NEGATIVE = 1 << 1
    UNREGISTERED = 1 << 2
    RATE = 1 << 3
    SPIKE = 1 << 4
    STUCK = 1 << 5
    HUMID = 1 << 6
    CALIBRATION = 1 << 7
    MAINTENANCE = 1 << 8
    MANUAL = 1 << 9
    INVALID = 1 << 10
    LATE = 1 << 11
    SKEW = 1 << 12
    CONFLICT = 1 << 13


ADMISSION = Quality.RANGE | Quality.NEGATIVE | Quality.UNREGISTERED
"""Set by admission from the reading alone."""
HEALTH = Quality.RATE | Quality.SPIKE | Quality.STUCK | Quality.HUMID
"""Set by rules in event time."""
FACTS = Quality.CALIBRATION | Quality.MAINTENANCE | Quality.MANUAL | Quality.INVALID
"""Set by facts, or by the sender's HJ 212 letter."""
ARRIVAL = Quality.LATE | Quality.SKEW | Quality.CONFLICT
"""Set by the way a reading arrived; recorded and never judged."""


class Quarantine(StrEnum):
    """Why a reading is kept apart and not stored as data. Like the words of refusals, these are stable."""

    UNREGISTERED = "unregistered"
    CLOCK_AHEAD = "clock_ahead"
    CLOCK_UNSET = "clock_unset"
    MISSING = "missing"
    SENTINEL = "sentinel"
    UNIT_DOUBT = "unit_doubt"


QUARANTINED = Quality.UNREGISTERED | Quality.SKEW
"""A reading with one of these is kept apart with its reason and not stored as data."""

UNUSABLE_FOR_CONDITIONS = ADMISSION | FACTS & ~Quality.MANUAL | ARRIVAL
"""Operational conditions pass over a reading with one of these; absence of usable readings is an alarm of its own."""

_BY_NAME = {flag.name.lower(): flag for flag in Quality if flag.name}

HJ212_LETTERS: dict[str, Quality] = {
    "N": Quality.GOOD,
    "F": Quality.INVALID,
    "M": Quality.MAINTENANCE,
    "S": Quality.MANUAL,
    "D": Quality.INVALID,
    "C": Quality.CALIBRATION,
    "T": Quality.RANGE,
    "B": Quality.INVALID,
}
"""HJ 212-2017 data flags: N normal, F stopped, M maintenance, S manual, D fault, C calibration, T over range,
B communication fault."""


def flag_names(quality: int) -> list[str]:
    """Names of the set bits, in the order of the bits."""
    return [name for name, flag in _BY_NAME.items() if quality & flag]


def from_names(names: Iterable[str]) -> Quality:
    """The bits for these names.

    Raises:
        KeyError: a name is not a quality flag.
    """
    quality = Quality.GOOD
    for name in names:
        quality |= _BY_NAME[name]
    return quality
