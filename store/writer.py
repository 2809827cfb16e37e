"""Carries readings from the outbox to the store: idempotent, retried for ever, never in the way of an alarm."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Sequence

import structlog
from sqlalchemy import insert

from greenmine.core.account import Account
from greenmine.core.clock import Clock
from greenmine.core.errors import StoreUnavailable
from greenmine.core.reading import Reading, Series
from greenmine.core.reading_store import ReadingStore, Rejected, Selection
from greenmine.store import outbox, schema
from greenmine.store.state import StateDb, add_to_account

log = structlog.get_logger(__name__)
MOST_READINGS = 10_000
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0


class StoreWriter:
    """One thread. What the store has confirmed leaves the outbox and becomes `stored` in one transaction."""

    def __init__(self, state: StateDb, store: ReadingStore, clock: Clock) -> None:
        self._state = state
        self._store = store
        self._clock = clock
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self.trouble: StoreUnavailable | None = None
        self.written = 0

    def start(self) -> None:
        """Start the thread."""
        self._wake.set()
        self._thread.start()

    def wake(self) -> None:
        """The outbox has something new."""
        self._wake.set()

    def stop(self) -> None:
        """End after the write under way; the rest stays in the outbox."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def run_available(self) -> int:
        """Write what the outbox holds now; returns the number of readings that left it.

        Raises:
            StoreUnavailable: the store takes nothing now; the outbox keeps the rest.
        """
        total = 0
        while not self._stopping.is_set():
            with self._state.reading() as connection:
                parcels = outbox.peek(connection, MOST_READINGS)
            if not parcels:
                break
            total += self._deliver(parcels)
        return total

    def _deliver(self, parcels: list[outbox.Parcel]) -> int:
        readings = [reading for parcel in parcels for reading in parcel.readings]
        known: list[tuple[Reading, float]] = []
        if parcels[0].check_store:
            readings, known = self._unknown_to_store(readings)
        report = self._store.write(readings) if readings else None
        rejected = report.rejected if report else []
        duplicates = sum(1 for reading, kept in known if kept == reading.value)
        conflicts = [(reading, kept) for reading, kept in known if kept != reading.value]
        stored = len(readings) - len(rejected)
        count = len(readings) + len(known)
        delta = Account(0, stored, -count, 0, duplicates, len(conflicts), len(rejected))
        with self._state.writing() as connection:
            outbox.remove(connection, parcels)
            add_to_account(connection, delta)
            if rejected:
                connection.execute(insert(schema.dead_letter), [self._dead(one) for one in rejected])
            if conflicts:
                connection.execute(insert(schema.conflict), [self._conflict(*one) for one in conflicts])
        self.written += stored
        return count

    def _unknown_to_store(self, readings: Sequence[Reading]) -> tuple[list[Reading], list[tuple[Reading, float]]]:
        """Readings older than the index of identities, split into new ones and those the store has already."""
        spans: dict[Series, tuple[int, int]] = {}
        for reading in readings:
            low, high = spans.get(reading.series, (reading.time_ns, reading.time_ns))
            spans[reading.series] = (min(low, reading.time_ns), max(high, reading.time_ns))
        there: dict[tuple[Series, int], float] = {}
        for series, (low, high) in spans.items():
            for old in self._store.query(Selection.of_series(series, low, high + 1)):
                assert old.value is not None
                there[series, old.time_ns] = old.value
        fresh: list[Reading] = []
        known: list[tuple[Reading, float]] = []
        for reading in readings:
            assert reading.value is not None
            identity = (reading.series, reading.time_ns)
            if identity in there:
                known.append((reading, there[identity]))
            else:
                there[identity] = reading.value
                fresh.append(reading)
        return fresh, known

    def _dead(self, rejected: Rejected) -> dict[str, object]:
        reading = rejected.reading
        detail = json.dumps({"reason": rejected.reason[:300], "reading": [*reading.series, *reading[1:]]})
        return {
            "at_ns": self._clock.wall_ns(),
            "record_id": 0,
            "source": "/".join(reading.series[:2]),
            "client": "store",
            "word": "store_rejected",
            "detail": detail,
        }

    def _conflict(self, reading: Reading, kept: float) -> dict[str, object]:
        return {
            "at_ns": self._clock.wall_ns(),
            "record_id": 0,
            **reading.series._asdict(),
            "time_ns": reading.time_ns,
            "kept": kept,
            "refused": reading.value,
        }

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            try:
                self.run_available()
            except StoreUnavailable as error:
                self._failed(error)
            else:
                self._recovered()

    def _failed(self, error: StoreUnavailable) -> None:
        self._failures += 1
        if self.trouble is None:
            log.error("store: takes nothing, readings wait in the outbox", error=str(error))
        self.trouble = error
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(self._failures - 1, 8)) * random.uniform(0.5, 1.0)  # noqa: S311
        self._stopping.wait(max(wait_s, min(error.retry_after_s or 0.0, 300.0)))
        self._wake.set()

    def _recovered(self) -> None:
        if self.trouble is not None:
            log.info("store: takes readings again", failures=self._failures)
        self._failures, self.trouble = 0, None
