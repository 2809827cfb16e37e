"""The JSON API's devices: who waits for approval, and what people decide about them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Path as PathParam
from pydantic import BaseModel, StringConstraints

from greenmine.core.act import Act, ActKind, ActResult
from greenmine.core.clock import to_rfc3339
from greenmine.core.waiting import LONGEST_ADDRESS, Network, WaitingDevice
from greenmine.web.api import policy_of
from greenmine.web.api_acts import IdempotencyKey
from greenmine.web.api_models import NOTE_LENGTH, ActOut, Body, Identifier
from greenmine.web.backend import Backend
from greenmine.web.session import ApiActor, BackendDep, Session

router = APIRouter()

AddressPath = Annotated[str, PathParam(min_length=1, max_length=LONGEST_ADDRESS, description="Address in its network")]
Note = Annotated[str, StringConstraints(max_length=NOTE_LENGTH)]


class WaitingValueOut(BaseModel):
    """A value as it was sent."""

    name: str
    value: float | None
    unit: str | None


class WaitingOut(BaseModel):
    """A device that nobody has registered."""

    network: Network
    address: str
    mine: str | None
    first_seen: str
    last_seen: str
    messages: int
    record: int
    values: list[WaitingValueOut]
    sample: str


class WaitingWithSuggestion(WaitingOut):
    """The same with YAML for the policy's `devices`."""

    suggestion: str


class ApproveIn(Body):
    """Which device of which mine's policy the address is; `replay` reads its dead letters again."""

    mine: Identifier
    device: Identifier
    replay: bool = True
    note: Note = ""


class RejectIn(Body):
    """Why, if anybody wants to say."""

    note: Note = ""


@router.get("/devices/waiting", summary="Devices that nobody has registered")
def waiting(backend: BackendDep, session: ApiActor) -> list[WaitingOut]:  # noqa: ARG001 - the session is the right
    """Heard last first."""
    return [WaitingOut(**waiting_fields(device)) for device in backend.devices.waiting()]


# Before the path of one: an address may have slashes, and would take `/approve` for its end.
@router.post("/devices/waiting/{network}/{address:path}/approve", summary="Say which device an address is")
def approve(
    backend: BackendDep,
    session: ApiActor,
    network: Network,
    address: AddressPath,
    given: ApproveIn,
    idempotency_key: IdempotencyKey = "",
) -> ActOut:
    """From now on the address speaks for a device that the mine's policy names."""
    policy_of(backend, given.mine)
    body = {"mine": given.mine, "device": given.device, "replay": given.replay}
    result = decide(backend, session, ActKind.APPROVE_DEVICE, network, address, given.note, body, idempotency_key)
    return ActOut(alert=None, detail=result.detail)


@router.post("/devices/waiting/{network}/{address:path}/reject", summary="Take an address off the list for good")
def reject(
    backend: BackendDep,
    session: ApiActor,
    network: Network,
    address: AddressPath,
    given: RejectIn,
    idempotency_key: IdempotencyKey = "",
) -> ActOut:
    """It does not wait again, until somebody approves it."""
    result = decide(backend, session, ActKind.REJECT_DEVICE, network, address, given.note, {}, idempotency_key)
    return ActOut(alert=None, detail=result.detail)


@router.get("/devices/waiting/{network}/{address:path}", summary="One of them, with YAML for the policy")
def waiting_one(
    backend: BackendDep,
    session: ApiActor,  # noqa: ARG001 - the session is the right
    network: Network,
    address: AddressPath,
) -> WaitingWithSuggestion:
    """What it sent last, and what a policy that registers it could say."""
    device = backend.devices.waiting_one(network, address)
    return WaitingWithSuggestion(**waiting_fields(device), suggestion=backend.devices.suggestion(device))


def decide(
    backend: Backend,
    session: Session,
    kind: ActKind,
    network: Network,
    address: str,
    note: str,
    body: dict[str, object],
    key: str = "",
) -> ActResult:
    """Journal what a person decides about a waiting device and wait for it.

    Raises:
        NotFound, Conflict, Refused, StoreUnavailable: from the desk.
    """
    whole = {"network": network.value, "address": address, **body}
    return backend.desk.submit(Act(kind, session.principal, note=note, body=whole, idempotency_key=key))


def waiting_fields(device: WaitingDevice) -> dict[str, Any]:
    """A waiting device as JSON has it, here and on the command line."""
    return {
        "network": device.network.value,
        "address": device.address,
        "mine": device.mine or None,
        "first_seen": to_rfc3339(device.first_seen_ns),
        "last_seen": to_rfc3339(device.last_seen_ns),
        "messages": device.messages,
        "record": device.record_id,
        "values": [one._asdict() for one in device.values],
        "sample": device.sample,
    }
