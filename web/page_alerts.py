"""Pages of alerts: the list with its filters, one alert with its history, the forms that work without JavaScript."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from greenmine.core.act import ActKind
from greenmine.core.errors import Conflict, Refused, StoreUnavailable
from greenmine.core.identifier import is_identifier
from greenmine.web.api_acts import handle_alert
from greenmine.web.api_models import NOTE_LENGTH, clean_note
from greenmine.web.backend import Backend
from greenmine.web.problem import KINDS, Problem, ProblemError, problem_of
from greenmine.web.render import render, ui_of
from greenmine.web.session import BackendDep, PageSession, acting_session, check_csrf, check_origin, local_path
from greenmine.web.view import alert_item, alert_items, zones_of

router = APIRouter(include_in_schema=False)

MOST = 200
_ACTS = {"acknowledge": ActKind.ACKNOWLEDGE, "note": ActKind.NOTE, "resolve": ActKind.RESOLVE}


@router.get("/alerts")
def alerts_page(
    request: Request,
    backend: BackendDep,
    mine: str = "",
    show: Annotated[str, Query(pattern="^(open|all)$")] = "open",
    part: Annotated[str | None, Query(pattern="^live$")] = None,
) -> Response:
    """Alerts of one mine or of all, open ones or all."""
    policies = backend.board.policies()
    chosen = mine if is_identifier(mine) else ""
    found = backend.board.alerts(chosen or None, show == "open", MOST + 1)
    items = alert_items(policies, found[:MOST])
    if show == "all":
        items.sort(key=lambda item: -item.alert.raised_at_ns)
    ui = ui_of(request, backend.clock.wall_ns(), zones_of(policies))
    names = {
        "alerts": items,
        "capped": MOST if len(found) > MOST else 0,
        "policies": policies,
        "mine": chosen,
        "show": show,
    }
    return render("alerts_live.html" if part else "alerts.html", ui, names)


@router.get("/alerts/{alert_id}")
def alert_page(
    request: Request,
    backend: BackendDep,
    alert_id: str,
    part: Annotated[str | None, Query(pattern="^live$")] = None,
) -> Response:
    """One alert: what it is about, what to do, its history, its forms."""
    return _alert_page(request, backend, alert_id, part=part)


@router.post("/alerts/{alert_id}/{act}")
def act_on_alert(
    request: Request,
    backend: BackendDep,
    session: PageSession,
    alert_id: str,
    act: str,
    csrf: Annotated[str, Form(max_length=200)] = "",
    note: Annotated[str, Form(max_length=NOTE_LENGTH)] = "",
    next_: Annotated[str, Form(alias="next", max_length=2000)] = "",
) -> Response:
    """A form was sent: act, then go back to where it stood and say so; on a refusal show the alert and why."""
    check_origin(request)
    check_csrf(session, csrf)
    kind = _ACTS.get(act)
    if kind is None:
        raise ProblemError(Problem("not_found"))
    acting_session(session)
    try:
        handle_alert(backend, session, kind, alert_id, _clean(note))
    except (Conflict, Refused, StoreUnavailable) as error:
        return _alert_page(request, backend, alert_id, refused=problem_of(error), written={act: note})
    path, _, query = local_path(next_ or f"/alerts/{alert_id}").partition("?")
    return RedirectResponse(f"{path}?{query + '&' if query else ''}{urlencode({'said': act})}", 303)


def _alert_page(
    request: Request,
    backend: Backend,
    alert_id: str,
    part: str | None = None,
    refused: Problem | None = None,
    written: Mapping[str, str] | None = None,
) -> Response:
    alert, history = backend.board.history(alert_id)
    policies = backend.board.policies()
    ui = ui_of(request, backend.clock.wall_ns(), zones_of(policies))
    title = ""
    if refused is not None:
        kind = KINDS[refused.kind]
        title = kind.zh if ui.language == "zh" else kind.en
    names = {
        "item": alert_item(policies.get(alert.key.mine), alert),
        "history": history,
        "refused": title,
        "refused_detail": refused.detail if refused else "",
        "written": dict.fromkeys(_ACTS, "") | dict(written or {}),
    }
    template = "alert_live.html" if part else "alert.html"
    return render(template, ui, names, refused.status if refused else 200, refused.headers if refused else None)


def _clean(note: str) -> str:
    try:
        return clean_note(note)
    except ValueError as error:
        raise Refused("note", f"note: {error}") from error
