"""What the pages derive from a policy, once for each policy and not for each request."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from greenmine.core.quality import from_names
from greenmine.core.reading import Series
from greenmine.dashboards.build import mine_dashboard
from greenmine.dashboards.limits import raise_lines
from greenmine.dashboards.panel import Dashboard, LimitLine, PanelKind
from greenmine.policy.model import MetricSetting, Policy


class Watched(NamedTuple):
    """A series that a policy expects, with the levels at which its alerts begin, most severe first."""

    series: Series
    setting: MetricSetting
    limits: list[LimitLine]


class Compiled(NamedTuple):
    """A policy's panel model, its series in the order of the panels, and the quality bits that rule a reading out."""

    dashboard: Dashboard
    watched: list[Watched]
    by_series: dict[Series, Watched]
    unusable: int


class _Same:
    """A policy as a key: the same object, not an equal one. The cache holds it, so its id is not given away."""

    __slots__ = ("policy",)

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def __hash__(self) -> int:
        return id(self.policy)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.policy is self.policy


def compiled(policy: Policy) -> Compiled:
    """What is derived from a policy."""
    return _compiled(_Same(policy))


@lru_cache(maxsize=512)
def _compiled(key: _Same) -> Compiled:
    policy = key.policy
    dashboard = mine_dashboard(policy)
    settings = policy.series()
    ordered = [target.series for panel in dashboard.of_kind(PanelKind.STAT) for target in panel.targets]
    watched = [Watched(series, settings[series], raise_lines(policy, series)) for series in ordered]
    unusable = int(from_names(policy.quality.unusable))
    return Compiled(dashboard, watched, {one.series: one for one in watched}, unusable)
