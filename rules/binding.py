"""Which rule judges which series: a policy's rules, resolved to levels in canonical units and times in ns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from greenmine.core.activity import ActivityKind
from greenmine.core.alert import AlertKey
from greenmine.core.metric import METRICS
from greenmine.core.reading import Series
from greenmine.core.unit import convert
from greenmine.policy.model import AbsenceRule, LimitRule, MeanRule, MetricSetting, Policy, Rule

NS = 1_000_000_000
STALE_INTERVALS = 3
SHORTEST_SILENCE_NS = 120 * NS
"""A firing condition without a usable reading for this many intervals, and two minutes, is stale: silence is not
health, but a mobile network that pauses for half a minute is no news either."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One rule on one series. Levels in the metric's canonical unit; `raise_level` is None for absence."""

    rule: Rule
    series: Series
    raise_level: float | None
    clear_level: float | None
    above: bool
    hold_ns: int
    clear_hold_ns: int
    window_ns: int
    due: float
    silence_ns: int
    during: frozenset[ActivityKind] = frozenset()
    not_during: frozenset[ActivityKind] = frozenset()
    activity_margin_ns: int = 0
    asks_activity: bool = False

    @property
    def key(self) -> AlertKey:
        """The key of the alert that this binding raises."""
        return AlertKey(self.series.mine, self.rule.id, self.series.device, self.series.channel)

    @property
    def is_absence(self) -> bool:
        """Whether the rule asks for data rather than for a level."""
        return self.raise_level is None

    def beyond(self, value: float) -> bool:
        """Whether the value breaks the raise level (a value on the level does not)."""
        assert self.raise_level is not None
        return value > self.raise_level if self.above else value < self.raise_level

    def within_clear(self, value: float) -> bool:
        """Whether the value is at or inside the clear level."""
        assert self.clear_level is not None
        return value <= self.clear_level if self.above else value >= self.clear_level


def bind(policy: Policy) -> list[Binding]:
    """All bindings of a policy, ordered by rule and then series."""
    series = policy.series()
    return [
        _binding(rule, one, setting)
        for rule in policy.rules
        for one, setting in sorted(series.items())
        if _concerns(rule, one)
    ]


def by_series(bindings: Iterable[Binding]) -> Mapping[Series, list[Binding]]:
    """The bindings that a reading of a series has to be shown to."""
    found: dict[Series, list[Binding]] = {}
    for binding in bindings:
        found.setdefault(binding.series, []).append(binding)
    return found


def quiet_band(bindings: Iterable[Binding]) -> tuple[float, float]:
    """Lowest and highest value at which no level of these rules is broken, nor by a mean of such values."""
    floor, ceiling = -math.inf, math.inf
    for binding in bindings:
        if binding.raise_level is None:
            continue
        if binding.above:
            ceiling = min(ceiling, binding.raise_level)
        elif isinstance(binding.rule, MeanRule) and binding.rule.energy:
            # The energy mean of equal low levels may be rounded to just below them.
            floor = math.inf
        else:
            floor = max(floor, binding.raise_level)
    return floor, ceiling


def _concerns(rule: Rule, series: Series) -> bool:
    if rule.devices is not None and series.device not in rule.devices:
        return False
    if rule.channel is not None and series.channel != rule.channel:
        return False
    return rule.metric is None or rule.metric == series.metric


def _binding(rule: Rule, series: Series, setting: MetricSetting) -> Binding:
    interval_ns = setting.interval * NS
    if isinstance(rule, AbsenceRule):
        silence_ns = rule.after * NS if rule.after is not None else (rule.intervals or 0) * interval_ns
        return Binding(rule, series, None, None, True, 0, 0, 0, 0.0, silence_ns)
    window_ns = rule.window * NS if isinstance(rule, MeanRule) else 0
    due = rule.coverage * window_ns / interval_ns if isinstance(rule, MeanRule) else 0.0
    return Binding(
        rule=rule,
        series=series,
        raise_level=_level(rule, rule.raise_level),
        clear_level=_level(rule, rule.clear),
        above=rule.direction == "above",
        hold_ns=rule.hold * NS,
        clear_hold_ns=rule.clear_hold * NS,
        window_ns=window_ns,
        due=due,
        silence_ns=max(STALE_INTERVALS * interval_ns, SHORTEST_SILENCE_NS),
        during=frozenset(rule.during or ()),
        not_during=frozenset(rule.not_during or ()),
        activity_margin_ns=rule.activity_margin * NS,
        asks_activity=bool(rule.during or rule.not_during),
    )


def _level(rule: LimitRule, level: float) -> float:
    unit = METRICS[rule.metric].unit
    return convert(level, rule.unit or unit, unit)
