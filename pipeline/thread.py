"""Runs a pipeline on its own thread, and the desk at which acts wait for their answers."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from greenmine.core.act import Act, ActResult
from greenmine.core.errors import GreenmineError, StoreUnavailable
from greenmine.core.principal import SERVICE
from greenmine.ingest.journal_writer import JournalWriter, Submission
from greenmine.ingest.record import Record, RecordKind
from greenmine.pipeline.pipeline import Pipeline

log = structlog.get_logger(__name__)
PUT_TIMEOUT_S = 10.0
FAILURE_SEEN_S = 0.5


class PipelineThread:
    """Judges whenever the journal has committed. On any failure it ends and says so: memory may be ahead of disk."""

    def __init__(self, pipeline: Pipeline, on_failure: Callable[[Exception], None]) -> None:
        self.pipeline = pipeline
        self.failed: Exception | None = None
        self._on_failure = on_failure
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="pipeline", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._wake.set()
        self._thread.start()

    def wake(self) -> None:
        """The journal has something new."""
        self._wake.set()

    def stop(self) -> None:
        """Judge what the journal holds, then end."""
        self._stopping = True
        self.pipeline.stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                self._wake.wait()
                self._wake.clear()
                stopping = self._stopping
                self.pipeline.run_available()
                if stopping:
                    return
        except Exception as error:
            self.failed = error
            log.critical("pipeline failed", error=str(error), exc_info=not isinstance(error, GreenmineError))
            self._on_failure(error)


class ServiceEntry:
    """The pipeline's own way into the journal (`lanes.Entry`), through its writer."""

    def __init__(self, writer: JournalWriter) -> None:
        self._writer = writer

    def __call__(self, payload: bytes, durable: bool) -> bool:
        """Enter a record of the service; whether it was taken. If `durable`, returns when it is on the disk.

        Raises:
            StoreUnavailable: the writer has failed; what reached the disk is unknown.
        """
        record = Record(RecordKind.SERVICE, str(SERVICE), payload)
        if not durable:
            return self._writer.offer(Submission(record))
        on_disk = _OnDisk()
        if self._writer.full is not None or not self._writer.put(Submission(record, on_disk), PUT_TIMEOUT_S):
            return False
        while not on_disk.event.wait(FAILURE_SEEN_S):
            if self._writer.failed is not None:
                raise self._writer.failed
        return True


class _OnDisk:
    """An acknowledgement that is waited for."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def acknowledge(self, _: Sequence[Any]) -> None:
        self.event.set()


class ActDesk:
    """Journals acts and hands their answers back."""

    def __init__(self, pipeline: Pipeline, writer: JournalWriter) -> None:
        self._pipeline = pipeline
        self._writer = writer
        self._lock = threading.Condition()
        self._answers: dict[str, ActResult | GreenmineError | None] = {}
        pipeline.on_results(self._answered)

    def submit(self, act: Act, timeout_s: float = 10.0) -> ActResult:
        """Journal an act and wait until it is judged.

        Raises:
            NotFound, Conflict, Refused: the answer.
            StoreUnavailable: not judged in time; once it is in the journal it will be.
        """
        return self.enter(Record(RecordKind.ACT, act.principal, act.to_json()), timeout_s)

    def enter(self, record: Record, timeout_s: float) -> ActResult:
        """The same for any record that is answered (acts, imports)."""
        ticket = secrets.token_hex(16)
        with self._lock:
            self._answers[ticket] = None
        try:
            if not self._writer.put(Submission(record._replace(client=ticket)), timeout_s):
                raise StoreUnavailable("this could not be recorded: the journal takes nothing now; try again")
            with self._lock:
                if not self._lock.wait_for(lambda: self._answers[ticket] is not None, timeout_s):
                    raise StoreUnavailable("this is recorded and will be judged; its answer did not come in time")
                answer = self._answers[ticket]
        finally:
            with self._lock:
                del self._answers[ticket]
        if isinstance(answer, GreenmineError):
            raise answer
        assert answer is not None
        return answer

    def _answered(self, results: dict[str, ActResult | GreenmineError]) -> None:
        with self._lock:
            for ticket, answer in results.items():
                if ticket in self._answers:
                    self._answers[ticket] = answer
            self._lock.notify_all()
