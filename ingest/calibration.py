"""Calibrated values beside the raw ones, from dated facts: calibrated = slope * raw + offset. Pure, in event time.

Which fact applies to a reading: of all calibrations of its metric (and channel, where one is named) whose span holds
its source time, the one that was recorded last. So a later fact corrects an earlier one for as long as both hold, and
the earlier one holds again where the later one ends. A calibration belongs to an instrument: it ends where the device
is replaced, unless it begins at the replacement or after it. A fact may name an earlier one that it `corrects`; that
one is then as if it had never been said.

Offset and slope hold for every statistic that moves with them: instants, means, minima and maxima. A sum moves with the
offset times a number of samples that nobody knows, so a calibration with an offset leaves sums alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from greenmine.core.fact import Fact, FactKind
from greenmine.core.reading import Reading, Series
from greenmine.ingest.device_history import DeviceHistory
from greenmine.ingest.fact_body import formed_body


class Calibration(NamedTuple):
    """One statement; `channel` None holds for all channels, `until_ns` None for ever."""

    fact_id: int
    channel: str | None
    from_ns: int
    until_ns: int | None
    slope: float
    offset: float

    def holds_for(self, series: Series, time_ns: int) -> bool:
        """Whether it is about this series at this source time, replacements aside."""
        return (
            self.from_ns <= time_ns
            and (self.until_ns is None or time_ns < self.until_ns)
            and self.channel in (None, series.channel)
            and (series.stat != "sum" or self.offset == 0)
        )


_Key = tuple[str, str, str]


class Calibrations:
    """All calibrations, looked up by series and source time."""

    def __init__(self, history: DeviceHistory) -> None:
        self._history = history
        self._by_metric: dict[_Key, tuple[Calibration, ...]] = {}
        self._keys: dict[int, _Key] = {}

    @classmethod
    def of(cls, facts: Iterable[Fact]) -> Calibrations:
        """What these facts say, in the order in which they were recorded; those of other kinds are passed over, but
        replacements end calibrations."""
        ordered = list(facts)
        found = cls(DeviceHistory.of(ordered))
        for fact in ordered:
            found.add(fact)
        return found

    def add(self, fact: Fact) -> None:
        """One more fact, recorded after all others."""
        if fact.kind is not FactKind.CALIBRATION:
            return
        body = formed_body(fact)
        if body is None:
            return
        self._forget(body.get("corrects", 0))
        if body.get("withdrawn", False):
            return
        device, metric, *channel = fact.subject.split("/")
        key = (fact.mine, device, metric)
        made = Calibration(
            fact.id,
            channel[0] if channel else None,
            fact.valid_from_ns,
            fact.valid_to_ns,
            float(body["slope"]),
            float(body["offset"]),
        )
        # New tuples, the newest first: other threads may be reading the former ones.
        self._by_metric[key] = (made, *self._by_metric.get(key, ()))
        self._keys[fact.id] = key

    def concern(self, series: Series) -> bool:
        """Whether there is any calibration that may hold for some reading of the series."""
        return bool(self._by_metric.get(series[:3]))

    def at(self, series: Series, time_ns: int) -> Calibration | None:
        """The calibration in force."""
        for one in self._by_metric.get(series[:3], ()):
            if one.holds_for(series, time_ns) and not self._history.replaced_between(
                series.mine, series.device, one.from_ns, time_ns
            ):
                return one
        return None

    def value(self, series: Series, time_ns: int, raw: float) -> float | None:
        """The calibrated value in the canonical unit, None where no calibration is in force."""
        found = self.at(series, time_ns) if self._by_metric else None
        if found is None:
            return None
        calibrated = found.slope * raw + found.offset
        return calibrated if math.isfinite(calibrated) else None

    def applied(self, reading: Reading) -> Reading:
        """The reading with its calibrated value beside the raw one."""
        if not self._by_metric or reading.value is None:
            return reading
        calibrated = self.value(reading.series, reading.time_ns, reading.value)
        return reading if calibrated is None else reading._replace(calibrated=calibrated)

    def _forget(self, fact_id: int) -> None:
        key = self._keys.pop(fact_id, None)
        if key is not None:
            self._by_metric[key] = tuple(one for one in self._by_metric[key] if one.fact_id != fact_id)
