"""Limits as data: what a row of a standard, of a permit or of an EIA says, typed. Values are what the text says, in the
unit of the text; nothing here judges."""

from __future__ import annotations

import re
from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from greenmine.core.metric import METRICS
from greenmine.core.unit import convertible
from greenmine.core.verdict import LimitBinding
from greenmine.policy.section import Channel, Identifier, IsoDate, Number, Section, Text, UnitName


class Statistic(StrEnum):
    """What is compared with the limit, over the window."""

    MEAN = "mean"
    ENERGY_MEAN = "energy_mean"
    FLOW_WEIGHTED_MEAN = "flow_weighted_mean"
    MAXIMUM = "maximum"
    MINIMUM = "minimum"
    WORST = "worst"
    SUDDEN_FREQUENT = "sudden_frequent"
    SUDDEN_OCCASIONAL = "sudden_occasional"
    ROLLING_8H_MAXIMUM = "rolling_8h_maximum"
    PERCENTILE_95 = "percentile_95"
    PERCENTILE_98 = "percentile_98"
    HOURS_OVER = "hours_over"


class WindowKind(StrEnum):
    """The span of the mine's local time over which a limit is judged."""

    HOUR = "hour"
    DAY = "day"
    DAYTIME = "daytime"
    NIGHT = "night"
    MONTH = "month"
    SEASON = "season"
    YEAR = "year"


class Comparison(StrEnum):
    """What is compared: the value of one point, or the difference of two."""

    VALUE = "value"
    DOWNWIND_MINUS_UPWIND = "downwind_minus_upwind"
    HIGHEST_OUTSIDE = "highest_outside"
    MINUS_REFERENCE = "minus_reference"


class LimitStatus(StrEnum):
    """Whether the value was read in a published source, or is widely known and has still to be read."""

    SOURCED = "sourced"
    TO_CONFIRM = "to_confirm"


class Validity(Section):
    """How much data a window needs. What is left out is not asked.

    `hour_minutes`: minutes of an hour that its data cover. `day_hours`: valid hours of a day. `share`: part of the data
    due in the window. `month_days` (`february_days` in February) and `year_days`: valid days.
    """

    hour_minutes: Annotated[int, Field(strict=True, ge=1, le=60)] | None = None
    day_hours: Annotated[int, Field(strict=True, ge=1, le=24)] | None = None
    share: Annotated[float, Field(strict=True, gt=0, le=1)] | None = None
    month_days: Annotated[int, Field(strict=True, ge=1, le=31)] | None = None
    february_days: Annotated[int, Field(strict=True, ge=1, le=29)] | None = None
    year_days: Annotated[int, Field(strict=True, ge=1, le=366)] | None = None
    status: LimitStatus
    source: str


class Band(Section):
    """A grade of a scale: from `at_least` up to the next band's."""

    id: Identifier
    title: Text
    at_least: Number


ByClass = dict[Annotated[str, StringConstraints(min_length=1, max_length=20)], Number]
Level = Number | ByClass
"""One value, or one for each class."""

SOIL_RELATIVE = "relative_soil_moisture"
"""Soil moisture in percent of the probe's field capacity: the one judged quantity that no sensor sends."""
JUDGED_UNITS = {SOIL_RELATIVE: "%"} | {metric.name: metric.unit for metric in METRICS.values()}
"""What can be judged, with the unit in which readings of it rest."""


def _judged(name: str) -> str:
    if name not in JUDGED_UNITS:
        raise ValueError(f"unknown metric {name!r}; known are: {', '.join(JUDGED_UNITS)}")
    return name


class LimitBody(Section):
    """What every limit says, whoever set it."""

    clause: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    statistic: Statistic
    window: WindowKind
    compare: Comparison = Comparison.VALUE
    unit: Annotated[str, StringConstraints(min_length=1, max_length=20)]
    digits: Annotated[int, Field(strict=True, ge=0, le=6)]
    valid_from: IsoDate | None = None
    valid_to: IsoDate | None = None
    status: LimitStatus
    source: Annotated[str, StringConstraints(min_length=1, max_length=400)]
    validity: Validity | None = None
    note: Text | None = None


class LimitRow(LimitBody):
    """A row of a standard. `item` is a metric of ours where sensors report it, else what a laboratory finds.

    `cap_reference` is the highest value of the reference that a difference takes off; `allowed_a_day` how many
    exceedances a day are none yet.
    """

    id: Identifier
    part: Identifier
    item: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
    at_most: Level | None = None
    at_least: Level | None = None
    bands: list[Band] = Field(default_factory=list)
    cap_reference: Number | None = None
    allowed_a_day: Annotated[int, Field(strict=True, ge=0)] = 0
    steps: dict[str, Number] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_something(self) -> LimitRow:
        if self.at_most is None and self.at_least is None and not self.steps:
            raise ValueError("give at_most, at_least or steps")
        unit = JUDGED_UNITS.get(self.item)
        if unit is not None and not convertible(self.unit, unit):
            raise ValueError(f"{self.item} cannot be in {self.unit}; its unit is {unit}")
        return self

    def bounds(self, name: str | None) -> tuple[float | None, float | None] | None:
        """The least and the most that is allowed in a class; None where the row is of other classes."""
        if self.classes and name not in self.classes:
            return None
        return _level(self.at_least, name), _level(self.at_most, name)

    @property
    def classes(self) -> list[str]:
        """The classes that the row has values for, best first; none where it holds for all."""
        named = [name for level in (self.at_most, self.at_least) if isinstance(level, dict) for name in level]
        return list(dict.fromkeys(named))

    @property
    def measured(self) -> bool:
        """Whether sensors report what the row is about."""
        return self.item in JUDGED_UNITS


def _level(level: Level | None, name: str | None) -> float | None:
    if isinstance(level, dict):
        return level[name or ""]
    return level


class ClassOf(StrEnum):
    """What decides the class of a mine under a part of a standard."""

    AIR_GRADE = "air_grade"
    NOISE_CLASS = "noise_class"
    LINE = "line"
    GIVEN = "given"


class Part(Section):
    """A part of a standard that a policy can name. `methods` are the principles of sensors whose readings are evidence
    under it; any other's are a lead. `screening` is said of what a continuous monitor can only hint at.
    `common` is what the part's rows say unless they say else."""

    title: Text
    applies: Text
    binding: LimitBinding
    class_of: ClassOf | None = None
    default_class: str | None = None
    worst_item_decides: bool = False
    screening: bool = False
    methods: list[Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,60}$")]] = Field(default_factory=list)
    validity: Validity | None = None
    common: dict[str, Any] = Field(default_factory=dict)


_CODE = re.compile(r"[A-Z][A-Za-z0-9]{1,6}(/T)?[ /][0-9.]{1,12}-[0-9]{4}|operating-steps|soil-moisture", re.ASCII)


def _standard_code(value: object) -> object:
    if not isinstance(value, str) or not _CODE.fullmatch(value):
        raise ValueError(f"{value!r} is not the number of a standard, as GB 3095-2026")
    return value


class Standard(Section):
    """One standard: its editions are standards of their own, joined by `replaces`."""

    schema_version: Literal[1] = Field(alias="schema")
    standard: Annotated[str, BeforeValidator(_standard_code)]
    title: Text
    valid_from: IsoDate
    valid_from_status: LimitStatus = LimitStatus.SOURCED
    replaces: str | None = None
    source: str
    parts: dict[Identifier, Part] = Field(min_length=1)
    limits: list[LimitRow] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _rows_take_what_is_common(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        parts = data.get("parts")
        rows = data.get("limits")
        if not isinstance(parts, dict) or not isinstance(rows, list):
            return data
        return {**data, "limits": [_completed(row, parts) for row in rows]}

    @model_validator(mode="after")
    def _rows_fit_parts(self) -> Standard:
        for row in self.limits:
            part = self.parts.get(row.part)
            if part is None:
                raise ValueError(f"limit {row.id!r} names the part {row.part!r}, which is not there")
            if row.classes and part.class_of is None:
                raise ValueError(f"limit {row.id!r} has values by class, and part {row.part!r} no class_of")
        for one, other in _pairs(self.limits):
            if (one.part, one.id) == (other.part, other.id) and _overlap(one, other):
                raise ValueError(f"limit {one.id!r} is there twice for the same dates")
        return self

    def rows(self, part: str, on: date) -> list[LimitRow]:
        """The rows of a part that hold on a day of the standard's own life."""
        return [row for row in self.limits if row.part == part and holds(row, on)]


def _completed(row: Any, parts: dict[str, Any]) -> Any:
    part = parts.get(str(row.get("part"))) if isinstance(row, dict) else None
    common = part.get("common") if isinstance(part, dict) else None
    return {**common, **row} if isinstance(common, dict) else row


def holds(limit: LimitBody, on: date) -> bool:
    """Whether the limit's own dates include the day."""
    return (limit.valid_from is None or limit.valid_from <= on) and (limit.valid_to is None or on <= limit.valid_to)


def _pairs(rows: list[LimitRow]) -> list[tuple[LimitRow, LimitRow]]:
    return [(one, other) for index, one in enumerate(rows) for other in rows[:index]]


def _overlap(one: LimitRow, other: LimitRow) -> bool:
    if one.classes and other.classes and not set(one.classes) & set(other.classes):
        return False
    start = max(one.valid_from or date.min, other.valid_from or date.min)
    return start <= min(one.valid_to or date.max, other.valid_to or date.max)


_LONG = (WindowKind.MONTH, WindowKind.SEASON, WindowKind.YEAR)


def window_fits(statistic: Statistic, window: WindowKind) -> bool:
    """Whether a statistic is defined over a window: percentiles are those of daily means, means of months those of
    days, and what is taken from single readings is not taken over more than a day."""
    if statistic in (Statistic.PERCENTILE_95, Statistic.PERCENTILE_98):
        return window in _LONG
    if statistic is Statistic.MEAN:
        return True
    if statistic in (Statistic.SUDDEN_FREQUENT, Statistic.SUDDEN_OCCASIONAL):
        return window is WindowKind.NIGHT
    if statistic is Statistic.ROLLING_8H_MAXIMUM:
        return window is WindowKind.DAY
    return window not in _LONG


class OwnLimit(LimitBody):
    """A limit of the mine's own, from its permit or its EIA, for an outlet or a point (`devices`, `channel`)."""

    id: Identifier
    title: Text | None = None
    basis: Literal["permit", "eia"]
    document: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    outlet: Annotated[str, StringConstraints(min_length=1, max_length=60)] | None = None
    metric: Annotated[str, AfterValidator(_judged)]
    unit: UnitName
    devices: list[Identifier] = Field(min_length=1)
    channel: Channel | None = None
    at_most: Number | None = None
    at_least: Number | None = None
    level: Number | None = None
    methods: list[Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,60}$")]] = Field(default_factory=list)
    status: LimitStatus = LimitStatus.SOURCED
    source: Annotated[str, StringConstraints(min_length=1, max_length=400)] = "the mine's document"

    @model_validator(mode="after")
    def _says_something(self) -> OwnLimit:
        if self.at_most is None and self.at_least is None:
            raise ValueError("give at_most or at_least; a limit without a value limits nothing")
        if self.at_most is not None and self.at_least is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least {self.at_least:g} is over at_most {self.at_most:g}; nothing could meet both")
        if not convertible(self.unit, JUDGED_UNITS[self.metric]):
            raise ValueError(f"{self.metric} cannot be in {self.unit}; its unit is {JUDGED_UNITS[self.metric]}")
        if (self.statistic is Statistic.HOURS_OVER) != (self.level is not None):
            raise ValueError("statistic hours_over counts the hours over `level`; give both, or neither")
        if not window_fits(self.statistic, self.window):
            raise ValueError(f"{self.statistic.value} over a {self.window.value} is not judged; see `policy schema`")
        return self
