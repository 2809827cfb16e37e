"""The JSON API's questions: mines, newest values, alerts, readings, charts. `app` puts a session before all of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi import Path as PathParam
from starlette.requests import Request
from starlette.responses import Response

from greenmine.core.clock import NS_PER_S
from greenmine.core.errors import NotFound, Refused
from greenmine.core.identifier import IDENTIFIER_PATTERN
from greenmine.core.metric import METRICS
from greenmine.core.reading import STATS
from greenmine.core.reading_store import Selection
from greenmine.dashboards.build import sensor_dashboard
from greenmine.dashboards.panel import Dashboard, PanelKind
from greenmine.policy.model import Policy
from greenmine.web.api_models import (
    AccountOut,
    AlertOut,
    AlertWithHistory,
    CountOut,
    MineOut,
    ValueOut,
    account_out,
    alert_out,
    alert_with_history,
    mine_out,
    value_out,
)
from greenmine.web.backend import Backend
from greenmine.web.chart import chart_document, panel_lines
from greenmine.web.compiled import compiled
from greenmine.web.export import MOST_ROWS, readings_response
from greenmine.web.session import BackendDep
from greenmine.web.times import RANGES, query_span
from greenmine.web.view import state_of

router = APIRouter()

MinePath = Annotated[str, PathParam(pattern=IDENTIFIER_PATTERN, description="Id of a mine")]
MineQuery = Annotated[str | None, Query(pattern=IDENTIFIER_PATTERN)]
DeviceQuery = Annotated[str | None, Query(pattern=IDENTIFIER_PATTERN)]
ChannelQuery = Annotated[str | None, Query(pattern=r"^([a-z0-9][a-z0-9-]{0,62})?$")]
MetricQuery = Annotated[str | None, Query(max_length=40)]
PeriodQuery = Annotated[int | None, Query(ge=0, le=366 * 86_400)]
AlertPath = Annotated[str, PathParam(pattern=r"^[0-9a-z-]{1,64}$", description="Id of an alert")]
TimeQuery = Annotated[str | None, Query(max_length=64, description="RFC 3339 with an offset")]
Stat = Literal["inst", "avg", "min", "max", "sum"]
assert Stat.__args__ == STATS  # type: ignore[attr-defined]


def policy_of(backend: Backend, mine: str) -> Policy:
    """The active policy of a mine.

    Raises:
        NotFound: no such mine is watched.
    """
    policy = backend.board.policies().get(mine)
    if policy is None:
        raise NotFound(f"no mine {mine!r} is being watched")
    return policy


def selection_of(
    mine: str | None,
    device: str | None,
    metric: str | None,
    channel: str | None,
    stat: str | None,
    period_s: int | None,
    start: str | None,
    end: str | None,
) -> Selection:
    """The readings that a query selects; without `from` or `to` the span is open on that side.

    Raises:
        Refused: an unknown metric, or a span that makes no sense.
    """
    if metric is not None and metric not in METRICS:
        raise Refused("metric", f"metric: {metric!r} is not a metric; known are: {', '.join(METRICS)}")
    return Selection(mine, device, metric, channel, stat, period_s, *query_span(start, end))


@router.get("/mines", summary="All mines under watch")
def mines(backend: BackendDep) -> list[MineOut]:
    """Mines by id, each with the worst of its states."""
    now_ns = backend.clock.wall_ns()
    found = []
    for _, policy in sorted(backend.board.policies().items()):
        state = state_of(backend, policy, now_ns)
        found.append(mine_out(policy, state.state.value, len(state.alerts)))
    return found


@router.get("/mines/{mine}/latest", summary="Newest value of every series of a mine")
def latest(backend: BackendDep, mine: MinePath) -> list[ValueOut]:
    """Newest values in canonical units."""
    policy_of(backend, mine)
    return [value_out(item) for item in sorted(backend.board.latest(mine), key=lambda item: item.series)]


@router.get("/mines/{mine}/dashboard", summary="The panel model of a mine, or of one of its devices")
def dashboard(backend: BackendDep, mine: MinePath, device: DeviceQuery = None) -> Dashboard:
    """What the pages draw and Grafana is given: panels, their series, shown units and limits."""
    return dashboard_of(policy_of(backend, mine), device)


@router.get("/mines/{mine}/chart", summary="The data of one chart of the panel model")
def chart(
    backend: BackendDep,
    mine: MinePath,
    panel: Annotated[str, Query(max_length=200)],
    device: DeviceQuery = None,
    range_: Annotated[str, Query(alias="range", pattern="^(1h|6h|24h|7d|30d)$")] = "24h",
    from_: Annotated[TimeQuery, Query(alias="from")] = None,
    to: TimeQuery = None,
    width: Annotated[int, Query(ge=50, le=10_000, description="Width of the drawing in pixels")] = 1000,
) -> dict[str, Any]:
    """Lines thinned to the width, in shown units and the mine's local time, with limits and the spans of alerts."""
    policy = policy_of(backend, mine)
    board = dashboard_of(policy, device)
    found = board.panel(panel)
    if found is None or found.kind is not PanelKind.TIMESERIES:
        raise NotFound(f"no chart {panel!r} here")
    now_ns = backend.clock.wall_ns()
    span = query_span(from_, to, policy.mine.zone)
    end_ns = span.end_ns if span.end_ns is not None else now_ns
    start_ns = span.start_ns if span.start_ns is not None else end_ns - RANGES[range_] * NS_PER_S
    if start_ns >= end_ns:
        raise Refused("time", "from must be before to")
    lines = panel_lines(found, backend.readings, start_ns, end_ns, width)
    activities = backend.board.activities(mine, start_ns, end_ns)
    return chart_document(board, found, lines, backend.board.alerts(mine), activities, start_ns, end_ns, now_ns)


@router.get("/alerts", summary="Alerts, newest raise first")
def alerts(
    backend: BackendDep,
    mine: MineQuery = None,
    open_: Annotated[bool, Query(alias="open", description="Only alerts that are not over")] = False,
    limit: Annotated[int, Query(ge=1, le=5000)] = 500,
) -> list[AlertOut]:
    """Alerts of one mine or of all."""
    return [alert_out(alert) for alert in backend.board.alerts(mine, open_, limit)]


@router.get("/alerts/{alert_id}", summary="One alert with its history")
def alert(backend: BackendDep, alert_id: AlertPath) -> AlertWithHistory:
    """An alert and every transition with its reason, who and when."""
    found, history = backend.board.history(alert_id)
    return alert_with_history(found, history)


@router.get("/readings", summary="Stored readings as JSON or CSV", response_model=None)
def readings(
    request: Request,
    backend: BackendDep,
    mine: MineQuery = None,
    device: DeviceQuery = None,
    metric: MetricQuery = None,
    channel: ChannelQuery = None,
    stat: Stat | None = None,
    period_s: PeriodQuery = None,
    from_: Annotated[TimeQuery, Query(alias="from")] = None,
    to: TimeQuery = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = MOST_ROWS,
    format_: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
) -> Response:
    """The newest `limit` readings of the selection (`from` inclusive, `to` exclusive), by series and time, in canonical
    units. Where there are more, `truncated` is true and `next_to` (in CSV the `Link` header) is the `to` with which to
    ask for the older ones."""
    selection = selection_of(mine, device, metric, channel, stat, period_s, from_, to)
    return readings_response(request, backend.readings, selection, limit, format_)


@router.get("/readings/count", summary="Number of stored readings")
def count(
    backend: BackendDep,
    mine: MineQuery = None,
    device: DeviceQuery = None,
    metric: MetricQuery = None,
    channel: ChannelQuery = None,
    stat: Stat | None = None,
    period_s: PeriodQuery = None,
    from_: Annotated[TimeQuery, Query(alias="from")] = None,
    to: TimeQuery = None,
) -> CountOut:
    """How many readings the selection has."""
    selection = selection_of(mine, device, metric, channel, stat, period_s, from_, to)
    return CountOut(count=backend.readings.count(selection))


@router.get("/account", summary="The message account")
def account(backend: BackendDep) -> AccountOut:
    """received = stored + pending + quarantined + duplicate + conflict + dead."""
    return account_out(backend.operations.account())


def dashboard_of(policy: Policy, device: str | None) -> Dashboard:
    """The panel model of a mine, or of one of its devices.

    Raises:
        NotFound: no such device.
    """
    return compiled(policy).dashboard if device is None else sensor_dashboard(policy, device)
