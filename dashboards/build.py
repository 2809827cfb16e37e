"""From policies to dashboards: the county, one mine, one device. Pure; the same policy gives the same model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from greenmine.core.errors import NotFound
from greenmine.core.metric import METRICS, SensorKind
from greenmine.core.reading import Series
from greenmine.dashboards.limits import limit_lines, window_name
from greenmine.dashboards.panel import Dashboard, Layout, LimitLine, Marker, Panel, PanelKind, Target, Words
from greenmine.dashboards.shown import unit_symbol
from greenmine.policy.model import Device, MetricSetting, Policy

_STAT_NAMES = {
    "avg": ("均值", "mean"),
    "min": ("最小值", "minimum"),
    "max": ("最大值", "maximum"),
    "sum": ("合计", "sum"),
}
_KIND_ORDER = list(SensorKind)


def mine_dashboard(policy: Policy) -> Dashboard:
    """Map, open alerts, the newest value of every series, and one chart for each metric with all its devices."""
    mine = policy.mine.id
    series = _ordered_series(policy)
    panels = [
        Panel(
            id="map",
            title=Words(zh="测点分布示意图", en="Sensor map"),
            kind=PanelKind.MAP,
            layout=Layout(w=14, h=12),
            markers=[device_marker(policy, device) for device in policy.devices],
            mines=[mine],
            link=mine_path(mine),
        ),
        _alert_panel([mine], Layout(w=10, h=12)),
        *(_stat_panel(policy, one, setting) for one, setting in series),
        *_chart_panels(policy, series, one_device=False),
    ]
    return Dashboard(
        id=f"mine-{mine}",
        title=Words.of(policy.mine.name),
        timezone=policy.mine.timezone,
        panels=panels,
        link=mine_path(mine),
    )


def sensor_dashboard(policy: Policy, device_id: str) -> Dashboard:
    """The newest value of every series of a device, and one chart for each metric with all its channels.

    Raises:
        NotFound: the policy has no such device.
    """
    device = policy.device(device_id)
    if device is None:
        raise NotFound(f"mine {policy.mine.id!r} has no device {device_id!r}")
    series = [(one, setting) for one, setting in _ordered_series(policy) if one.device == device_id]
    return Dashboard(
        id=f"device-{policy.mine.id}-{device_id}",
        title=device_title(device),
        timezone=policy.mine.timezone,
        panels=[
            *(_stat_panel(policy, one, setting) for one, setting in series),
            *_chart_panels(policy, series, one_device=True),
        ],
        link=device_path(policy.mine.id, device_id),
    )


def county_dashboard(policies: Mapping[str, Policy] | Iterable[Policy]) -> Dashboard:
    """A map of all mines and one of each, with the alerts of all; times in UTC if the zones differ."""
    found = list(policies.values()) if isinstance(policies, Mapping) else list(policies)
    found.sort(key=lambda policy: policy.mine.id)
    zones = {policy.mine.timezone for policy in found}
    mines = [policy.mine.id for policy in found]
    overview = Panel(
        id="map",
        title=Words(zh="矿山分布", en="Mines"),
        kind=PanelKind.MAP,
        layout=Layout(w=14, h=12),
        markers=[_mine_marker(policy) for policy in found],
        mines=mines,
        link="/",
    )
    each = [
        Panel(
            id=f"mine-{policy.mine.id}",
            title=Words.of(policy.mine.name),
            kind=PanelKind.MAP,
            layout=Layout(w=8, h=10),
            markers=[device_marker(policy, device) for device in policy.devices],
            mines=[policy.mine.id],
            link=mine_path(policy.mine.id),
        )
        for policy in found
    ]
    return Dashboard(
        id="county",
        title=Words(zh="矿山环境监测总览", en="Mines under watch"),
        timezone=zones.pop() if len(zones) == 1 else "UTC",
        panels=[overview, _alert_panel(mines, Layout(w=10, h=12)), *each],
        link="/",
    )


def mine_path(mine: str) -> str:
    """Path of a mine's page."""
    return f"/mines/{mine}"


def device_path(mine: str, device: str) -> str:
    """Path of a device's page."""
    return f"/mines/{mine}/devices/{device}"


def device_title(device: Device) -> Words:
    """The device's name, or its id where it has none."""
    return Words.of(device.name) if device.name else Words.same(device.id)


def device_marker(policy: Policy, device: Device) -> Marker:
    """The device as a place on a map."""
    kinds = {sensor.kind for sensor in device.sensors}
    return Marker(
        mine=policy.mine.id,
        device=device.id,
        title=device_title(device),
        kinds=sorted(kinds, key=_KIND_ORDER.index),
        position=device.position,
        link=device_path(policy.mine.id, device.id),
    )


def series_title(series: Series) -> Words:
    """What a series is of, without its device: metric, channel, statistic."""
    metric = METRICS[series.metric]
    zh, en = metric.zh, metric.en
    if series.channel:
        zh, en = f"{zh} @{series.channel}", f"{en} @{series.channel}"
    if series.stat != "inst":
        period = window_name(series.period_s)
        stat_zh, stat_en = _STAT_NAMES[series.stat]
        zh, en = f"{zh} {period.zh}{stat_zh}", f"{en} {period.en} {stat_en}"
    return Words(zh=zh, en=en)


def _ordered_series(policy: Policy) -> list[tuple[Series, MetricSetting]]:
    """By kind of sensor, then metric in the order of the vocabulary, then device and channel."""
    order = {name: place for place, name in enumerate(METRICS)}
    return sorted(policy.series().items(), key=lambda item: (order[item[0].metric], item[0]))


def _mine_marker(policy: Policy) -> Marker:
    kinds = {sensor.kind for device in policy.devices for sensor in device.sensors}
    return Marker(
        mine=policy.mine.id,
        device="",
        title=Words.of(policy.mine.name),
        kinds=sorted(kinds, key=_KIND_ORDER.index),
        position=policy.mine.location,
        link=mine_path(policy.mine.id),
    )


def _alert_panel(mines: list[str], layout: Layout) -> Panel:
    return Panel(
        id="alerts",
        title=Words(zh="未结束的告警", en="Open alerts"),
        kind=PanelKind.ALERT_LIST,
        layout=layout,
        mines=mines,
        link="/alerts",
    )


def _target(policy: Policy, series: Series, setting: MetricSetting, one_device: bool) -> Target:
    device = policy.device(series.device)
    name = device_title(device) if device else Words.same(series.device)
    if one_device:
        legend = series_title(series)
    elif series.channel:
        legend = Words(zh=f"{name.zh} @{series.channel}", en=f"{name.en} @{series.channel}")
    else:
        legend = name
    return Target(**series._asdict(), unit=METRICS[series.metric].unit, interval_s=setting.interval, legend=legend)


def _stat_panel(policy: Policy, series: Series, setting: MetricSetting) -> Panel:
    metric = METRICS[series.metric]
    parts = (series.device, series.metric, series.channel, series.stat, str(series.period_s))
    return Panel(
        id=".".join(("now", *parts)),
        title=series_title(series),
        kind=PanelKind.STAT,
        layout=Layout(w=4, h=4),
        targets=[_target(policy, series, setting, one_device=False)],
        limits=limit_lines(policy, series),
        metric=series.metric,
        unit=metric.shown_unit,
        digits=metric.digits,
        link=device_path(series.mine, series.device),
    )


def _chart_panels(policy: Policy, series: Sequence[tuple[Series, MetricSetting]], one_device: bool) -> list[Panel]:
    groups: dict[tuple[str, str, int], list[tuple[Series, MetricSetting]]] = {}
    for one, setting in series:
        groups.setdefault((one.metric, one.stat, one.period_s), []).append((one, setting))
    panels = []
    for (name, stat, period_s), members in groups.items():
        metric = METRICS[name]
        symbol = unit_symbol(metric.shown_unit)
        title = series_title(Series(policy.mine.id, "", name, "", stat, period_s))
        panels.append(
            Panel(
                id=f"chart.{name}.{stat}.{period_s}",
                title=Words(zh=f"{title.zh} ({symbol})", en=f"{title.en} ({symbol})") if symbol else title,
                kind=PanelKind.TIMESERIES,
                layout=Layout(w=24 if one_device else 12, h=9),
                targets=[_target(policy, one, setting, one_device) for one, setting in members],
                limits=_common_lines(policy, [one for one, _ in members]),
                metric=name,
                unit=metric.shown_unit,
                digits=metric.digits,
                link=device_path(policy.mine.id, members[0][0].device) if one_device else mine_path(policy.mine.id),
            )
        )
    return panels


def _common_lines(policy: Policy, series: Iterable[Series]) -> list[LimitLine]:
    """The lines of all series once each."""
    lines = {(line.rule, line.edge): line for one in series for line in limit_lines(policy, one)}
    return sorted(lines.values(), key=lambda line: (-line.severity.rank, line.rule, line.edge != "raise"))
