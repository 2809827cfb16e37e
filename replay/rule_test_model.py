"""Rule tests as data: what a file of them says."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from greenmine.core.alert import Condition, Severity
from greenmine.core.fact import FactKind
from greenmine.core.verdict import Grade, Outcome, VerdictReason
from greenmine.policy.duration import Seconds
from greenmine.policy.section import Channel, Identifier, IsoDate, Number, Section

Moment = Annotated[str, StringConstraints(min_length=2, max_length=40, strict=True)]
"""RFC 3339 with an offset, a local day as 2026-05-01, or a duration after the test's start as 30m."""
SeriesName = Annotated[
    str,
    StringConstraints(pattern=r"^([a-z0-9-]+:)?[a-z0-9-]+/[a-z0-9_]+(@[a-z0-9-]+)?( (avg|min|max|sum) [0-9]+[smhd])?$"),
]
"""`dust-1/pm10`, `soil-1/soil_moisture@d20`, `dust-1/pm10 avg 1h`; of another mine `shifan-2:dust-1/pm10`."""


class SeriesGiven(Section):
    """Readings of a series where a text alone is not enough: from a later moment, in another step, or with flags."""

    values: Annotated[str, StringConstraints(min_length=1)]
    after: Seconds = Field(default=0, validate_default=False)
    interval: Seconds | None = Field(default=None, gt=0)
    flags: list[str] = Field(default_factory=list)


class FactGiven(Section):
    """A fact that is known."""

    kind: FactKind
    subject: str = ""
    since: Moment = Field(alias="from")
    until: Moment | None = Field(default=None, alias="to")
    reason: str = "rule test"
    body: dict[str, Any] = Field(default_factory=dict)


class ExpectedVerdict(Section):
    """A verdict that has to come out. `value` is the rounded one; `unrounded` has to agree to the digits that are
    given; of `detail` what is named."""

    limit: str
    subject: str
    window: Moment
    outcome: Outcome
    reason: VerdictReason | None = None
    grade: Grade | None = None
    value: Number | None = None
    limit_value: Number | None = None
    unrounded: Number | None = None
    validity: Number | None = None
    highest: bool = False
    detail: dict[str, Any] = Field(default_factory=dict)


class ExpectedCount(Section):
    """How many verdicts of a limit have these outcomes."""

    limit: str
    subject: str
    outcome: list[Outcome] | Outcome
    count: Annotated[int, Field(strict=True, ge=0)]


class OpenAlert(Section):
    """An alert that is there."""

    rule: Identifier
    device: Identifier
    channel: Channel = ""
    condition: Condition = Condition.FIRING
    severity: Severity | None = None


class ExpectedAlerts(Section):
    """All alerts that are not cleared at a moment; an empty list says that there are none."""

    at: Moment
    alerts: list[OpenAlert]


class DataGiven(Section):
    """Real files instead of series: a folder under the one that the command is given, read by the mappings that come
    with greenmine; the policy is that of the mapping, with these standards."""

    folder: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]*$")]
    standards: list[str] = Field(min_length=1)
    air_grade: Literal[1, 2] | None = None
    noise_class: Literal[0, 1, 2, 3, 4] | None = None


class RuleTest(Section):
    """One test."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    start: Moment | None = None
    interval: Seconds = Field(default=60, gt=0, validate_default=False)
    as_if: IsoDate | None = None
    series: dict[SeriesName, SeriesGiven | str] = Field(default_factory=dict)
    data: DataGiven | None = None
    facts: list[FactGiven] = Field(default_factory=list)
    verdicts: list[ExpectedVerdict] = Field(default_factory=list)
    counts: list[ExpectedCount] = Field(default_factory=list)
    alerts: list[ExpectedAlerts] = Field(default_factory=list)

    @model_validator(mode="after")
    def _says_something(self) -> RuleTest:
        if not (self.verdicts or self.counts or self.alerts):
            raise ValueError("expects nothing; give verdicts, counts or alerts")
        if (self.data is None) == (not self.series):
            raise ValueError("give either series or data")
        if self.series and self.start is None:
            raise ValueError("series need a start, as 2026-05-01T00:00:00+08:00")
        return self


class RuleTestFile(Section):
    """A file of tests. `policy` is the path of a policy beside the file, or a policy written out; its `mine` and
    `valid_from` may be left out."""

    schema_version: Literal[1] = Field(alias="schema")
    policy: str | dict[str, Any] | None = None
    tests: list[RuleTest] = Field(min_length=1)
