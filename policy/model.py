"""The typed policy: one mine, one policy. Every section is declared; unknown keys are refused.

The models check what can be seen inside one value or one section; `policy.check` sees across sections and
`policy.load` turns every finding into a problem with file, line and field.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from greenmine.core.activity import ActivityKind
from greenmine.core.alert import Severity
from greenmine.core.metric import METRICS, SensorKind
from greenmine.core.quality import UNUSABLE_FOR_CONDITIONS, flag_names
from greenmine.core.reading import Series
from greenmine.core.unit import convertible
from greenmine.policy.codec import Codec
from greenmine.policy.duration import Seconds
from greenmine.policy.hj212 import Hj212Settings
from greenmine.policy.judging import ChosenStandard, SoilConstants, VerdictSettings
from greenmine.policy.limit import OwnLimit
from greenmine.policy.relay import Relay
from greenmine.policy.section import Channel as Channel
from greenmine.policy.section import Identifier as Identifier
from greenmine.policy.section import IsoDate as IsoDate
from greenmine.policy.section import MetricName as MetricName
from greenmine.policy.section import Number as Number
from greenmine.policy.section import SecretRef as SecretRef
from greenmine.policy.section import Section as Section
from greenmine.policy.section import Text as Text
from greenmine.policy.section import UnitName as UnitName
from greenmine.policy.section import whole_number


@cache
def _zones() -> frozenset[str]:
    # Asking walks the whole database of time zones on disk, which takes longer than reading a policy.
    return frozenset(available_timezones())


def _known_zone(zone: str) -> str:
    if zone not in _zones():
        raise ValueError(f"unknown time zone {zone!r}; use an IANA name such as Asia/Shanghai")
    return zone


Longitude = Annotated[Number, Field(ge=-180, le=180)]
Latitude = Annotated[Number, Field(ge=-90, le=90)]
Position = tuple[Longitude, Latitude]
"""Longitude and latitude in degrees, WGS 84."""


class MineInfo(Section):
    """The mine itself."""

    id: Identifier
    name: Text
    enterprise: Text
    region: Annotated[str, StringConstraints(pattern=r"^[0-9]{6}$", strict=True)]
    timezone: Annotated[str, Field(strict=True), AfterValidator(_known_zone)]
    location: Position
    noise_class: Annotated[Literal[0, 1, 2, 3, 4], BeforeValidator(whole_number)]
    air_grade: Annotated[Literal[1, 2], BeforeValidator(whole_number)]
    permit: Annotated[str, StringConstraints(max_length=64, strict=True)] | None = None

    @property
    def zone(self) -> ZoneInfo:
        """The mine's time zone."""
        return ZoneInfo(self.timezone)


class MetricSetting(Section):
    """How a sensor reports one metric."""

    unit: UnitName
    interval: Seconds = Field(gt=0)
    stat: Literal["inst", "avg", "min", "max", "sum"] = "inst"
    period: Seconds = Field(default=0, validate_default=False)
    sentinels: list[Number] = Field(default_factory=list, max_length=16)

    @model_validator(mode="after")
    def _statistic_has_period(self) -> MetricSetting:
        if (self.stat == "inst") != (self.period == 0):
            raise ValueError("stat inst goes with period 0s; every other stat needs its period")
        return self


class Sensor(Section):
    """A sensor of a device; `principle` decides whether its readings are evidence or a lead."""

    kind: SensorKind
    principle: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]{0,62}$", strict=True)]
    channel: Channel = ""
    metrics: dict[MetricName, MetricSetting] = Field(min_length=1)
    soil: SoilConstants | None = None

    @model_validator(mode="after")
    def _metrics_fit_kind(self) -> Sensor:
        for name, setting in self.metrics.items():
            metric = METRICS[name]
            if metric.kind is not self.kind:
                raise ValueError(f"{name} is a metric of {metric.kind.value} sensors, not of {self.kind.value}")
            if not convertible(setting.unit, metric.unit):
                raise ValueError(f"{name} cannot be in {setting.unit}; its unit is {metric.unit}")
        if self.soil is not None and self.kind is not SensorKind.SOIL:
            raise ValueError(f"soil holds the constants of a soil sensor, not of a {self.kind.value} sensor")
        return self


class Address(Section):
    """How another network names the device."""

    dev_eui: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{16}$", strict=True)] | None = None
    mn: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_]{1,24}$", strict=True)] | None = None
    edge: Annotated[str, StringConstraints(pattern=r"^[^/+#]{1,64}(/[^/+#]{1,64}){1,2}$", strict=True)] | None = None


class Device(Section):
    """A device that publishes, with its sensors. `gateway` names the device that speaks for it, `codec` how its values
    become ours where it does not speak our own format."""

    id: Identifier
    name: Text | None = None
    address: Address | None = None
    codec: Identifier | None = None
    hj212: Hj212Settings | None = None
    gateway: Identifier | None = None
    position: Position | None = None
    sensors: list[Sensor] = Field(default_factory=list)

    @model_validator(mode="after")
    def _station_has_mn(self) -> Device:
        if self.hj212 is not None and (self.address is None or self.address.mn is None):
            raise ValueError("hj212 is of a station with an MN; give address: {mn: ...}")
        return self


class RuleBase(Section):
    """What all rules have. Without `devices` a rule holds for every device of the mine that reports the metric."""

    id: Identifier
    title: Text | None = None
    severity: Severity
    devices: list[Identifier] | None = Field(default=None, min_length=1)
    channel: Channel | None = None
    tell: list[Identifier] | None = Field(default=None, min_length=1)
    advice: Text | None = None


class LimitRule(RuleBase):
    """A metric beyond a level, with a clear level of its own (hysteresis) and hold times on the journal's clock.

    `raise` and `clear` are in `unit` (the metric's canonical unit if left out). `direction: above` needs
    clear < raise, `below` needs clear > raise.

    With `during` only readings whose source time lies in an open or declared interval of one of these kinds (widened
    by `activity_margin`) are judged, with `not_during` only those outside; of a mean the whole window has to be
    outside. What is known when a reading comes decides. A reading that is passed over changes nothing: it neither
    clears a firing condition nor raises one, and a hold that runs goes on.
    """

    metric: MetricName
    direction: Literal["above", "below"] = "above"
    raise_level: Number = Field(alias="raise")
    clear: Number
    unit: UnitName | None = None
    hold: Seconds = Field(default=0, validate_default=False)
    clear_hold: Seconds = Field(default=0, validate_default=False)
    during: list[ActivityKind] | None = Field(default=None, min_length=1)
    not_during: list[ActivityKind] | None = Field(default=None, min_length=1)
    activity_margin: Seconds = Field(default=0, le=86_400, validate_default=False)

    @model_validator(mode="after")
    def _activity_is_asked_once(self) -> LimitRule:
        both = set(self.during or ()) & set(self.not_during or ())
        if both:
            raise ValueError(f"{min(both).value} stands in during and in not_during; no reading could be judged")
        if self.activity_margin and not (self.during or self.not_during):
            raise ValueError("activity_margin widens during or not_during; name one, or leave it out")
        return self

    @model_validator(mode="after")
    def _levels_are_apart(self) -> LimitRule:
        if self.direction == "above" and not self.clear < self.raise_level:
            raise ValueError(f"clear {self.clear:g} must be below raise {self.raise_level:g} for direction above")
        if self.direction == "below" and not self.clear > self.raise_level:
            raise ValueError(f"clear {self.clear:g} must be above raise {self.raise_level:g} for direction below")
        if self.unit is not None and not convertible(self.unit, METRICS[self.metric].unit):
            raise ValueError(f"{self.metric} cannot be in {self.unit}; its unit is {METRICS[self.metric].unit}")
        return self


class ThresholdRule(LimitRule):
    """Judges each usable reading."""

    kind: Literal["threshold"]


class MeanRule(LimitRule):
    """Judges the mean over the last `window` of source time, once `coverage` of the due readings are there.

    `statistic: energy` is the level mean 10 lg(mean(10^(L/10))) of sound levels (Leq); it is the default for them.
    """

    kind: Literal["mean"]
    window: Seconds = Field(gt=0)
    statistic: Literal["arithmetic", "energy"] | None = None
    coverage: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.75

    @property
    def energy(self) -> bool:
        """Whether the energy mean is taken."""
        if self.statistic is None:
            return METRICS[self.metric].energy_mean
        return self.statistic == "energy"


class AbsenceRule(RuleBase):
    """No usable reading of a series for `after`, or for `intervals` of its reporting interval."""

    kind: Literal["absence"]
    metric: MetricName | None = None
    after: Seconds | None = Field(default=None, gt=0)
    intervals: Annotated[int, Field(strict=True, ge=2, le=100)] | None = None

    @model_validator(mode="after")
    def _one_measure(self) -> AbsenceRule:
        if (self.after is None) == (self.intervals is None):
            raise ValueError("give either after or intervals")
        return self


Rule = Annotated[ThresholdRule | MeanRule | AbsenceRule, Field(discriminator="kind")]


class ConsoleChannel(Section):
    """Notices on the service's own log and on `greenmine demo`'s screen."""

    kind: Literal["console"]


class EmailChannel(Section):
    """Notices by e-mail; the server is part of the service's settings."""

    kind: Literal["email"]
    to: Annotated[str, StringConstraints(pattern=r"^[^@\s,;<>\x00-\x1f]+@[^@\s,;<>\x00-\x1f]+$", max_length=254)]


class WebhookChannel(Section):
    """Notices by HTTPS POST with an idempotency key; the URL is a secret."""

    kind: Literal["webhook"]
    url: SecretRef


ContactChannel = Annotated[ConsoleChannel | EmailChannel | WebhookChannel, Field(discriminator="kind")]


class Contact(Section):
    """Somebody who is told. `level` is where he stands in the chain of escalation."""

    id: Identifier
    name: Text
    level: Literal["enterprise", "county", "city"] = "enterprise"
    language: Literal["zh", "en"] = "zh"
    min_severity: Severity = Severity.NOTICE
    channels: list[ContactChannel] = Field(min_length=1)


class QualitySettings(Section):
    """Which flags take a reading out of conditions, how far a device's clock may be ahead, and which numbers stand for
    "no value" with every sensor of the mine."""

    unusable: list[str] = Field(default_factory=lambda: flag_names(UNUSABLE_FOR_CONDITIONS))
    max_ahead: Seconds = Field(default=300, validate_default=False)
    lateness: Seconds = Field(default=300, validate_default=False)
    sentinels: list[Number] = Field(default_factory=list, max_length=16)


class ActivitySettings(Section):
    """How long the activities of the mine can go on."""

    longest: dict[ActivityKind, Seconds] = Field(default_factory=dict)


class GrafanaSettings(Section):
    """Filled by the dashboards' issue; declared so that a policy can already name the folder."""

    folder: Text | None = None


class Ladder(Section):
    """Escalation steps; filled by the alerting issue."""

    id: Identifier
    steps: list[dict[str, Any]] = Field(default_factory=list)


class Tarp(Section):
    """Trigger, action, response plan; filled by the alerting issue."""

    id: Identifier
    levels: list[dict[str, Any]] = Field(default_factory=list)


class Policy(Section):
    """One mine's policy, with what its region gave merged in."""

    schema_version: Literal[1] = Field(alias="schema")
    extends: str | None = None
    mine: MineInfo
    valid_from: IsoDate
    devices: list[Device] = Field(default_factory=list)
    codecs: dict[Identifier, Codec] = Field(default_factory=dict)
    standards: list[ChosenStandard] = Field(default_factory=list)
    limits: list[OwnLimit] = Field(default_factory=list)
    verdicts: VerdictSettings = Field(default_factory=VerdictSettings)
    rules: list[Rule] = Field(default_factory=list)
    quality: QualitySettings = Field(default_factory=QualitySettings)
    activity: ActivitySettings = Field(default_factory=ActivitySettings)
    contacts: list[Contact] = Field(default_factory=list)
    ladders: list[Ladder] = Field(default_factory=list)
    tarps: list[Tarp] = Field(default_factory=list)
    templates: dict[Identifier, Text] = Field(default_factory=dict)
    models: dict[Identifier, dict[str, Any]] = Field(default_factory=dict)
    grafana: GrafanaSettings = Field(default_factory=GrafanaSettings)
    relay: Relay | None = None
    plan: dict[str, Any] = Field(default_factory=dict)

    def device(self, device_id: str) -> Device | None:
        """The device with this id, or None."""
        return next((d for d in self.devices if d.id == device_id), None)

    def series(self) -> dict[Series, MetricSetting]:
        """Every series that the registered sensors report, with its settings, the mine's sentinels among its own."""
        return {
            Series(self.mine.id, device.id, metric, sensor.channel, setting.stat, setting.period): self._complete(
                setting
            )
            for device in self.devices
            for sensor in device.sensors
            for metric, setting in sensor.metrics.items()
        }

    def _complete(self, setting: MetricSetting) -> MetricSetting:
        general = self.quality.sentinels
        return setting.model_copy(update={"sentinels": [*setting.sentinels, *general]}) if general else setting
