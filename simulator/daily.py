"""The daily and yearly course: local time of a mine, and curves through the hours of its day."""

from __future__ import annotations

import math
from bisect import bisect_right
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from greenmine.core.clock import NS_PER_S


class LocalTime(NamedTuple):
    """`hour` in [0, 24), `day` of the year counted from 0 with its fraction."""

    hour: float
    day: float


def local_time(time_ns: int, zone: ZoneInfo) -> LocalTime:
    """The wall clock of a time zone at a time, ns UTC."""
    moment = datetime.fromtimestamp(time_ns // NS_PER_S, zone)
    hour = moment.hour + moment.minute / 60 + moment.second / 3600
    return LocalTime(hour, moment.timetuple().tm_yday - 1 + hour / 24)


def day_wave(hour: float, peak_hour: float) -> float:
    """A sine over the day in [-1, 1] with its top at `peak_hour`."""
    return math.cos(2 * math.pi * (hour - peak_hour) / 24)


def year_wave(day: float, peak_day: float) -> float:
    """A sine over the year in [-1, 1] with its top at `peak_day`."""
    return math.cos(2 * math.pi * (day - peak_day) / 365.25)


class DailyCourse:
    """A line through (hour, level) points from hour 0 to hour 24."""

    def __init__(self, *points: tuple[float, float]) -> None:
        self._hours = [hour for hour, _ in points]
        self._levels = [level for _, level in points]
        if self._hours[0] != 0 or self._hours[-1] != 24 or self._hours != sorted(self._hours):
            raise ValueError("the points of a daily course run from hour 0 to hour 24")

    def at(self, hour: float) -> float:
        """The level at an hour in [0, 24)."""
        right = bisect_right(self._hours, hour)
        x0, x1 = self._hours[right - 1], self._hours[right]
        y0, y1 = self._levels[right - 1], self._levels[right]
        return y0 + (y1 - y0) * (hour - x0) / (x1 - x0)


SHIFT_WORK = DailyCourse(
    (0, 0.5),
    (6.5, 0.5),
    (7, 0.25),
    (7.5, 1),
    (12, 1),
    (12.5, 0.6),
    (13.5, 1),
    (18.5, 1),
    (19, 0.25),
    (19.5, 0.55),
    (24, 0.5),
)
"""How much of a mine's machines work: two shifts with changes at 07 and 19 o'clock, fewer machines by night."""
