"""How many readings the policies let expect of each device: what an account of losses is measured against. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from greenmine.policy.model import Policy

NS_PER_S = 1_000_000_000


class Demand(NamedTuple):
    """What a policy asked for while it was in force: how many series each device reports at which interval (s).
    `end_ns` None while it still is."""

    series: Mapping[tuple[str, int], int]
    start_ns: int
    end_ns: int | None


def demanded(policy: Policy) -> dict[tuple[str, int], int]:
    """The number of registered series by device and interval (s)."""
    return Counter((series.device, setting.interval) for series, setting in policy.series().items())


def expected_readings(demands: Sequence[Demand], start_ns: int, end_ns: int) -> dict[str, int]:
    """Readings that should have been taken from `start_ns` to before `end_ns`, by device: one of every registered
    series each interval, as far as a policy was in force. Of an interval that is only in part in it nothing is
    expected, so that a device that misses nothing is never short."""
    expected: Counter[str] = Counter()
    for series, begun_ns, ended_ns in demands:
        length_ns = min(end_ns, end_ns if ended_ns is None else ended_ns) - max(start_ns, begun_ns)
        if length_ns > 0:
            for (device, interval_s), number in series.items():
                expected[device] += number * (length_ns // (interval_s * NS_PER_S))
    return dict(expected)
