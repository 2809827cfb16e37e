"""A journal with its writer for tests: commits can be waited for, held, and made to fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from greenmine.core.clock import Clock, SystemClock
from greenmine.core.errors import StoreUnavailable
from greenmine.ingest.journal import Journal, JournalReader
from greenmine.ingest.journal_writer import JournalWriter, WriterLimits
from greenmine.ingest.record import Record, RecordKind
from tests.mqtt_client import WAIT_S

QUICK = WriterLimits(linger_s=0.0, tick_s=0.05)


class HeldJournal(Journal):
    """A journal whose commits with records in them wait while it is held; `entered` is set when one does."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.released = threading.Event()
        self.released.set()
        self.entered = threading.Event()
        self.failure: StoreUnavailable | None = None

    def hold(self) -> None:
        self.entered.clear()
        self.released.clear()

    def append(self, stamped: Sequence[tuple[int, int, Sequence[Record]]]) -> list[int]:
        if any(records for _, _, records in stamped):
            self.entered.set()
            assert self.released.wait(WAIT_S)
            if self.failure is not None:
                raise self.failure
        return super().append(stamped)


class JournalRig:
    """Journal and writer on a file; closed by `close`."""

    def __init__(self, path: Path, limits: WriterLimits = QUICK, clock: Clock | None = None) -> None:
        self.path = path
        self.journal = HeldJournal(path)
        self.failures: list[StoreUnavailable] = []
        self.on_commit: Callable[[], None] = lambda: None
        self._committed = threading.Condition()
        self.writer = JournalWriter(self.journal, clock or SystemClock(), self._commit, self.failures.append, limits)
        self.writer.start()

    def messages(self) -> list[Record]:
        """All messages in the journal, in order."""
        reader = JournalReader(self.path)
        try:
            found = [stored for batch in reader.all_batches() for stored in batch.records]
        finally:
            reader.close()
        assert all(stored.intact for stored in found)
        return [stored.record for stored in found if stored.record.kind is RecordKind.MESSAGE]

    def wait_for(self, condition: Callable[[list[Record]], bool]) -> list[Record]:
        """The messages, once they fulfil the condition."""
        with self._committed:
            assert self._committed.wait_for(lambda: condition(self.messages()), WAIT_S), self.messages()
        return self.messages()

    def wait_for_payload(self, payload: bytes) -> list[Record]:
        return self.wait_for(lambda messages: any(record.payload == payload for record in messages))

    def close(self) -> None:
        self.journal.released.set()
        self.writer.stop()
        self.journal.close()

    def _commit(self) -> None:
        self.on_commit()
        with self._committed:
            self._committed.notify_all()
