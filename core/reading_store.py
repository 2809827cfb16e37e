"""The port through which readings rest and are read again, and the in-memory fake that passes its contract suite.

The contract: a write that returned is durable as far as the adapter says; writing the same readings again changes
nothing, except that a calibrated value that is given takes the place of the one there (or of none); a query returns
readings by series and then time, half-open in time; good readings are stored although others in the same call are
rejected.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from threading import Lock
from typing import NamedTuple, Protocol, runtime_checkable

from greenmine.core.reading import Reading, Series


class Selection(NamedTuple):
    """Which readings: None selects all; times are source times in ns, `start_ns` inclusive, `end_ns` exclusive."""

    mine: str | None = None
    device: str | None = None
    metric: str | None = None
    channel: str | None = None
    stat: str | None = None
    period_s: int | None = None
    start_ns: int | None = None
    end_ns: int | None = None

    @classmethod
    def of_series(cls, series: Series, start_ns: int | None = None, end_ns: int | None = None) -> Selection:
        """All of one series in a span of time."""
        return cls(*series, start_ns, end_ns)

    def matches(self, reading: Reading) -> bool:
        """Whether the reading is selected."""
        wanted = self[:6]
        if any(want is not None and want != have for want, have in zip(wanted, reading.series, strict=True)):
            return False
        return (self.start_ns is None or reading.time_ns >= self.start_ns) and (
            self.end_ns is None or reading.time_ns < self.end_ns
        )


class Rejected(NamedTuple):
    """A reading that can never be stored, with the store's own words."""

    reading: Reading
    reason: str


@dataclass(frozen=True, slots=True)
class WriteReport:
    """What became of a write: the number stored (or already there) and those refused for good."""

    stored: int
    rejected: list[Rejected] = field(default_factory=list)


class ReadingStore(Protocol):
    """Where readings rest. Every method may raise StoreUnavailable; then nothing is lost and the call is repeated."""

    def write(self, readings: Sequence[Reading]) -> WriteReport:
        """Store readings (value not None), idempotently; returns when the store has confirmed them. A calibrated value
        that is None changes nothing."""
        ...

    def query(self, selection: Selection, newest_first_limit: int | None = None) -> Iterator[Reading]:
        """Stored readings ordered by series, then time. With a limit: the newest n of the selection, same order."""
        ...

    def count(self, selection: Selection) -> int:
        """Number of stored readings in the selection."""
        ...

    def close(self) -> None:
        """Release files and connections; the store cannot be used afterwards."""
        ...


@runtime_checkable
class TakesColumns(Protocol):
    """A store that also takes ordinary readings (unflagged, not calibrated) as parallel columns: most readings are
    that, and an object for each would cost more than all else that is done to them on the way there."""

    def write_columns(self, series: Sequence[Series], times_ns: Sequence[int], values: Sequence[float]) -> bool:
        """True: all are stored. False: not all can be, and `write` has to be asked, which tells which."""
        ...


class InMemoryReadingStore:
    """The shipped fake: a dictionary. Keeps nothing over a restart. Can be told to be down, for tests of retries."""

    def __init__(self) -> None:
        self._values: dict[tuple[Series, int], Reading] = {}
        self._lock = Lock()
        self.down: Exception | None = None

    def write(self, readings: Sequence[Reading]) -> WriteReport:
        """Keep the readings; of a reading that is already there only the calibrated value may change."""
        self._check()
        rejected = [Rejected(r, "no finite value, or a time beyond 64 bits") for r in readings if not _storable(r)]
        refused = {id(one.reading) for one in rejected}
        with self._lock:
            for reading in readings:
                if id(reading) not in refused:
                    there = self._values.setdefault((reading.series, reading.time_ns), reading)
                    if reading.calibrated is not None:
                        self._values[reading.series, reading.time_ns] = there._replace(calibrated=reading.calibrated)
        return WriteReport(len(readings) - len(rejected), rejected)

    def query(self, selection: Selection, newest_first_limit: int | None = None) -> Iterator[Reading]:
        """Readings of the selection, by series and time."""
        found = self._selected(selection)
        if newest_first_limit is not None:
            found = sorted(found, key=lambda r: r.time_ns)[-newest_first_limit:] if newest_first_limit > 0 else []
        return iter(sorted(found, key=lambda r: (r.series, r.time_ns)))

    def count(self, selection: Selection) -> int:
        """Number of readings of the selection."""
        return len(self._selected(selection))

    def close(self) -> None:
        """Nothing to release."""

    def _selected(self, selection: Selection) -> list[Reading]:
        self._check()
        with self._lock:
            return [reading for reading in self._values.values() if selection.matches(reading)]

    def _check(self) -> None:
        if self.down is not None:
            raise self.down


def _storable(reading: Reading) -> bool:
    finite = reading.value is not None and isfinite(reading.value) and isfinite(reading.calibrated or 0.0)
    return finite and -(2**63) <= reading.time_ns < 2**63
