"""What the mines are doing: takes the reports of devices in, keeps the intervals they make, and lets rules ask.

Reports are applied in the order of the journal, so what a rule sees is what was known when a reading came. A start
opens an interval of its (device, kind, zone), or moves the beginning of the open one forward in time to itself if it is
earlier; an end closes it; a stop closes what goes on in its zone, or everywhere in the mine if it names none; and what
nobody ends is over after its longest time. A planned moment is an interval without length.
"""

from __future__ import annotations

from collections.abc import Iterable

from greenmine.core.activity import (
    LONGEST_S,
    NS_PER_S,
    STOPPED_KINDS,
    Activity,
    ActivityInterval,
    ActivityKind,
    ActivityState,
    EndedBy,
)
from greenmine.core.errors import DecodeRefused
from greenmine.core.latest import Change
from greenmine.ingest.admit import DEFAULT_MAX_AHEAD_NS, EARLIEST_NS
from greenmine.ingest.decode_activity import DecodedActivity, decode_activity
from greenmine.ingest.record import Batch, StoredRecord
from greenmine.ingest.topic import Topic
from greenmine.pipeline.effects import ActivityRow, Effects
from greenmine.pipeline.state import JudgeState, Past
from greenmine.rules.binding import Binding

PLANNED_AHEAD_NS = 31 * 86_400 * NS_PER_S
KEPT_NS = 48 * 3600 * NS_PER_S
"""How long an interval that is over is still looked at by rules."""
MOST_A_DEVICE = 64
"""Intervals of one device that rules look at; beyond it the oldest is let go."""


class Activities:
    """Drives the intervals over one state."""

    def __init__(self, state: JudgeState, past: Past) -> None:
        self._state = state
        self._past = past

    def message(self, stored: StoredRecord, topic: Topic, batch: Batch, fx: Effects) -> None:
        """A report from the broker.

        Raises:
            DecodeRefused: undecodable, of a device that is not registered, or of a time that cannot be.
        """
        found = decode_activity(stored.record.payload)
        if (topic.mine, topic.device) not in self._state.registry.devices:
            raise DecodeRefused("unregistered", f"no device {topic.device} is registered at {topic.mine}")
        self._check_time(found, topic.mine, batch.received_ns)
        activity = Activity(topic.mine, topic.device, *found[1:], found.time_ns)
        if activity.identity in fx.activities or self._past.has_activity(activity):
            return
        fx.activities[activity.identity] = ActivityRow(activity, batch.clock_ns, stored.id)
        self._apply(activity, fx)

    def on_clock(self, clock_ns: int, fx: Effects) -> None:
        """End what has gone on for longer than it can, and let go of what no rule will ask for."""
        for intervals in self._state.activities.values():
            for one in list(intervals.values()):
                if one.is_open and one.latest_end_ns <= clock_ns:
                    self._end(one, one.latest_end_ns, EndedBy.LENGTH, fx)
                elif not one.is_open and one.last_ns + KEPT_NS < clock_ns:
                    self._let_go(one, fx)

    def judges(self, binding: Binding, time_ns: int) -> bool:
        """Whether a rule with `during` or `not_during` judges a reading of this source time, by what is known now.
        A mean is judged only where its whole window is free of what it is not judged during."""
        known = self._state.activities.get(binding.series.mine, {}).values()
        if binding.during and not _any(known, binding.during, time_ns, time_ns, binding.activity_margin_ns):
            return False
        first_ns = time_ns - binding.window_ns
        return not (
            binding.not_during and _any(known, binding.not_during, first_ns, time_ns, binding.activity_margin_ns)
        )

    def _check_time(self, found: DecodedActivity, mine: str, received_ns: int) -> None:
        ahead_ns = self._state.registry.max_ahead_ns.get(mine, DEFAULT_MAX_AHEAD_NS)
        if found.state is ActivityState.PLANNED:
            ahead_ns = PLANNED_AHEAD_NS
        if found.time_ns > received_ns + ahead_ns:
            raise DecodeRefused("clock_ahead", "ts is too far ahead; set the device's clock", "ts")
        if found.time_ns < EARLIEST_NS:
            raise DecodeRefused("clock_unset", "ts is before 2000; set the device's clock", "ts")

    def _apply(self, activity: Activity, fx: Effects) -> None:
        if activity.state is ActivityState.PLANNED:
            self._open(activity, activity.time_ns, EndedBy.PLANNED, fx)
            return
        if activity.kind is ActivityKind.STOP and activity.state is ActivityState.START:
            self._stop(activity, fx)
        going_on = next((one for one in self._of(activity.mine) if _same(one, activity)), None)
        if activity.state is ActivityState.START:
            if going_on is None:
                self._open(activity, None, None, fx)
            elif activity.time_ns < going_on.start_ns:
                self._keep(going_on._replace(start_ns=activity.time_ns), fx)
        elif going_on is not None and activity.time_ns >= going_on.start_ns:
            self._end(going_on, activity.time_ns, EndedBy.END, fx)

    def _stop(self, stop: Activity, fx: Effects) -> None:
        for one in self._of(stop.mine):
            concerned = one.is_open and one.kind in STOPPED_KINDS and stop.zone in ("", one.zone)
            if concerned and one.start_ns <= stop.time_ns:
                self._end(one, stop.time_ns, EndedBy.STOP, fx)

    def _open(self, activity: Activity, end_ns: int | None, ended_by: EndedBy | None, fx: Effects) -> None:
        policy = self._state.policies[activity.mine]
        longest_s = policy.activity.longest.get(activity.kind, LONGEST_S[activity.kind])
        latest_end_ns = activity.time_ns + longest_s * NS_PER_S
        place = (activity.kind, activity.zone, activity.lat, activity.lon)
        one = ActivityInterval(
            self._state.next_activity_id,
            activity.mine,
            activity.device,
            *place,
            activity.time_ns,
            end_ns,
            latest_end_ns,
            ended_by,
        )
        self._state.next_activity_id += 1
        self._keep(one, fx)
        of_device = [known for known in self._of(activity.mine) if known.device == activity.device]
        if len(of_device) > MOST_A_DEVICE:
            self._let_go(min(of_device, key=lambda known: (known.is_open, known.last_ns, known.id)), fx)

    def _end(self, one: ActivityInterval, end_ns: int, ended_by: EndedBy, fx: Effects) -> None:
        self._keep(one._replace(end_ns=end_ns, ended_by=ended_by), fx)

    def _keep(self, one: ActivityInterval, fx: Effects) -> None:
        self._state.activities.setdefault(one.mine, {})[one.id] = one
        fx.activity_intervals[one.id] = (one, True)
        fx.changes.append(Change("activity", one))

    def _let_go(self, one: ActivityInterval, fx: Effects) -> None:
        if one.is_open:
            one = one._replace(end_ns=one.start_ns, ended_by=EndedBy.LENGTH)
        del self._state.activities[one.mine][one.id]
        fx.activity_intervals[one.id] = (one, False)

    def _of(self, mine: str) -> list[ActivityInterval]:
        return list(self._state.activities.get(mine, {}).values())


def _same(one: ActivityInterval, activity: Activity) -> bool:
    return one.is_open and (one.device, one.kind, one.zone) == (activity.device, activity.kind, activity.zone)


def _any(
    known: Iterable[ActivityInterval], kinds: frozenset[ActivityKind], first_ns: int, last_ns: int, margin_ns: int
) -> bool:
    return any(one.kind in kinds and one.touches(first_ns, last_ns, margin_ns) for one in known)
