"""Readings that were counted as one thing and turn out to be another, for the accounts of their devices' hours."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import Connection

from greenmine.core.account import HourKey, hour_of
from greenmine.core.dead_letter import DeadReason
from greenmine.core.reading import Reading, Series
from greenmine.store import hours
from greenmine.store.state import JOURNAL_CLOCK, get_meta

STORE_REJECTED = DeadReason.STORE_REJECTED.value


class Moved:
    """Collects them, and writes what changes."""

    def __init__(self) -> None:
        self._noted: list[tuple[Series, int, str, str]] = []

    def note(self, reading: Reading, name: str, was: str = "taken") -> None:
        """What the reading is: `taken`, `duplicate`, `conflict`, `dead`, or '' where it was counted before."""
        self._noted.append((reading.series, reading.time_ns, name, was))

    def write(self, connection: Connection) -> None:
        """Within the transaction that moves them."""
        clock_ns = int(get_meta(connection, JOURNAL_CLOCK) or 0)
        changes: Counter[tuple[HourKey, str]] = Counter()
        reasons: Counter[hours.ReasonKey] = Counter()
        for series, time_ns, name, was in self._noted:
            key = HourKey(series.mine, series.device, hour_of(time_ns, clock_ns))
            changes[key, was] -= 1
            if name:
                changes[key, name] += 1
            if name == "dead":
                reasons[hours.ReasonKey(series.mine, series.device, hours.REFUSED, STORE_REJECTED)] += 1
        hours.add(connection, changes)
        hours.add_reasons(connection, reasons)
