"""The shapes of the API's JSON. Times are RFC 3339 in UTC; values stand in the unit that stands beside them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from greenmine.core.account import Account
from greenmine.core.alert import Alert, Transition
from greenmine.core.clock import to_rfc3339
from greenmine.core.fact import FactKind
from greenmine.core.identifier import IDENTIFIER_PATTERN
from greenmine.core.latest import Latest
from greenmine.core.metric import METRICS
from greenmine.core.quality import flag_names
from greenmine.core.reading import Reading
from greenmine.dashboards.panel import Words
from greenmine.policy.model import Policy
from greenmine.web.times import parse_rfc3339
from greenmine.web.wording import reason_text

Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER_PATTERN)]
NOTE_LENGTH = 2000


class Body(BaseModel):
    """Base of what callers send: unknown keys are an error, nothing is coerced."""

    model_config = ConfigDict(extra="forbid", strict=True)


class MineOut(BaseModel):
    """A mine under watch. `state` is the worst of its devices' states and open alerts."""

    id: str
    name: Words
    enterprise: Words
    region: str
    timezone: str
    location: tuple[float, float]
    devices: int
    state: str
    open_alerts: int
    valid_from: str


class ValueOut(BaseModel):
    """The newest value of a series in its canonical unit, and as a person is shown it."""

    mine: str
    device: str
    metric: str
    channel: str
    stat: str
    period_s: int
    time: str
    received: str
    value: float
    unit: str
    quality: list[str]
    calibrated: float | None


class AlertOut(BaseModel):
    """An alert on its two axes. `limit`, `value` (what raised it) and `last_value` stand in `unit`."""

    id: str
    mine: str
    rule: str
    device: str
    channel: str
    kind: str
    severity: str
    condition: str
    handling: str
    raised_at: str
    cleared_at: str | None
    metric: str
    value: float | None
    last_value: float | None
    limit: float | None
    unit: str
    source_time: str | None
    acknowledged_by: str | None
    acknowledged_at: str | None
    notes: int
    transition: int
    open: bool


class TransitionOut(BaseModel):
    """One step of an alert's history, with its reason as a word and in words."""

    alert: str
    no: int
    at: str
    condition: str
    handling: str
    reason: str
    principal: str
    value: float | None
    source_time: str | None
    note: str
    text: Words | None = None


class AlertWithHistory(AlertOut):
    """An alert and all its transitions in order."""

    history: list[TransitionOut]


class ActOut(BaseModel):
    """What became of an act."""

    alert: AlertOut | None
    detail: dict[str, Any]


class CountOut(BaseModel):
    """A number of stored readings."""

    count: int


class AccountOut(BaseModel):
    """The message account, counted in readings, and whether its sum holds."""

    received: int
    stored: int
    pending: int
    quarantined: int
    duplicate: int
    conflict: int
    dead: int
    balanced: bool


class NoteIn(Body):
    """What a person writes with an act."""

    note: Annotated[str, StringConstraints(max_length=NOTE_LENGTH)] = ""

    @field_validator("note")
    @classmethod
    def _printable(cls, note: str) -> str:
        return clean_note(note)


class FactIn(Body):
    """A dated statement. `valid_to` null is open; times are RFC 3339 with an offset."""

    mine: Identifier
    kind: FactKind = Field(strict=False)
    subject: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    valid_from: str
    valid_to: str | None = None
    reason: Annotated[str, StringConstraints(min_length=1, max_length=NOTE_LENGTH)]
    body: dict[str, Any] = Field(default_factory=dict)

    def span_ns(self) -> tuple[int, int | None]:
        """Start and end.

        Raises:
            ValueError: unreadable, or the end is not after the start.
        """
        start_ns = parse_rfc3339(self.valid_from)
        end_ns = None if self.valid_to is None else parse_rfc3339(self.valid_to)
        if end_ns is not None and end_ns <= start_ns:
            raise ValueError("valid_to must be after valid_from")
        return start_ns, end_ns


class ReplayIn(Body):
    """Which dead letters to decode again."""

    ids: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=1_000)]


def clean_note(note: str) -> str:
    """The note without surrounding space.

    Raises:
        ValueError: it has control characters other than line ends and tabs.
    """
    note = note.replace("\r\n", "\n").strip()
    if any((ord(char) < 0x20 and char not in "\n\t") or ord(char) == 0x7F for char in note):
        raise ValueError("control characters are not allowed in a note")
    return note


def value_out(latest: Latest) -> ValueOut:
    """A newest value."""
    return ValueOut(
        **latest.series._asdict(),
        time=to_rfc3339(latest.time_ns),
        received=to_rfc3339(latest.received_ns),
        value=latest.value,
        unit=unit_of(latest.series.metric),
        quality=flag_names(latest.quality),
        calibrated=latest.calibrated,
    )


def alert_out(alert: Alert) -> AlertOut:
    """An alert."""
    return AlertOut(**_alert_fields(alert))


def alert_with_history(alert: Alert, history: list[Transition]) -> AlertWithHistory:
    """An alert and its transitions."""
    return AlertWithHistory(**_alert_fields(alert), history=[transition_out(step, alert) for step in history])


def transition_out(step: Transition, alert: Alert | None = None) -> TransitionOut:
    """A transition; with its alert, also in words."""
    words = None
    if alert is not None:
        words = Words(zh=reason_text("zh", alert, step), en=reason_text("en", alert, step))
    return TransitionOut(
        alert=step.alert_id,
        no=step.no,
        at=to_rfc3339(step.at_ns),
        condition=step.condition.value,
        handling=step.handling.value,
        reason=step.reason.value,
        principal=step.principal,
        value=step.value,
        source_time=_time(step.source_time_ns),
        note=step.note,
        text=words,
    )


def account_out(account: Account) -> AccountOut:
    """The message account."""
    return AccountOut(**account._asdict(), balanced=account.balanced)


def mine_out(policy: Policy, state: str, open_alerts: int) -> MineOut:
    """A mine."""
    info = policy.mine
    return MineOut(
        id=info.id,
        name=Words.of(info.name),
        enterprise=Words.of(info.enterprise),
        region=info.region,
        timezone=info.timezone,
        location=info.location,
        devices=len(policy.devices),
        state=state,
        open_alerts=open_alerts,
        valid_from=policy.valid_from.isoformat(),
    )


def reading_record(reading: Reading) -> dict[str, Any]:
    """A reading with the keys that files of readings have."""
    series = reading.series
    return {
        "time": to_rfc3339(reading.time_ns),
        "mine": series.mine,
        "device": series.device,
        "metric": series.metric,
        "channel": series.channel,
        "stat": series.stat,
        "period_s": series.period_s,
        "value": reading.value,
        "unit": unit_of(series.metric),
        "quality": flag_names(reading.quality),
        "calibrated": reading.calibrated,
    }


def unit_of(metric: str) -> str:
    """The canonical unit; empty for a metric that is not known."""
    known = METRICS.get(metric)
    return known.unit if known else ""


def _alert_fields(alert: Alert) -> dict[str, Any]:
    return {
        **alert.key._asdict(),
        "id": alert.id,
        "kind": alert.kind,
        "severity": alert.severity.value,
        "condition": alert.condition.value,
        "handling": alert.handling.value,
        "raised_at": to_rfc3339(alert.raised_at_ns),
        "cleared_at": _time(alert.cleared_at_ns),
        "metric": alert.metric,
        "value": alert.value,
        "last_value": alert.last_value,
        "limit": alert.limit,
        "unit": alert.unit,
        "source_time": _time(alert.source_time_ns),
        "acknowledged_by": alert.acknowledged_by,
        "acknowledged_at": _time(alert.acknowledged_at_ns),
        "notes": alert.notes,
        "transition": alert.transition,
        "open": alert.is_open,
    }


def _time(time_ns: int | None) -> str | None:
    return None if time_ns is None else to_rfc3339(time_ns)
