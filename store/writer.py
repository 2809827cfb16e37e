"""Carries readings from the outbox to the store: idempotent, retried for ever, never in the way of an alarm."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterable, Iterator

import structlog
from sqlalchemy import insert

from greenmine.core.account import Account
from greenmine.core.clock import Clock
from greenmine.core.errors import StoreUnavailable
from greenmine.core.reading import Reading, Series
from greenmine.core.reading_store import ReadingStore, Rejected, Selection, TakesColumns
from greenmine.store import dead_letters, outbox, schema
from greenmine.store.moved import STORE_REJECTED, Moved
from greenmine.store.state import StateDb, add_to_account

log = structlog.get_logger(__name__)
STORE_REFUSES, STORE_TAKES = "store_refuses", "store_takes"
"""Events of the service in the journal: nothing is taken until somebody mends that, and readings are taken again."""
MOST_READINGS = 10_000
MOST_LIVE = 5_000
"""Readings of now that are written before each portion of a backlog."""
FIRST_WAIT_S = 2.0
LONGEST_WAIT_S = 30.0
LONGEST_WISH_S = 300.0
LONGEST_GAP_NS = 7 * 86_400 * 1_000_000_000
"""Old readings of a series further apart are asked for separately, so that two of them do not fetch years between."""


class StoreWriter:
    """One thread. What the store has confirmed leaves the outbox and becomes `stored` in one transaction."""

    def __init__(
        self,
        state: StateDb,
        store: ReadingStore,
        clock: Clock,
        prepare: Callable[[], object] | None = None,
        flush_s: float = 0.0,
    ) -> None:
        """`prepare` is called before anything is written, and again after each trouble that waiting does not mend: a
        store that comes back empty has to be given its buckets again. `flush_s` is how long the outbox gathers readings
        between two writes: a write of one commit's few readings costs the store and us as much as one of a second's."""
        self._flush_s = flush_s
        self._state = state
        self._store = store
        self._clock = clock
        self._prepare = prepare
        self._prepared = prepare is None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._at_once = threading.Event()
        self._failures = 0
        self._names = outbox.SeriesNames()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self.afterwards: Callable[[], bool] | None = None
        """Called when the outbox was emptied; True where it has more to do after what comes in meanwhile."""
        self.on_refusing: Callable[[bool, str], None] = lambda _, __: None
        """Told True, and why, at each attempt that fails for a reason that waiting does not mend; False when a write
        succeeds."""
        self.trouble: StoreUnavailable | None = None
        self.written = 0

    def start(self) -> None:
        """Start the thread."""
        self._wake.set()
        self._thread.start()

    def wake(self) -> None:
        """The outbox has something new."""
        self._wake.set()

    def hurry(self) -> None:
        """Write what the outbox holds now, without waiting for more."""
        self._at_once.set()
        self._wake.set()

    def stop(self) -> None:
        """End after the write under way; the rest stays in the outbox."""
        self._stopping.set()
        self.hurry()
        if self._thread.is_alive():
            self._thread.join()

    def run_available(self) -> int:
        """Write what the outbox holds now; returns the number of readings that left it. Where that is more than one
        portion, the newest go before each portion of the others.

        Raises:
            StoreUnavailable: the store takes nothing now; the outbox keeps the rest.
        """
        total = 0
        with self._state.reading() as connection:
            last = outbox.last_id(connection)
        while not self._stopping.is_set():
            with self._state.reading() as connection:
                parcels = outbox.peek(connection, MOST_READINGS, self._names)
                if not parcels or parcels[0].id > last:
                    break
                live = outbox.peek_newest(connection, parcels[-1].id, MOST_LIVE, self._names)
            if live:
                total += self._deliver(live)
            total += self._ask(parcels) if parcels[0].check_store else self._deliver(parcels)
        return total

    def attempt(self) -> float:
        """Write what the outbox holds now, and what is to be done afterwards; how many seconds to wait before the next
        attempt, 0 if nothing was in the way. What was is in `trouble`, until a write succeeds."""
        try:
            if self._prepare is not None and not self._prepared:
                self._prepare()
                self._prepared = True
            self.run_available()
            if self.afterwards is not None and not self._stopping.is_set() and self.afterwards():
                self._wake.set()
        except StoreUnavailable as error:
            return self._failed(error)
        except Exception as error:
            # A fault in an adapter must not end the only thread that empties the outbox; it is said and retried.
            log.exception("store: fault in the adapter")
            fault = f"fault in the store's adapter: {type(error).__name__}: {error}"
            return self._failed(StoreUnavailable(fault, needs_operator=True))
        self._recovered()  # there may have been nothing to write
        return 0.0

    def _ask(self, parcels: list[outbox.Parcel]) -> int:
        """Drop from parcels of old readings what the store has already; the rest stays in the outbox as new."""
        kept = self._kept(reading for parcel in parcels for reading in parcel.readings)
        delta, conflicts, moved = Account(), [], Moved()
        new: list[list[Reading]] = []
        for parcel in parcels:
            fresh: list[Reading] = []
            for reading in parcel.readings:
                assert reading.value is not None
                identity = (reading.series, reading.time_ns)
                there = kept.get(identity)
                if there is None:
                    kept[identity] = reading.value
                    fresh.append(reading)
                elif parcel.replayed:
                    delta += Account(received=-1, pending=-1)
                    moved.note(reading, "")
                elif there == reading.value:
                    delta += Account(pending=-1, duplicate=1)
                    moved.note(reading, "duplicate")
                else:
                    delta += Account(pending=-1, conflict=1)
                    moved.note(reading, "conflict")
                    conflicts.append((reading, there))
            new.append(fresh)
        with self._state.writing() as connection:
            for parcel, fresh in zip(parcels, new, strict=True):
                outbox.decided(connection, parcel, fresh)
            add_to_account(connection, delta)
            moved.write(connection)
            if conflicts:
                connection.execute(insert(schema.conflict), [self._conflict(*one) for one in conflicts])
        return -delta.pending

    def _deliver(self, parcels: list[outbox.Parcel]) -> int:
        count = sum(parcel.count for parcel in parcels)
        rejected = self._write(parcels)
        self._recovered()
        stored = count - len(rejected)
        with self._state.writing() as connection:
            outbox.remove(connection, parcels)
            add_to_account(connection, Account(stored=stored, pending=-count, dead=len(rejected)))
            if rejected:
                dead_letters.keep(connection, [self._dead(one) for one in rejected], of_store=True)
                moved = Moved()
                for one in rejected:
                    moved.note(one.reading, "dead")
                moved.write(connection)
        self.written += stored
        return count

    def _write(self, parcels: list[outbox.Parcel]) -> list[Rejected]:
        """Write parcels; the readings that the store refuses for good."""
        careful = parcels
        if isinstance(self._store, TakesColumns):
            plain = [parcel.plain for parcel in parcels if parcel.plain is not None]
            series = [one for columns in plain for one in columns.series]
            times_ns = [one for columns in plain for one in columns.times_ns]
            values = [one for columns in plain for one in columns.values]
            if plain and self._store.write_columns(series, times_ns, values):
                careful = [parcel for parcel in parcels if parcel.plain is None]
        readings = [reading for parcel in careful for reading in parcel.readings]
        return self._store.write(readings).rejected if readings else []

    def _kept(self, readings: Iterable[Reading]) -> dict[tuple[Series, int], float | None]:
        """Values that the store has at, and between, the times of these readings."""
        times: dict[Series, list[int]] = {}
        for reading in readings:
            times.setdefault(reading.series, []).append(reading.time_ns)
        found: dict[tuple[Series, int], float | None] = {}
        for series in sorted(times):
            for first_ns, last_ns in _spans(sorted(times[series])):
                for old in self._store.query(Selection.of_series(series, first_ns, last_ns + 1)):
                    found[series, old.time_ns] = old.value
        return found

    def _dead(self, rejected: Rejected) -> dict[str, object]:
        reading = rejected.reading
        detail = json.dumps({"reason": rejected.reason[:300], "reading": [*reading.series, *reading[1:]]})
        return {
            "at_ns": self._clock.wall_ns(),
            "record_id": 0,
            "source": "/".join(reading.series[:2]),
            "client": "store",
            "word": STORE_REJECTED,
            "field": reading.series.metric,
            "detail": detail,
            "size": len(detail),
            "mine": reading.series.mine,
            "device": reading.series.device,
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
            if pause_s := self.attempt():
                self._stopping.wait(pause_s)
                self._wake.set()
            else:
                self._at_once.wait(self._flush_s)
                self._at_once.clear()

    def _failed(self, error: StoreUnavailable) -> float:
        self._failures += 1
        if self.trouble is None:
            log.error("store: takes nothing, readings wait in the outbox", error=str(error))
        self.trouble = error
        if error.needs_operator:
            self._prepared = self._prepare is None
            self.on_refusing(True, str(error)[:500])
        return wait_s(self._failures, error.retry_after_s, random.random())  # noqa: S311 - no secret

    def _recovered(self) -> None:
        if self.trouble is not None:
            log.info("store: takes readings again", failures=self._failures)
        self._failures, self.trouble = 0, None
        self.on_refusing(False, "")


def wait_s(failures: int, retry_after_s: float | None, chance: float) -> float:
    """How long to wait after so many failures in a row, in seconds: never under one, twice as long each time up to half
    a minute, spread by `chance` (0 to 1), and as long as the store asks for, up to five minutes."""
    doubled: int = 2 ** min(failures - 1, 8)
    backoff_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * doubled) * (0.5 + chance / 2)
    return max(backoff_s, min(retry_after_s or 0.0, LONGEST_WISH_S))


def _spans(times_ns: list[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of sorted times without a long gap."""
    first = last = times_ns[0]
    for time_ns in times_ns:
        if time_ns - last > LONGEST_GAP_NS:
            yield first, last
            first = time_ns
        last = time_ns
    yield first, last
