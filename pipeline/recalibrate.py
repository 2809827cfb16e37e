"""Calibrated values of readings that were stored before a calibration was known.

A fact about the past changes what is stored beside the raw values, never the raw values, and no alert: those told what
was known at their time. The decision leaves a row in an outbox (`recalibration`); here the rows are worked off, so many
readings at a time that live readings need not wait. Doing it twice changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import delete, func, select, update

from greenmine.core.fact import Fact, FactKind
from greenmine.core.reading import Reading
from greenmine.core.reading_store import ReadingStore, Selection
from greenmine.ingest.calibration import Calibrations
from greenmine.ingest.device_facts import KINDS
from greenmine.pipeline.effects import StaleSpan
from greenmine.store import facts, schema
from greenmine.store.state import StateDb

READINGS_AT_ONCE = 5_000
_T = schema.recalibration


def stale_spans(fact: Fact) -> Iterator[StaleSpan]:
    """What stored readings a calibration or a replacement concerns."""
    device, *metric = fact.subject.split("/")
    if fact.kind is FactKind.CALIBRATION and not json.loads(fact.body).get("withdrawn", False):
        yield StaleSpan(fact.mine, device, metric[0], fact.valid_from_ns, fact.valid_to_ns)
    elif fact.kind is FactKind.REPLACEMENT and not json.loads(fact.body).get("withdrawn", False):
        yield StaleSpan(fact.mine, device, None, fact.valid_from_ns, None)


def is_waiting(state: StateDb) -> bool:
    """Whether there is anything to work off."""
    with state.reading() as connection:
        return connection.execute(select(_T.c.id).limit(1)).one_or_none() is not None


class _Order(NamedTuple):
    id: int
    span: StaleSpan


class Recalibrator:
    """Works off what waits. Call it from one thread, after the outbox of readings was emptied as far as it can be."""

    def __init__(self, state: StateDb, store: ReadingStore) -> None:
        self._state = state
        self._store = store
        self._waits_for: dict[int, int] = {}
        self.changed = 0

    def run_some(self) -> bool:
        """Look at most at READINGS_AT_ONCE readings; whether there is more that can be done now.

        Raises:
            StoreUnavailable: nothing is lost; call again.
        """
        order = self._next()
        if order is None:
            return False
        span = order.span
        selection = Selection(span.mine, span.device, span.metric, start_ns=span.start_ns, end_ns=span.end_ns)
        page = list(self._store.query(selection, READINGS_AT_ONCE))
        with self._state.reading() as connection:
            calibrations = Calibrations.of(facts.listed(connection, span.mine, KINDS))
        moved = [reading for reading in (_recalibrated(one, calibrations) for one in page) if reading is not None]
        if moved:
            self._store.write(moved)
            self.changed += len(moved)
        self._progress(order, page)
        return True

    def run_available(self) -> int:
        """All that can be done now; the number of readings that changed."""
        before = self.changed
        while self.run_some():
            pass
        return self.changed - before

    def _next(self) -> _Order | None:
        """The first order, if no reading that was decided before it still waits for the store."""
        outbox = schema.readings_outbox
        with self._state.reading() as connection:
            row = connection.execute(select(_T).order_by(_T.c.id).limit(1)).one_or_none()
            if row is None:
                return None
            oldest, newest = connection.execute(select(func.min(outbox.c.id), func.max(outbox.c.id))).one()
        last = self._waits_for.setdefault(row.id, newest or 0)
        if oldest is not None and oldest <= last:
            return None
        return _Order(row.id, StaleSpan(row.mine, row.device, row.metric, row.start_ns, row.end_ns))

    def _progress(self, order: _Order, page: list[Reading]) -> None:
        with self._state.writing() as connection:
            if len(page) < READINGS_AT_ONCE:
                connection.execute(delete(_T).where(_T.c.id == order.id))
                self._waits_for.pop(order.id, None)
                return
            oldest_ns, newest_ns = min(r.time_ns for r in page), max(r.time_ns for r in page)
            # The page may have cut the oldest instant in two; it comes again, unless it was all of the page.
            end_ns = oldest_ns + 1 if oldest_ns < newest_ns else oldest_ns
            connection.execute(update(_T).where(_T.c.id == order.id).values(end_ns=end_ns))


def _recalibrated(reading: Reading, calibrations: Calibrations) -> Reading | None:
    """The reading with the calibrated value that belongs beside it, None where it is there already.

    Where no calibration is in force any more the raw value takes its place: stores have no way to take a value away.
    """
    assert reading.value is not None
    wanted = calibrations.value(reading.series, reading.time_ns, reading.value)
    if wanted is None and reading.calibrated is not None:
        wanted = reading.value
    return None if wanted == reading.calibrated else reading._replace(calibrated=wanted)
