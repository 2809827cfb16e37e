"""The JSON API's questions about what comes in beside readings: activity."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from greenmine.core.activity import ActivityInterval
from greenmine.core.clock import NS_PER_S, to_rfc3339
from greenmine.core.errors import Refused
from greenmine.web.api import MinePath, TimeQuery, policy_of
from greenmine.web.session import BackendDep
from greenmine.web.times import query_span

router = APIRouter()
USUAL_SPAN_NS = 86_400 * NS_PER_S


class ActivityOut(BaseModel):
    """An interval of activity in source time. `end` is null while it goes on; `ended_by` is `end`, `stop`, `length`
    (its end was never reported) or `planned` (a declared moment)."""

    id: int
    mine: str
    device: str
    kind: str
    zone: str
    lat: float | None
    lon: float | None
    start: str
    end: str | None
    ended_by: str | None


def activity_out(one: ActivityInterval) -> ActivityOut:
    """An interval as the API gives it."""
    return ActivityOut(
        id=one.id,
        mine=one.mine,
        device=one.device,
        kind=one.kind.value,
        zone=one.zone,
        lat=one.lat,
        lon=one.lon,
        start=to_rfc3339(one.start_ns),
        end=None if one.end_ns is None else to_rfc3339(one.end_ns),
        ended_by=None if one.ended_by is None else one.ended_by.value,
    )


@router.get("/mines/{mine}/activity", summary="What a mine was doing")
def activity(
    backend: BackendDep,
    mine: MinePath,
    from_: Annotated[TimeQuery, Query(alias="from")] = None,
    to: TimeQuery = None,
) -> list[ActivityOut]:
    """Intervals that have a moment in the span, by their beginning; the last 24 hours if no span is given."""
    policy = policy_of(backend, mine)
    span = query_span(from_, to, policy.mine.zone)
    end_ns = span.end_ns if span.end_ns is not None else backend.clock.wall_ns()
    start_ns = span.start_ns if span.start_ns is not None else end_ns - USUAL_SPAN_NS
    if start_ns >= end_ns:
        raise Refused("time", "from must be before to")
    return [activity_out(one) for one in backend.board.activities(mine, start_ns, end_ns)]
