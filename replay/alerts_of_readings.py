"""The alerts that readings would have raised, had they come one after the other as they were taken: through the
pipeline that judges live, over a journal in memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from types import TracebackType

from greenmine.core.alert import Alert, Condition
from greenmine.core.metric import METRICS
from greenmine.core.reading import Reading
from greenmine.core.unit import convert
from greenmine.ingest.record import Record, RecordKind
from greenmine.pipeline.pipeline import Pipeline
from greenmine.policy.canonical import to_canonical_json
from greenmine.policy.model import Policy
from greenmine.replay.memory_journal import MemoryJournal
from greenmine.store import alerts
from greenmine.store.state import StateDb

TICK_NS = 10 * 1_000_000_000
"""How often time passes while nothing comes; a live journal ticks more often."""
_MOST_TICKS = 200_000
_START = Record(RecordKind.SERVICE, "service:greenmine", b'{"event":"start"}')


class AlertsAt:
    """Asked for moments in order; each sees what came until then, itself included."""

    def __init__(self, policy: Policy, readings: Sequence[Reading]) -> None:
        self._mine = policy.mine.id
        self._units = {series: setting.unit for series, setting in policy.series().items()}
        own = sorted(
            (one for one in readings if one.series.mine == self._mine), key=lambda one: (one.time_ns, one.series)
        )
        self._waiting = [(time_ns, list(group)) for time_ns, group in groupby(own, key=lambda one: one.time_ns)][::-1]
        self._journal = MemoryJournal()
        self._state = StateDb(None)
        self._pipeline = Pipeline(self._journal, self._state)
        self._now_ns = self._waiting[-1][0] - TICK_NS if self._waiting else 0
        body = json.dumps({"mine": self._mine, "canonical": to_canonical_json(policy)}).encode()
        self._journal.append(self._now_ns, [_START])
        self._journal.append(self._now_ns, [Record(RecordKind.POLICY, "service:greenmine", body)])

    def __enter__(self) -> AlertsAt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._state.close()

    def at(self, moment_ns: int) -> dict[tuple[str, str, str], Alert]:
        """The alerts that are not cleared at a moment, by rule, device and channel."""
        while self._waiting and self._waiting[-1][0] <= moment_ns:
            time_ns, readings = self._waiting.pop()
            self._tick_to(time_ns)
            self._journal.append(time_ns, [self._message(*one) for one in _by_device(readings)])
            self._now_ns = time_ns
        self._tick_to(moment_ns)
        self._journal.append(max(moment_ns, self._now_ns), [])
        self._now_ns = max(moment_ns, self._now_ns)
        self._pipeline.run_available()
        with self._state.reading() as connection:
            listed = alerts.listed(connection, open_only=True)
        found = [one for one in listed if one.condition is not Condition.CLEARED]
        return {(one.key.rule, one.key.device, one.key.channel): one for one in found}

    def _message(self, device: str, readings: list[Reading]) -> Record:
        """What the device would have sent: in the unit in which it is registered."""
        first = readings[0].series
        values = {
            one.series.metric + (f"@{one.series.channel}" if one.series.channel else ""): convert(
                one.value, METRICS[one.series.metric].unit, self._units[one.series]
            )
            for one in readings
            if one.value is not None
        }
        body: dict[str, object] = {"ts": readings[0].time_ns // 1_000_000, "values": values}
        if first.stat != "inst":
            body |= {"stat": first.stat, "period_s": first.period_s}
        topic = f"mines/{first.mine}/{device}/up"
        return Record(RecordKind.MESSAGE, topic, json.dumps(body).encode(), f"{first.mine}.{device}")

    def _tick_to(self, time_ns: int) -> None:
        step_ns = max(TICK_NS, (time_ns - self._now_ns) // _MOST_TICKS)
        for tick_ns in range(self._now_ns + step_ns, time_ns, step_ns):
            self._journal.append(tick_ns, [])


def _by_device(readings: list[Reading]) -> list[tuple[str, list[Reading]]]:
    ordered = sorted(readings, key=lambda one: (one.series.device, one.series.stat, one.series.period_s))
    kinds = groupby(ordered, key=lambda one: (one.series.device, one.series.stat, one.series.period_s))
    return [(key[0], list(group)) for key, group in kinds]
