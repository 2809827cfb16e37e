"""Finds numbers that are missing in what devices send, asks for them, and sees them come.

A number that is passed over is suspected at once and declared missing after half a minute (journal's clock), since
messages overtake each other. Whoever knows the numbers of a format calls `observe` for each message it takes live. Not
known: what was lost before the first message, and before the first one after a reboot.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from greenmine.core.clock import NS_PER_S, to_rfc3339
from greenmine.core.downlink import HJ212_TARGET, Downlink, DownlinkKind, downlink_id
from greenmine.core.gap import Gap, GapReason, Sequence, Stream, all_of, gap_id
from greenmine.core.reading import Series
from greenmine.ingest.admit import DEFAULT_MAX_AHEAD_NS, EARLIEST_NS
from greenmine.ingest.topic import TopicKind
from greenmine.pipeline.effects import Effects
from greenmine.pipeline.state import JudgeState

if TYPE_CHECKING:
    from greenmine.pipeline.formats import Understood

DECLARED_AFTER_NS = 30 * NS_PER_S
EXPIRES_AFTER_NS = 72 * 3600 * NS_PER_S
ASKED_AGAIN_AFTER_NS = tuple(seconds * NS_PER_S for seconds in (120, 480, 1800))
"""Pauses between the requests for one gap; after the last one it is only waited for."""
REQUEST_NEEDED_NS = 600 * NS_PER_S
MOST_GAPS = 64
"""Open gaps of one stream; beyond it the oldest is given up."""
MOST_MISSING = 100_000
"""Numbers in one gap; a longer leap says more of the counter than of the messages."""
RESET_NOTED_EVERY_NS = 3600 * NS_PER_S
OWN_STREAM = "seq"
FRAME_STREAM = "fcnt"
PERIOD_STREAM = "period-"
MOST_PERIOD_S = 3600
"""Longer ones are not followed: a station cannot be asked for its days one by one."""


class Gaps:
    """Drives the sequences of all streams over one state."""

    def __init__(self, state: JudgeState) -> None:
        self._state = state

    def of_message(
        self,
        kind: TopicKind,
        understood: Understood,
        received_ns: int,
        clock_ns: int,
        fx: Effects,
        replayed: bool = False,
    ) -> None:
        """The numbers that a message gives itself: `seq` and `boot` of each object of own JSON, the frame counter of a
        LoRaWAN uplink, the periods of HJ 212. Of a message that was `replayed` they say nothing of where the device is
        now, but they may be what is missing."""
        mine, sender, decoded = understood[:3]
        if kind in (TopicKind.HJ212, TopicKind.HJ212_TCP):
            self._of_periods(understood, received_ns, clock_ns, fx, replayed)
            return
        name = OWN_STREAM if kind is TopicKind.UP else FRAME_STREAM
        before: tuple[str | None, int | None, str | None] | None = None
        for item in decoded.items if decoded.sender is None else (decoded.sender._replace(device=None),):
            numbered = (item.device, item.seq, item.boot)
            if item.seq is None or numbered == before:
                continue
            before = numbered
            stream = Stream(mine, item.device or sender, name)
            if not self._speaks_for(mine, sender, stream.device):
                continue
            self._came(stream, item.seq, item.boot or "", item.time_ns, clock_ns, fx, replayed)

    def _of_periods(self, understood: Understood, received_ns: int, clock_ns: int, fx: Effects, replayed: bool) -> None:
        """Statistics of a station begin one period after the other: their periods number themselves. One of a time that
        cannot be (a clock in 2099) numbers nothing: after it, all that comes would be old for ever."""
        mine, sender, decoded = understood[:3]
        latest_ns = received_ns + self._state.registry.max_ahead_ns.get(mine, DEFAULT_MAX_AHEAD_NS)
        periods = set()
        for item in decoded.items:
            series = Series(mine, item.device or sender, item.metric, item.channel, item.stat, item.period_s)
            # Of a statistic that is not registered nobody knows the period: a frame does not say it.
            is_followed = 0 < item.period_s <= MOST_PERIOD_S and EARLIEST_NS <= item.time_ns <= latest_ns
            if is_followed and self._state.registry.setting(series) is not None:
                periods.add((series.device, item.period_s, item.time_ns))
        for device, period_s, time_ns in sorted(periods):
            if self._speaks_for(mine, sender, device):
                stream = Stream(mine, device, f"{PERIOD_STREAM}{period_s}")
                self._came(stream, time_ns // (period_s * NS_PER_S), "", time_ns, clock_ns, fx, replayed)

    def _came(
        self, stream: Stream, seq: int, boot: str, time_ns: int, clock_ns: int, fx: Effects, replayed: bool
    ) -> None:
        if not replayed:
            self.observe(stream, seq, boot, time_ns, clock_ns, fx)
        elif stream in self._state.sequences:
            self._fill(self._state.sequences[stream], seq, boot, clock_ns, fx)

    def observe(
        self,
        stream: Stream,
        seq: int,
        boot: str | None,
        time_ns: int,
        clock_ns: int,
        fx: Effects,
        modulus: int | None = None,
    ) -> None:
        """A message with this number has come, of a registered device. `modulus` is how many numbers there are before
        they begin again at 0 within a boot (Sparkplug: 256)."""
        boot = boot or ""
        known = self._state.sequences.get(stream)
        if known is None:
            known = Sequence(self._state.next_sequence_id, stream, boot, "", seq, time_ns, None)
            self._state.next_sequence_id += 1
            self._save(known, fx)
            return
        if self._state.is_draining and time_ns < known.highest_ns:
            # It says nothing of where the device is now, but it may be what seemed to be missing.
            self._fill(known, seq, boot, clock_ns, fx)
            return
        if modulus is not None and boot == known.boot:
            seq = known.highest + (seq - known.highest + modulus // 2) % modulus - modulus // 2
        if boot != known.boot:
            is_late = boot == known.former_boot and time_ns <= known.highest_ns
            if not self._fill(known, seq, boot, clock_ns, fx) and not is_late:
                known.former_boot, known.boot = known.boot, boot
                known.highest, known.highest_ns = seq, time_ns
                self._save(known, fx)
        elif seq > known.highest:
            if seq != known.highest + 1:
                self._passed_over(known, seq, time_ns, clock_ns, fx)
            advance(known, seq, time_ns, fx)
        elif not self._fill(known, seq, boot, clock_ns, fx) and seq < known.highest and time_ns > known.highest_ns:
            self._reset(known, seq, time_ns, clock_ns, fx)
            advance(known, seq, time_ns, fx)

    def came_unnumbered(self, stream: Stream, times: Iterable[int], clock_ns: int, fx: Effects) -> None:
        """Values of the past have come that have lost the numbers of their messages (Sparkplug's historical values).
        Each source time stands for one message of a gap whose neighbours it lies between; more cannot be known."""
        for time_ns in times:
            missing = sorted(self._state.sequences[stream].missing.values(), key=_age)
            gap = next((one for one in missing if one.from_ns <= time_ns <= one.to_ns), None)
            filled = gap.without(gap.remaining[0][0]) if gap is not None else None
            if filled is None:
                continue
            if filled.left:
                self._keep(filled, fx)
            else:
                self._close(filled._replace(found_ns=filled.found_ns or clock_ns), GapReason.FILLED, clock_ns, fx)

    def on_clock(self, clock_ns: int, fx: Effects) -> None:
        """Declare what has been missing for long enough, ask again, and give up what will not come. While a backlog
        waits nothing is: the numbers may stand in it."""
        if self._state.aside:
            return
        for stream in sorted(self._state.gapped):
            for gap in list(self._state.sequences[stream].missing.values()):
                if gap.found_ns is None:
                    if clock_ns - gap.opened_ns >= DECLARED_AFTER_NS:
                        self._ask(gap._replace(found_ns=clock_ns), clock_ns, fx)
                elif clock_ns - gap.found_ns >= EXPIRES_AFTER_NS:
                    self._close(gap, GapReason.EXPIRED, clock_ns, fx)
                elif gap.next_ns <= clock_ns and gap.attempts <= len(ASKED_AGAIN_AFTER_NS):
                    self._ask(gap, clock_ns, fx)

    def _speaks_for(self, mine: str, sender: str, device: str) -> bool:
        entry = self._state.registry.devices.get((mine, device))
        return entry is not None and (device == sender or entry.gateway == sender)

    def _save(self, known: Sequence, fx: Effects) -> None:
        known.saved = None
        self._state.sequences[known.stream] = fx.sequences[known.stream] = known

    def _passed_over(self, known: Sequence, seq: int, time_ns: int, clock_ns: int, fx: Effects) -> None:
        first, last = known.highest + 1, seq - 1
        if last - first >= MOST_MISSING:
            self._reset(known, seq, time_ns, clock_ns, fx)
            return
        around = (min(known.highest_ns, time_ns), max(known.highest_ns, time_ns))
        identity = gap_id(known.stream, known.boot, first, clock_ns)
        suspected = Gap(
            identity, known.stream, known.boot, first, last, *around, clock_ns, None, 0, all_of(first, last), 0,
            clock_ns, None, GapReason.OPEN,
        )  # fmt: skip
        self._keep(suspected, fx)
        if len(known.missing) > MOST_GAPS:
            oldest = min(known.missing.values(), key=_age)
            self._close(oldest._replace(found_ns=oldest.found_ns or clock_ns), GapReason.EXPIRED, clock_ns, fx)

    def _fill(self, known: Sequence, seq: int, boot: str, clock_ns: int, fx: Effects) -> bool:
        for gap in sorted(known.missing.values(), key=_age):
            if gap.boot != boot:
                continue
            filled = gap.without(seq)
            if filled is None:
                continue
            if filled.left:
                self._keep(filled, fx)
            elif filled.found_ns is None:
                self._forget(filled)
                fx.gaps[filled.id] = None  # it was only disorder
            else:
                self._close(filled, GapReason.FILLED, clock_ns, fx)
            return True
        return False

    def _reset(self, known: Sequence, seq: int, time_ns: int, clock_ns: int, fx: Effects) -> None:
        """The numbers go on elsewhere without a new boot id: noted (once an hour), and followed from there."""
        if known.reset_ns is not None and clock_ns - known.reset_ns < RESET_NOTED_EVERY_NS:
            return
        known.reset_ns = clock_ns
        self._save(known, fx)
        around = (min(known.highest_ns, time_ns), max(known.highest_ns, time_ns))
        identity = gap_id(known.stream, known.boot, known.highest, clock_ns)
        fx.gaps[identity] = Gap(
            identity, known.stream, known.boot, known.highest, seq, *around, clock_ns, clock_ns, 0, 0, 0, clock_ns,
            clock_ns, GapReason.RESET,
        )  # fmt: skip

    def _ask(self, gap: Gap, clock_ns: int, fx: Effects) -> None:
        asked = self._request(gap)
        pause_ns = ASKED_AGAIN_AFTER_NS[min(gap.attempts, len(ASKED_AGAIN_AFTER_NS) - 1)]
        self._keep(gap._replace(attempts=gap.attempts + 1, next_ns=clock_ns + pause_ns), fx)
        if asked is not None:
            kind, target, payload = asked
            identity = downlink_id(kind, target, clock_ns, payload)
            fx.downlinks.append(Downlink(identity, kind, target, payload, clock_ns, clock_ns + REQUEST_NEEDED_NS))

    def _request(self, gap: Gap) -> tuple[DownlinkKind, str, bytes] | None:
        """What to send where; None for a device that cannot be asked."""
        mine, device_id, name = gap.stream
        policy = self._state.policies.get(mine)
        device = policy.device(device_id) if policy is not None else None
        if device is None:
            return None
        if name.startswith(PERIOD_STREAM):
            if device.address is None or device.address.mn is None:
                return None
            return _history(gap, device.address.mn, int(name.removeprefix(PERIOD_STREAM)))
        if name != OWN_STREAM:
            return None
        remaining = gap.remaining
        first, last = remaining[0][0], remaining[-1][1]
        body = {
            "request": "backfill",
            "device": device_id,
            "boot": gap.boot or None,
            "first_seq": first,
            "last_seq": last,
            "from": to_rfc3339(gap.from_ns),
            "to": to_rfc3339(gap.to_ns),
        }
        return DownlinkKind.BACKFILL, f"mines/{mine}/{device.gateway or device_id}/down", json.dumps(body).encode()

    def _close(self, gap: Gap, reason: GapReason, clock_ns: int, fx: Effects) -> None:
        self._forget(gap)
        fx.gaps[gap.id] = gap._replace(closed_ns=clock_ns, reason=reason)

    def _keep(self, gap: Gap, fx: Effects) -> None:
        self._state.sequences[gap.stream].missing[gap.id] = fx.gaps[gap.id] = gap
        self._state.gapped.add(gap.stream)

    def _forget(self, gap: Gap) -> None:
        missing = self._state.sequences[gap.stream].missing
        del missing[gap.id]
        if not missing:
            self._state.gapped.discard(gap.stream)


def advance(known: Sequence, seq: int, time_ns: int, fx: Effects) -> None:
    """This number is the highest now."""
    known.highest, known.highest_ns = seq, time_ns
    fx.advanced[known.id] = known


def _age(gap: Gap) -> tuple[int, int, str]:
    return gap.opened_ns, gap.first_seq, gap.id


def _history(gap: Gap, mn: str, period_s: int) -> tuple[DownlinkKind, str, bytes]:
    """The request for kept statistics; the listener makes the frame, since only it knows the station's password."""
    cn = "2051" if period_s < 3600 else "2061"
    remaining = gap.remaining
    first, last = remaining[0][0], remaining[-1][1]
    span = {"from": to_rfc3339(first * period_s * NS_PER_S), "to": to_rfc3339(last * period_s * NS_PER_S)}
    return DownlinkKind.HISTORY, f"{HJ212_TARGET}{mn}", json.dumps({"request": "history", "cn": cn, **span}).encode()
