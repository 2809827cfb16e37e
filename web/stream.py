"""Server-sent events: changes from the pipeline's thread to every browser that watches.

Weakened guarantee: a client that cannot keep up does not get every event. Newest values are coalesced by series; when
its other events overflow they are dropped and it is told `resync`, upon which it reads the whole state again.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from greenmine.core.activity import ActivityInterval
from greenmine.core.alert import Alert, Transition
from greenmine.core.clock import to_rfc3339
from greenmine.core.identifier import IDENTIFIER_PATTERN
from greenmine.core.latest import Change, Latest, Wants
from greenmine.core.reading import Series
from greenmine.dashboards.shown import number_text, shown_digits, shown_unit, shown_value, unit_symbol
from greenmine.policy.model import Policy
from greenmine.web.api_ingest import activity_out
from greenmine.web.api_models import alert_out, transition_out, value_out
from greenmine.web.backend import Backend
from greenmine.web.compiled import compiled
from greenmine.web.session import ApiSession, Session, acting_session, find_session
from greenmine.web.state import severity_of
from greenmine.web.times import time_text
from greenmine.web.view import series_key, state_of

MOST_EVENTS = 1000
"""Events other than newest values that may wait for one client."""
MOST_SERIES = 20_000
"""Series whose newest values may wait for one client."""
MOST_HANDED_OVER = 20_000
"""Changes that may wait for the event loop, if it is held up."""
SHORTEST_PAUSE_S = 0.25
"""Between two deliveries to one client, so that a busy mine does not keep a browser painting."""
RETRY_MS = 3000

router = APIRouter()


class Feed:
    """What waits for one client. Used on the event loop only."""

    def __init__(self, mine: str | None, raw: bool, device: str | None = None) -> None:
        self.mine = mine
        self.raw = raw
        self.device = device
        self._latest: dict[Series, Latest] = {}
        self._events: deque[Change] = deque()
        self._overflowed = False
        self._wake = asyncio.Event()

    def put(self, change: Change, mine: str | None) -> None:
        """Keep a change for the client, if it is of its mine; `mine` None is for everybody."""
        if self.mine is not None and mine is not None and mine != self.mine:
            return
        if change.kind == "latest":
            if len(self._latest) >= MOST_SERIES:
                self.overflow()
            self._latest[change.what.series] = change.what
        elif change.kind == "message" and not self.raw:
            return
        elif len(self._events) >= MOST_EVENTS:
            self.overflow()
        else:
            self._events.append(change)
        self._wake.set()

    def overflow(self) -> None:
        """Forget what waits: the client must read the state again."""
        self._events.clear()
        self._latest.clear()
        self._overflowed = True
        self._wake.set()

    def wake(self) -> None:
        """Let the client's generator look around."""
        self._wake.set()

    async def wait(self, timeout_s: float) -> bool:
        """Whether something came within `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    def take(self) -> tuple[list[Latest], list[Change], bool]:
        """Newest values, other changes in order, and whether some were lost; all are forgotten here."""
        taken = list(self._latest.values()), list(self._events), self._overflowed
        self._latest.clear()
        self._events.clear()
        self._overflowed = False
        self._wake.clear()
        return taken


class LiveHub:
    """Takes changes on the pipeline's thread and hands them to the feeds on the event loop."""

    def __init__(self, heartbeat_s: float = 5.0) -> None:
        self.heartbeat_s = heartbeat_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._feeds: set[Feed] = set()
        self._lock = threading.Lock()
        self._handed_over: deque[Change] = deque()
        self._lost = False
        self._scheduled = False
        self._closed = False
        self._versions: tuple[float, dict[str, str]] | None = None

    def start(self) -> None:
        """Remember the running event loop; called when the service starts."""
        self._loop = asyncio.get_running_loop()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether streams are to end."""
        return self._closed

    @property
    def watchers(self) -> int:
        """How many clients are connected."""
        return len(self._feeds)

    def wants(self) -> Wants:
        """What the feeds that are attached have a use for; asked on the pipeline's thread before each commit."""
        feeds = list(self._feeds)
        return Wants(bool(feeds), frozenset((feed.mine or "", feed.device or "") for feed in feeds if feed.raw))

    def attach(self, feed: Feed) -> None:
        """Let a feed have every change from now on."""
        self._feeds.add(feed)

    def detach(self, feed: Feed) -> None:
        """The client has gone."""
        self._feeds.discard(feed)

    def close(self) -> None:
        """End all streams, from any thread; a server that stops would otherwise wait for its watchers."""
        self._closed = True
        self._on_loop(self._wake_all)

    def on_changes(self, changes: Sequence[Change]) -> None:
        """The desk's listener: never blocks."""
        if not self._feeds:
            return
        with self._lock:
            if len(self._handed_over) + len(changes) > MOST_HANDED_OVER:
                self._handed_over.clear()
                self._lost = True
            else:
                self._handed_over.extend(changes)
            if self._scheduled:
                return
            self._scheduled = True
        self._on_loop(self._distribute)

    async def versions(self, backend: Backend) -> dict[str, str]:
        """The version of every mine's state, worked out at most twice a heartbeat for all clients together."""
        now_s = asyncio.get_running_loop().time()
        if self._versions is None or now_s - self._versions[0] > self.heartbeat_s / 2:
            self._versions = (now_s, await run_in_threadpool(_versions, backend))
        return self._versions[1]

    def _on_loop(self, call: Any) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        try:
            loop.call_soon_threadsafe(call)
        except RuntimeError:
            # The loop was closed between the look and the call: the service has ended and nobody watches.
            self._feeds.clear()

    def _distribute(self) -> None:
        with self._lock:
            changes, lost = list(self._handed_over), self._lost
            self._handed_over.clear()
            self._lost = self._scheduled = False
        mines = {c.what.id: c.what.key.mine for c in changes if isinstance(c.what, Alert)}
        if mines:
            self._versions = None
        for feed in self._feeds:
            if lost:
                feed.overflow()
            for change in changes:
                feed.put(change, _mine_of(change, mines))

    def _wake_all(self) -> None:
        for feed in self._feeds:
            feed.wake()


def watcher(session: ApiSession, raw: bool = False) -> Session:
    """The session of a stream; raw messages are for those who may act.

    Raises:
        ProblemError: a viewer asks for them.
    """
    return acting_session(session) if raw else session


@router.get("/stream", response_class=EventSourceResponse, summary="Changes as they happen (server-sent events)")
async def stream(
    request: Request,
    session: Annotated[Session, Depends(watcher)],
    mine: Annotated[str | None, Query(pattern=IDENTIFIER_PATTERN)] = None,
    raw: bool = False,
    device: Annotated[str | None, Query(pattern=IDENTIFIER_PATTERN)] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Events `hello` and `heartbeat` `{"now", "versions": {mine: version}}`, `latest` (an array of newest values),
    `alert`, `transition`, `policy`, with `raw=1` also `message` (with `device`, of what that device or its gateway
    sends, and perhaps of others that somebody else looks at), and `resync` after events were dropped: read the state
    again. Begin by reading the state after `hello`; nothing that happens later is missed."""
    hub: LiveHub = request.app.state.hub
    backend: Backend = request.app.state.backend
    feed = Feed(mine, raw, device)
    hub.attach(feed)
    try:
        yield _event("hello", await _beat(hub, backend), retry=RETRY_MS)
        loop = asyncio.get_running_loop()
        beat_s = loop.time() + hub.heartbeat_s
        while not hub.closed:
            if await feed.wait(max(0.0, beat_s - loop.time())):
                for event in await run_in_threadpool(_events, backend, *feed.take()):
                    yield event
                await asyncio.sleep(SHORTEST_PAUSE_S)
            if loop.time() >= beat_s:
                if not await run_in_threadpool(_still_live, request, session):
                    return
                yield _event("heartbeat", await _beat(hub, backend))
                beat_s = loop.time() + hub.heartbeat_s
    finally:
        hub.detach(feed)


def latest_document(policy: Policy | None, latest: Latest, now_ns: int) -> dict[str, Any]:
    """A newest value as `GET /mines/{m}/latest` gives it, and `shown`: as a page shows it."""
    metric = latest.series.metric
    value = shown_value(metric, latest.judged_value)
    document = value_out(latest).model_dump()
    document["key"] = series_key(latest.series)
    document["shown"] = {"number": number_text(value, shown_digits(metric)), "unit": unit_symbol(shown_unit(metric))}
    if policy is not None:
        watched = compiled(policy).by_series.get(latest.series)
        suspect = bool(latest.quality & compiled(policy).unusable)
        over = severity_of(watched.limits, value) if watched and not suspect else None
        document["shown"]["time"] = time_text(latest.time_ns, policy.mine.zone, now_ns)
        document["shown"]["over"] = over.value if over else None
    return document


def _events(backend: Backend, latest: list[Latest], changes: list[Change], overflowed: bool) -> list[ServerSentEvent]:
    """Events for what a feed gave, `resync` first."""
    events = [_event("resync", {})] if overflowed else []
    if latest:
        policies, now_ns = backend.board.policies(), backend.clock.wall_ns()
        documents = [latest_document(policies.get(item.series.mine), item, now_ns) for item in latest]
        events.append(_event("latest", documents))
    alerts = {c.what.id: c.what for c in changes if isinstance(c.what, Alert)}
    for change in changes:
        what = change.what
        if isinstance(what, Alert):
            events.append(_event("alert", alert_out(what).model_dump()))
        elif isinstance(what, Transition):
            events.append(_event("transition", transition_out(what, alerts.get(what.alert_id)).model_dump()))
        elif isinstance(what, ActivityInterval):
            events.append(_event("activity", activity_out(what).model_dump()))
        elif change.kind == "policy":
            events.append(_event("policy", {"mine": what}))
        elif change.kind == "message":
            events.append(_event("message", what))
    return events


def _event(name: str, data: Any, retry: int | None = None) -> ServerSentEvent:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), default=str)
    return ServerSentEvent(event=name, raw_data=text, retry=retry)


async def _beat(hub: LiveHub, backend: Backend) -> dict[str, Any]:
    return {"now": to_rfc3339(backend.clock.wall_ns()), "versions": await hub.versions(backend)}


def _versions(backend: Backend) -> dict[str, str]:
    now_ns = backend.clock.wall_ns()
    return {mine: state_of(backend, policy, now_ns).version for mine, policy in backend.board.policies().items()}


def _still_live(request: Request, session: Session) -> bool:
    """Whether the session has not ended, and is still the same user's, since the stream began."""
    found = find_session(request)
    return found is not None and found.user.name == session.user.name


def _mine_of(change: Change, mines: dict[str, str]) -> str | None:
    what = change.what
    if isinstance(what, Latest):
        return what.series.mine
    if isinstance(what, Alert):
        return what.key.mine
    if isinstance(what, ActivityInterval):
        return what.mine
    if isinstance(what, Transition):
        return mines.get(what.alert_id)
    if change.kind == "policy":
        return str(what)
    found = what.get("mine") if isinstance(what, dict) else None
    return found if isinstance(found, str) else None
