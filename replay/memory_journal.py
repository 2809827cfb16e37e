"""A journal that is a list in memory: what rule tests judge."""

from __future__ import annotations

from collections.abc import Sequence

from greenmine.ingest.backlog import Aside
from greenmine.ingest.journal import JournalReader
from greenmine.ingest.record import Batch, Record, StoredRecord


class MemoryJournal(JournalReader):
    """Keeps nothing over a restart. Judged at once, nothing of it is ever set aside."""

    def __init__(self) -> None:
        self._batches: list[Batch] = []
        self._kept: list[StoredRecord] = []

    def append(self, time_ns: int, records: Sequence[Record]) -> None:
        """One more batch; the wall clock and the journal's clock are the same here."""
        first = len(self._kept)
        self._kept += [StoredRecord(first + n, record, True) for n, record in enumerate(records, 1)]
        self._batches.append(Batch(len(self._batches) + 1, time_ns, time_ns, tuple(self._kept[first:])))

    def batches(self, after: int, most_records: int = 5000) -> list[Batch]:
        """What was not judged yet, a thousand batches at most."""
        del most_records
        return self._batches[after : after + 1000]

    def at_once(self, after: int, upto: int, most_records: int = 5000) -> list[Batch]:
        """As `batches`, to a batch."""
        return [batch for batch in self.batches(after, most_records) if batch.no <= upto]

    def ahead(self, after: int, but_newest: int, within_ns: int, since_ns: int) -> tuple[Aside, Aside] | None:
        """Nothing waits."""
        del after, but_newest, within_ns, since_ns
        return None

    def set_asides(self, after: int) -> list[Aside]:
        """Nothing is set aside."""
        del after
        return []

    def record(self, record_id: int) -> StoredRecord | None:
        """A record by its number."""
        return self._kept[record_id - 1] if 0 < record_id <= len(self._kept) else None

    def last_no(self) -> int:
        """The number of the last batch."""
        return len(self._batches)

    def close(self) -> None:
        """Nothing to close."""
