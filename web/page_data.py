"""The page of a mine's data: what should have come and what came, gaps, dead letters and a button to replay them."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from greenmine.core.act import Act, ActKind
from greenmine.core.dead_letter import DeadReason
from greenmine.core.errors import Conflict, NotFound, Refused, StoreUnavailable
from greenmine.core.identifier import is_identifier
from greenmine.web.api import policy_of
from greenmine.web.backend import Backend, DeadLettersAsked
from greenmine.web.data_account import device_days, letter_groups, odd_groups
from greenmine.web.problem import KINDS, Problem, problem_of
from greenmine.web.render import render, ui_of
from greenmine.web.session import BackendDep, PageSession, acting_session, check_csrf, check_origin
from greenmine.web.view import zones_of

router = APIRouter(include_in_schema=False)

MOST_GAPS = 100
MOST_LETTERS = 2_000
MOST_REPLAYED = 1_000
"""Letters that one press of the button reads again, newest first; pressing again goes on."""
TALLY = ("stored", "still_dead", "returned")
"""What is said of a replay."""
Count = Annotated[int, Query(ge=0, le=10**9)]


@router.get("/mines/{mine}/data")
def data_page(
    request: Request,
    backend: BackendDep,
    mine: str,
    device: Annotated[str, Query(max_length=63)] = "",
    stored: Count = 0,
    still_dead: Count = 0,
    returned: Count = 0,
) -> Response:
    """The last 24 hours of every device, hour by hour of one, gaps and dead letters."""
    said = dict(zip(TALLY, (stored, still_dead, returned), strict=True))
    tally = said if request.query_params.get("said") == "replay" else None
    return _page(request, backend, mine, device=device if is_identifier(device) else "", tally=tally)


@router.post("/mines/{mine}/data/replay")
def replay(
    request: Request,
    backend: BackendDep,
    session: PageSession,
    mine: str,
    word: Annotated[DeadReason, Form()],
    of_nobody: Annotated[str, Form(max_length=5)] = "",
    csrf: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Dead letters of one reason are read again; then back to the page, which says what came of it."""
    check_origin(request)
    check_csrf(session, csrf)
    acting_session(session)
    policy_of(backend, mine)
    whose = "" if of_nobody else mine
    asked = DeadLettersAsked(word.value, whose, None, False, MOST_REPLAYED)
    ids = [row.id for row in backend.intakes.dead_letters(asked)]
    try:
        detail = backend.desk.submit(Act(ActKind.REPLAY_DEAD_LETTERS, session.principal, body={"ids": ids})).detail
    except (Conflict, NotFound, Refused, StoreUnavailable) as error:
        return _page(request, backend, mine, refused=problem_of(error))
    tally = {name: int(detail.get(name, 0)) for name in TALLY}
    return RedirectResponse(f"/mines/{mine}/data?{urlencode({'said': 'replay', **tally})}", 303)


def _page(
    request: Request,
    backend: Backend,
    mine: str,
    device: str = "",
    tally: dict[str, int] | None = None,
    refused: Problem | None = None,
) -> Response:
    policy = policy_of(backend, mine)
    policies = backend.board.policies()
    now_ns = backend.clock.wall_ns()
    ui = ui_of(request, now_ns, zones_of(policies))
    hours = backend.intakes.hours(mine, None, None, None)
    days = device_days(policy, hours, now_ns)
    of_mine, of_nobody = (
        backend.intakes.dead_letters(DeadLettersAsked(None, whose, None, False, MOST_LETTERS)) for whose in (mine, "")
    )
    names: dict[str, Any] = {
        "policy": policy,
        "days": days,
        "chosen": next((day for day in days if day.device == device), None) if device else None,
        "chosen_hours": sorted(
            (one for one in hours if device and one.device == device), key=lambda one: -one.start_ns
        ),
        "gaps": backend.intakes.gaps(mine, None, False, MOST_GAPS),
        "groups": letter_groups(of_mine, of_nobody),
        "odd": odd_groups(backend.intakes.reasons(mine, None)),
        "capped": MOST_LETTERS if MOST_LETTERS in (len(of_mine), len(of_nobody)) else 0,
        "tally": tally,
        "several_mines": len(policies) > 1,
        "refused": "",
        "refused_detail": "",
    }
    if refused is None:
        return render("data.html", ui, names)
    kind = KINDS[refused.kind]
    names |= {"refused": kind.zh if ui.language == "zh" else kind.en, "refused_detail": refused.detail}
    return render("data.html", ui, names, refused.status, refused.headers)
