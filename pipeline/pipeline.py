"""The pipeline: reads the journal from its cursor, judges, commits, and tells those who listen and wait.

One thread judges. A commit that fails ends the pipeline: its memory is then ahead of the disk, and only a restart
brings them together again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import structlog

from greenmine.core.act import ActResult
from greenmine.core.errors import Corrupt, GreenmineError, StoreFull
from greenmine.core.latest import Change, ChangeListener, Latest, Wants
from greenmine.ingest.backlog import Aside
from greenmine.ingest.calibration import Calibrations
from greenmine.ingest.journal import JournalReader
from greenmine.ingest.record import Batch
from greenmine.pipeline import commit
from greenmine.pipeline.effects import Effects, SeriesState
from greenmine.pipeline.hj212_reader import Secrets, no_secrets
from greenmine.pipeline.judge import STANDS_ALONE, Judge
from greenmine.pipeline.lanes import MOST_BEHIND, Entry, Lanes
from greenmine.pipeline.past import CommittedPast
from greenmine.pipeline.restore import restore
from greenmine.pipeline.rounds import Rounds
from greenmine.store.state import StateDb

log = structlog.get_logger(__name__)
MOST_RECORDS_A_COMMIT = 5_000
FULL_RETRY_S = 0.5
ResultListener = Callable[[dict[str, ActResult | GreenmineError]], None]


class Pipeline:
    """Judges a journal into a state. `secrets` resolves references to passwords and keys of HJ 212 stations. With a way
    into the journal (`enter`) it sets aside what is more than `most_behind` records old, and drains it beside live.

    Raises:
        Corrupt: the state's cursor is beyond the journal's end (the journal lost data or is another one).
    """

    def __init__(
        self,
        journal: JournalReader,
        state: StateDb,
        secrets: Secrets = no_secrets,
        enter: Entry | None = None,
        most_behind: int = MOST_BEHIND,
    ) -> None:
        self._state = state
        self._past = past = CommittedPast(state, journal)
        memory, self.cursor = restore(state, past)
        if self.cursor > journal.last_no():
            raise Corrupt(
                f"the state has judged batch {self.cursor}, but the journal ends at {journal.last_no()}: "
                "the journal has lost data or belongs to another home; restore both from one backup"
            )
        self.judge = Judge(memory, past, secrets)
        self._lanes = Lanes(journal, memory, self.cursor, enter, most_behind)
        self._rounds = Rounds(memory)
        self.clock_ns = memory.clock_ns
        self._listeners: list[tuple[ChangeListener, Callable[[], Wants]]] = []
        self._listeners_lock = threading.Lock()
        self._on_results: list[ResultListener] = []
        self._on_commit: list[Callable[[bool, bool], None]] = []
        self.caught_up = threading.Condition()
        self.stopping = threading.Event()
        """Set by whoever ends the judging: then a full disk is not waited for."""
        self.full: StoreFull | None = None

    def run_available(self) -> int:
        """Judge and commit all that the journal holds now, but for what is set aside, of which the next slice is asked
        for; returns the number of batches."""
        judged = 0
        while batches := self._lanes.next_batches(self.cursor, self.clock_ns, MOST_RECORDS_A_COMMIT):
            for group in _groups(batches):
                self._judge_group(group)
            judged += len(batches)
            self._lanes.ask_for_slice()
        if not judged:
            self._lanes.ask_for_slice()
        return judged

    @property
    def aside(self) -> tuple[Aside, ...]:
        """What is set aside as of the last batch that was judged, the oldest first."""
        return self.judge.state.aside

    def subscribe(self, listener: ChangeListener, wanted: Callable[[], Wants] = Wants) -> Callable[[], None]:
        """Call the listener with the changes of each commit, of the kinds it wants then; returns the function that ends
        it."""
        entry = (listener, wanted)
        with self._listeners_lock:
            self._listeners.append(entry)

        def end() -> None:
            with self._listeners_lock:
                if entry in self._listeners:
                    self._listeners.remove(entry)

        return end

    def on_results(self, listener: ResultListener) -> None:
        """Call this with the answers to acts, by their tickets, after their commit."""
        self._on_results.append(listener)

    def subscribe_commits(self, listener: Callable[[bool, bool], None]) -> None:
        """Call this after each commit with whether readings and whether notices were put into their outboxes."""
        self._on_commit.append(listener)

    def wait_for(self, batch_no: int, timeout_s: float) -> bool:
        """Wait until a batch has been judged and committed."""
        with self.caught_up:
            return self.caught_up.wait_for(lambda: self.cursor >= batch_no, timeout_s)

    def _judge_group(self, group: list[Batch]) -> None:
        part: list[Batch] = []
        for batch in group:
            part.append(batch)
            if self.judge.prunes(batch):
                self._judge_together(part)
                part = []
        if part:
            self._judge_together(part)

    def _judge_together(self, batches: list[Batch]) -> None:
        with self._listeners_lock:
            listeners = [(listener, wanted()) for listener, wanted in self._listeners]
        self.judge.intake.shown = frozenset().union(*(wants.messages for _, wants in listeners))
        fx = Effects(self.cursor, self.cursor)
        aside = self._lanes.of(batches[0].no)
        for batch in batches:
            self.judge.apply(batch, fx, aside)
        if fx.forget is None:
            self._rounds.step(fx)
        else:
            self._rounds.save_all(fx)
        self._commit(fx)
        self._past.committed(fx.chunks)
        self.cursor, self.clock_ns = fx.cursor, fx.clock_ns
        with self.caught_up:
            self.caught_up.notify_all()
        for notify in self._on_commit:
            readings = len(fx.store) or fx.store_after_check or fx.store_replayed or fx.recalibrations
            _tell(notify, bool(readings), bool(fx.notices))
        if fx.results:
            for answer in self._on_results:
                _tell(answer, fx.results)
        self._tell_changes(fx, listeners)

    def _commit(self, fx: Effects) -> None:
        """A full disk rolls the whole transaction back: it is tried again until there is room, or the end."""
        while True:
            try:
                commit.commit(self._state, fx)
            except StoreFull as error:
                if self.full is None:
                    log.error("pipeline: the disk is full, judging waits", error=str(error))
                self.full = error
                if self.stopping.wait(FULL_RETRY_S):
                    raise
            else:
                if self.full is not None:
                    log.info("pipeline: there is room again")
                    self.full = None
                return

    def _tell_changes(self, fx: Effects, listeners: list[tuple[ChangeListener, Wants]]) -> None:
        newest: list[Change] = []
        if any(wants.latest for _, wants in listeners):
            calibrations = self.judge.state.devices.calibrations
            newest = [Change("latest", _latest(one, calibrations)) for one in fx.latest.values()]
        for listener, wants in listeners:
            changes = newest + fx.changes if wants.latest else fx.changes
            if changes:
                _tell(listener, changes)


def _latest(state: SeriesState, calibrations: Calibrations) -> Latest:
    calibrated = calibrations.value(state.series, state.newest_ns, state.value)
    return Latest(state.series, state.newest_ns, state.value, state.quality, state.received_ns, calibrated)


def _tell(listener: Callable[..., None], *what: Any) -> None:
    try:
        listener(*what)
    except Exception:
        # It is committed and the listener can read it there; a fault in a view must not end the judging of alarms.
        log.exception("a listener failed")


def _groups(batches: list[Batch]) -> list[list[Batch]]:
    """Batches that are committed together; those with a record that stands alone do too."""
    groups: list[list[Batch]] = []
    alone = True
    for batch in batches:
        stands_alone = any(stored.record.kind in STANDS_ALONE for stored in batch.records)
        if stands_alone or alone or not groups:
            groups.append([batch])
        else:
            groups[-1].append(batch)
        alone = stands_alone
    return groups
