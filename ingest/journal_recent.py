"""The batches that were appended last, handed on in memory, so that who judges need not read back what was just
written."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable

from greenmine.ingest.record import Batch

_MOST_RECORDS = 10_000
_MOST_BYTES = 16 * 1024 * 1024


class RecentBatches:
    """Filled by the journal after each commit, emptied by ONE reader as it goes on. Bounded: where the reader falls
    behind, the oldest are dropped, and it finds them in the file."""

    def __init__(self, most_records: int = _MOST_RECORDS, most_bytes: int = _MOST_BYTES) -> None:
        self._most_records = most_records
        self._most_bytes = most_bytes
        self._kept: deque[tuple[Batch, int]] = deque()
        self._records = 0
        self._bytes = 0
        self._lock = threading.Lock()

    def add(self, batches: Iterable[Batch]) -> None:
        """Take batches that were just committed, in order."""
        with self._lock:
            for batch in batches:
                size = sum(len(stored.record.payload) for stored in batch.records)
                self._kept.append((batch, size))
                self._records += len(batch.records)
                self._bytes += size
            while self._kept and (self._records > self._most_records or self._bytes > self._most_bytes):
                self._drop_oldest()

    def after(self, no: int, most_records: int) -> list[Batch]:
        """Whole batches numbered above `no`, up to about `most_records` records, and nothing up to `no` from here on.
        None of them where the next one is not here."""
        with self._lock:
            while self._kept and self._kept[0][0].no <= no:
                self._drop_oldest()
            found: list[Batch] = []
            total = 0
            for batch, _ in self._kept:
                if batch.no != no + 1 + len(found) or total >= most_records:
                    break
                found.append(batch)
                total += len(batch.records)
            return found

    def _drop_oldest(self) -> None:
        batch, size = self._kept.popleft()
        self._records -= len(batch.records)
        self._bytes -= size
