"""Time as an argument: the clock port, the system's clock, and one that tests and replays move by hand."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


class Clock(Protocol):
    """Wall time for stamps, monotonic time for durations."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC; may jump."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since some moment; never goes back."""
        ...


class SystemClock:
    """The machine's clocks."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Nanoseconds of the machine's monotonic clock."""
        return time.monotonic_ns()


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, wall_ns: int = 0) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = 0

    def wall_ns(self) -> int:
        """The wall time that was set."""
        return self._wall_ns

    def monotonic_ns(self) -> int:
        """The sum of all forward moves."""
        return self._monotonic_ns

    def advance(self, duration_ns: int) -> None:
        """Move both clocks forward by `duration_ns` (not negative)."""
        if duration_ns < 0:
            raise ValueError("a monotonic clock cannot go back; use set_wall for a wall clock step")
        self._wall_ns += duration_ns
        self._monotonic_ns += duration_ns

    def set_wall(self, wall_ns: int) -> None:
        """Step the wall clock, as NTP or a dead battery would; the monotonic clock stays."""
        self._wall_ns = wall_ns


class ScaledClock:
    """A clock that runs `speed` times as fast as another from the moment it is made, for speeded-up demos."""

    def __init__(self, base: Clock, speed: float, start_wall_ns: int | None = None) -> None:
        if speed <= 0:
            raise ValueError("speed must be positive")
        self._base = base
        self._speed = speed
        self._zero = base.monotonic_ns()
        self._start = base.wall_ns() if start_wall_ns is None else start_wall_ns

    def wall_ns(self) -> int:
        """The start plus the scaled time since then."""
        return self._start + self.monotonic_ns()

    def monotonic_ns(self) -> int:
        """Scaled nanoseconds since this clock was made."""
        return int((self._base.monotonic_ns() - self._zero) * self._speed)


def to_rfc3339(time_ns: int) -> str:
    """UTC, with as many fraction digits as the value needs (0, 3, 6 or 9), ending in Z."""
    seconds, nanos = divmod(time_ns, NS_PER_S)
    stamp = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    if nanos == 0:
        return stamp + "Z"
    digits = f"{nanos:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f"{stamp}.{digits}Z"
