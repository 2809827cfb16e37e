"""Readings as InfluxDB line protocol.

    dust,channel=roof,device=dust-n1,mine=demo-mine pm10=81.3,pm10_q=2i,pm25=40.1 1795334400000000000

The measurement is the kind of the sensor, the tags are `channel` (left out where empty), `device` and `mine`, sorted by
name as InfluxDB asks for. Each metric is one float field named by `field_name`, with an integer `{field}_q` for the
quality bits only where they are not 0, and a float `{field}_cal` where there is a calibrated value; the time is in ns.
Readings that share tags and time share a line.

Nothing here is escaped because nothing that would need it is let through: a reading whose names are not identifiers,
whose metric is not in the vocabulary or whose value InfluxDB cannot hold is rejected with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any, NamedTuple

from greenmine.core.identifier import is_identifier
from greenmine.core.metric import METRICS
from greenmine.core.reading import STATS, Reading, Series, field_name
from greenmine.core.reading_store import Rejected

MIN_TIME_NS = -(2**63) + 2
"""Earliest time that InfluxDB stores."""
MAX_TIME_NS = 2**63 - 3
"""Latest time that a half-open Flux range can reach; InfluxDB itself stores one nanosecond more."""

_MAX_QUALITY = 2**31 - 1
_CACHED_SERIES = 100_000


class Line(NamedTuple):
    """One line of line protocol, without its line feed, and the readings it carries."""

    text: str
    readings: tuple[Reading, ...]


class Place(NamedTuple):
    """Where a series is written: measurement and tags, and its field."""

    head: str
    field: str


class LineEncoder:
    """Turns readings into lines; remembers the head of each series, so keep one for as long as readings come.

    Not safe for use by two threads at once.
    """

    def __init__(self) -> None:
        self._places: dict[Series, Place | str] = {}
        self._starts = _Starts(self)

    def columns(self, series: Sequence[Series], times_ns: Sequence[int], values: Sequence[float]) -> list[str] | None:
        """A line for each ordinary reading (unflagged, not calibrated), where all can be stored and no two are of the
        same series and time. None where any is not so; then `encode` tells which.

        InfluxDB joins lines of the same tags and time, so what is stored is the same.
        """
        # this runs for every reading
        lines = []
        newest: dict[str, int] = {}
        newest_of = newest.get
        in_order = True
        for start, time_ns, value in zip(map(self._starts.__getitem__, series), times_ns, values, strict=True):
            if not isfinite(value) or not MIN_TIME_NS <= time_ns <= MAX_TIME_NS or not start:
                return None
            lines.append(f"{start}{value!r} {time_ns}")
            if time_ns <= newest_of(start, 0):
                in_order = False
            newest[start] = time_ns
        if in_order or len(set(zip(series, times_ns, strict=True))) == len(lines):
            return lines
        return None

    def encode(self, readings: Sequence[Reading]) -> tuple[list[Line], list[Rejected]]:
        """Lines in the order in which their first reading comes, and the readings that no line can carry.

        Of two readings with the same series and time in one call the first is written: a field that stands in a line
        twice has no defined value.
        """
        # this runs for every reading: one flat list a line, [field, text, reading, field, text, reading, ...]
        groups: dict[tuple[str, int], list[Any]] = {}
        rejected: list[Rejected] = []
        for reading in readings:
            series, time_ns, value, quality, calibrated = reading
            place = self._places.get(series) or self.place(series)
            if isinstance(place, str):
                rejected.append(Rejected(reading, place))
                continue
            in_range = MIN_TIME_NS <= time_ns <= MAX_TIME_NS and 0 <= quality <= _MAX_QUALITY
            if value is None or not isfinite(value) or not in_range or not isfinite(calibrated or 0.0):
                rejected.append(Rejected(reading, _why_unstorable(reading)))
                continue
            head, field = place
            # `float`: an integer would be written as one, and the type of a field is for ever
            text = f"{field}={float(value)!r},{field}_q={int(quality)}i" if quality else f"{field}={float(value)!r}"
            if calibrated is not None:
                text += f",{field}_cal={float(calibrated)!r}"
            group = groups.get((head, time_ns))
            if group is None:
                groups[head, time_ns] = [field, text, reading]
            elif field not in group[::3]:
                group += (field, text, reading)
        lines = [
            Line(f"{head} {','.join(group[1::3])} {time_ns}", tuple(group[2::3]))
            for (head, time_ns), group in groups.items()
        ]
        return lines, rejected

    def alone(self, line: Line) -> list[Line]:
        """The readings of a line, each in a line of its own."""
        return [single for reading in line.readings for single in self.encode((reading,))[0]]

    def place(self, series: Series) -> Place | str:
        """Where a series is written, or why it cannot be."""
        known = self._places.get(series)
        if known is not None:
            return known
        if len(self._places) >= _CACHED_SERIES:
            self._places.clear()
        place = self._places[series] = _find_place(series)
        return place


class _Starts(dict[Series, str]):
    """Of each series, a line up to the value; '' where it cannot be stored."""

    def __init__(self, encoder: LineEncoder) -> None:
        super().__init__()
        self._encoder = encoder

    def __missing__(self, series: Series) -> str:
        if len(self) >= _CACHED_SERIES:
            self.clear()
        place = self._encoder.place(series)
        start = self[series] = "" if isinstance(place, str) else f"{place.head} {place.field}="
        return start


def _find_place(series: Series) -> Place | str:
    """Head and field of a series, or why it has none."""
    metric = METRICS.get(series.metric)
    if metric is None:
        return f"metric {series.metric!r} is not known, so it has no place in InfluxDB"
    if series.stat not in STATS or series.period_s < 0 or (series.stat == "inst" and series.period_s != 0):
        return f"statistic {series.stat!r} over {series.period_s} s is not one that a field can be named after"
    tags = {"device": series.device, "mine": series.mine}
    if series.channel:
        tags = {"channel": series.channel, **tags}
    for tag, text in tags.items():
        if not is_identifier(text):
            return f"{tag} {text!r} is not an identifier"
    head = ",".join([metric.kind.value, *(f"{tag}={text}" for tag, text in tags.items())])
    return Place(head, field_name(series.metric, series.stat, series.period_s))


def _why_unstorable(reading: Reading) -> str:
    if reading.value is None or not isfinite(reading.value):
        return f"value {reading.value} is not a finite number"
    if reading.calibrated is not None and not isfinite(reading.calibrated):
        return f"calibrated value {reading.calibrated} is not a finite number"
    if not MIN_TIME_NS <= reading.time_ns <= MAX_TIME_NS:
        return f"time {reading.time_ns} ns is outside of what InfluxDB stores"
    return f"quality {reading.quality} is not a set of quality bits"
