"""Times as people write and read them: RFC 3339 in, a mine's local time out, ranges that make sense."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from greenmine.core.clock import NS_PER_S
from greenmine.core.errors import DecodeRefused, Refused
from greenmine.ingest.timestamp import from_rfc3339

_LOCAL = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?", re.ASCII)
EARLIEST_NS = 946_684_800 * NS_PER_S
"""2000-01-01: no reading is older."""
LATEST_NS = 4_102_444_800 * NS_PER_S
"""2100-01-01: no reading is newer."""
DAY_NS = 86_400 * NS_PER_S
LONGEST_NS = 10 * 366 * DAY_NS
"""No query spans more than about ten years."""

RANGES: dict[str, int] = {"1h": 3600, "6h": 6 * 3600, "24h": 86_400, "7d": 7 * 86_400, "30d": 30 * 86_400}
"""The ranges a person can choose, in seconds."""


class Span(NamedTuple):
    """Half-open span of time in ns; None is unbounded."""

    start_ns: int | None
    end_ns: int | None


def parse_rfc3339(text: str) -> int:
    """Nanoseconds since 1970 for `2026-11-22T08:00:00+08:00`; the offset is required.

    Raises:
        ValueError: not such a time, or outside of 2000 to 2100.
    """
    try:
        return _in_bounds(from_rfc3339(text.strip()))
    except DecodeRefused as error:
        raise ValueError(
            "write a time with its offset, as 2026-11-22T08:00:00+08:00 or 2026-11-22T00:00:00Z"
        ) from error


def parse_local(text: str, zone: ZoneInfo) -> int:
    """Nanoseconds for a browser's `2026-11-22T08:00`, read in a zone, or for an RFC 3339 time.

    Raises:
        ValueError: neither of them.
    """
    if _LOCAL.fullmatch(text.strip()):
        return _in_bounds(_to_ns(datetime.fromisoformat(text.strip()).replace(tzinfo=zone)))
    return parse_rfc3339(text)


def query_span(start: str | None, end: str | None, zone: ZoneInfo | None = None) -> Span:
    """The span that a query names.

    Raises:
        Refused: unreadable, from not before to, or longer than LONGEST_NS.
    """

    def read(name: str, text: str | None) -> int | None:
        if text is None or text == "":
            return None
        try:
            return parse_local(text, zone) if zone else parse_rfc3339(text)
        except ValueError as error:
            raise Refused("time", f"{name}: {error}") from error

    span = Span(read("from", start), read("to", end))
    if span.start_ns is not None and span.end_ns is not None:
        if span.start_ns >= span.end_ns:
            raise Refused("time", "from must be before to")
        if span.end_ns - span.start_ns > LONGEST_NS:
            raise Refused("time", "ask for at most ten years at a time")
    return span


def local(time_ns: int, zone: ZoneInfo) -> datetime:
    """The moment in a zone, to the microsecond."""
    seconds, nanos = divmod(time_ns, NS_PER_S)
    return datetime.fromtimestamp(seconds, UTC).astimezone(zone) + timedelta(microseconds=nanos // 1000)


def time_text(time_ns: int, zone: ZoneInfo, now_ns: int) -> str:
    """Short local time: `16:05:03` today, `11-21 16:05:03` this year, else with the year."""
    moment, now = local(time_ns, zone), local(now_ns, zone)
    if moment.date() == now.date():
        return moment.strftime("%H:%M:%S")
    return moment.strftime("%m-%d %H:%M:%S" if moment.year == now.year else "%Y-%m-%d %H:%M:%S")


def full_time_text(time_ns: int, zone: ZoneInfo) -> str:
    """Local date and time with its offset: `2026-11-22 16:05:03 UTC+08:00`."""
    return f"{local(time_ns, zone):%Y-%m-%d %H:%M:%S} {offset_text(time_ns, zone)}"


def offset_text(time_ns: int, zone: ZoneInfo) -> str:
    """The zone's offset at a moment: `UTC+08:00`."""
    offset = local(time_ns, zone).strftime("%z")
    return f"UTC{offset[:3]}:{offset[3:5]}"


def zone_text(time_ns: int, zone: ZoneInfo) -> str:
    """The zone by name and offset: `Asia/Shanghai (UTC+08:00)`."""
    return f"{zone.key} ({offset_text(time_ns, zone)})"


def chart_time(time_ns: int, zone: ZoneInfo) -> str:
    """Local time without offset, to the millisecond, as plotly.js reads it."""
    return local(time_ns, zone).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _to_ns(moment: datetime) -> int:
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * NS_PER_S + delta.microseconds * 1000


def _in_bounds(time_ns: int) -> int:
    if not EARLIEST_NS <= time_ns < LATEST_NS:
        raise ValueError("the time must be between 2000 and 2100")
    return time_ns
