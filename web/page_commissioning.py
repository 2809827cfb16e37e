"""The page for installers: what each device of a mine sends, live, and what looks wrong about it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from greenmine.core.identifier import IDENTIFIER_PATTERN, is_identifier
from greenmine.core.reading import Series
from greenmine.web.api import MinePath, policy_of
from greenmine.web.commissioning import device_looks, with_known
from greenmine.web.onlooker import Onlooker
from greenmine.web.problem import Problem, ProblemError
from greenmine.web.render import render, ui_of
from greenmine.web.session import ApiActor, BackendDep, PageSession, acting_session
from greenmine.web.view import zones_of

router = APIRouter(include_in_schema=False)
api_router = APIRouter()


class RegisteredOut(BaseModel):
    """A series that the policy expects: the unit in which the device sends it, and how often."""

    device: str
    metric: str
    channel: str
    stat: str
    period_s: int
    unit: str
    interval_s: int


@router.get("/mines/{mine}/commissioning")
def commissioning_page(
    request: Request,
    backend: BackendDep,
    session: PageSession,
    mine: str,
    device: Annotated[str, Query(max_length=63)] = "",
    part: Annotated[str | None, Query(pattern="^live$")] = None,
) -> Response:
    """Every device of a mine, or one: raw message, decoded values, and what to look at."""
    acting_session(session)
    policy = policy_of(backend, mine)
    onlooker: Onlooker = request.app.state.onlooker
    waiting = [one for one in backend.devices.waiting() if one.mine == mine and one.device]
    now_ns = backend.clock.wall_ns()
    only = device if is_identifier(device) else None
    heard = with_known(mine, onlooker.look(mine), backend.board.latest(mine), waiting)
    looks = device_looks(policy, heard, now_ns, only, {one.device for one in waiting})
    if only is not None and not looks:
        raise ProblemError(Problem("not_found"))
    names = {
        "policy": policy,
        "looks": looks,
        "device": only or "",
        "troubled": sum(1 for look in looks if look.state in ("late", "suspect")),
        "silent": sum(1 for look in looks if look.state == "no_data"),
        "several_mines": len(backend.board.policies()) > 1,
    }
    ui = ui_of(request, now_ns, zones_of(backend.board.policies()))
    return render("commissioning_live.html" if part else "commissioning.html", ui, names)


@api_router.get("/mines/{mine}/registered", summary="The series that a mine's policy expects")
def registered(
    backend: BackendDep,
    session: ApiActor,  # noqa: ARG001 - the session is the right
    mine: MinePath,
    device: Annotated[str | None, Query(pattern=IDENTIFIER_PATTERN)] = None,
) -> list[RegisteredOut]:
    """With the unit that each is sent in; `tail` compares what comes with it."""
    found = policy_of(backend, mine).series().items()
    return [
        RegisteredOut(**_without_mine(series), unit=setting.unit, interval_s=setting.interval)
        for series, setting in found
        if device in (None, series.device)
    ]


def _without_mine(series: Series) -> dict[str, Any]:
    return {name: value for name, value in series._asdict().items() if name != "mine"}
