"""The pipeline's memory between commits; rebuilt from the relational state at start, to the same content."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from greenmine.core.account import HourKey
from greenmine.core.activity import Activity, ActivityInterval
from greenmine.core.alert import DISK_RULE, LINK_RULE, STORE_RULE, Alert, AlertKey, Condition
from greenmine.core.fact import Fact
from greenmine.core.gap import Sequence, Stream
from greenmine.core.quality import Quality, from_names
from greenmine.core.reading import Series
from greenmine.core.waiting import WaitingDevice, WaitingKey
from greenmine.ingest.backlog import Aside
from greenmine.ingest.device_facts import DeviceFacts
from greenmine.ingest.hj212_packets import Assembly, PacketKey
from greenmine.ingest.record import Batch, StoredRecord
from greenmine.ingest.registry import Registry
from greenmine.pipeline.effects import DownlinkState, KeptResult, NoticeState, SeriesState
from greenmine.pipeline.sparkplug_session import EdgeNode
from greenmine.policy.model import Policy
from greenmine.rules.binding import Binding, bind, by_series, quiet_band
from greenmine.rules.conditions import ConditionState
from greenmine.rules.window import Window
from greenmine.store.columns import Odd

IDENTITY_SPAN_NS = 72 * 3600 * 1_000_000_000
"""How long identities are kept for comparison; for older readings the store itself is asked."""


class Past(Protocol):
    """What was committed before, looked up on demand by the judging thread."""

    def value_of(self, series_id: int, time_ns: int) -> float | None:
        """Value of a reading, if a chunk of identities has it."""
        ...

    def samples(self, series_id: int, after_ns: int) -> list[tuple[int, float, Odd]]:
        """Time, value and what is odd of a series' readings after a time, as far as they are in chunks."""
        ...

    def batches(self, first_no: int, last_no: int) -> Iterator[Batch]:
        """Batches of the journal, from one to another, as far as they are still there."""
        ...

    def alert(self, alert_id: str) -> Alert | None:
        """Any alert, open or not."""
        ...

    def has_activity(self, activity: Activity) -> bool:
        """Whether this report of activity was taken before."""
        ...

    def kept_result(self, principal: str, idempotency_key: str) -> KeptResult | None:
        """The answer already given to an act."""
        ...

    def quarantined(self, record_id: int) -> set[tuple[Series, int]]:
        """Series and source times of the readings of a journal record that were quarantined."""
        ...

    def dead_of_address(self, network: str, address: str, most: int) -> list[int]:
        """Journal records with dead letters of an address that was unknown, not yet replayed; the newest `most`."""
        ...

    def dead_letters(self, record_ids: list[int]) -> list[tuple[StoredRecord, list[HourKey]]]:
        """These journal records, as far as they have dead letters not yet replayed; of each of these in whose account
        it stands, and when it was refused."""
        ...

    def joined_records(self, record_id: int) -> list[StoredRecord]:
        """The journal records whose packets this one completed, itself included, as far as they are still there."""
        ...


@dataclass(slots=True)
class JudgeState:
    """Everything that a decision depends on besides the batch at hand."""

    policies: dict[str, Policy] = field(default_factory=dict)
    policy_hashes: dict[str, str] = field(default_factory=dict)
    expected_since_ns: dict[str, int] = field(default_factory=dict)
    series: dict[Series, SeriesState] = field(default_factory=dict)
    conditions: dict[tuple[str, str, Series], ConditionState] = field(default_factory=dict)
    firing: dict[AlertKey, set[Series]] = field(default_factory=dict)
    stale: dict[AlertKey, set[Series]] = field(default_factory=dict)
    alerts: dict[AlertKey, Alert] = field(default_factory=dict)
    keys_by_id: dict[str, AlertKey] = field(default_factory=dict)
    link_alerts: set[AlertKey] = field(default_factory=set)
    disk_alerts: set[AlertKey] = field(default_factory=set)
    store_alerts: set[AlertKey] = field(default_factory=set)
    notices: dict[str, NoticeState] = field(default_factory=dict)
    downlinks: dict[str, DownlinkState] = field(default_factory=dict)
    activities: dict[str, dict[int, ActivityInterval]] = field(default_factory=dict)
    sequences: dict[Stream, Sequence] = field(default_factory=dict)
    gapped: set[Stream] = field(default_factory=set)
    clock_ns: int = 0
    listening_since_ns: int = 0
    link_down_since_ns: int | None = None
    next_series_id: int = 1
    next_fact_id: int = 1
    next_activity_id: int = 1
    next_sequence_id: int = 1
    alerts_raised: int = 0
    pruned_ns: int = 0
    registry: Registry = field(default_factory=lambda: Registry.of([]))
    bindings: Mapping[Series, list[Binding]] = field(default_factory=dict)
    unusable: dict[str, int] = field(default_factory=dict)
    devices: DeviceFacts = field(default_factory=DeviceFacts)
    waiting: dict[WaitingKey, WaitingDevice] = field(default_factory=dict)
    """In the order of the journal's records in which they were heard last."""
    muted: set[WaitingKey] = field(default_factory=set)
    waiting_evicted: int = 0
    absences: list[tuple[int, Series, int]] = field(default_factory=list)
    """A heap of when to look again whether a series is silent: journal's clock, series, place among its bindings."""
    uncounted: Counter[HourKey] = field(default_factory=Counter)
    """Readings in the log of identities that no row of `device_hour` has yet."""
    generation: int = 0
    """How often policies and facts changed: what was derived from them before is out of date."""
    edge_nodes: dict[str, EdgeNode] = field(default_factory=dict)
    hj212_packets: dict[PacketKey, Assembly] = field(default_factory=dict)
    aside: tuple[Aside, ...] = ()
    """Ranges of the journal whose messages wait until there is time for them, the oldest first."""
    is_draining: bool = False
    """The message at hand has waited: what its device said since may have been judged already."""
    relay_qn_ms: dict[tuple[str, str], int] = field(default_factory=dict)
    """The newest QN of each station (mine and MN) that is forwarded, in ms; no QN is used twice."""

    def set_policies(self, policies: dict[str, Policy], past: Past) -> None:
        """Make these the active policies and derive what is looked up per reading.

        Windows are built anew from the identities (in chunks and in memory), so that a pipeline that ran on and one
        that was restarted hold the same values.
        """
        self.policies = policies
        ordered = [policies[mine] for mine in sorted(policies)]
        self.registry = Registry.of(ordered, self.devices.approvals)
        self.bindings = by_series(binding for policy in ordered for binding in bind(policy))
        self.unusable = {p.mine.id: int(from_names(p.quality.unusable)) for p in ordered}
        self.absences = [
            (0, series, place)
            for series, bindings in self.bindings.items()
            for place, binding in enumerate(bindings)
            if binding.is_absence
        ]
        heapq.heapify(self.absences)
        self.generation += 1
        for state in self.series.values():
            self.prepare(state)
            if state.window is not None:
                self._fill_window(state, state.window, past)
        for _, _, series in self.conditions:
            self.series[series].active += 1

    def take_fact(self, fact: Fact) -> None:
        """Know a fact from now on; what was judged before stays as it was judged."""
        if self.devices.add(fact):
            self.registry = Registry.of([self.policies[m] for m in sorted(self.policies)], self.devices.approvals)
            self.generation += 1

    def prepare(self, state: SeriesState) -> None:
        """Derive what the active policies ask of a series; its window is empty then."""
        state.active = state.loud_until_ns = 0
        state.floor, state.ceiling = quiet_band(self.bindings.get(state.series, ()))
        state.window = self._new_window(state.series)

    def _fill_window(self, state: SeriesState, window: Window, past: Past) -> None:
        after_ns = state.newest_ns - window.span_ns
        unusable = self.unusable[state.series.mine] | int(Quality.LATE)
        # The log may still have what is in a chunk already.
        samples = {*past.samples(state.id, after_ns), *state.recent.after(after_ns)}
        for time_ns, value, odd in sorted(samples):
            if odd.judged and not odd.quality & unusable:
                judged = value if odd.calibrated is None else odd.calibrated
                window.add(time_ns, judged)
                state.is_quiet(time_ns, judged)

    def keep_alert(self, alert: Alert) -> None:
        """Remember an alert while it is open."""
        known = self.alerts.get(alert.key)
        if alert.is_open:
            self.alerts[alert.key] = alert
            self.keys_by_id[alert.id] = alert.key
        elif known is not None and known.id == alert.id:
            del self.alerts[alert.key]
            del self.keys_by_id[alert.id]
        of_service = {LINK_RULE: self.link_alerts, DISK_RULE: self.disk_alerts, STORE_RULE: self.store_alerts}
        of_rule = of_service.get(alert.key.rule)
        if of_rule is not None:
            lasts = alert.key in self.alerts and self.alerts[alert.key].condition is not Condition.CLEARED
            (of_rule.add if lasts else of_rule.discard)(alert.key)

    def needed_longer_ns(self, before_ns: int) -> dict[int, int]:
        """The series, by number, of whose identities some before this time are needed because a window reaches
        further back, and from when on."""
        starts = (
            (one.id, one.newest_ns - one.window.span_ns) for one in self.series.values() if one.window is not None
        )
        return {series_id: start_ns for series_id, start_ns in starts if start_ns < before_ns}

    def _new_window(self, series: Series) -> Window | None:
        """An empty window as long as the series' rules need, None where none needs one."""
        span_ns = max((binding.window_ns for binding in self.bindings.get(series, ())), default=0)
        return Window(span_ns) if span_ns else None
