"""The state that the board shows: of a series, a device, a mine. Pure; the time is an argument.

"Don't know" is never shown as good: a series without a value is NO_DATA, one whose sensor fell silent is LATE.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from greenmine.core.alert import Alert, Condition, Severity
from greenmine.core.clock import NS_PER_S
from greenmine.core.latest import Latest
from greenmine.core.reading import Series
from greenmine.dashboards.panel import LimitLine
from greenmine.dashboards.shown import shown_value
from greenmine.policy.model import MetricSetting, Policy
from greenmine.web.compiled import Watched, compiled

LATE_AFTER_INTERVALS = 3


class State(StrEnum):
    """From calm to loud; UNWATCHED is a device without sensors, such as a gateway."""

    UNWATCHED = "unwatched"
    OK = "ok"
    SUSPECT = "suspect"
    LATE = "late"
    NO_DATA = "no_data"
    PENDING = "pending"
    NOTICE = "notice"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for the calmest."""
        return _RANK[self]

    @property
    def is_alarm(self) -> bool:
        """Whether an alert stands behind it."""
        return self in (State.NOTICE, State.WARNING, State.CRITICAL)


_RANK = {state: place for place, state in enumerate(State)}


@dataclass(frozen=True)
class SeriesState:
    """A series with its newest value, what holds for it and how it stands.

    `age_ns` is how long ago the newest value was measured or came, whichever is less (None without a value).
    `over` is the severity of the gravest limit that the newest value itself is beyond; `share` is the value as a part
    of the nearest limit (1.0 is at the limit), None where there is no such limit.
    """

    series: Series
    setting: MetricSetting
    latest: Latest | None
    age_ns: int | None
    state: State
    limits: list[LimitLine]
    over: Severity | None
    share: float | None
    alerts: list[Alert]


@dataclass(frozen=True)
class MineState:
    """A mine with its devices and series; `version` changes whenever a state or an alert does."""

    policy: Policy
    series: list[SeriesState]
    devices: dict[str, State]
    alerts: list[Alert]
    state: State
    version: str

    def counts(self) -> dict[State, int]:
        """How many watched devices are in each state."""
        counts = dict.fromkeys(State, 0)
        for state in self.devices.values():
            counts[state] += 1
        return counts


def mine_state(policy: Policy, latest: Iterable[Latest], alerts: Sequence[Alert], now_ns: int) -> MineState:
    """The state of a mine from its newest values and its open alerts."""
    newest = {item.series: item for item in latest}
    open_alerts = [alert for alert in alerts if alert.is_open]
    derived = compiled(policy)
    series = [
        series_state(watched, newest.get(watched.series), open_alerts, now_ns, derived.unusable)
        for watched in derived.watched
    ]
    devices = {device.id: _device_state(device.id, series, open_alerts) for device in policy.devices}
    worst = max(devices.values(), key=lambda state: state.rank, default=State.UNWATCHED)
    for alert in open_alerts:
        worst = max(worst, alert_state(alert), key=lambda state: state.rank)
    return MineState(policy, series, devices, open_alerts, worst, _version(policy, devices, open_alerts))


def series_state(
    watched: Watched, latest: Latest | None, alerts: Iterable[Alert], now_ns: int, unusable: int
) -> SeriesState:
    """The state of one series; `unusable` are the quality bits that take a reading out of conditions."""
    series, setting, limits = watched
    mine = [a for a in alerts if concerns(a, series)]
    age_ns = _age_ns(latest, now_ns)
    if latest is None or age_ns is None:
        state = State.NO_DATA
    elif age_ns > LATE_AFTER_INTERVALS * max(setting.interval, series.period_s) * NS_PER_S:
        state = State.LATE
    elif latest.quality & unusable:
        state = State.SUSPECT
    else:
        state = State.OK
    value = shown_value(series.metric, latest.judged_value) if latest else None
    over = severity_of(limits, value) if value is not None and state is not State.SUSPECT else None
    state = max([state, *(alert_state(a) for a in mine)], key=lambda s: s.rank)
    return SeriesState(series, setting, latest, age_ns, state, limits, over, limit_share(limits, value), mine)


def concerns(alert: Alert, series: Series) -> bool:
    """Whether an alert is about a series. An absence rule without a metric concerns the whole device."""
    return (
        alert.key.mine == series.mine
        and alert.key.device == series.device
        and alert.key.channel == series.channel
        and alert.metric in ("", series.metric)
    )


def alert_state(alert: Alert) -> State:
    """What an alert makes of its sensor: nothing once its condition is cleared, even while people still handle it."""
    if alert.condition is Condition.PENDING:
        return State.PENDING
    if alert.condition in (Condition.FIRING, Condition.STALE):
        return State(alert.severity.value)
    return State.UNWATCHED


def severity_of(limits: Iterable[LimitLine], value: float) -> Severity | None:
    """The gravest limit that judges each reading and that `value` (in the shown unit) is beyond."""
    beyond = [line.severity for line in limits if not line.window_s and is_beyond(line, value)]
    return max(beyond, key=lambda severity: severity.rank, default=None)


def is_beyond(line: LimitLine, value: float) -> bool:
    """Whether a value is over a limit from above, or under one from below."""
    return value > line.value if line.direction == "above" else value < line.value


def limit_share(limits: Iterable[LimitLine], value: float | None) -> float | None:
    """How near a value is to the nearest limit: 1.0 at the limit, None without a limit that allows a ratio."""
    if value is None:
        return None
    shares = []
    for line in limits:
        if line.direction == "above" and line.value > 0:
            shares.append(value / line.value)
        elif line.direction == "below" and line.value > 0 and value > 0:
            shares.append(line.value / value)
    return max(shares, default=None)


def _age_ns(latest: Latest | None, now_ns: int) -> int | None:
    """A device with a slow clock is not late while its readings come; one that sends an old backlog is."""
    if latest is None:
        return None
    measured_ns = latest.time_ns + latest.series.period_s * NS_PER_S
    return max(0, min(now_ns - measured_ns, now_ns - latest.received_ns))


def _device_state(device: str, series: Iterable[SeriesState], alerts: Iterable[Alert]) -> State:
    states = [one.state for one in series if one.series.device == device]
    states += [alert_state(alert) for alert in alerts if alert.key.device == device]
    return max(states, key=lambda state: state.rank, default=State.UNWATCHED)


def _version(policy: Policy, devices: Mapping[str, State], alerts: Iterable[Alert]) -> str:
    parts = [policy.mine.id, str(policy.valid_from)]
    parts += [f"{device}={state}" for device, state in sorted(devices.items())]
    parts += sorted(f"{alert.id}:{alert.transition}" for alert in alerts)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
