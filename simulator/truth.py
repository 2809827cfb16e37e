"""The truth of a scenario: what is over which level from when to when, as the world has it, for a judge to compare.

It comes from the world without the sensors' noise, so real alerts may differ from it by a sample or two. Silences
do not hide an exceedance here: the world goes on while a device says nothing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from greenmine.core.clock import NS_PER_S
from greenmine.core.metric import METRICS
from greenmine.core.reading import Series
from greenmine.core.unit import convert
from greenmine.policy.model import LimitRule, MeanRule, Policy
from greenmine.simulator.run import samplings, stations
from greenmine.simulator.scenario import Scenario, Silence
from greenmine.simulator.sensor import Gauge
from greenmine.simulator.world import World


class Exceedance(NamedTuple):
    """A metric beyond the raise level of a rule, until it is back beyond the clear level; hold times not counted.

    `end_ns` is None where it lasts beyond the time looked at. `extreme` is the highest (or lowest) judged value, in
    the metric's canonical unit.
    """

    mine: str
    rule: str
    device: str
    channel: str
    metric: str
    start_ns: int
    end_ns: int | None
    extreme: float


@dataclass(frozen=True, slots=True)
class Truth:
    """All that happens between two times."""

    exceedances: list[Exceedance]
    silences: list[Silence]


def truth(policies: Sequence[Policy], scenario: Scenario, start_ns: int, end_ns: int) -> Truth:
    """What happens from `start_ns`, where the scenario starts, until before `end_ns`.

    Raises:
        UserError: the scenario does not fit the mines.
    """
    world = World(policies, scenario.seed, scenario.plumes(policies, start_ns))
    watches: dict[Series, list[_Watch]] = {}
    by_mine = {policy.mine.id: policy for policy in policies}
    for time_ns, station, due in samplings(stations(policies, scenario.seed), start_ns, end_ns):
        for gauge in due:
            if gauge.series not in watches:
                watches[gauge.series] = [_Watch(gauge, rule) for rule in _rules(by_mine[station.mine], gauge)]
            if watches[gauge.series]:
                value = gauge.ideal(world, time_ns)
                for watch in watches[gauge.series]:
                    watch.see(time_ns, value)
    found = [seen for watching in watches.values() for watch in watching for seen in watch.result()]
    return Truth(sorted(found, key=lambda seen: (seen.start_ns, seen)), scenario.silences(policies, start_ns))


def _rules(policy: Policy, gauge: Gauge) -> Iterator[LimitRule]:
    for rule in policy.rules:
        if (
            isinstance(rule, LimitRule)
            and rule.metric == gauge.series.metric
            and (rule.devices is None or gauge.series.device in rule.devices)
            and (rule.channel is None or rule.channel == gauge.series.channel)
        ):
            yield rule


class _Watch:
    """Follows one gauge under one rule."""

    def __init__(self, gauge: Gauge, rule: LimitRule) -> None:
        self._gauge = gauge
        self._rule = rule
        canonical = METRICS[rule.metric].unit
        self._sign = 1.0 if rule.direction == "above" else -1.0
        self._raise = self._sign * convert(rule.raise_level, rule.unit or canonical, canonical)
        self._clear = self._sign * convert(rule.clear, rule.unit or canonical, canonical)
        self._window: deque[tuple[int, float]] = deque()
        self._done: list[Exceedance] = []
        self._since_ns: int | None = None
        self._extreme = -math.inf

    def see(self, time_ns: int, value: float) -> None:
        mean = self._judged(time_ns, value)
        if mean is None:
            return
        judged = self._sign * mean
        if self._since_ns is None:
            if judged > self._raise:
                self._since_ns, self._extreme = time_ns, judged
        elif judged < self._clear:
            self._done.append(self._exceedance(self._since_ns, time_ns))
            self._since_ns = None
        else:
            self._extreme = max(self._extreme, judged)

    def result(self) -> list[Exceedance]:
        return self._done if self._since_ns is None else [*self._done, self._exceedance(self._since_ns, None)]

    def _judged(self, time_ns: int, value: float) -> float | None:
        """The value or mean that the rule looks at; None while too little of the window is there."""
        if not isinstance(self._rule, MeanRule):
            return value
        self._window.append((time_ns, value))
        while self._window[0][0] <= time_ns - self._rule.window * NS_PER_S:
            self._window.popleft()
        values = [seen for _, seen in self._window]
        if len(values) < self._rule.coverage * (self._rule.window // self._gauge.setting.interval):
            return None
        if self._rule.energy:
            return 10 * math.log10(sum(10 ** (level / 10) for level in values) / len(values))
        return sum(values) / len(values)

    def _exceedance(self, start_ns: int, end_ns: int | None) -> Exceedance:
        mine, device, metric, channel, *_ = self._gauge.series
        return Exceedance(mine, self._rule.id, device, channel, metric, start_ns, end_ns, self._sign * self._extreme)
