"""Requests for what a station has kept (CN 2051 or 2061 with BeginTime and EndTime), from the first sending to 9012.

A request that gets no 9011 in time is sent again with the same QN, as often as the standard's ReCount; then it is given
up. Nothing is lost by that: whoever found the gap asks again. The data themselves come as frames like any other.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from greenmine.core.errors import DecodeRefused
from greenmine.ingest.hj212_frame import build_frame
from greenmine.ingest.hj212_head import Head
from greenmine.ingest.hj212_requests import (
    EXECUTION_RESULT,
    HOUR_HISTORY,
    MINUTE_HISTORY,
    REQUEST_ANSWER,
    ExecutionResult,
    RequestResult,
    history_request,
    result_of,
)
from greenmine.ingest.timestamp import from_rfc3339

log = structlog.get_logger(__name__)

OVERTIME_S = 10.0
"""How long a 9011 is waited for."""
RECOUNT = 3
"""How often a request is sent, at most."""
RESULT_WITHIN_S = 600.0
"""How long a 9012 is waited for once the station said that it is ready."""
MOST_OPEN = 10_000


class Span(NamedTuple):
    """What is asked for: the command, and from when to when (ns UTC)."""

    cn: str
    begin_ns: int
    end_ns: int


@dataclass(slots=True)
class _Open:
    mn: str
    frame: bytes
    due_s: float
    sent: int
    accepted: bool = False


class HistoryRequests:
    """The requests under way, by MN and QN. Runs on the listener's loop; `send` says whether the station is there."""

    def __init__(self, send: Callable[[str, bytes], bool]) -> None:
        self._send = send
        self._open: dict[tuple[str, str], _Open] = {}
        self.asked = 0
        self.done = 0
        self.refused = 0
        self.unanswered = 0

    def ask(self, station: Head, qn: str, span: Span, now_s: float) -> None:
        """Send a request to the station of this head."""
        self.asked += 1
        if len(self._open) >= MOST_OPEN:
            self.unanswered += 1
            return
        key, frame = (station.mn, qn), build_frame(history_request(station, qn, *span))
        self._send(station.mn, frame)
        self._open[key] = _Open(station.mn, frame, now_s + OVERTIME_S, 1)

    def answered(self, head: Head, segment: bytes, now_s: float) -> None:
        """A frame of a station: move on the request it answers, if it is such an answer."""
        key = head.mn, head.qn
        one = self._open.get(key)
        if one is None or head.cn not in (REQUEST_ANSWER, EXECUTION_RESULT):
            return
        result = result_of(segment)
        if head.cn == REQUEST_ANSWER and result == RequestResult.READY:
            one.accepted, one.due_s = True, now_s + RESULT_WITHIN_S
            return
        del self._open[key]
        if head.cn == EXECUTION_RESULT and result in (ExecutionResult.DONE, ExecutionResult.NO_DATA):
            self.done += 1
        else:
            self.refused += 1
            log.warning("hj212: a station refused or failed a request for history", mn=head.mn, cn=head.cn, got=result)

    def on_time(self, now_s: float) -> None:
        """Send again, or give up, what got no answer in time."""
        for key, one in list(self._open.items()):
            if now_s < one.due_s:
                continue
            if one.accepted or one.sent >= RECOUNT or not self._send(one.mn, one.frame):
                del self._open[key]
                self.unanswered += 1
            else:
                one.sent += 1
                one.due_s = now_s + OVERTIME_S


def span_of(payload: bytes) -> Span:
    """What a message to a station asks for: `{"request": "history", "cn": "2051", "from": RFC 3339, "to": RFC 3339}`.

    Raises:
        ValueError: it is no such message.
    """
    body = json.loads(payload)
    if not isinstance(body, dict) or body.get("request") != "history":
        raise ValueError("a station can be asked for its history only")
    try:
        span = Span(str(body["cn"]), from_rfc3339(body["from"]), from_rfc3339(body["to"]))
    except (KeyError, TypeError, DecodeRefused) as error:
        raise ValueError(f"a request for history has cn, from and to: {error}") from error
    if span.cn not in (MINUTE_HISTORY, HOUR_HISTORY) or span.end_ns < span.begin_ns:
        raise ValueError("history is asked for with 2051 or 2061, and ends after it begins")
    return span
