"""Messages to devices: from the decision that asks for one until it has left, or nobody needs it any more."""

from __future__ import annotations

import json

from greenmine.alerts.retry import next_attempt_ns
from greenmine.ingest.record import Batch, StoredRecord
from greenmine.pipeline.effects import DownlinkState, Effects
from greenmine.pipeline.state import JudgeState

MOST_WAITING = 10_000
"""Messages that may wait at a time; one asked for beyond that is refused and stays in the table with its reason."""
KEPT_NS = 30 * 86_400 * 1_000_000_000
"""How long an ended one can be looked up."""


class Downlinks:
    """Moves the messages to devices through their states: `pending`, then `sent`, `expired` or `refused`."""

    def __init__(self, state: JudgeState) -> None:
        self._state = state

    def take_over(self, clock_ns: int, fx: Effects) -> None:
        """Put into the outbox what decisions have asked for since this was called last."""
        new = fx.downlinks[fx.downlinks_taken :]
        fx.downlinks_taken = len(fx.downlinks)
        for downlink in new:
            if downlink.id in self._state.downlinks:
                continue
            asked = DownlinkState(downlink, "pending", 0, clock_ns, None, "")
            if len(self._state.downlinks) >= MOST_WAITING:
                asked = asked._replace(state="refused", ended_ns=clock_ns, detail="too many messages wait already")
            self._keep(asked, fx)

    def attempted(self, stored: StoredRecord, batch: Batch, fx: Effects) -> None:
        """The outcome of an attempt, as the sender reported it."""
        result = json.loads(stored.record.payload)
        waiting = self._state.downlinks.get(result["id"])
        if waiting is None:
            return
        attempts = waiting.attempts + 1
        moved = waiting._replace(attempts=attempts, detail=str(result["detail"])[:500])
        if result["sent"]:
            moved = moved._replace(state="sent", ended_ns=batch.clock_ns)
        else:
            moved = moved._replace(next_ns=next_attempt_ns(waiting.downlink.id, attempts, batch.clock_ns, None))
        self._keep(moved, fx)

    def on_clock(self, clock_ns: int, fx: Effects) -> None:
        """Let go of what nobody needs any more."""
        over = [one for one in self._state.downlinks.values() if one.downlink.expires_ns <= clock_ns]
        for waiting in over:
            self._keep(waiting._replace(state="expired", ended_ns=clock_ns), fx)

    def _keep(self, moved: DownlinkState, fx: Effects) -> None:
        identity = moved.downlink.id
        fx.downlink_states[identity] = moved
        if moved.state == "pending":
            self._state.downlinks[identity] = moved
        else:
            self._state.downlinks.pop(identity, None)
