"""What a mine is doing: blasts, watering, haulage, crushing, stops and weather warnings, as its devices report them."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

NS_PER_S = 1_000_000_000


class ActivityKind(StrEnum):
    """What is done, or (`stop`) that nothing is, or (`weather_warning`) what the weather service says."""

    BLAST = "blast"
    WATERING = "watering"
    HAUL = "haul"
    CRUSHER = "crusher"
    STOP = "stop"
    WEATHER_WARNING = "weather_warning"


class ActivityState(StrEnum):
    """`planned` declares a moment ahead; `start` and `end` bound an interval."""

    START = "start"
    END = "end"
    PLANNED = "planned"


class Activity(NamedTuple):
    """One report. `zone` is '' where none is named; `lat` and `lon` are in degrees (WGS 84) or both None."""

    mine: str
    device: str
    kind: ActivityKind
    state: ActivityState
    zone: str
    lat: float | None
    lon: float | None
    time_ns: int

    @property
    def identity(self) -> tuple[str, str, str, str, str, int]:
        """What makes two reports the same."""
        return (self.mine, self.device, self.kind.value, self.state.value, self.zone, self.time_ns)


class EndedBy(StrEnum):
    """Why an interval ended; `planned` is a declared moment, which has no length."""

    END = "end"
    STOP = "stop"
    LENGTH = "length"
    PLANNED = "planned"


class ActivityInterval(NamedTuple):
    """From a start to its end in source time; `end_ns` and `ended_by` are None while it is open, and then it ends at
    the latest at `latest_end_ns`."""

    id: int
    mine: str
    device: str
    kind: ActivityKind
    zone: str
    lat: float | None
    lon: float | None
    start_ns: int
    end_ns: int | None
    latest_end_ns: int
    ended_by: EndedBy | None

    @property
    def is_open(self) -> bool:
        """Whether it is still going on."""
        return self.end_ns is None

    @property
    def last_ns(self) -> int:
        """Its end, or while it is open the latest that it can have."""
        return self.latest_end_ns if self.end_ns is None else self.end_ns

    def touches(self, first_ns: int, last_ns: int, margin_ns: int = 0) -> bool:
        """Whether it, widened by the margin on both sides, has a moment in common with this span (ends included)."""
        return self.start_ns - margin_ns <= last_ns and first_ns <= self.last_ns + margin_ns


LONGEST_S = {
    ActivityKind.BLAST: 3600,
    ActivityKind.WATERING: 12 * 3600,
    ActivityKind.HAUL: 24 * 3600,
    ActivityKind.CRUSHER: 24 * 3600,
    ActivityKind.STOP: 7 * 86_400,
    ActivityKind.WEATHER_WARNING: 3 * 86_400,
}
"""After so long an interval whose end was never reported is over; a policy may say otherwise (`activity.longest`)."""
STOPPED_KINDS = frozenset((ActivityKind.BLAST, ActivityKind.WATERING, ActivityKind.HAUL, ActivityKind.CRUSHER))
"""What a stop brings to an end."""
