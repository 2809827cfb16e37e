"""The data of a chart: a panel's series thinned honestly, gaps kept as gaps, doubtful points marked, alert spans.

Thinning keeps the least and the greatest value of each bucket of time, about one bucket a pixel, so that no peak is
lost; the answer says that it was thinned and from how many readings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from greenmine.core.alert import Alert, Condition
from greenmine.core.clock import NS_PER_S
from greenmine.core.errors import Refused
from greenmine.core.quality import ADMISSION, FACTS, Quality, flag_names
from greenmine.core.reading import Reading
from greenmine.core.reading_store import ReadingStore, Selection
from greenmine.dashboards.panel import Dashboard, Panel, Target
from greenmine.dashboards.shown import shown_value, unit_symbol
from greenmine.web.times import chart_time, zone_text

MAX_READINGS = 2_000_000
"""A chart is not drawn from more readings than this; the person is asked for a shorter range."""
MAX_BUCKETS = 2_000
GAP_INTERVALS = 3
_DOUBTFUL = int(ADMISSION | (FACTS & ~Quality.MANUAL) | Quality.CONFLICT)
"""Readings with one of these are drawn as marks and not joined by the line."""


class Point(NamedTuple):
    """A point of a line; `value` None lifts the pen."""

    time_ns: int
    value: float | None


class Mark(NamedTuple):
    """A reading with quality flags."""

    time_ns: int
    value: float
    quality: int


@dataclass
class Line:
    """One series ready to draw, in canonical units."""

    points: list[Point] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    readings: int = 0
    thinned: bool = False


@dataclass
class _Bucket:
    """Least and greatest of one bucket, good and flagged apart."""

    index: int
    low: Reading | None = None
    high: Reading | None = None
    flagged_low: Reading | None = None
    flagged_high: Reading | None = None

    def add(self, reading: Reading, doubtful: bool) -> None:
        """Keep the reading if it is an extreme."""
        assert reading.value is not None
        if reading.quality:
            self.flagged_low = _lesser(self.flagged_low, reading)
            self.flagged_high = _greater(self.flagged_high, reading)
        if not doubtful:
            self.low = _lesser(self.low, reading)
            self.high = _greater(self.high, reading)


def draw_line(
    readings: Iterable[Reading], start_ns: int, end_ns: int, interval_s: int, buckets: int | None = None
) -> Line:
    """The line of one series' readings, which come in order of time.

    Args:
        buckets: how many buckets of time to thin into; None keeps every reading.
    """
    width_ns = (end_ns - start_ns) // buckets + 1 if buckets else 1
    gap_ns = max(GAP_INTERVALS * interval_s * NS_PER_S, width_ns if buckets else 0)
    line = Line(thinned=buckets is not None)
    bucket: _Bucket | None = None
    last_ns: int | None = None
    for reading in readings:
        if reading.value is None:
            continue
        line.readings += 1
        if reading.calibrated is not None:  # the value that is judged is the one that is drawn
            reading = reading._replace(value=reading.calibrated)
        doubtful = bool(reading.quality & _DOUBTFUL)
        index = (reading.time_ns - start_ns) // width_ns
        gap = not doubtful and last_ns is not None and reading.time_ns - last_ns > gap_ns
        if bucket is not None and (bucket.index != index or gap):
            _empty(bucket, line)
            bucket = None
        if gap and last_ns is not None:
            line.points.append(Point((last_ns + reading.time_ns) // 2, None))
        if bucket is None:
            bucket = _Bucket(index)
        bucket.add(reading, doubtful)
        if not doubtful:
            last_ns = reading.time_ns
    if bucket is not None:
        _empty(bucket, line)
    return line


def panel_lines(
    panel: Panel, store: ReadingStore, start_ns: int, end_ns: int, width_px: int
) -> list[tuple[Target, Line]]:
    """The lines of a panel's targets.

    Raises:
        Refused: more readings than MAX_READINGS.
        StoreUnavailable: from the store.
    """
    buckets = max(100, min(MAX_BUCKETS, width_px))
    lines = []
    total = 0
    for target in panel.targets:
        selection = Selection.of_series(target.series, start_ns, end_ns)
        count = store.count(selection)
        total += count
        if total > MAX_READINGS:
            raise Refused("too_many", f"The range holds more than {MAX_READINGS:,} readings; choose a shorter one.")
        readings = store.query(selection) if count else iter(())
        wanted = buckets if count > 2 * buckets else None
        lines.append((target, draw_line(readings, start_ns, end_ns, target.interval_s, wanted)))
    return lines


def chart_document(
    dashboard: Dashboard,
    panel: Panel,
    lines: Sequence[tuple[Target, Line]],
    alerts: Iterable[Alert],
    start_ns: int,
    end_ns: int,
    now_ns: int,
) -> dict[str, Any]:
    """What `static/chart.js` draws, in shown units and local times, with Chinese and English words."""
    zone = ZoneInfo(dashboard.timezone)
    devices = {target.device for target in panel.targets}
    return {
        "panel": panel.id,
        "title": panel.title.model_dump(),
        "unit": unit_symbol(panel.unit),
        "digits": panel.digits,
        "zone": zone_text(end_ns, zone),
        "from": chart_time(start_ns, zone),
        "to": chart_time(end_ns, zone),
        "series": [_series_document(target, line, zone) for target, line in lines],
        "limits": [line.model_dump(mode="json") for line in panel.limits],
        "alerts": [
            _span_document(alert, start_ns, end_ns, now_ns, zone)
            for alert in sorted(alerts, key=lambda alert: alert.severity.rank)
            if alert.metric == panel.metric
            and alert.key.device in devices
            and alert.condition is not Condition.PENDING
            and alert.raised_at_ns < end_ns
            and (alert.cleared_at_ns or now_ns) > start_ns
        ],
    }


def _series_document(target: Target, line: Line, zone: ZoneInfo) -> dict[str, Any]:
    def shown(value: float | None) -> float | None:
        return None if value is None else float(f"{shown_value(target.metric, value):.7g}")

    return {
        "name": target.legend.model_dump(),
        "device": target.device,
        "channel": target.channel,
        "t": [chart_time(point.time_ns, zone) for point in line.points],
        "v": [shown(point.value) for point in line.points],
        "flagged": {
            "t": [chart_time(mark.time_ns, zone) for mark in line.marks],
            "v": [shown(mark.value) for mark in line.marks],
            "flags": [flag_names(mark.quality) for mark in line.marks],
        },
        "readings": line.readings,
        "thinned": line.thinned,
    }


def _span_document(alert: Alert, start_ns: int, end_ns: int, now_ns: int, zone: ZoneInfo) -> dict[str, Any]:
    cleared_ns = alert.cleared_at_ns
    return {
        "id": alert.id,
        "rule": alert.key.rule,
        "severity": alert.severity.value,
        "from": chart_time(max(start_ns, alert.raised_at_ns), zone),
        "to": chart_time(min(end_ns, now_ns if cleared_ns is None else cleared_ns), zone),
        "open": cleared_ns is None,
    }


def _empty(bucket: _Bucket, line: Line) -> None:
    for reading in _in_time(bucket.low, bucket.high):
        line.points.append(Point(reading.time_ns, reading.value))
    for reading in _in_time(bucket.flagged_low, bucket.flagged_high):
        assert reading.value is not None
        line.marks.append(Mark(reading.time_ns, reading.value, reading.quality))


def _in_time(*readings: Reading | None) -> list[Reading]:
    found = {reading.time_ns: reading for reading in readings if reading is not None}
    return [found[time_ns] for time_ns in sorted(found)]


def _lesser(kept: Reading | None, reading: Reading) -> Reading:
    return reading if kept is None or reading.value < kept.value else kept  # type: ignore[operator]


def _greater(kept: Reading | None, reading: Reading) -> Reading:
    return reading if kept is None or reading.value > kept.value else kept  # type: ignore[operator]
