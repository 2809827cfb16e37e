"""A fault of the service itself, of which the mines are told: once when it begins, and once when it is over."""

from __future__ import annotations

import json
from collections.abc import Callable

from greenmine.ingest.journal_writer import JournalWriter, Submission
from greenmine.ingest.record import Record, RecordKind


class LocalAlarm:
    """Enters the events of one fault into the journal. `is_alarmed`: whether the mines were told already, which a
    process that has just started does not know by itself."""

    def __init__(self, writer: JournalWriter, is_alarmed: Callable[[], bool], begins: str, ends: str) -> None:
        self._writer = writer
        self._is_alarmed = is_alarmed
        self._begins, self._ends = begins, ends
        self._said: bool | None = None

    def say(self, lasts: bool, detail: str) -> None:
        """Whether the fault lasts now. Never waits: where the journal's queue has no room it is said the next time."""
        if lasts == (self._is_alarmed() if self._said is None else self._said):
            return
        event = json.dumps({"event": self._begins if lasts else self._ends, "detail": detail}, ensure_ascii=False)
        if self._writer.offer(Submission(Record(RecordKind.SERVICE, "service:greenmine", event.encode()))):
            self._said = lasts
