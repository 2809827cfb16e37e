"""The one thread that writes the journal: group commit first, then the acknowledgements, in the order of receipt."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import structlog

from greenmine.core.clock import Clock
from greenmine.core.errors import StoreFull, StoreUnavailable
from greenmine.ingest.journal import Journal, JournalClock
from greenmine.ingest.record import Record

log = structlog.get_logger(__name__)
FULL_RETRY_S = 0.5
"""How often a commit is tried again while the disk is full."""
_FORGOTTEN_AT_ONCE = 2_000
MOST_BATCH_BYTES = 1024 * 1024
"""Payloads after which a batch takes no further record: it is judged in one commit, and nothing else meanwhile."""


class AckSink(Protocol):
    """Where acknowledgements go once the data is safe."""

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        """These are committed, in the order of receipt. Called on the writer's thread; must not block or raise.

        Called without tokens after a refused `offer`, once the queue is empty: there is room again.
        """
        ...


class Submission(NamedTuple):
    """A record on its way to the journal, together with its acknowledgement (None where nobody waits).

    `at_ns` is the time of receipt where a virtual clock gives it (a replay of old measurements); it must not go back.
    """

    record: Record
    sink: AckSink | None = None
    token: Any = None
    at_ns: int | None = None


class WriterLimits(NamedTuple):
    """Sizes of the group commit. `linger_s` is how long the first record of a batch may wait for company. The queue is
    full at `queue_records` or at `queue_bytes` of payloads, whichever comes first."""

    queue_records: int = 20_000
    batch_records: int = 500
    linger_s: float = 0.01
    tick_s: float = 1.0
    queue_bytes: int = 64 * 1024 * 1024


class JournalWriter:
    """Owns the journal. `offer` never blocks; a full queue is said so and the caller withholds its acknowledgement.

    If a commit fails nothing is acknowledged, the thread ends and `on_failure` is called: what reached the disk is
    unknown, so the process has to end and start again. A full disk is no such failure: SQLite has rolled back, so the
    same records are tried again until there is room, and meanwhile nothing is acknowledged.
    """

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        on_commit: Callable[[], None],
        on_failure: Callable[[StoreUnavailable], None],
        limits: WriterLimits = WriterLimits(),  # noqa: B008 - immutable
        on_full: Callable[[], object] | None = None,
    ) -> None:
        """`on_full` is called when the disk is full, before the first new attempt: it may make room."""
        self._on_full = on_full
        self._journal = journal
        self._stamps = JournalClock(clock, journal.last_clock_ns)
        self._stamped_ns = journal.last_clock_ns or 0
        self._on_commit = on_commit
        self._on_failure = on_failure
        self._limits = limits
        self._queue: deque[Submission] = deque()
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._has_room = threading.Condition(self._lock)
        self._waiting = False
        self._queued_bytes = 0
        self._committing = 0
        self._refused: list[AckSink] = []
        self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)
        self._stopping = threading.Event()
        self._held = False
        self._forget_to = 0
        self.failed: StoreUnavailable | None = None
        self.full: StoreFull | None = None
        self.committed_records = 0
        self.refused_full = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def offer(self, submission: Submission) -> bool:
        """Queue a record; False when the queue is full or the writer has ended, and then nothing was taken."""
        return self.offer_all([submission]) == 1

    def offer_all(self, submissions: Sequence[Submission]) -> int:
        """The same for several; how many were taken. From the first that finds no room on, none is."""
        with self._lock:
            for number, submission in enumerate(submissions):
                if self._ended:
                    return number
                size = len(submission.record.payload)
                if not self._takes(size) or (self._held and submission.sink is not None):
                    self._refuse(submissions[number:])
                    return number
                self._put(submission, size)
        return len(submissions)

    def put(self, submission: Submission, timeout_s: float) -> bool:
        """Queue a record, waiting for room up to `timeout_s`: for acts of people, which have no broker behind them."""
        size = len(submission.record.payload)
        with self._lock:
            # `size` 0: an act is small, and must not wait behind the bytes of messages.
            if not self._has_room.wait_for(lambda: self._ended or self._takes(0), timeout_s) or self._ended:
                return False
            self._put(submission, size)
        return True

    def hold(self, held: bool) -> None:
        """Take nothing more that is to be acknowledged, or take it again: what people and the service itself have to
        record goes on, as long as there is any room."""
        with self._lock:
            was, self._held = self._held, held
            with_room = self._told_of_room() if was and not held else []
        for sink in with_room:
            sink.acknowledge(())

    def forget_up_to(self, batch_no: int) -> None:
        """Batches up to this one are in the archive: take them out of the file, a few at a time, between commits."""
        self._forget_to = batch_no

    @property
    def _ended(self) -> bool:
        return self._stopping.is_set() or self.failed is not None

    def _takes(self, size: int) -> bool:
        fits = self._queued_bytes == 0 or self._queued_bytes + size <= self._limits.queue_bytes
        return fits and len(self._queue) < self._limits.queue_records

    def _put(self, submission: Submission, size: int) -> None:
        self._queue.append(submission)
        self._queued_bytes += size
        if self._waiting:
            self._arrived.notify()

    def _refuse(self, submissions: Sequence[Submission]) -> None:
        self.refused_full += len(submissions)
        for submission in submissions:
            if submission.sink is not None and submission.sink not in self._refused:
                self._refused.append(submission.sink)

    @property
    def backlog(self) -> int:
        """Records not committed yet: those that wait, and those of the commit under way."""
        with self._lock:
            return len(self._queue) + self._committing

    def stop(self) -> None:
        """Commit what is queued, then end the thread. The journal stays open."""
        self._stopping.set()
        with self._lock:
            self._arrived.notify()
            self._has_room.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            while not (self._stopping.is_set() and not self._queue):
                self._commit(self._take())
                if self._forget_to and not self._queue:
                    self._tidy()
        except StoreUnavailable as error:
            self._fail(error)
        except Exception as error:
            # Nothing is committed from here on, so it must be as loud as a failed disk.
            log.critical("journal writer failed", exc_info=True)
            self._fail(StoreUnavailable(f"the journal's writer failed: {error!r}", needs_operator=True))

    def _fail(self, error: StoreUnavailable) -> None:
        self.failed = error
        with self._lock:
            self._has_room.notify_all()
        self._on_failure(error)

    def _commit(self, taken: list[Submission]) -> None:
        """Journal first, acknowledge second."""
        self._append(self._stamped(taken))
        self.committed_records += len(taken)
        with self._lock:
            self._committing = 0
            self._queued_bytes -= sum(len(submission.record.payload) for submission in taken)
            with_room = self._told_of_room()
            self._has_room.notify_all()
        _acknowledge(taken)
        for sink in with_room:
            sink.acknowledge(())
        self._on_commit()

    def _told_of_room(self) -> list[AckSink]:
        """Those who were refused and are to be told that there is room again."""
        if self._queue or self._held:
            return []
        with_room, self._refused = self._refused, []
        return with_room

    def _append(self, stamped: list[tuple[int, int, list[Record]]]) -> None:
        while True:
            try:
                self._journal.append(stamped)
            except StoreFull as error:
                if self.full is None:
                    log.error("journal: the disk is full, nothing is acknowledged", error=str(error))
                    if self._on_full is not None:
                        self._on_full()
                self.full = error
                if self._stopping.wait(FULL_RETRY_S):
                    raise
            else:
                if self.full is not None:
                    log.info("journal: there is room again")
                    self.full = None
                return

    def _tidy(self) -> None:
        try:
            if not self._journal.forget(self._forget_to, _FORGOTTEN_AT_ONCE) and not self._journal.release_pages():
                self._forget_to = 0
        except StoreFull as error:
            log.warning("journal: no room to take archived batches out of the file", error=str(error))

    def _stamped(self, taken: list[Submission]) -> list[tuple[int, int, list[Record]]]:
        """One batch with the time of now, or one for each virtual time of receipt. A record without a virtual time has
        that of the one before it: the clock it would read is ahead by all that waits in the queue."""
        received_ns, clock_ns = self._stamps.advance()
        if not any(submission.at_ns is not None for submission in taken):
            self._stamped_ns = max(clock_ns, self._stamped_ns)
            return [(received_ns, self._stamped_ns, [submission.record for submission in taken])]
        batches: list[tuple[int, int, list[Record]]] = []
        for submission in taken:
            at_ns = self._stamped_ns or received_ns
            if submission.at_ns is not None:
                at_ns = max(submission.at_ns, self._stamped_ns)
            if not batches or batches[-1][0] != at_ns:
                batches.append((at_ns, at_ns, []))
            batches[-1][2].append(submission.record)
            self._stamped_ns = at_ns
        return batches

    def _take(self) -> list[Submission]:
        """Up to a batch of submissions; none when the tick passed without any, or at the end."""
        with self._lock:
            if not self._queue and not self._stopping.is_set():
                self._waiting = True
                self._arrived.wait(self._limits.tick_s)
                self._waiting = False
            is_whole = len(self._queue) >= self._limits.batch_records or self._queued_bytes >= MOST_BATCH_BYTES
            lingers = bool(self._queue) and not is_whole
        if lingers and self._limits.linger_s:
            self._stopping.wait(self._limits.linger_s)
        taken: list[Submission] = []
        size = 0
        with self._lock:
            while self._queue and len(taken) < self._limits.batch_records and size < MOST_BATCH_BYTES:
                taken.append(self._queue.popleft())
                size += len(taken[-1].record.payload)
            self._committing = len(taken)
            return taken


def _acknowledge(taken: list[Submission]) -> None:
    by_sink: dict[int, tuple[AckSink, list[Any]]] = {}
    for _, sink, token, _ in taken:
        if sink is not None:
            by_sink.setdefault(id(sink), (sink, []))[1].append(token)
    for sink, tokens in by_sink.values():
        sink.acknowledge(tokens)
