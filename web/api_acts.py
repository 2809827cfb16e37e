"""The JSON API's writes: what people do to alerts, facts, dead letters, and what admins administer."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header
from fastapi import Path as PathParam

from greenmine.core.act import Act, ActKind, ActResult
from greenmine.core.errors import Refused
from greenmine.web.api import AlertPath, policy_of
from greenmine.web.api_models import ActOut, FactIn, NoteIn, ReplayIn, alert_out
from greenmine.web.backend import Backend
from greenmine.web.session import ApiActor, ApiAdmin, BackendDep, Session

router = APIRouter()

IdempotencyKey = Annotated[
    str, Header(alias="Idempotency-Key", pattern=r"^[\x21-\x7e]*$", max_length=128, description="Makes a retry safe")
]
Operation = Annotated[str, PathParam(pattern=r"^[a-z][a-z_.-]{0,63}$")]


def handle_alert(
    backend: Backend, session: Session, kind: ActKind, alert_id: str, note: str, key: str = ""
) -> ActResult:
    """Journal what a person does to an alert and wait for it.

    Raises:
        NotFound, Conflict, Refused, StoreUnavailable: from the desk.
    """
    return backend.desk.submit(Act(kind, session.principal, alert_id, note, {}, key))


@router.post("/alerts/{alert_id}/acknowledge", summary="Acknowledge an alert")
def acknowledge(
    backend: BackendDep, session: ApiActor, alert_id: AlertPath, given: NoteIn, idempotency_key: IdempotencyKey = ""
) -> ActOut:
    """Say that somebody has seen it and is on it; a second time changes nothing and answers the same."""
    return _done(handle_alert(backend, session, ActKind.ACKNOWLEDGE, alert_id, given.note, idempotency_key))


@router.post("/alerts/{alert_id}/note", summary="Add a note to an alert")
def note(
    backend: BackendDep, session: ApiActor, alert_id: AlertPath, given: NoteIn, idempotency_key: IdempotencyKey = ""
) -> ActOut:
    """Record what was found or done; needs words."""
    return _done(handle_alert(backend, session, ActKind.NOTE, alert_id, given.note, idempotency_key))


@router.post("/alerts/{alert_id}/resolve", summary="Close the handling of an alert")
def resolve(
    backend: BackendDep, session: ApiActor, alert_id: AlertPath, given: NoteIn, idempotency_key: IdempotencyKey = ""
) -> ActOut:
    """Say what was done, once its condition has cleared; needs a note."""
    return _done(handle_alert(backend, session, ActKind.RESOLVE, alert_id, given.note, idempotency_key))


@router.post("/facts", summary="Record a fact")
def fact(backend: BackendDep, session: ApiActor, given: FactIn, idempotency_key: IdempotencyKey = "") -> ActOut:
    """A dated statement that judges beside readings and policy; corrected by a later one, never by an edit."""
    policy_of(backend, given.mine)
    try:
        valid_from_ns, valid_to_ns = given.span_ns()
    except ValueError as error:
        raise Refused("time", str(error)) from error
    body = {
        "mine": given.mine,
        "kind": given.kind.value,
        "subject": given.subject,
        "valid_from_ns": valid_from_ns,
        "valid_to_ns": valid_to_ns,
        "reason": given.reason,
        "body": given.body,
    }
    return _done(backend.desk.submit(Act(ActKind.FACT, session.principal, body=body, idempotency_key=idempotency_key)))


@router.post("/dead-letters/replay", summary="Decode dead letters again")
def replay_dead_letters(
    backend: BackendDep, session: ApiActor, given: ReplayIn, idempotency_key: IdempotencyKey = ""
) -> ActOut:
    """Put dead letters through decoding and admission once more; readings already stored are duplicates."""
    act = Act(ActKind.REPLAY_DEAD_LETTERS, session.principal, body={"ids": given.ids}, idempotency_key=idempotency_key)
    return _done(backend.desk.submit(act))


@router.post("/admin/{operation}", summary="Administrative operations, for admins", response_model=None)
def administer(
    backend: BackendDep, session: ApiAdmin, operation: Operation, arguments: Annotated[dict[str, Any], Body()]
) -> Any:
    """Users, devices, imports: the operation's arguments in, its result out."""
    return backend.operations.administer(operation, arguments, session.principal)


def _done(result: ActResult) -> ActOut:
    return ActOut(alert=alert_out(result.alert) if result.alert else None, detail=result.detail)
