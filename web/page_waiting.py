"""The waiting list as a page: who speaks unregistered, what it sent, and forms to approve or reject it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from greenmine.core.act import ActKind
from greenmine.core.errors import Conflict, NotFound, Refused, StoreUnavailable
from greenmine.core.waiting import LONGEST_ADDRESS, Network, WaitingDevice
from greenmine.dashboards.build import device_title
from greenmine.dashboards.panel import Words
from greenmine.policy.model import Policy
from greenmine.web.api_devices import decide
from greenmine.web.api_models import NOTE_LENGTH, clean_note
from greenmine.web.backend import Backend
from greenmine.web.problem import KINDS, Problem, ProblemError, problem_of
from greenmine.web.render import render, ui_of
from greenmine.web.session import BackendDep, PageSession, acting_session, check_csrf, check_origin
from greenmine.web.view import zones_of

router = APIRouter(include_in_schema=False)

MOST = 100
_ACTS = {"approve": ActKind.APPROVE_DEVICE, "reject": ActKind.REJECT_DEVICE}


@dataclass(frozen=True)
class Waiter:
    """One card. `key` is a word for ids and links; `suggestion` is YAML; an own topic names its device itself."""

    device: WaitingDevice
    key: str
    suggestion: str

    @property
    def own_topic(self) -> bool:
        """Whether the policy alone can register it."""
        return self.device.network is Network.MQTT


@dataclass(frozen=True)
class Choice:
    """A registered device that an address may be: `value` is `mine/device`."""

    value: str
    title: Words


@router.get("/waiting")
def waiting_page(
    request: Request,
    backend: BackendDep,
    session: PageSession,
    part: Annotated[str | None, Query(pattern="^live$")] = None,
) -> Response:
    """Who waits, heard last first."""
    acting_session(session)
    return _page(request, backend, part)


@router.post("/waiting/{act}")
def decide_on_waiting(
    request: Request,
    backend: BackendDep,
    session: PageSession,
    act: str,
    network: Annotated[Network, Form()],
    address: Annotated[str, Form(min_length=1, max_length=LONGEST_ADDRESS)],
    target: Annotated[str, Form(max_length=127)] = "",
    replay: Annotated[str, Form(max_length=5)] = "",
    note: Annotated[str, Form(max_length=NOTE_LENGTH)] = "",
    csrf: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """A form was sent: decide, go back to the list and say so; on a refusal show the list and why."""
    check_origin(request)
    check_csrf(session, csrf)
    kind = _ACTS.get(act)
    if kind is None:
        raise ProblemError(Problem("not_found"))
    acting_session(session)
    try:
        body = _approval(backend, target, replay) if kind is ActKind.APPROVE_DEVICE else {}
        decide(backend, session, kind, network, address, _clean(note), body)
    except (Conflict, NotFound, Refused, StoreUnavailable) as error:
        return _page(request, backend, refused=problem_of(error))
    return RedirectResponse(f"/waiting?{urlencode({'said': act})}", 303)


def choices(policies: Mapping[str, Policy]) -> list[Choice]:
    """Every registered device, by mine."""
    return [
        Choice(f"{mine}/{device.id}", _title(policy, device_title(device)))
        for mine, policy in sorted(policies.items())
        for device in policy.devices
    ]


def _title(policy: Policy, device: Words) -> Words:
    mine = Words.of(policy.mine.name)
    return Words(zh=f"{mine.zh} · {device.zh}", en=f"{mine.en} · {device.en}")


def _approval(backend: Backend, target: str, replay: str) -> dict[str, object]:
    mine, _, device = target.partition("/")
    policy = backend.board.policies().get(mine)
    if policy is None or policy.device(device) is None:
        raise Refused("device", "choose a registered device")
    return {"mine": mine, "device": device, "replay": bool(replay)}


def _page(request: Request, backend: Backend, part: str | None = None, refused: Problem | None = None) -> Response:
    policies = backend.board.policies()
    waiting = backend.devices.waiting()
    ui = ui_of(request, backend.clock.wall_ns(), zones_of(policies))
    title = ""
    if refused is not None:
        kind = KINDS[refused.kind]
        title = kind.zh if ui.language == "zh" else kind.en
    names = {
        "waiters": [Waiter(one, waiter_key(one), backend.devices.suggestion(one)) for one in waiting[:MOST]],
        "total": len(waiting),
        "most": MOST,
        "policies": policies,
        "choices": choices(policies),
        "refused": title,
        "refused_detail": refused.detail if refused else "",
    }
    status, headers = (refused.status, refused.headers) if refused else (200, None)
    return render("waiting_live.html" if part else "waiting.html", ui, names, status, headers)


def waiter_key(device: WaitingDevice) -> str:
    """A word for the ids of a card: letters, digits and hyphens."""
    address = "".join(char if char.isascii() and char.isalnum() else "-" for char in device.address)
    return f"{device.network.value}-{address}"


def _clean(note: str) -> str:
    try:
        return clean_note(note)
    except ValueError as error:
        raise Refused("note", f"note: {error}") from error
