"""A verdict: what the readings of a window say of one limit, on which data, and how far that can be relied on."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple


class LimitBinding(StrEnum):
    """Whom a limit binds. Only EMISSION and PERMIT can be broken by a mine; a place can be over AMBIENT or
    RECEIVING_WATER, and no mine is blamed by it; OPERATING is a condition and never a verdict."""

    EMISSION = "emission"
    PERMIT = "permit"
    AMBIENT = "ambient"
    RECEIVING_WATER = "receiving_water"
    OPERATING = "operating"


class Outcome(StrEnum):
    """`met` only where enough valid data say so; never by default."""

    MET = "met"
    EXCEEDED = "exceeded"
    INSUFFICIENT = "insufficient"
    NOT_EVALUABLE = "not_evaluable"


class Grade(StrEnum):
    """EVIDENCE where the sensor's principle is the standard's method or an approved equal, else LEAD."""

    EVIDENCE = "evidence"
    LEAD = "lead"


class VerdictReason(StrEnum):
    """Why the outcome is what it is. The words are stable: stored, exported and translated."""

    WITHIN_LIMIT = "within_limit"
    OVER_LIMIT = "over_limit"
    UNDER_LIMIT = "under_limit"
    NO_DATA = "no_data"
    TOO_FEW_DATA = "too_few_data"
    DOUBTFUL_DATA = "doubtful_data"
    EXCLUDED_BY_SENDER = "excluded_by_sender"
    NO_WIND_DATA = "no_wind_data"
    CALM = "calm"
    STRONG_WIND = "strong_wind"
    VARIABLE_WIND = "variable_wind"
    NO_UPWIND_POINT = "no_upwind_point"
    NO_DOWNWIND_POINT = "no_downwind_point"
    BACKGROUND_TOO_HIGH = "background_too_high"
    NEAR_BACKGROUND = "near_background"
    WIND_OR_RAIN = "wind_or_rain"
    FROZEN = "frozen"
    DRY = "dry"
    NOT_GROWING_SEASON = "not_growing_season"
    SOIL_CONSTANTS_WRONG = "soil_constants_wrong"
    NO_SOIL_CONSTANTS = "no_soil_constants"
    NO_REFERENCE = "no_reference"
    EXCEPTIONAL_EVENT = "exceptional_event"


class Verdict(NamedTuple):
    """One verdict before it has a version.

    Identity: `(mine, limit, subject, window_start_ns)`. Times are UTC ns, the end exclusive. `value` is what was
    compared, rounded to the limit's digits and in its `unit`; `unrounded` the same before rounding; None where
    nothing could be compared. `limit_value` is the bound that decided. `validity` is the share (0 to 1) of the data
    that the window needed at most, `excluded` the share that flags took out. `detail` is what explains the rest, plain
    JSON values with fixed keys.
    """

    mine: str
    limit: str
    subject: str
    window_start_ns: int
    window_end_ns: int
    outcome: Outcome
    reason: VerdictReason
    grade: Grade
    binding: LimitBinding
    value: float | None
    unrounded: float | None
    limit_value: float
    unit: str
    validity: float
    excluded: float
    detail: dict[str, Any]

    @property
    def identity(self) -> tuple[str, str, str, int]:
        """What a later version of the same verdict has in common with it."""
        return self.mine, self.limit, self.subject, self.window_start_ns
