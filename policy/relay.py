"""Where a mine's readings are forwarded to, as HJ 212, and under which names."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from greenmine.core.metric import METRICS, SensorKind
from greenmine.core.unit import convertible
from greenmine.policy.duration import Seconds
from greenmine.policy.section import Channel, Identifier, MetricName, SecretRef, Section, UnitName, whole_number

SYSTEM_TYPES: dict[SensorKind, str] = {
    SensorKind.DUST: "22",
    SensorKind.WATER: "21",
    SensorKind.NOISE: "23",
    SensorKind.SOIL: "25",
    SensorKind.WEATHER: "22",
}
"""ST of a station by what its first sensor watches (HJ 212-2017 table 5)."""


class RelayStation(Section):
    """One of our devices as the other platform knows it. Readings of one `channel` are sent, since HJ 212 has no word
    for it. `units` are what the platform expects where that is not the unit of the standard's table."""

    device: Identifier
    channel: Channel = ""
    mn: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_]{1,24}$", strict=True)]
    password: SecretRef
    st: Annotated[str, StringConstraints(pattern=r"^[0-9]{2}$", strict=True)] | None = None
    units: dict[MetricName, UnitName] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _units_fit(self) -> RelayStation:
        for metric, unit in self.units.items():
            if not convertible(unit, METRICS[metric].unit):
                raise ValueError(f"{metric} cannot be in {unit}; its unit is {METRICS[metric].unit}")
        return self


class Relay(Section):
    """The platform. A message that is not answered within `overtime` is sent again, `recount` times in all, and goes on
    waiting; of more than `most_waiting` messages the oldest are dropped."""

    host: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z]([0-9A-Za-z.:-]{0,251}[0-9A-Za-z])?$", strict=True)]
    port: Annotated[int, Field(strict=True, ge=1, le=65535)]
    version: Annotated[Literal[2017, 2025], BeforeValidator(whole_number)] = 2017
    overtime: Seconds = Field(default=10, gt=0, validate_default=False)
    recount: Annotated[int, Field(strict=True, ge=1, le=100)] = 3
    most_waiting: Annotated[int, Field(strict=True, ge=1, le=10_000_000)] = 200_000
    stations: list[RelayStation] = Field(min_length=1)
