"""Source times as payloads write them, to nanoseconds UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from greenmine.core.clock import NS_PER_MS, NS_PER_S
from greenmine.core.errors import DecodeRefused

_RFC3339 = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9})\d*)?(Z|z|[+-]\d{2}:\d{2})?", re.ASCII
)
_INT64 = 2**63
"""Times are ns in 64 bits everywhere: 1677-09-21 to 2262-04-11."""


def from_milliseconds(value: int) -> int:
    """Integer milliseconds since the epoch to ns.

    Raises:
        DecodeRefused: `range` beyond 64 bits, `ts_range` before 1678 or after 2262 (microseconds or nanoseconds where
            milliseconds are due).
    """
    if not -_INT64 <= value < _INT64:
        raise DecodeRefused("range", "ts does not fit 64 bits")
    time_ns = value * NS_PER_MS
    if not -_INT64 <= time_ns < _INT64:
        raise DecodeRefused("ts_range", "ts is integer milliseconds since 1970; this looks like micro- or nanoseconds")
    return time_ns


def from_rfc3339(text: str) -> int:
    """RFC 3339 with an offset to ns; a leap second `:60` is mapped to the last millisecond before it.

    Raises:
        DecodeRefused: `ts_format`, `ts_zone` without an offset, `ts_range`.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise DecodeRefused("ts_format", "write ts as 2026-11-22T08:00:00+08:00 or as integer milliseconds")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, zone = match[7], match[8]
    if zone is None:
        raise DecodeRefused("ts_zone", "ts has no offset; add Z or +08:00")
    nanos = int(fraction.ljust(9, "0")) if fraction else 0
    if second == 60:
        second, nanos = 59, 999 * NS_PER_MS
    try:
        offset = UTC if zone in "Zz" else timezone(_offset(zone))
        moment = datetime(year, month, day, hour, minute, second, tzinfo=offset)
        whole = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    except (ValueError, OverflowError) as error:
        raise DecodeRefused("ts_range", f"ts is no date: {error}") from error
    time_ns = whole * NS_PER_S + nanos
    if not -_INT64 <= time_ns < _INT64:
        raise DecodeRefused("ts_range", "ts is before 1678 or after 2262")
    return time_ns


def _offset(zone: str) -> timedelta:
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if hours > 23 or minutes > 59:
        raise ValueError("offset out of range")
    span = timedelta(hours=hours, minutes=minutes)
    return -span if zone[0] == "-" else span
