"""How the values of a device's maker become ours: a mapping of names and, where a network has no codec, of bytes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from greenmine.core.metric import METRICS
from greenmine.core.unit import convertible
from greenmine.policy.duration import Seconds
from greenmine.policy.section import Channel, MetricName, Number, Section, UnitName, whole_number

SentName = Annotated[str, StringConstraints(min_length=1, max_length=256, strict=True)]
"""A name as the device or its network sends it; that of a nested value is its path with dots."""


class CodecTarget(Section):
    """What a value is: `value * scale + offset`, in `unit` (what the payload says, else as registered)."""

    metric: MetricName
    channel: Channel = ""
    unit: UnitName | None = None
    scale: Number = 1.0
    offset: Number = 0.0

    @model_validator(mode="after")
    def _unit_fits(self) -> CodecTarget:
        if self.unit is not None and not convertible(self.unit, METRICS[self.metric].unit):
            raise ValueError(f"{self.metric} cannot be in {self.unit}; its unit is {METRICS[self.metric].unit}")
        if self.scale == 0:
            raise ValueError("scale 0 would make every value the same; leave the key out for 1")
        return self


class CodecField(CodecTarget):
    """A value that is sent by name."""

    stat: Literal["inst", "avg", "min", "max", "sum"] = "inst"
    period: Seconds = Field(default=0, validate_default=False)

    @model_validator(mode="after")
    def _statistic_has_period(self) -> CodecField:
        if (self.stat == "inst") != (self.period == 0):
            raise ValueError("stat inst goes with period 0s; every other stat needs its period")
        return self


class CodecBytes(CodecTarget):
    """An integer of `length` bytes from byte `at` (the first is 0) of an uplink on `port` (any if left out)."""

    at: Annotated[int, Field(ge=0, le=254), BeforeValidator(whole_number)]
    length: Annotated[Literal[1, 2, 4], BeforeValidator(whole_number)]
    signed: Annotated[bool, Field(strict=True)] = False
    little_endian: Annotated[bool, Field(strict=True)] = False
    port: Annotated[int, Field(ge=0, le=255), BeforeValidator(whole_number)] | None = None


class Codec(Section):
    """The mapping for one kind of device. What is sent under a name that stands nowhere in it is refused, once a
    message; names of ours need no mapping."""

    fields: dict[SentName, CodecField] = Field(default_factory=dict)
    bytes_: list[CodecBytes] = Field(default_factory=list, alias="bytes")
    battery: SentName | None = None
    battery_unit: Literal["V", "mV", "%"] = "V"
    ignore: list[SentName] = Field(default_factory=list)

    @model_validator(mode="after")
    def _names_are_apart(self) -> Codec:
        for name in self.ignore:
            if name in self.fields or name == self.battery:
                raise ValueError(f"{name!r} is mapped and ignored; choose one")
        return self
