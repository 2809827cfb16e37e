"""What judging some batches changes; written in one transaction, then told to those who listen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from greenmine.core.account import Account
from greenmine.core.act import ActResult
from greenmine.core.activity import Activity, ActivityInterval
from greenmine.core.alert import Alert, Transition
from greenmine.core.downlink import Downlink
from greenmine.core.errors import GreenmineError
from greenmine.core.fact import Fact
from greenmine.core.gap import Gap, Stream
from greenmine.core.latest import Change
from greenmine.core.notice import Notice
from greenmine.core.reading import Reading, Series
from greenmine.rules.conditions import ConditionState
from greenmine.rules.window import Window
from greenmine.store.audit import AuditEntry


@dataclass(slots=True)
class SeriesState:
    """What the pipeline knows of a series. `usable_clock_ns` is when (journal's clock) a usable reading last came."""

    id: int
    series: Series
    newest_ns: int
    value: float
    quality: int
    received_ns: int
    usable_clock_ns: int | None
    window: Window | None = None


@dataclass(slots=True)
class SequenceState:
    """Where a stream's numbers stand: the boot, the one before it, the highest number and its source time, and when
    (journal's clock) a reset was last noted. `missing` are its open gaps by id, oldest first."""

    boot: str
    former_boot: str
    highest: int
    highest_ns: int
    reset_ns: int | None
    missing: dict[str, Gap] = field(default_factory=dict)


class Identity(NamedTuple):
    """A reading as the index of identities has it. `judged`: it was shown to conditions (or would have been, were it
    usable)."""

    value: float
    quality: int
    judged: bool


class DeadLetter(NamedTuple):
    """A refused message or item; its payload stays in the journal under `record_id`."""

    at_ns: int
    record_id: int
    source: str
    client: str
    word: str
    detail: str


class Quarantined(NamedTuple):
    """A reading kept apart, and why."""

    at_ns: int
    record_id: int
    reading: Reading
    reason: str


class ConflictRow(NamedTuple):
    """A second value for a reading that is already there."""

    at_ns: int
    record_id: int
    reading: Reading
    kept: float


class NoticeState(NamedTuple):
    """Where a notice stands. `next_ns` and all other times on the journal's clock."""

    notice: Notice
    state: str
    attempts: int
    created_ns: int
    next_ns: int
    first_attempt_ns: int | None
    ended_ns: int | None
    detail: str


class DownlinkState(NamedTuple):
    """Where a message to a device stands: `pending`, `sent`, `expired` or `refused`. Times on the journal's clock."""

    downlink: Downlink
    state: str
    attempts: int
    next_ns: int
    ended_ns: int | None
    detail: str


class ActivityRow(NamedTuple):
    """A report of activity, when it was taken (journal's clock), and the journal's record of it."""

    activity: Activity
    at_ns: int
    record_id: int


class PolicyActivation(NamedTuple):
    """A policy that became active (or, with `canonical` empty, a mine that left)."""

    mine: str
    hash: str
    at_ns: int
    principal: str
    canonical: str


class KeptResult(NamedTuple):
    """The answer to an act with an idempotency key."""

    principal: str
    idempotency_key: str
    body_hash: str
    at_ns: int
    alert_id: str
    detail: dict[str, Any]


@dataclass(slots=True)
class Effects:
    """Everything of one commit, in the order in which it happened."""

    cursor: int
    clock_ns: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Account._fields, 0))
    store: list[Reading] = field(default_factory=list)
    store_after_check: list[Reading] = field(default_factory=list)
    store_replayed: list[Reading] = field(default_factory=list)
    series: dict[Series, SeriesState] = field(default_factory=dict)
    new_series: dict[Series, SeriesState] = field(default_factory=dict)
    seen: dict[tuple[int, int], Identity] = field(default_factory=dict)
    forget_before_ns: dict[int, int] = field(default_factory=dict)
    pruned_ns: int | None = None
    conflicts: list[ConflictRow] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    replayed_records: list[int] = field(default_factory=list)
    conditions: dict[tuple[str, str, int], ConditionState | None] = field(default_factory=dict)
    alerts: dict[str, Alert] = field(default_factory=dict)
    transitions: list[Transition] = field(default_factory=list)
    notices: dict[str, NoticeState] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    downlinks: list[Downlink] = field(default_factory=list)
    downlinks_taken: int = 0
    downlink_states: dict[str, DownlinkState] = field(default_factory=dict)
    activities: dict[tuple[str, str, str, str, str, int], ActivityRow] = field(default_factory=dict)
    activity_intervals: dict[int, tuple[ActivityInterval, bool]] = field(default_factory=dict)
    sequences: dict[Stream, SequenceState] = field(default_factory=dict)
    gaps: dict[str, Gap | None] = field(default_factory=dict)
    policies: list[PolicyActivation] = field(default_factory=list)
    kept_results: list[KeptResult] = field(default_factory=list)
    listening_since_ns: int | None = None
    link_down_since_ns: int | None = None
    link_changed: bool = False
    audit: list[AuditEntry] = field(default_factory=list)
    results: dict[str, ActResult | GreenmineError] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)

    @property
    def account(self) -> Account:
        """What this adds to the message account."""
        return Account(**self.counts)

    def forget(self, before_ns: dict[int, int], clock_ns: int) -> None:
        """Drop identities before these times, by series id, of earlier commits and of this one so far. What this one
        adds later stays, so that it does not matter which batches are committed together."""
        self.pruned_ns = clock_ns
        self.forget_before_ns |= before_ns
        for series_id, time_ns in [one for one in self.seen if one[1] < before_ns.get(one[0], 0)]:
            del self.seen[series_id, time_ns]

    def count(self, **delta: int) -> None:
        """Add to the message account."""
        for name, number in delta.items():
            self.counts[name] += number
