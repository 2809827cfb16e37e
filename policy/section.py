"""What all sections of a policy are made of: strict numbers, names of the vocabulary, and the base of every section."""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from greenmine.core.identifier import IDENTIFIER_PATTERN
from greenmine.core.metric import METRICS
from greenmine.core.unit import is_unit

Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER_PATTERN, strict=True)]
SecretRef = Annotated[str, StringConstraints(pattern=r"^secret:[A-Za-z0-9_.-]{1,64}$", strict=True)]
Channel = Annotated[str, StringConstraints(pattern=r"^([a-z0-9][a-z0-9-]{0,62})?$", strict=True)]


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def _known_metric(name: str) -> str:
    if name not in METRICS:
        raise ValueError(f"unknown metric {name!r}; known are: {', '.join(METRICS)}")
    return name


def _known_unit(unit: str) -> str:
    if not is_unit(unit):
        raise ValueError(f"unknown unit {unit!r}")
    return unit


def whole_number(value: Any) -> Any:
    """A validator: true and 1.0 are equal to 1 in Python, and so pass as the literal 1."""
    if type(value) is not int:
        raise ValueError("must be a whole number without quotes")
    return value


Number = Annotated[float, Field(strict=True), AfterValidator(_finite)]
MetricName = Annotated[str, Field(strict=True), AfterValidator(_known_metric)]
UnitName = Annotated[str, Field(strict=True), AfterValidator(_known_unit)]


def _iso_date(value: Any) -> Any:
    # pydantic alone also takes seconds since the epoch and times of day.
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value, re.ASCII):
        raise ValueError(f"{value!r} is not a date; write it as 2026-01-01")
    if not isinstance(value, str | date) or isinstance(value, datetime):
        raise ValueError("write a date as 2026-01-01")
    return value


IsoDate = Annotated[date, BeforeValidator(_iso_date)]


class Section(BaseModel):
    """Base of all parts: immutable, and unknown keys are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Text(Section):
    """The same words in Chinese and English."""

    zh: Annotated[str, StringConstraints(min_length=1, max_length=200, strict=True)]
    en: Annotated[str, StringConstraints(min_length=1, max_length=200, strict=True)]

    def in_language(self, language: str) -> str:
        """`zh` or `en`; anything else is given English."""
        return self.zh if language == "zh" else self.en
