"""A backlog in the judge: what begins and ends with a range that is set aside, and the judging of what has waited.

While a range is passed, its messages are left out and no timer runs: it is a pause in which nothing was heard. What has
waited is judged on the clock of the record that asks for it and with what is known by then (policies, calibrations),
but with its own time of receipt. A reading that is older than its series' newest is late, as ever.
"""

from __future__ import annotations

from typing import Any

from greenmine.core.principal import SERVICE
from greenmine.ingest.backlog import Aside, drain_of, is_at_once
from greenmine.ingest.record import Batch
from greenmine.pipeline.effects import Effects
from greenmine.pipeline.intake import Intake
from greenmine.pipeline.state import JudgeState, Past
from greenmine.pipeline.waiting import WaitingList
from greenmine.pipeline.watch import Watch
from greenmine.store.audit import AuditEntry


class Backlog:
    """Drives what is set aside over one state."""

    def __init__(self, state: JudgeState, watch: Watch, intake: Intake, waiting: WaitingList, past: Past) -> None:
        self._state = state
        self._watch = watch
        self._intake = intake
        self._waiting = waiting
        self._past = past

    def enter(self, aside: Aside, fx: Effects) -> None:
        """The first batch of a range is about to be judged, or one after it."""
        known = self._state.aside
        if known and known[-1].last_no == aside.last_no:
            return
        self._set((*known, aside), fx)
        self._watch.pause(aside.clock_ns, fx)

    def leave(self, aside: Aside) -> None:
        """The last batch of a range was judged: from now on silence counts, and so does a lost connection."""
        state = self._state
        state.listening_since_ns = aside.clock_ns
        if state.link_down_since_ns is not None:
            state.link_down_since_ns = aside.clock_ns

    def drain(self, event: dict[str, Any], batch: Batch, fx: Effects) -> None:
        """Judge the next slice. One that is not next has been judged before."""
        drain, known = drain_of(event), self._state.aside
        if not known or known[0].first_no != drain.first_no:
            return
        fx.end_run(batch.received_ns, batch.clock_ns)
        self._state.is_draining = True
        for waited in self._past.batches(drain.first_no, drain.last_no):
            as_now = waited._replace(clock_ns=batch.clock_ns)
            for stored in waited.records:
                if not is_at_once(stored.record):
                    self._intake.message(stored, as_now, fx)
            fx.end_run(waited.received_ns, batch.clock_ns)
        self._state.is_draining = False
        self._waiting.order()
        head = known[0]
        if drain.last_no < head.last_no:
            rest = head._replace(first_no=drain.last_no + 1, first_record=drain.next_record)
            self._set((rest, *known[1:]), fx)
            return
        self._set(known[1:], fx)
        body = {"last_no": head.last_no, "since_ns": head.since_ns}
        fx.audit.append(AuditEntry(batch.clock_ns, str(SERVICE), "service.drained", "", body))

    def _set(self, aside: tuple[Aside, ...], fx: Effects) -> None:
        self._state.aside = fx.aside = aside
