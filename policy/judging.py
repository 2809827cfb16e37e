"""What a policy says of verdicts: the parts of standards that hold, what its soils are, and how doubtful data count."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from greenmine.core.quality import Quality, flag_names
from greenmine.core.verdict import LimitBinding
from greenmine.policy.duration import Seconds
from greenmine.policy.section import Channel, Identifier, MetricName, Number, Section


def _as_choice(value: Any) -> Any:
    return {"part": value} if isinstance(value, str) else value


class StandardChoice(Section):
    """A part of a standard that holds for the mine, or for some of its points."""

    part: Annotated[str, StringConstraints(min_length=1, max_length=100, strict=True)]
    class_name: Annotated[str, StringConstraints(min_length=1, max_length=20, strict=True)] | None = Field(
        default=None, alias="class"
    )
    devices: list[Identifier] | None = Field(default=None, min_length=1)
    channel: Channel | None = None
    reference: Identifier | None = None


ChosenStandard = Annotated[StandardChoice, BeforeValidator(_as_choice)]


class SoilConstants(Section):
    """What the soil around a probe is: without its field capacity no relative moisture can be told.

    `field_capacity` is in percent by volume; `reference_plot` a device on undisturbed land, whose relative moisture of
    the same day the probe's is compared with.
    """

    field_capacity: Annotated[Number, Field(gt=0, le=100)]
    reference_plot: Identifier | None = None


class FlagUse(StrEnum):
    """What a flag does to a reading in a verdict. DOUBT: the outcome is told only if it is the same with the flagged
    readings and without them."""

    IN = "in"
    OUT = "out"
    DOUBT = "doubt"


_CAUTIOUS = {
    Quality.RANGE: FlagUse.OUT,
    Quality.NEGATIVE: FlagUse.OUT,
    Quality.UNREGISTERED: FlagUse.OUT,
    Quality.RATE: FlagUse.DOUBT,
    Quality.SPIKE: FlagUse.DOUBT,
    Quality.STUCK: FlagUse.OUT,
    Quality.HUMID: FlagUse.DOUBT,
    Quality.CALIBRATION: FlagUse.OUT,
    Quality.MAINTENANCE: FlagUse.OUT,
    Quality.MANUAL: FlagUse.IN,
    Quality.INVALID: FlagUse.OUT,
    Quality.LATE: FlagUse.IN,
    Quality.SKEW: FlagUse.OUT,
    Quality.CONFLICT: FlagUse.OUT,
}
CAUTIOUS = {name: use for flag, use in _CAUTIOUS.items() for name in flag_names(flag)}
"""What every flag does where the policy does not say else. A spike may be real dust, so it neither makes nor unmakes an
exceedance by itself; what cannot be a measurement at all is taken out and leaves the window with less data."""


def _known_flags(table: dict[str, FlagUse]) -> dict[str, FlagUse]:
    for name in table:
        if name not in CAUTIOUS:
            raise ValueError(f"{name!r} is not a quality flag; flags are {', '.join(CAUTIOUS)}")
    return table


FlagTable = Annotated[dict[str, FlagUse], AfterValidator(_known_flags)]

_MONTH_DAY = re.compile(r"(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])", re.ASCII)
_CLOCK_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]", re.ASCII)


def _month_day(text: str) -> str:
    if not _MONTH_DAY.fullmatch(text):
        raise ValueError(f'{text!r} is not a day of the year; write it as "04-15", in quotes')
    return text


def _clock_time(text: str) -> str:
    if not _CLOCK_TIME.fullmatch(text):
        raise ValueError(f'{text!r} is not a time of day; write it as "06:00", in quotes')
    return text


MonthDay = Annotated[str, Field(strict=True), AfterValidator(_month_day)]
ClockTime = Annotated[str, Field(strict=True), AfterValidator(_clock_time)]


class WindSettings(Section):
    """When the wind of an hour tells which points are upwind and which downwind (HJ/T 55).

    Speeds in m/s; `sector` is how far a point's bearing from the mine may be off the wind's direction, degrees;
    `variable` the circular standard deviation of the direction over the hour from which it is no direction, degrees.
    """

    calm: Annotated[Number, Field(ge=0, le=10)] = 1.0
    strong: Annotated[Number, Field(gt=0, le=75)] = 4.5
    sector: Annotated[Number, Field(gt=0, lt=90)] = 45.0
    variable: Annotated[Number, Field(gt=0, le=180)] = 45.0

    @model_validator(mode="after")
    def _calm_is_less(self) -> WindSettings:
        if self.calm >= self.strong:
            raise ValueError(f"calm {self.calm:g} must be below strong {self.strong:g}")
        return self


class GrowingSeason(Section):
    """First and last day of the year on which soil moisture is judged."""

    first: MonthDay = "04-15"
    last: MonthDay = "10-15"

    @model_validator(mode="after")
    def _in_order(self) -> GrowingSeason:
        if self.first > self.last:
            raise ValueError(f"first {self.first} is after last {self.last}; a season lies within one year here")
        return self


class HealthLimits(Section):
    """From when a sensor's readings look as if the sensor and not the world had changed; what is left out is usual for
    the metric. `rate` and `spike` in the metric's canonical unit, `rate` per minute."""

    rate: Annotated[Number, Field(gt=0)] | None = None
    spike: Annotated[Number, Field(gt=0)] | None = None
    stuck: Seconds | None = Field(default=None, gt=0)


class Neighbour(Section):
    """A station of another mine that may be the reference of ours; its readings come from that mine."""

    mine: Identifier
    device: Identifier
    position: tuple[Annotated[Number, Field(ge=-180, le=180)], Annotated[Number, Field(ge=-90, le=90)]]


class VerdictSettings(Section):
    """How readings become verdicts, where the standards leave it to the mine's own plan."""

    flags: dict[LimitBinding, FlagTable] = Field(default_factory=dict)
    wind: WindSettings = Field(default_factory=WindSettings)
    growing_season: GrowingSeason = Field(default_factory=GrowingSeason)
    day_begins: ClockTime = "06:00"
    night_begins: ClockTime = "22:00"
    noise_wind: Annotated[Number, Field(gt=0, le=75)] = 5.0
    frequent_from: Annotated[int, Field(strict=True, ge=2, le=100)] = 3
    dust_background: Annotated[Number, Field(gt=0)] = 500.0
    health: dict[MetricName, HealthLimits] = Field(default_factory=dict)
    humid: Annotated[Number, Field(gt=0, le=100)] = 90.0
    neighbours: list[Neighbour] = Field(default_factory=list)
    maintenance_hours: Annotated[int, Field(strict=True, ge=0, le=744)] = 24

    @model_validator(mode="after")
    def _day_before_night(self) -> VerdictSettings:
        if self.day_begins >= self.night_begins:
            raise ValueError(f"day_begins {self.day_begins} must be before night_begins {self.night_begins}")
        return self

    def uses(self, binding: LimitBinding) -> dict[str, FlagUse]:
        """What every flag does in a verdict on limits of this binding."""
        return CAUTIOUS | self.flags.get(binding, {})
