"""The JSON API's questions about dead letters: what was refused, why, and its bytes. `api_acts` reads them again."""

from __future__ import annotations

import base64
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from greenmine.core.clock import to_rfc3339
from greenmine.core.dead_letter import DeadReason
from greenmine.store.dead_letters import DeadLetterRow
from greenmine.web.api import DeviceQuery, MineQuery
from greenmine.web.backend import DeadLettersAsked
from greenmine.web.session import BackendDep

router = APIRouter()


class DeadLetterOut(BaseModel):
    """A refused message or item. `word` is the reason, `field` its place in the payload (empty: the whole); `mine` and
    `device` are empty where the sender is not registered; `record` is null for a reading that the store refused."""

    id: int
    at: str
    mine: str
    device: str
    word: str
    field: str
    detail: str
    topic: str
    client: str
    record: int | None
    replayed_at: str | None


class DeadLetterWithBytes(DeadLetterOut):
    """The same with the bytes of its message."""

    payload_base64: str | None


def dead_letter_out(row: DeadLetterRow) -> DeadLetterOut:
    """A dead letter as the API and the command line give it."""
    return DeadLetterOut(
        id=row.id,
        at=to_rfc3339(row.at_ns),
        mine=row.mine,
        device=row.device,
        word=row.word,
        field=row.field,
        detail=row.detail,
        topic=row.source,
        client=row.client,
        record=row.record_id or None,
        replayed_at=None if row.replayed_ns is None else to_rfc3339(row.replayed_ns),
    )


@router.get("/dead-letters", summary="Refused messages and items, newest first")
def dead_letters(
    backend: BackendDep,
    reason: Annotated[DeadReason | None, Query(description="Only of this reason")] = None,
    mine: MineQuery = None,
    device: DeviceQuery = None,
    replayed: Annotated[bool, Query(description="Also those that were replayed")] = False,
    limit: Annotated[int, Query(ge=1, le=5000)] = 500,
) -> list[DeadLetterOut]:
    """What was refused and why; the oldest are dropped when there are too many."""
    asked = DeadLettersAsked(None if reason is None else reason.value, mine, device, replayed, limit)
    return [dead_letter_out(row) for row in backend.intakes.dead_letters(asked)]


@router.get("/dead-letters/{number}", summary="One dead letter with its bytes")
def dead_letter(backend: BackendDep, number: Annotated[int, Path(ge=1, lt=2**63)]) -> DeadLetterWithBytes:
    """A dead letter as it came."""
    row, payload = backend.intakes.dead_letter(number)
    shown = None if payload is None else base64.b64encode(payload).decode()
    return DeadLetterWithBytes(**dead_letter_out(row).model_dump(), payload_base64=shown)
