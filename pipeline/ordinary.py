"""The way of an ordinary message: own JSON of registered series, good in form, unit, range and time.

It does what `Intake` does with such a message, without an object for each step: what is the same for every reading of a
series is looked up once and kept (`Slot`). A message with anything else in it is left to `Intake` as a whole, before
anything was changed. That both ways end in the same state is shown by a test that sends the same messages both ways.
"""

from __future__ import annotations

from typing import NamedTuple

from greenmine.core.clock import NS_PER_MS
from greenmine.core.errors import DecodeRefused
from greenmine.core.metric import METRICS
from greenmine.core.reading import Reading, Series
from greenmine.core.unit import Conversion, conversion
from greenmine.ingest.admit import DEFAULT_MAX_AHEAD_NS, EARLIEST_NS
from greenmine.ingest.ordinary_json import OrdinaryObject, ordinary_objects
from greenmine.ingest.record import Batch
from greenmine.ingest.timestamp import from_rfc3339
from greenmine.ingest.topic import Topic
from greenmine.pipeline.effects import Effects, SeriesState
from greenmine.pipeline.state import JudgeState
from greenmine.pipeline.watch import Watch

_TIMES_KEPT = 4096


class Slot(NamedTuple):
    """What is the same for every ordinary reading of a series. `low` and `high` in the canonical unit."""

    state: SeriesState
    conversion: Conversion | None
    low: float
    high: float


_Slots = dict[str, Slot]


class Ordinary:
    """Takes ordinary messages in."""

    def __init__(self, state: JudgeState, watch: Watch) -> None:
        self._state = state
        self._watch = watch
        self._generation = -1
        self._senders: dict[tuple[str, str], dict[str | None, _Slots]] = {}
        self._times: dict[str, int] = {}

    def take(self, payload: bytes, topic: Topic, batch: Batch, fx: Effects) -> list[Reading] | None:
        """Take a message in; None, and nothing changed, if it is not ordinary. The readings that come back are those
        that are not newer than their series' newest: they are still to be identified."""
        objects = ordinary_objects(payload)
        if objects is None:
            return None
        if self._generation != self._state.generation:
            self._generation = self._state.generation
            self._senders.clear()
        slots_of = self._senders.setdefault((topic.mine, topic.device), {})
        ahead_ns = self._state.registry.max_ahead_ns.get(topic.mine, DEFAULT_MAX_AHEAD_NS)
        found: list[tuple[Slot, int, float]] = []
        for one in objects:
            time_ns = self._time(one)
            if not EARLIEST_NS <= time_ns <= batch.received_ns + ahead_ns:
                return None
            slots = slots_of.get(one.device)
            if slots is None:
                slots = slots_of[one.device] = {}
            for name, sent in one.values.items():
                slot = slots.get(name) or self._slot(topic, one.device, name, slots)
                if slot is None:
                    return None
                value = sent if slot.conversion is None else slot.conversion.apply(sent)
                if not slot.low <= value <= slot.high:
                    return None
                found.append((slot, time_ns, value))
        return self._keep(found, batch, fx)

    def _keep(self, found: list[tuple[Slot, int, float]], batch: Batch, fx: Effects) -> list[Reading]:
        clock_ns, received_ns = batch.clock_ns, batch.received_ns
        columns, latest = fx.store, fx.latest
        add_series, add_time, add_value = columns.series.append, columns.times.append, columns.values.append
        late: list[Reading] = []
        for slot, time_ns, value in found:
            state = slot.state
            if time_ns <= state.newest_ns:
                late.append(Reading(state.series, time_ns, value))
                continue
            state.newest_ns, state.value, state.quality = time_ns, value, 0
            state.received_ns, state.unsaved = received_ns, True
            add_series(state.id)
            add_time(time_ns)
            add_value(value)
            recent = state.recent
            recent.times.append(time_ns)
            recent.values.append(value)
            latest[state.id] = state
            if state.window is None and state.is_quiet(time_ns, value):
                state.usable_clock_ns = clock_ns
            else:
                self._watch.on_reading(Reading(state.series, time_ns, value), state, clock_ns, fx)
        counts = fx.counts
        counts["received"] += len(found)
        counts["pending"] += len(found) - len(late)
        return late

    def _time(self, one: OrdinaryObject) -> int:
        """Source time in ns; 0, which is out of every range, where it cannot be read."""
        if isinstance(one.ts, int):
            return one.ts * NS_PER_MS
        known = self._times.get(one.ts)
        if known is None:
            try:
                known = from_rfc3339(one.ts)
            except DecodeRefused:
                return 0
            if len(self._times) >= _TIMES_KEPT:
                self._times.clear()
            self._times[one.ts] = known
        return known

    def _slot(self, topic: Topic, child: str | None, name: str, slots: _Slots) -> Slot | None:
        """The slot of a value, made where all about the series is ordinary and it was heard before."""
        metric, at, channel = name.partition("@")
        known = METRICS.get(metric)
        if known is None or (at and not channel):
            return None
        registry, device = self._state.registry, child or topic.device
        if child is not None and child != topic.device:
            entry = registry.devices.get((topic.mine, child))
            if entry is None or entry.gateway != topic.device:
                return None
        series = Series(topic.mine, device, metric, channel)
        setting, state = registry.setting(series), self._state.series.get(series)
        if setting is None or state is None or state.newest_ns == 0:
            return None
        if self._state.devices.calibrations.concern(series):
            return None
        low = max(known.low, 0.0) if known.negative_flagged else known.low
        slot = slots[name] = Slot(state, conversion(setting.unit, known.unit), low, known.high)
        return slot
