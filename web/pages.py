"""The pages people look at: the county's board, a mine, a sensor. Each can also be asked for its live part alone."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from greenmine.core.identifier import is_identifier
from greenmine.dashboards.build import sensor_dashboard
from greenmine.dashboards.panel import PanelKind
from greenmine.web.api import policy_of
from greenmine.web.backend import Backend
from greenmine.web.compiled import compiled
from greenmine.web.problem import Problem, ProblemError
from greenmine.web.render import Ui, render, ui_of
from greenmine.web.session import BackendDep
from greenmine.web.state import MineState, State
from greenmine.web.times import RANGES, local, query_span
from greenmine.web.view import (
    alert_items,
    cards,
    county_drawing,
    mine_drawing,
    recently_cleared,
    rows,
    state_of,
    zones_of,
)

router = APIRouter(include_in_schema=False)

Part = Annotated[str | None, Query(pattern="^live$")]
RECENT_ALERTS = 200
MOST_RECENT = 8
MOST_BOARD_ALERTS = 12


@router.get("/")
def county(request: Request, backend: BackendDep, part: Part = None) -> Response:
    """Every mine as a card; with one mine alone, that mine's page; with none, how to begin."""
    policies = backend.board.policies()
    ui = ui_of(request, backend.clock.wall_ns(), zones_of(policies))
    if len(policies) == 1 and part is None:
        return RedirectResponse(f"/mines/{next(iter(policies))}", 303)
    found = cards(backend, policies, ui.now_ns, ui.language)
    states = [card.mine for card in found]
    names = {
        "cards": found,
        "county_map": county_drawing(states, ui.language, 1100, 300) if len(found) > 1 else None,
        "narrow_county_map": county_drawing(states, ui.language, 370, 300) if len(found) > 1 else None,
        "totals": _totals(states),
        "alerts": alert_items(policies, [alert for state in states for alert in state.alerts]),
        "most": MOST_BOARD_ALERTS,
        "version": _joined([state.version for state in states]),
    }
    return render("county_live.html" if part else "county.html", ui, names)


@router.get("/mines/{mine}")
def mine_page(request: Request, backend: BackendDep, mine: str, part: Part = None) -> Response:
    """One mine: map, alerts with their forms, current values, recently cleared alerts, course of the last hours."""
    ui, state = _mine_state(request, backend, mine)
    policies = backend.board.policies()
    recent = backend.board.alerts(mine, limit=RECENT_ALERTS)
    names = {
        "policy": state.policy,
        "state": state,
        "totals": _totals([state]),
        "drawing": mine_drawing(state, ui.language, 880, 520, with_labels=True),
        "narrow_drawing": mine_drawing(state, ui.language, 370, 400, with_labels=True),
        "rows": rows(state),
        "alerts": alert_items(policies, state.alerts),
        "recent": recently_cleared(policies, recent, ui.now_ns, MOST_RECENT),
        "charts": [p for p in compiled(state.policy).dashboard.of_kind(PanelKind.TIMESERIES) if p.limits],
        "several_mines": len(policies) > 1,
    }
    return render("mine_live.html" if part else "mine.html", ui, names)


@router.get("/mines/{mine}/devices/{device}")
def device_page(
    request: Request,
    backend: BackendDep,
    mine: str,
    device: str,
    part: Part = None,
    range_: Annotated[str, Query(alias="range")] = "24h",
    from_: Annotated[str | None, Query(alias="from", max_length=64)] = None,
    to: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """One device: its series with limits and alerts, and a table of newest values."""
    ui, state = _mine_state(request, backend, mine)
    found = state.policy.device(device) if is_identifier(device) else None
    if found is None:
        raise ProblemError(Problem("not_found"))
    policies = backend.board.policies()
    zone = state.policy.mine.zone
    span = query_span(from_, to, zone)
    chosen = "" if span.start_ns or span.end_ns else (range_ if range_ in RANGES else "24h")
    recent = [a for a in backend.board.alerts(mine, limit=RECENT_ALERTS) if a.key.device == device]
    names: dict[str, Any] = {
        "policy": state.policy,
        "device": found,
        "state": state,
        "device_state": state.devices[device],
        "rows": rows(state, device),
        "alerts": alert_items(policies, [a for a in state.alerts if a.key.device == device]),
        "recent": recently_cleared(policies, recent, ui.now_ns, MOST_RECENT),
        "charts": sensor_dashboard(state.policy, device).of_kind(PanelKind.TIMESERIES),
        "ranges": list(RANGES),
        "chosen": chosen,
        "from_local": local(span.start_ns, zone).strftime("%Y-%m-%dT%H:%M") if span.start_ns else "",
        "to_local": local(span.end_ns, zone).strftime("%Y-%m-%dT%H:%M") if span.end_ns else "",
        "several_mines": len(policies) > 1,
    }
    return render("device_live.html" if part else "device.html", ui, names)


def _mine_state(request: Request, backend: Backend, mine: str) -> tuple[Ui, MineState]:
    policy = policy_of(backend, mine)
    now_ns = backend.clock.wall_ns()
    ui = ui_of(request, now_ns, zones_of(backend.board.policies()))
    return ui, state_of(backend, policy, now_ns)


def _totals(states: list[MineState]) -> dict[State, int]:
    """How many watched devices are in each state, over all mines; devices without sensors are left out."""
    totals = dict.fromkeys(reversed(State), 0)
    for state in states:
        for one, count in state.counts().items():
            totals[one] += count
    del totals[State.UNWATCHED]
    return totals


def _joined(versions: list[str]) -> str:
    return ".".join(sorted(versions))
