"""What judging some batches changes; written in one transaction, then told to those who listen."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from greenmine.core.account import Account, HourKey
from greenmine.core.act import ActResult
from greenmine.core.activity import Activity, ActivityInterval
from greenmine.core.alert import Alert, Transition
from greenmine.core.downlink import Downlink
from greenmine.core.errors import GreenmineError
from greenmine.core.fact import Fact
from greenmine.core.gap import Gap, Sequence, Stream
from greenmine.core.latest import Change
from greenmine.core.notice import Notice
from greenmine.core.reading import Reading, Series
from greenmine.core.relay import RelayFrame
from greenmine.core.waiting import WaitingDevice, WaitingKey
from greenmine.ingest.hj212_packets import Assembly, Joined, PacketKey
from greenmine.pipeline.identities import Recent
from greenmine.pipeline.sparkplug_session import EdgeNode
from greenmine.rules.conditions import ConditionState
from greenmine.rules.window import Window
from greenmine.store.audit import AuditEntry
from greenmine.store.columns import Columns
from greenmine.store.hours import ReasonKey


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
    recent: Recent = field(default_factory=Recent)
    floor: float = -math.inf
    ceiling: float = math.inf
    """Between these a value breaks no level of the series' rules, so that nothing begins with it."""
    active: int = 0
    """How many of its conditions are not inactive."""
    loud_until_ns: int = 0
    """Up to this source time a window may hold a value that is not between `floor` and `ceiling`."""
    unsaved: bool = False
    """The row of this series is older than this."""

    def is_quiet(self, time_ns: int, value: float) -> bool:
        """Whether a usable value at this time cannot change any condition of the series, whatever the rules' windows
        hold: all values in them, and so their means, are between `floor` and `ceiling`."""
        if not self.floor <= value <= self.ceiling:
            self.loud_until_ns = time_ns + (0 if self.window is None else self.window.span_ns)
            return False
        return not self.active and time_ns >= self.loud_until_ns


class Chunk(NamedTuple):
    """Identities of a series, packed."""

    series_id: int
    first_ns: int
    last_ns: int
    blob: bytes


class DeadLetter(NamedTuple):
    """A refused message or item; its payload stays in the journal under `record_id`. `mine` and `device` are those in
    whose account it stands; `size` is the payload's (bytes) on the first letter of a message, 0 on the others."""

    at_ns: int
    record_id: int
    source: str
    client: str
    word: str
    field: str
    detail: str
    mine: str
    device: str
    size: int


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


class StaleSpan(NamedTuple):
    """Stored readings whose calibrated value has to be computed anew: of a device, or of one metric of it.
    `end_ns` None is open."""

    mine: str
    device: str
    metric: str | None
    start_ns: int
    end_ns: int | None


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


class Forget(NamedTuple):
    """Identities before a time are needed no more; of some series, by number, only those before an earlier one."""

    clock_ns: int
    before_ns: int
    but: dict[int, int]


@dataclass(slots=True)
class Effects:
    """Everything of one commit, in the order in which it happened."""

    cursor: int
    before: int = 0
    """The cursor before this commit."""
    clock_ns: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Account._fields, 0))
    hours: Counter[tuple[HourKey, str]] = field(default_factory=Counter)
    """What is added to the accounts of devices and hours (`store.hours`), but for what stands in `store`."""
    reasons: Counter[ReasonKey] = field(default_factory=Counter)
    store: Columns = field(default_factory=Columns)
    not_stored: Columns = field(default_factory=Columns)
    store_after_check: list[Reading] = field(default_factory=list)
    store_replayed: list[Reading] = field(default_factory=list)
    latest: dict[int, SeriesState] = field(default_factory=dict)
    new_series: dict[Series, SeriesState] = field(default_factory=dict)
    saved_series: list[SeriesState] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    log_done: int | None = None
    forget: Forget | None = None
    conflicts: list[ConflictRow] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    replayed_records: list[int] = field(default_factory=list)
    conditions: dict[tuple[str, str, int], ConditionState | None] = field(default_factory=dict)
    alerts: dict[str, Alert] = field(default_factory=dict)
    transitions: list[Transition] = field(default_factory=list)
    notices: dict[str, NoticeState] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    waiting: dict[WaitingKey, WaitingDevice | None] = field(default_factory=dict)
    muted: dict[WaitingKey, tuple[int, str] | None] = field(default_factory=dict)
    waiting_evicted: int | None = None
    recalibrations: list[StaleSpan] = field(default_factory=list)
    downlinks: list[Downlink] = field(default_factory=list)
    downlinks_taken: int = 0
    downlink_states: dict[str, DownlinkState] = field(default_factory=dict)
    activities: dict[tuple[str, str, str, str, str, int], ActivityRow] = field(default_factory=dict)
    activity_intervals: dict[int, tuple[ActivityInterval, bool]] = field(default_factory=dict)
    sequences: dict[Stream, Sequence] = field(default_factory=dict)
    """Those of which the whole row is written; of the others only how far they are, to a log."""
    advanced: dict[int, Sequence] = field(default_factory=dict)
    gaps: dict[str, Gap | None] = field(default_factory=dict)
    edge_nodes: dict[str, EdgeNode] = field(default_factory=dict)
    hj212_packets: dict[PacketKey, Assembly | None] = field(default_factory=dict)
    hj212_joined: dict[int, Joined] = field(default_factory=dict)
    relay: list[RelayFrame] = field(default_factory=list)
    relay_qn_ms: dict[tuple[str, str], int] = field(default_factory=dict)
    relay_upto: int = 0
    """Readings of `store` up to this place have been looked at for other platforms."""
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

    def end_run(self, received_ns: int, clock_ns: int) -> None:
        """A batch has been judged: its readings came at this time."""
        self.store.end_run(received_ns, clock_ns)
        self.not_stored.end_run(received_ns, clock_ns)

    def count(self, **delta: int) -> None:
        """Add to the message account."""
        for name, number in delta.items():
            self.counts[name] += number
