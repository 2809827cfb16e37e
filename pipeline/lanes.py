"""Two lanes through the journal: live first, and beside it what was set aside, slice by slice.

Whoever judges live decides (only he has a way into the journal): when so much stands in the journal that what comes now
would have to wait, all of it but the newest is set aside. The decision is a record of the journal, and counts once that
is on the disk; a replay and a restart find it there before they come to the range.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog

from greenmine.core.clock import NS_PER_S
from greenmine.ingest.backlog import Aside, Drain, drain_payload, set_aside_payload
from greenmine.ingest.journal import JournalReader
from greenmine.ingest.record import Batch
from greenmine.pipeline.state import JudgeState

log = structlog.get_logger(__name__)
MOST_BEHIND = 20_000
"""Records, and batches, that are judged in order whatever their age: about two seconds of judging."""
BEHIND_NS = 5 * NS_PER_S
LONG_PAGE = 500
"""Records, or batches, in what was read at once: with fewer nobody is far behind."""
ORDINARY_BYTES = 1024
"""Of a payload; larger ones hold more readings, and fewer of them are as much."""
LIVE_NS = 3600 * NS_PER_S
"""What came within this before a backlog is set aside is live, as long as it is not too much."""
SLICE_RECORDS = 500
SLICE_BYTES = 128 * 1024


class Entry(Protocol):
    """The way into the journal."""

    def __call__(self, payload: bytes, durable: bool) -> bool:
        """Enter a record of the service; whether it was taken. If `durable`, returns when it is on the disk.

        Raises:
            StoreUnavailable: it was taken, but whether it is on the disk is unknown.
        """
        ...


class Lanes:
    """Which way the judging goes. Without a way into the journal it follows what others have decided."""

    def __init__(
        self, journal: JournalReader, state: JudgeState, cursor: int, enter: Entry | None, most_behind: int
    ) -> None:
        self._journal = journal
        self._state = state
        self._enter = enter
        self._most_behind = most_behind
        self._asked_for = 0
        self._ranges = journal.set_asides(cursor)

    def of(self, no: int) -> Aside | None:
        """The range that a batch is set aside with."""
        return next((one for one in self._ranges if one.first_no <= no <= one.last_no), None) if self._ranges else None

    def next_batches(self, cursor: int, clock_ns: int, most_records: int) -> list[Batch]:
        """What is judged next; of a range that is set aside, only what does not wait."""
        if self._ranges:
            self._ranges = [one for one in self._ranges if one.last_no > cursor]
        aside = self.of(cursor + 1)
        if aside is None:
            batches = self._journal.batches(cursor, most_records)
            if not self._sets_aside(batches, cursor, clock_ns):
                return self._before_next(batches)
            aside = self.of(cursor + 1)
            assert aside is not None
        found = self._journal.at_once(cursor, aside.last_no, most_records)
        if not found and self._journal.last_no() >= aside.last_no:
            return [Batch(aside.last_no, aside.clock_ns, aside.clock_ns, ())]
        return found

    def ask_for_slice(self) -> None:
        """Have the next slice of what waits judged, unless it was asked for already."""
        aside = self._state.aside
        if not aside or self._enter is None or self._asked_for == aside[0].first_no:
            return
        drain = self._next_slice(aside[0])
        if self._enter(drain_payload(drain), durable=False):
            self._asked_for = drain.first_no

    def _sets_aside(self, batches: Sequence[Batch], cursor: int, clock_ns: int) -> bool:
        if self._enter is None or self._ranges:
            return False
        records = sum(len(batch.records) for batch in batches)
        times = max(1, sum(map(_size, batches)) // (ORDINARY_BYTES * max(1, records)))
        if max(len(batches), records) < LONG_PAGE // times:
            return False
        most_behind = max(1, self._most_behind // times)
        # What came last counts as live: a device that speaks every minute said there what it says now.
        ahead = self._journal.ahead(cursor, max(1, most_behind // 2), LIVE_NS, clock_ns)
        if ahead is None:
            return False
        whole, aside = ahead
        if whole.clock_ns - clock_ns <= BEHIND_NS or max(whole.records, whole.last_no - cursor) <= most_behind:
            return False
        if not self._enter(set_aside_payload(aside), durable=True):
            return False
        self._ranges = self._journal.set_asides(cursor)
        log.warning("pipeline: a backlog is set aside, live readings go first", records=aside.records)
        return True

    def _before_next(self, batches: list[Batch]) -> list[Batch]:
        if not self._ranges or not batches:
            return batches
        first_no = min((one.first_no for one in self._ranges if one.first_no > batches[0].no), default=None)
        return batches if first_no is None else [batch for batch in batches if batch.no < first_no]

    def _next_slice(self, head: Aside) -> Drain:
        last_no, next_record = head.last_no, head.last_record + 1
        size = 0
        for batch in self._journal.batches(head.first_no - 1, SLICE_RECORDS):
            if batch.no > head.last_no or (size and size + _size(batch) > SLICE_BYTES):
                break
            size += _size(batch)
            last_no = batch.no
            if batch.records:
                next_record = batch.records[-1].id + 1
        return Drain(head.first_no, last_no, next_record)


def _size(batch: Batch) -> int:
    return sum(len(stored.record.payload) for stored in batch.records)
