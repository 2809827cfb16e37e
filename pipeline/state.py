"""The pipeline's memory between commits; rebuilt from the relational state at start, to the same content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from greenmine.core.alert import Alert, AlertKey
from greenmine.core.fact import Fact
from greenmine.core.quality import Quality, from_names
from greenmine.core.reading import Series
from greenmine.ingest.record import StoredRecord
from greenmine.ingest.registry import Registry
from greenmine.pipeline.effects import KeptResult, NoticeState, SeriesState
from greenmine.policy.model import Policy
from greenmine.rules.binding import Binding, bind, by_series
from greenmine.rules.conditions import ConditionState
from greenmine.rules.window import Window

IDENTITY_SPAN_NS = 72 * 3600 * 1_000_000_000
"""How long identities are kept for comparison; for older readings the store itself is asked."""


class Past(Protocol):
    """What was committed before, looked up on demand by the judging thread."""

    def value_of(self, series_id: int, time_ns: int) -> float | None:
        """Value of a reading in the index of identities."""
        ...

    def samples(self, series_id: int, after_ns: int) -> list[tuple[int, float, int]]:
        """(time_ns, value, quality) of a series in the index, after a time, in order of time."""
        ...

    def alert(self, alert_id: str) -> Alert | None:
        """Any alert, open or not."""
        ...

    def kept_result(self, principal: str, idempotency_key: str) -> KeptResult | None:
        """The answer already given to an act."""
        ...

    def dead_letters(self, record_ids: list[int]) -> list[tuple[StoredRecord, int]]:
        """These journal records, as far as they have dead letters not yet replayed, with the number of these."""
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
    notices: dict[str, NoticeState] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    clock_ns: int = 0
    listening_since_ns: int = 0
    link_down_since_ns: int | None = None
    next_series_id: int = 1
    next_fact_id: int = 1
    alerts_raised: int = 0
    seen_pruned_ns: int = 0
    registry: Registry = field(default_factory=lambda: Registry.of([]))
    bindings: Mapping[Series, list[Binding]] = field(default_factory=dict)
    unusable: dict[str, int] = field(default_factory=dict)

    def set_policies(self, policies: dict[str, Policy], past: Past) -> None:
        """Make these the active policies and derive what is looked up per reading.

        Windows are built anew from the index of identities, so that a pipeline that ran on and one that was restarted
        hold the same values; everything judged so far must be committed.
        """
        self.policies = policies
        ordered = [policies[mine] for mine in sorted(policies)]
        self.registry = Registry.of(ordered)
        self.bindings = by_series(binding for policy in ordered for binding in bind(policy))
        self.unusable = {p.mine.id: int(from_names(p.quality.unusable)) for p in ordered}
        for series, state in self.series.items():
            state.window = self.new_window(series)
            if state.window is not None:
                unusable = self.unusable[series.mine] | int(Quality.LATE)
                for time_ns, value, quality in past.samples(state.id, state.newest_ns - state.window.span_ns):
                    if not quality & unusable:
                        state.window.add(time_ns, value)

    def new_window(self, series: Series) -> Window | None:
        """An empty window as long as the series' rules need, None where none needs one."""
        span_ns = max((binding.window_ns for binding in self.bindings.get(series, ())), default=0)
        return Window(span_ns) if span_ns else None
