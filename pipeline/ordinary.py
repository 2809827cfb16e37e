"""The way of an ordinary message: own JSON of registered series, good in form, unit, range and time.

It does what `Intake` does with such a message, without an object for each step: what is the same for every reading of a
series is looked up once and kept (`Slot`). A message with anything else in it is left to `Intake` as a whole, before
anything was changed. That both ways end in the same state is shown by a test that sends the same messages both ways.
"""

from __future__ import annotations

from typing import NamedTuple

from greenmine.core.clock import NS_PER_MS
from greenmine.core.errors import DecodeRefused
from greenmine.core.gap import Sequence, Stream
from greenmine.core.metric import METRICS
from greenmine.core.reading import Reading, Series
from greenmine.core.unit import Conversion, conversion
from greenmine.ingest.admit import DEFAULT_MAX_AHEAD_NS, EARLIEST_NS, is_sentinel
from greenmine.ingest.ordinary_json import (
    TEXTS_OF_AN_OBJECT,
    TEXTS_OF_BOOT,
    TEXTS_OF_DEVICE,
    TEXTS_OF_SEQ,
    TEXTS_OF_TS,
    OrdinaryObject,
    has_texts,
    ordinary_objects,
)
from greenmine.ingest.record import Batch
from greenmine.ingest.timestamp import from_rfc3339
from greenmine.ingest.topic import Topic
from greenmine.pipeline.effects import Effects, SeriesState
from greenmine.pipeline.gaps import OWN_STREAM, Gaps
from greenmine.pipeline.state import IDENTITY_SPAN_NS, JudgeState
from greenmine.pipeline.watch import Watch

_TIMES_KEPT = 4096


class Slot(NamedTuple):
    """What is the same for every ordinary reading of a series. `low` and `high` in the canonical unit; `sentinels` as
    sent, and only those within them."""

    state: SeriesState
    conversion: Conversion | None
    low: float
    high: float
    sentinels: tuple[float, ...]


class Sender:
    """What is the same for every message in which a device speaks for itself, or a gateway for it."""

    __slots__ = ("sequence", "slots")

    def __init__(self) -> None:
        self.slots: dict[str, Slot] = {}
        self.sequence: Sequence | None = None


class Ordinary:
    """Takes ordinary messages in."""

    def __init__(self, state: JudgeState, watch: Watch, gaps: Gaps) -> None:
        self._state = state
        self._watch = watch
        self._gaps = gaps
        self._generation = -1
        self._senders: dict[tuple[str, str], dict[str | None, Sender]] = {}
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
        topic_name = topic.mine, topic.device
        senders = self._senders.get(topic_name) or {}
        # Of what is older than identities are kept the store has to be asked whether it has it.
        earliest_ns = max(EARLIEST_NS, batch.clock_ns - IDENTITY_SPAN_NS)
        latest_ns = batch.received_ns + self._state.registry.max_ahead_ns.get(topic.mine, DEFAULT_MAX_AHEAD_NS)
        found: list[tuple[SeriesState, int, float]] = []
        numbered: list[tuple[Sender, int, OrdinaryObject, int]] = []
        texts = TEXTS_OF_AN_OBJECT * len(objects)
        for one in objects:  # this runs for every object, and what is in it for every reading
            ts, child, seq = one.ts, one.device, one.seq
            if isinstance(ts, int):
                time_ns = ts * NS_PER_MS
            else:
                time_ns = self._time(ts)
                texts += TEXTS_OF_TS
            if not earliest_ns <= time_ns <= latest_ns:
                return None
            known = senders.get(child)
            sender = known or Sender()
            if child is not None:
                texts += TEXTS_OF_DEVICE
            slots = sender.slots
            for name, sent in one.values.items():
                slot = slots.get(name) or self._slot(topic, child, name, slots)
                if slot is None:
                    return None
                state, unit, low, high, sentinels = slot
                value = sent if unit is None else unit.apply(sent)
                if not low <= value <= high or (sentinels and is_sentinel(sent, sentinels)):
                    return None
                found.append((state, time_ns, value))
            if known is None:
                senders[child] = sender  # only now: it is there, and names that anybody may invent are not kept
                self._senders[topic_name] = senders
            if seq is not None:
                numbered.append((sender, seq, one, time_ns))
                texts += TEXTS_OF_SEQ
            if one.boot is not None:
                texts += TEXTS_OF_BOOT
        if not has_texts(payload, texts + len(found)):
            return None
        if numbered:
            self._follow(numbered, topic, batch.clock_ns, fx)
        return self._keep(found, batch, fx)

    def _keep(self, found: list[tuple[SeriesState, int, float]], batch: Batch, fx: Effects) -> list[Reading]:
        clock_ns, received_ns = batch.clock_ns, batch.received_ns
        columns, latest = fx.store, fx.latest
        add_series, add_time, add_value = columns.series.append, columns.times.append, columns.values.append
        late: list[Reading] = []
        for state, time_ns, value in found:
            if time_ns <= state.newest_ns:
                late.append(Reading(state.series, time_ns, value))
                continue
            number, recent = state.id, state.recent
            state.newest_ns, state.value, state.quality = time_ns, value, 0
            state.received_ns, state.unsaved = received_ns, True
            add_series(number)
            add_time(time_ns)
            add_value(value)
            recent.times.append(time_ns)
            recent.values.append(value)
            latest[number] = state
            in_band = state.window is None and state.floor <= value <= state.ceiling
            if in_band and not state.active and time_ns >= state.loud_until_ns:  # as `is_quiet` says, without a call
                state.usable_clock_ns = clock_ns
            else:
                self._watch.on_reading(Reading(state.series, time_ns, value), state, clock_ns, fx)
        counts = fx.counts
        counts["received"] += len(found)
        counts["pending"] += len(found) - len(late)
        return late

    def _follow(
        self, numbered: list[tuple[Sender, int, OrdinaryObject, int]], topic: Topic, clock_ns: int, fx: Effects
    ) -> None:
        advanced = fx.advanced
        for place, (sender, seq, one, time_ns) in enumerate(numbered):
            known = sender.sequence
            if known is not None and (one.boot or "") == known.boot:
                ahead = seq - known.highest
                if ahead == 1:
                    known.highest, known.highest_ns = seq, time_ns
                    advanced[known.id] = known
                    continue
                if ahead == 0:
                    continue
            if place and numbered[place - 1][:2] == (sender, seq) and numbered[place - 1][2].boot == one.boot:
                continue  # a message gives its number to each of its objects
            stream = Stream(topic.mine, one.device or topic.device, OWN_STREAM)
            self._gaps.observe(stream, seq, one.boot, time_ns, clock_ns, fx)
            sender.sequence = self._state.sequences[stream]

    def _time(self, ts: str) -> int:
        """Source time in ns; 0, which is out of every range, where it cannot be read."""
        known = self._times.get(ts)
        if known is None:
            try:
                known = from_rfc3339(ts)
            except DecodeRefused:
                return 0
            if len(self._times) >= _TIMES_KEPT:
                self._times.clear()
            self._times[ts] = known
        return known

    def _slot(self, topic: Topic, child: str | None, name: str, slots: dict[str, Slot]) -> Slot | None:
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
        low, unit = max(known.low, 0.0) if known.negative_flagged else known.low, conversion(setting.unit, known.unit)
        # One that is out of range is never ordinary, and is not looked for in every value.
        within = (s for s in setting.sentinels if low - 1 <= (s if unit is None else unit.apply(s)) <= known.high + 1)
        slot = slots[name] = Slot(state, unit, low, known.high, tuple(within))
        return slot
