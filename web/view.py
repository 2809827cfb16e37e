"""What the pages show, made ready for the templates: rows of values, alerts, cards. Holds no words and no HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from greenmine.core.alert import SERVICE_RULES, Alert, Condition, Handling, Severity
from greenmine.core.quality import flag_names
from greenmine.core.reading import Series
from greenmine.dashboards.build import (
    county_dashboard,
    device_marker,
    device_path,
    device_title,
    series_title,
)
from greenmine.dashboards.limits import rule_title
from greenmine.dashboards.panel import LimitLine, Words
from greenmine.dashboards.shown import number_text, shown_digits, shown_unit, shown_value, unit_symbol
from greenmine.policy.model import Policy
from greenmine.web.backend import Backend
from greenmine.web.schematic import Drawing, draw
from greenmine.web.state import MineState, SeriesState, State, mine_state
from greenmine.web.wording import alert_limit_text, alert_value_text

RECENT_NS = 24 * 3600 * 1_000_000_000
OPEN_LIMIT = 500
FEW_MINES = 3
"""Up to so many mines the county's board gives each a large card."""


@dataclass(frozen=True)
class Row:
    """A series with its newest value, as a table shows it. `number` is empty where no value ever came."""

    key: str
    series: Series
    kind: str
    station: Words
    link: str
    metric: Words
    number: str
    unit: str
    state: State
    over: Severity | None
    share: float | None
    time_ns: int | None
    age_ns: int | None
    flags: list[str]
    limits: list[LimitLine]


@dataclass(frozen=True)
class AlertItem:
    """An alert as lists show it, with what can be done about it. `station_link` is '' where it is of no device."""

    alert: Alert
    rule: Words
    station: Words
    station_link: str
    mine: Words
    value: str
    last_value: str
    limit: str
    advice: Words | None
    may_acknowledge: bool
    may_resolve: bool

    @property
    def active(self) -> bool:
        """Whether its condition still holds."""
        return self.alert.condition in (Condition.FIRING, Condition.STALE, Condition.PENDING)


@dataclass(frozen=True)
class Card:
    """A mine on the county's board."""

    mine: MineState
    drawing: Drawing
    large: bool
    nearest: list[Row]
    with_alerts: list[AlertItem]


def series_key(series: Series) -> str:
    """A series as one word, by which `live.js` finds its cells; identifiers have no dots."""
    return ".".join((series.mine, series.device, series.metric, series.channel, series.stat, str(series.period_s)))


def zones_of(policies: Mapping[str, Policy]) -> dict[str, ZoneInfo]:
    """Each mine's zone."""
    return {mine: policy.mine.zone for mine, policy in policies.items()}


def state_of(backend: Backend, policy: Policy, now_ns: int) -> MineState:
    """A mine's state now."""
    mine = policy.mine.id
    return mine_state(policy, backend.board.latest(mine), backend.board.alerts(mine, True, OPEN_LIMIT), now_ns)


def row(policy: Policy, one: SeriesState) -> Row:
    """A series as a table row."""
    series, latest = one.series, one.latest
    device = policy.device(series.device)
    kinds = [s.kind.value for s in device.sensors if series.metric in s.metrics] if device else []
    number = ""
    if latest is not None:
        number = number_text(shown_value(series.metric, latest.judged_value), shown_digits(series.metric))
    return Row(
        key=series_key(series),
        series=series,
        kind=kinds[0] if kinds else "",
        station=device_title(device) if device else Words.same(series.device),
        link=device_path(series.mine, series.device),
        metric=series_title(series),
        number=number,
        unit=unit_symbol(shown_unit(series.metric)),
        state=one.state,
        over=one.over,
        share=one.share,
        time_ns=latest.time_ns if latest else None,
        age_ns=one.age_ns,
        flags=flag_names(latest.quality) if latest and latest.quality else [],
        limits=one.limits,
    )


def rows(state: MineState, device: str | None = None) -> list[Row]:
    """The rows of a mine or of one of its devices, in the order of the panel model."""
    return [row(state.policy, one) for one in state.series if device in (None, one.series.device)]


def alert_item(policy: Policy | None, alert: Alert) -> AlertItem:
    """An alert with its names and values; `policy` is None for a mine that is no longer watched."""
    device = policy.device(alert.key.device) if policy else None
    zh, en = SERVICE_RULES.get(alert.key.rule, (alert.key.device, alert.key.device))
    station = device_title(device) if device else Words(zh=zh, en=en)
    if alert.key.channel:
        station = Words(zh=f"{station.zh} @{alert.key.channel}", en=f"{station.en} @{alert.key.channel}")
    rule = next((r for r in policy.rules if r.id == alert.key.rule), None) if policy else None
    return AlertItem(
        alert=alert,
        rule=rule_title(policy, alert.key.rule),
        station=station,
        station_link=device_path(alert.key.mine, alert.key.device) if device else "",
        mine=Words.of(policy.mine.name) if policy else Words.same(alert.key.mine),
        value=alert_value_text(alert, alert.value),
        last_value=alert_value_text(alert, alert.last_value),
        limit=alert_limit_text(alert),
        advice=Words.of(rule.advice) if rule and rule.advice else None,
        may_acknowledge=alert.is_open and alert.handling is Handling.NONE and alert.condition is not Condition.PENDING,
        may_resolve=alert.is_open and alert.condition is Condition.CLEARED,
    )


def alert_items(policies: Mapping[str, Policy], alerts: Iterable[Alert]) -> list[AlertItem]:
    """Alerts for a list: active before cleared, unanswered before answered, grave before slight, new before old."""
    items = [alert_item(policies.get(alert.key.mine), alert) for alert in alerts]
    return sorted(
        items,
        key=lambda item: (
            not item.active,
            item.alert.handling is not Handling.NONE,
            -item.alert.severity.rank,
            -item.alert.raised_at_ns,
        ),
    )


def recently_cleared(
    policies: Mapping[str, Policy], alerts: Iterable[Alert], now_ns: int, most: int
) -> list[AlertItem]:
    """Alerts that are over, those cleared last first."""
    over = [a for a in alerts if not a.is_open and a.cleared_at_ns is not None and now_ns - a.cleared_at_ns < RECENT_NS]
    over.sort(key=lambda alert: -(alert.cleared_at_ns or 0))
    return [alert_item(policies.get(alert.key.mine), alert) for alert in over[:most]]


def mine_drawing(state: MineState, language: str, width: int, height: int, with_labels: bool) -> Drawing:
    """A mine's map."""
    policy = state.policy
    markers = [device_marker(policy, device) for device in policy.devices]
    labels = {marker.device: marker.title.in_language(language) for marker in markers}
    return draw(markers, state.devices, labels, width, height, with_labels)


def card(state: MineState, policies: Mapping[str, Policy], language: str, large: bool) -> Card:
    """A mine's card: its map, the values nearest to a limit, its alerts; large where there are few mines."""
    found = [one for one in state.series if one.share is not None and one.state is not State.SUSPECT]
    found.sort(key=lambda one: -(one.share or 0.0))
    most = 7 if large else 4
    return Card(
        mine=state,
        drawing=mine_drawing(state, language, *((560, 340, True) if large else (420, 220, False))),
        large=large,
        nearest=[row(state.policy, one) for one in found[:most]],
        with_alerts=alert_items(policies, state.alerts),
    )


def cards(backend: Backend, policies: Mapping[str, Policy], now_ns: int, language: str) -> list[Card]:
    """All mines, those in the worst state first, else by id."""
    states = [state_of(backend, policy, now_ns) for _, policy in sorted(policies.items())]
    states.sort(key=lambda state: -state.state.rank if state.state.is_alarm else 0)
    return [card(state, policies, language, len(states) <= FEW_MINES) for state in states]


def county_drawing(states: Sequence[MineState], language: str, width: int, height: int) -> Drawing:
    """The map of all mines."""
    panel = county_dashboard([state.policy for state in states]).panel("map")
    markers = panel.markers if panel else []
    labels = {marker.mine: marker.title.in_language(language) for marker in markers}
    by_mine = {state.policy.mine.id: state.state for state in states}
    return draw(markers, by_mine, labels, width, height)
