"""From a journalled message to readings: decode, admit, identify. Whatever is not a reading gets its reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import Enum
from typing import Any

from greenmine.core.account import Account, HourKey
from greenmine.core.act import ActResult
from greenmine.core.errors import DecodeRefused, UnknownAddress
from greenmine.core.latest import NO_MESSAGES, Change
from greenmine.core.quality import Quality, flag_names
from greenmine.core.reading import Reading
from greenmine.ingest.admit import Admitted, admit, doubted
from greenmine.ingest.decode_json import MAX_PERIOD_S
from greenmine.ingest.decoded import Decoded, Item, RefusedItem
from greenmine.ingest.hj212_segment import shown_payload
from greenmine.ingest.raw_text import raw_text
from greenmine.ingest.record import Batch, Record, RecordFlag, StoredRecord
from greenmine.ingest.sparkplug import sparkplug_topic
from greenmine.ingest.topic import Topic, TopicKind, parse_topic
from greenmine.pipeline.activities import Activities
from greenmine.pipeline.effects import ConflictRow, DeadLetter, Effects, Quarantined, SeriesState
from greenmine.pipeline.formats import Formats, Understood
from greenmine.pipeline.gaps import Gaps
from greenmine.pipeline.hj212_reader import Hj212Reader, Secrets, no_secrets
from greenmine.pipeline.hours import Hours
from greenmine.pipeline.ordinary import Ordinary
from greenmine.pipeline.state import IDENTITY_SPAN_NS, JudgeState, Past
from greenmine.pipeline.waiting import WaitingList
from greenmine.pipeline.watch import Watch
from greenmine.store.columns import Odd

SHOWN_PAYLOAD = 2000
"""Characters of a payload that `tail` shows."""
_NOT_STORED = int(Quality.SKEW | Quality.UNREGISTERED)
_ASKED_OF_A_TOPIC = int(RecordFlag.BAD_TOPIC | RecordFlag.DENIED | RecordFlag.RETAIN)
_TOPICS_KEPT = 20_000
MOST_REFUSALS = 100
"""Of one message; what is refused beyond them is one more. Otherwise a single message of 256 KiB holds up the judging
for seconds, and drops every dead letter of everybody else."""


class Way(Enum):
    """How a reading came in. Only live ones are shown to conditions; replayed ones may have been counted before."""

    LIVE = 1
    IMPORTED = 2
    REPLAYED = 3


class Intake:
    """Takes messages and imported rows in; counts every reading exactly once in the account."""

    def __init__(
        self,
        state: JudgeState,
        watch: Watch,
        past: Past,
        activities: Activities,
        gaps: Gaps,
        waiting: WaitingList,
        secrets: Secrets = no_secrets,
    ) -> None:
        self._state = state
        self._watch = watch
        self._past = past
        self._activities = activities
        self._gaps = gaps
        self._waiting = waiting
        self._ordinary = Ordinary(state, watch, gaps)
        self._hours = Hours(state)
        self._hj212 = Hj212Reader(state, past, secrets)
        self._formats = Formats(state, self._hj212, gaps)
        self._topics: dict[str, Topic] = {}
        self.shown = NO_MESSAGES
        """Whose messages somebody looks at, as `Wants.messages`; they go the slow way."""

    def message(self, stored: StoredRecord, batch: Batch, fx: Effects) -> None:
        """A message from the broker."""
        outcome: list[Admitted | DecodeRefused] = []
        understood: Understood | None = None
        try:
            topic = self._checked_topic(stored)
            if topic is None:
                return
            if topic.kind is TopicKind.ACTIVITY:
                self._activities.message(stored, topic, batch, fx)
                return
            if topic.kind is TopicKind.UP and not (self.shown and self._is_shown(topic.mine, topic.device)):
                late = self._ordinary.take(stored.record.payload, topic, batch, fx)
                if late is not None:
                    for reading in late:
                        self.late(reading, self._state.series[reading.series], stored.id, batch, fx, Way.LIVE)
                    return
            understood = self._formats.read(topic, stored, batch, fx, live=True)
        except DecodeRefused as refused:
            outcome.append(refused)
            sender = _claimed(stored)
        else:
            sender = understood.mine, understood.device
            outcome = self._admitted(understood, batch.received_ns)
            self._gaps.of_message(topic.kind, understood, batch.received_ns, batch.clock_ns, fx)
            for one_dead in understood.dead:
                self._watch.on_death(*one_dead, batch.clock_ns, fx)
            if understood.mine:
                heard = understood.mine, understood.device, understood.decoded.items, stored, batch, fx
                self._waiting.own_topic(*heard)
                if topic.kind is TopicKind.UP:
                    self._waiting.behind_gateway(*heard)
        for one in outcome:
            fx.count(received=1)
            if isinstance(one, DecodeRefused):
                self._dead(stored, sender, one, batch.clock_ns, fx)
                if isinstance(one, UnknownAddress):
                    self._waiting.unknown(one, stored, batch, fx)
            else:
                self._take(one, stored.id, batch, fx, Way.LIVE)
        if self.shown:
            seen = _seen_message(stored.record, batch, understood, outcome, self._is_shown)
            if seen is not None:
                fx.changes.append(Change("message", seen))

    def _is_shown(self, mine: str, sender: str) -> bool:
        """Whether somebody looks at the sender, its mine, or a device behind it."""
        for at, device in self.shown:
            if at not in ("", mine):
                continue
            if device in ("", sender):
                return True
            entry = self._state.registry.devices.get((mine, device))
            if entry is not None and entry.gateway == sender:
                return True
        return False

    def on_clock(self, clock_ns: int, fx: Effects) -> None:
        """Let go of what has waited too long for its rest; not while the rest may stand in a backlog."""
        if self._state.hj212_packets and not self._state.aside:
            self._hj212.on_clock(clock_ns, fx)

    def imported(self, stored: StoredRecord, batch: Batch, fx: Effects) -> None:
        """Rows of a file: admitted and identified like any reading, but never shown to conditions; an import of old
        data must not page anybody. What became of them goes back to whoever imported."""
        before = fx.account
        if stored.intact:
            for row in json.loads(stored.record.payload):
                fx.count(received=1)
                self._imported_row(row, stored, batch, fx)
        else:
            fx.count(received=1)
            self._dead(stored, ("", ""), _damaged(), batch.clock_ns, fx)
        tally = {name: after - was for name, after, was in zip(Account._fields, fx.account, before, strict=True)}
        fx.results[stored.record.client] = ActResult(detail=tally)

    def _imported_row(self, row: list[Any], stored: StoredRecord, batch: Batch, fx: Effects) -> None:
        try:
            admitted = admit(_row_item(row), row[0], row[1], self._state.registry, batch.received_ns)
        except DecodeRefused as refused:
            self._dead(stored, (row[0], row[1]), refused, batch.clock_ns, fx)
        else:
            self._take(admitted, stored.id, batch, fx, Way.IMPORTED)

    def replay_dead(self, record_ids: list[int], batch: Batch, fx: Effects) -> dict[str, int]:
        """Read the messages of dead letters again, by today's rules. What was already taken is not counted twice, and
        nothing of it is shown to conditions."""
        tally = {"messages": 0, "stored": 0, "quarantined": 0, "still_dead": 0, "already_known": 0}
        for stored, letters in self._past.dead_letters(record_ids):
            # Another act of this batch may have replayed it a moment ago.
            if stored.id not in fx.replayed_records:
                tally["messages"] += 1
                self._replay_one(stored, letters, batch, fx, tally)
        return tally

    def _replay_one(
        self, stored: StoredRecord, letters: list[HourKey], batch: Batch, fx: Effects, tally: dict[str, int]
    ) -> None:
        dead, sender = len(letters), _claimed(stored)
        try:
            topic = self._checked_topic(stored)
            outcome = []
            if topic is not None and topic.kind is TopicKind.ACTIVITY:
                self._activities.message(stored, topic, batch, fx)
                tally["activities"] = tally.get("activities", 0) + 1
            elif topic is not None:
                understood = self._formats.read(topic, stored, batch, fx, live=False)
                sender = understood.mine, understood.device
                outcome = self._admitted(understood, batch.received_ns)
                self._gaps.of_message(topic.kind, understood, batch.received_ns, batch.clock_ns, fx, replayed=True)
        except DecodeRefused as refused:
            outcome = [refused]
        refusals = [one for one in outcome if isinstance(one, DecodeRefused)]
        if len(refusals) == len(outcome) and len(refusals) == dead:
            tally["still_dead"] += len(refusals)
            return
        quarantined = self._past.quarantined(stored.id)
        for one in outcome:
            if isinstance(one, DecodeRefused):
                tally["still_dead"] += 1
                fx.count(received=1)
                self._dead(stored, sender, one, batch.clock_ns, fx)
            elif (one.reading.series, one.reading.time_ns) in quarantined:
                # Counted when the message came first, and by itself no reason to read a message again.
                tally["already_known"] += 1
            else:
                tally[self._take_again(one, stored.id, batch, fx)] += 1
        fx.count(received=-dead, dead=-dead)
        self._hours.alive(letters, batch.clock_ns, fx)
        fx.replayed_records.append(stored.id)

    def _take_again(self, one: Admitted, record_id: int, batch: Batch, fx: Effects) -> str:
        """Take a reading that may have been taken when its message came first; which word of the tally it is."""
        before = fx.account
        fx.count(received=1)
        self._take(one, record_id, batch, fx, Way.REPLAYED)
        after = fx.account
        if after.duplicate > before.duplicate or after.conflict > before.conflict:
            # Neither a new reading nor a new conflict.
            fx.counts = before._asdict()
            conflict = after.conflict > before.conflict
            self._hours.count(one.reading, "conflict" if conflict else "duplicate", batch.clock_ns, fx, -1)
            if conflict:
                fx.conflicts.pop()
            return "already_known"
        return "quarantined" if after.quarantined > before.quarantined else "stored"

    def _checked_topic(self, stored: StoredRecord) -> Topic | None:
        """The topic of a message that may be decoded; None for commands to devices."""
        record, flags = stored.record, stored.record.flags
        if stored.intact and not flags & _ASKED_OF_A_TOPIC:
            known = self._topics.get(record.source)
            if known is not None:
                return known
        if not stored.intact:
            raise _damaged()
        if flags & RecordFlag.BAD_TOPIC:
            raise DecodeRefused("topic_encoding", "the topic is not UTF-8")
        topic = parse_topic(record.source)
        if flags & RecordFlag.DENIED and topic.kind is TopicKind.HJ212_TCP:
            raise DecodeRefused("auth", "the password is not that of this MN")
        if flags & RecordFlag.DENIED:
            raise DecodeRefused("denied", f"account {record.client!r} may not publish on this topic")
        if topic.kind is TopicKind.SPARKPLUG and sparkplug_topic(record.source) is None:
            return None  # the state of a host, which is always retained
        if flags & RecordFlag.RETAIN:
            raise DecodeRefused(
                "retained_telemetry", "a retained reading is of no known time of receipt; do not retain"
            )
        if topic.kind is TopicKind.DOWN:
            return None
        if topic.kind is TopicKind.UP:
            if len(self._topics) >= _TOPICS_KEPT:
                self._topics.clear()
            self._topics[record.source] = topic
        return topic

    def _admitted(self, understood: Understood, received_ns: int) -> list[Admitted | DecodeRefused]:
        mine, device, decoded = understood[:3]
        admitted: list[Admitted | DecodeRefused] = []
        refusals = list(decoded.refused)
        for item in decoded.items:
            try:
                one = admit(item, mine, device, self._state.registry, received_ns)
                admitted.append(doubted(one, item, self._state.registry) if decoded.doubts_units else one)
            except DecodeRefused as refused:
                refusals.append(RefusedItem(refused.word, refused.detail, _place(item, refused)))
        return _bounded(refusals) + admitted

    def _take(self, admitted: Admitted, record_id: int, batch: Batch, fx: Effects, way: Way) -> None:
        reading = self._state.devices.calibrations.applied(admitted.reading)
        if admitted.quarantine or reading.value is None:
            fx.count(quarantined=1)
            self._hours.quarantined(reading, admitted.quarantine, batch.clock_ns, fx)
            fx.quarantined.append(Quarantined(batch.clock_ns, record_id, reading, admitted.quarantine))
            return
        series = self._series(reading, fx)
        if reading.time_ns <= series.newest_ns:
            self.late(reading, series, record_id, batch, fx, way)
            return
        series.newest_ns, series.value, series.quality = reading.time_ns, reading.value, reading.quality
        series.received_ns, series.unsaved = batch.received_ns, True
        usable = way is Way.LIVE and not reading.quality & self._state.unusable.get(reading.series.mine, _NOT_STORED)
        if not self._store(reading, series, batch.clock_ns, fx, way, usable):
            fx.saved_series.append(series)
        fx.latest[series.id] = series
        if usable:
            self._watch.on_reading(reading, series, batch.clock_ns, fx)

    def late(self, reading: Reading, series: SeriesState, record_id: int, batch: Batch, fx: Effects, way: Way) -> None:
        """Take a reading that is not newer than its series' newest: a duplicate, a conflict, or late."""
        assert reading.value is not None
        known = self._known(series, reading.time_ns, batch.clock_ns)
        if known is None:
            late = reading._replace(quality=int(reading.quality | Quality.LATE))
            self._store(late, series, batch.clock_ns, fx, way, usable=False)
        elif known == reading.value:
            fx.count(duplicate=1)
            self._hours.count(reading, "duplicate", batch.clock_ns, fx)
        else:
            fx.count(conflict=1)
            self._hours.count(reading, "conflict", batch.clock_ns, fx)
            fx.conflicts.append(ConflictRow(batch.clock_ns, record_id, reading, known))

    def _known(self, series: SeriesState, time_ns: int, clock_ns: int) -> float | None:
        if time_ns < clock_ns - IDENTITY_SPAN_NS:
            return None
        recent = series.recent.value_at(time_ns)
        return self._past.value_of(series.id, time_ns) if recent is None else recent

    def _store(self, reading: Reading, series: SeriesState, clock_ns: int, fx: Effects, way: Way, usable: bool) -> bool:
        """Queue a new reading for the store; whether its identity is logged, and with it what it made of its series."""
        value = reading.value
        assert value is not None
        fx.count(pending=1)
        odd = Odd(int(reading.quality), way is Way.LIVE, usable, reading.calibrated)
        if reading.quality:
            self._hours.flagged(reading, fx)
        kept = fx.store
        if reading.time_ns < clock_ns - IDENTITY_SPAN_NS:
            # Whether the store has it already, only the store knows.
            (fx.store_replayed if way is Way.REPLAYED else fx.store_after_check).append(reading)
            self._hours.count(reading, "taken", clock_ns, fx)
            if not odd.judged or reading.quality & Quality.LATE:
                return False
            kept = fx.not_stored
        kept.add(series.id, reading.time_ns, value, odd)
        series.recent.add(reading.time_ns, value, odd)
        return True

    def _series(self, reading: Reading, fx: Effects) -> SeriesState:
        state = self._state
        known = state.series.get(reading.series)
        if known is None:
            known = SeriesState(state.next_series_id, reading.series, 0, 0.0, 0, 0, None)
            state.prepare(known)
            state.next_series_id += 1
            state.series[reading.series] = fx.new_series[reading.series] = known
        return known

    def _dead(
        self, stored: StoredRecord, sender: tuple[str, str], refused: DecodeRefused, clock_ns: int, fx: Effects
    ) -> None:
        record, (mine, device) = stored.record, self._hours.sender(*sender)
        fx.count(dead=1)
        self._hours.dead(mine, device, refused.word, clock_ns, fx)
        is_next = bool(fx.dead) and fx.dead[-1].record_id == stored.id
        fx.dead.append(
            DeadLetter(
                clock_ns,
                stored.id,
                record.source[:300],
                record.client[:200],
                refused.word,
                refused.field[:200],
                refused.detail[:500],
                mine,
                device,
                0 if is_next else len(record.payload),
            )
        )


def _bounded(refusals: list[RefusedItem]) -> list[Admitted | DecodeRefused]:
    """The first `MOST_REFUSALS` of a message's refusals, and the others as one."""
    kept: list[Admitted | DecodeRefused] = [DecodeRefused(*one) for one in refusals[:MOST_REFUSALS]]
    if len(refusals) > MOST_REFUSALS:
        first, more = refusals[MOST_REFUSALS], len(refusals) - MOST_REFUSALS - 1
        detail = f"{first.detail[:300]} (and {more} more of this message)" if more else first.detail
        kept.append(DecodeRefused(first.word, detail, first.field))
    return kept


def _row_item(row: list[Any]) -> Item:
    """A row of a file as a decoder would give it.

    Raises:
        DecodeRefused: numbers that no column of the state or the store could hold.
    """
    _, _, metric, channel, stat, period_s, time_ns, value, unit, quality = row
    if period_s > MAX_PERIOD_S:
        raise DecodeRefused("range", f"period_s is 0 to {MAX_PERIOD_S}")
    try:
        number = None if value is None else float(value)
    except OverflowError as error:
        raise DecodeRefused("not_finite", "value is beyond a double") from error
    return Item(None, metric, channel, stat, period_s, time_ns, number, unit, quality)


def _claimed(stored: StoredRecord) -> tuple[str, str]:
    """Mine and device that a refused message's topic names, '' where it names none or the sender had no right to it."""
    record = stored.record
    if not stored.intact or record.flags & (RecordFlag.BAD_TOPIC | RecordFlag.DENIED):
        return "", ""
    try:
        topic = parse_topic(record.source)
    except DecodeRefused:
        return "", ""
    return topic.mine, topic.device


def _place(item: Item, refused: DecodeRefused) -> str:
    """Where in its payload an item that is not admitted stands."""
    if refused.word == "scope":
        return f"{item.place.partition('values.')[0]}device"
    return item.place or (f"{item.metric}@{item.channel}" if item.channel else item.metric)


def _damaged() -> DecodeRefused:
    return DecodeRefused("journal_checksum", "the journal's record does not fit its checksum")


def _named(source: str) -> tuple[str, str, str]:
    """Mine and device as far as the topic names them, and the format."""
    try:
        topic = parse_topic(source)
    except DecodeRefused:
        levels = source.split("/")
        return (levels[1], levels[2], "") if len(levels) > 2 else ("", "", "")
    return topic.mine, topic.device, "json" if topic.kind is TopicKind.UP else topic.kind.value.removeprefix("up/")


def _seen_message(
    record: Record,
    batch: Batch,
    understood: Understood | None,
    outcome: list[Admitted | DecodeRefused],
    is_shown: Callable[[str, str], bool],
) -> dict[str, object] | None:
    """What `tail` shows of a message; None where nobody looks at its sender."""
    mine, device, format_ = _named(record.source)
    mine, device = mine or (understood.mine if understood else ""), device or (understood.device if understood else "")
    if not is_shown(mine, device):
        return None
    decoded = Decoded() if understood is None else understood.decoded
    return {
        "received_ns": batch.received_ns,
        "mine": mine,
        "device": device,
        "format": format_,
        "health": None if decoded.health is None else decoded.health._asdict(),
        "notes": decoded.notes,
        "topic": record.source,
        "client": record.client,
        "payload": raw_text(shown_payload(record.source, record.payload), SHOWN_PAYLOAD),
        "readings": [
            {
                **one.reading.series._asdict(),
                "time_ns": one.reading.time_ns,
                "value": one.reading.value,
                "quality": flag_names(one.reading.quality),
                "quarantine": one.quarantine,
            }
            for one in outcome
            if isinstance(one, Admitted)
        ],
        "refused": [one.shown() for one in outcome if isinstance(one, DecodeRefused)],
    }
