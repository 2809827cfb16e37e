"""Windows of a mine's local time, as spans of UTC: hours counted from local midnight, days, day and night, months,
quarters and years. A day of 23 or 25 hours has that many; nothing is counted twice or left out when clocks change."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from greenmine.policy.limit import WindowKind

HOUR_NS = 3_600_000_000_000
_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Span(NamedTuple):
    """A window: UTC ns, end exclusive, and the local day on which it begins."""

    start_ns: int
    end_ns: int
    day: date


class DayParts(NamedTuple):
    """When the day and the night of noise begin, local time (GB 12348-2008 3.5: 06 and 22 unless set otherwise)."""

    day_begins: time = time(6)
    night_begins: time = time(22)


def instant_ns(day: date, at: time, zone: ZoneInfo) -> int:
    """UTC ns of a local wall time; in the hour that comes twice the first, in the one that is skipped the moment at
    which clocks jump would have shown it."""
    local = datetime.combine(day, at, tzinfo=zone)
    moment = local.astimezone(UTC) - _EPOCH
    return (moment.days * 86_400 + moment.seconds) * 1_000_000_000


def local_day(time_ns: int, zone: ZoneInfo) -> date:
    """The local day of an instant."""
    return (_EPOCH + timedelta(seconds=time_ns // 1_000_000_000)).astimezone(zone).date()


def days(start_ns: int, end_ns: int, zone: ZoneInfo) -> list[Span]:
    """The local days that touch a span of time, in order."""
    day = local_day(start_ns, zone)
    found = []
    begins = instant_ns(day, time(0), zone)
    while begins < end_ns:
        ends = instant_ns(day + _DAY, time(0), zone)
        found.append(Span(begins, ends, day))
        day, begins = day + _DAY, ends
    return found


def hours(day: Span) -> list[int]:
    """Where the hours of a day begin, UTC ns. The last one of a day that is no whole number of hours is short."""
    return list(range(day.start_ns, day.end_ns, HOUR_NS))


def windows(kind: WindowKind, start_ns: int, end_ns: int, zone: ZoneInfo, parts: DayParts = DayParts()) -> list[Span]:  # noqa: B008
    """The windows of a kind that lie wholly within a span of time, in order."""
    return [
        one
        for one in _touching(kind, start_ns, end_ns, zone, parts)
        if start_ns <= one.start_ns and one.end_ns <= end_ns
    ]


def window_at(kind: WindowKind, time_ns: int, zone: ZoneInfo, parts: DayParts = DayParts()) -> Span | None:  # noqa: B008
    """The window of a kind in which an instant lies; None for an instant of the other half of the day."""
    found = _touching(kind, time_ns, time_ns + 1, zone, parts)
    return next((one for one in found if one.start_ns <= time_ns < one.end_ns), None)


def _touching(kind: WindowKind, start_ns: int, end_ns: int, zone: ZoneInfo, parts: DayParts) -> Iterator[Span]:
    first = local_day(start_ns, zone)
    if kind in _MONTHS:
        yield from _calendar(_MONTHS[kind], first, end_ns, zone)
        return
    # A night begins on the evening before the day that sees its end.
    from_ns = instant_ns(first - _DAY, time(0), zone) if kind is WindowKind.NIGHT else start_ns
    for day in days(from_ns, end_ns, zone):
        if kind is WindowKind.DAY:
            yield day
        elif kind is WindowKind.HOUR:
            for begins in hours(day):
                yield Span(begins, min(begins + HOUR_NS, day.end_ns), day.day)
        elif kind is WindowKind.DAYTIME:
            yield Span(
                instant_ns(day.day, parts.day_begins, zone), instant_ns(day.day, parts.night_begins, zone), day.day
            )
        else:
            evening = instant_ns(day.day, parts.night_begins, zone)
            yield Span(evening, instant_ns(day.day + _DAY, parts.day_begins, zone), day.day)


_MONTHS = {WindowKind.MONTH: 1, WindowKind.SEASON: 3, WindowKind.YEAR: 12}


def _calendar(length: int, day: date, end_ns: int, zone: ZoneInfo) -> Iterator[Span]:
    month = (day.month - 1) // length * length + 1
    begins = date(day.year, month, 1)
    while True:
        start_ns = instant_ns(begins, time(0), zone)
        if start_ns >= end_ns:
            return
        index = begins.year * 12 + begins.month - 1 + length
        ends = date(index // 12, index % 12 + 1, 1)
        yield Span(start_ns, instant_ns(ends, time(0), zone), begins)
        begins = ends
