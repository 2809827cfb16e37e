"""The JSON API's questions about what comes in beside readings, and what does not come: activity, gaps, losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from greenmine.core.account import DeviceHour
from greenmine.core.activity import ActivityInterval
from greenmine.core.clock import NS_PER_S, to_rfc3339
from greenmine.core.errors import Refused
from greenmine.core.gap import Gap
from greenmine.ingest.reason_words import meaning_of
from greenmine.store.hours import ReasonKey
from greenmine.web.api import DeviceQuery, MinePath, MineQuery, TimeQuery, policy_of
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


class GapOut(BaseModel):
    """Numbers that a device passed over. `reason` is `open`, `filled`, `expired`, or `reset`: the numbers stepped back
    (or leapt) from `first_seq` to `last_seq` without a new boot id. `asked` is how often the device was asked to send
    again; `from` and `to` are the source times of the messages around the gap."""

    id: str
    mine: str
    device: str
    stream: str
    boot: str
    first_seq: int
    last_seq: int
    from_: Annotated[str, Field(serialization_alias="from")]
    to: str
    found: str
    filled: int
    missing: int
    asked: int
    closed: str | None
    reason: str


def gap_out(gap: Gap) -> GapOut:
    """A declared gap as the API and the command line give it."""
    return GapOut(
        id=gap.id,
        mine=gap.stream.mine,
        device=gap.stream.device,
        stream=gap.stream.name,
        boot=gap.boot,
        first_seq=gap.first_seq,
        last_seq=gap.last_seq,
        from_=to_rfc3339(gap.from_ns),
        to=to_rfc3339(gap.to_ns),
        found=to_rfc3339(gap.found_ns or 0),
        filled=gap.filled,
        missing=gap.missing,
        asked=gap.attempts,
        closed=None if gap.closed_ns is None else to_rfc3339(gap.closed_ns),
        reason=gap.reason.value,
    )


class DeviceHourOut(BaseModel):
    """The account of a device's hour, in readings, by source time: `received` is the sum of `stored` to `dead`;
    `missing` is what of `expected` is neither stored nor pending. `device` is empty for senders that are not
    registered."""

    mine: str
    device: str
    hour: str
    expected: int
    received: int
    stored: int
    pending: int
    quarantined: int
    duplicate: int
    conflict: int
    dead: int
    missing: int


def device_hour_out(one: DeviceHour) -> DeviceHourOut:
    """An hour as the API and the command line give it."""
    return DeviceHourOut(
        mine=one.mine,
        device=one.device,
        hour=to_rfc3339(one.start_ns),
        expected=one.expected,
        missing=one.missing,
        **one.account._asdict(),
    )


class ReasonOut(BaseModel):
    """How often something of a device was `refused` or `quarantined` for this reason, or taken with this flag
    (`flagged`), since the service began to count."""

    mine: str
    device: str
    kind: str
    word: str
    count: int
    meaning_zh: str
    meaning_en: str


def reasons_out(found: Mapping[ReasonKey, int]) -> list[ReasonOut]:
    """Reasons as the API and the command line give them."""
    rows = []
    for key, count in found.items():
        zh, en = meaning_of(key.word, key.kind)
        rows.append(ReasonOut(**key._asdict(), count=count, meaning_zh=zh, meaning_en=en))
    return rows


@router.get("/account/hours", summary="The message account by device and hour, with what was expected")
def account_hours(
    backend: BackendDep,
    mine: MineQuery = None,
    device: DeviceQuery = None,
    from_: Annotated[TimeQuery, Query(alias="from")] = None,
    to: TimeQuery = None,
) -> list[DeviceHourOut]:
    """Hours (UTC) that begin from `from` to before `to`; the last 24 without them, and at most 32 days."""
    span = query_span(from_, to)
    return [device_hour_out(one) for one in backend.intakes.hours(mine, device, span.start_ns, span.end_ns)]


@router.get("/account/reasons", summary="Why readings were refused, quarantined or flagged, and how often")
def account_reasons(backend: BackendDep, mine: MineQuery = None, device: DeviceQuery = None) -> list[ReasonOut]:
    """Reasons by device; `device` is empty for senders that are not registered."""
    return reasons_out(backend.intakes.reasons(mine, device))


@router.get("/gaps", summary="Gaps in what devices number, newest first")
def gaps(
    backend: BackendDep,
    mine: MineQuery = None,
    device: DeviceQuery = None,
    open_: Annotated[bool, Query(alias="open", description="Only gaps that are not closed")] = False,
    limit: Annotated[int, Query(ge=1, le=5000)] = 500,
) -> list[GapOut]:
    """What was found missing, whether it has come since, and how often it was asked for."""
    return [gap_out(one) for one in backend.intakes.gaps(mine, device, open_, limit)]


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
