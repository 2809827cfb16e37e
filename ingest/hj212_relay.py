"""Forwards messages to other platforms over HJ 212, from an outbox, until each was answered.

At least once: what was sent and not answered is sent again with the same QN, on the same connection or the next one,
and after a restart. One thread and one loop for all platforms, each with a connection of its own, so that one that is
dead keeps nobody waiting; nothing waits for this thread at all.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

import structlog

from greenmine.core.relay import WaitingFrame
from greenmine.ingest.hj212_relay_link import RelayLink
from greenmine.ingest.hj212_relay_window import Window

log = structlog.get_logger(__name__)

CONNECT_WITHIN_S = 10.0
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
LOOK_EVERY_S = 1.0
"""How often an outbox that was empty is looked at again."""
QUOTA_EVERY_S = 5.0
SETTLE_EVERY_S = 0.5
"""How long answers wait to be written down together, those of all platforms in one commit, since each commit keeps the
pipeline from its own; after a crash in between their messages are sent again."""
SETTLE_AT = 1000


class Destination(NamedTuple):
    """A platform. `passwords` by MN; messages of an MN that is not in it wait."""

    mine: str
    host: str
    port: int
    overtime_s: float
    recount: int
    most_waiting: int
    passwords: Mapping[str, str]


class Settlement(NamedTuple):
    """Ids of messages that were answered, and of those that never will be."""

    delivered: list[int]
    unanswered: list[int]


class RelayOutbox(Protocol):
    """Where the messages wait. Called on the relay's thread."""

    def waiting(self, mine: str, after_id: int, most: int) -> list[WaitingFrame]:
        """The oldest behind an id."""
        ...

    def newest_id(self, mine: str) -> int:
        """The id of the newest, 0 where there is none."""
        ...

    def settle(self, settled: Mapping[str, Settlement]) -> None:
        """Forget these, by mine, in one commit."""
        ...

    def trim(self, most: Mapping[str, int]) -> dict[str, int]:
        """Drop the oldest of a mine beyond its number, all of other mines; how many, by mine."""
        ...


class Settlements:
    """What has to be written down, of all platforms."""

    def __init__(self, outbox: RelayOutbox) -> None:
        self._outbox = outbox
        self._waiting: dict[str, Settlement] = {}
        self._count = 0

    def add(self, mine: str, delivered: list[int], unanswered: list[int]) -> None:
        """Write these down with the next commit."""
        if delivered or unanswered:
            one = self._waiting.setdefault(mine, Settlement([], []))
            one.delivered.extend(delivered)
            one.unanswered.extend(unanswered)
            self._count += len(delivered) + len(unanswered)
            if self._count >= SETTLE_AT:
                self.flush()

    def flush(self) -> None:
        """Write down now; where that fails it is still to be done."""
        if self._waiting:
            self._outbox.settle(self._waiting)
            self._waiting, self._count = {}, 0


class RelayLine:
    """The way to one platform. `trouble` says why it is not open, '' where it is or nothing waits for it."""

    def __init__(self, destination: Destination, outbox: RelayOutbox, settlements: Settlements) -> None:
        self.destination = destination
        self.connected = False
        self.trouble = ""
        self.resent = 0
        self._outbox = outbox
        self._settlements = settlements
        self._maybe_sent = outbox.newest_id(destination.mine)

    async def run(self) -> None:
        """Connect whenever something waits, and forward it; until cancelled."""
        pause_s = FIRST_PAUSE_S
        while True:
            await self._something_waits()
            answered = await self._forward()
            # A platform that answers nothing is as good as one that is not there.
            pause_s = FIRST_PAUSE_S if answered else min(pause_s * 2, LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def _something_waits(self) -> None:
        while not self._outbox.waiting(self.destination.mine, 0, 1):
            await asyncio.sleep(LOOK_EVERY_S)

    async def _forward(self) -> int:
        """One connection from its opening to its end; how many messages were answered on it."""
        one, loop = self.destination, asyncio.get_running_loop()
        link = RelayLink()
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                await loop.create_connection(lambda: link, one.host, one.port)
        except (OSError, TimeoutError) as error:
            self._in_trouble(f"cannot connect: {str(error) or 'no answer in time'}")
            return 0
        self.connected = True
        window = Window(one, self._maybe_sent)
        try:
            await self._talk(link, window)
        finally:
            self.connected = False
            self.resent += window.resent
            self._maybe_sent = max(self._maybe_sent, window.loaded_id)
            link.close()
            self._settle(window)
            # Before the next connection, which begins with the oldest that is not written down.
            self._settlements.flush()
        return window.answered

    async def _talk(self, link: RelayLink, window: Window) -> None:
        loop = asyncio.get_running_loop()
        while not link.ended:
            now_s = loop.time()
            link.changed.clear()
            for frame in link.take():
                if (answer := window.heard(frame)) is not None:
                    link.write(answer)
            if window.wants_more and link.writable:
                waiting = self._outbox.waiting(self.destination.mine, window.loaded_id, window.room)
                for built in window.load(waiting, now_s):
                    link.write(built)
            for built in window.due_again(now_s):
                link.write(built)
            if window.is_dead:
                self._in_trouble("connected, and messages are not answered")
                return
            if window.answered:
                self.trouble = ""
            self._settle(window)
            await _within(link.changed, window.pause_s(now_s, LOOK_EVERY_S))
        if window.under_way:
            self._in_trouble("the platform ended the connection")

    def _settle(self, window: Window) -> None:
        delivered, unanswered = window.take_settled()
        self._settlements.add(self.destination.mine, delivered, unanswered)
        if unanswered:
            log.warning("relay: messages were never answered", mine=self.destination.mine, count=len(unanswered))

    def _in_trouble(self, why: str) -> None:
        if not self.trouble:
            log.warning("relay: the platform takes nothing", mine=self.destination.mine, problem=why)
        self.trouble = why


class RelaySender:
    """Runs a line for each destination that it was given last, on a thread of its own."""

    def __init__(self, outbox: RelayOutbox) -> None:
        self._outbox = outbox
        self._settlements = Settlements(outbox)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="hj212-relay", daemon=True)
        self._wanted: Mapping[str, Destination] | None = None
        """None until it is known: before that, every message would seem to be of a mine that forwards no more."""
        self._running: dict[str, asyncio.Task[None]] = {}
        self.lines: dict[str, RelayLine] = {}

    def start(self) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._thread.start()

    def stop(self) -> None:
        """End all connections and the thread; what was answered is written down."""
        if self._loop is not None and self._thread.is_alive():
            self._call(self._loop.stop)
            self._thread.join()

    def use(self, destinations: Mapping[str, Destination]) -> None:
        """Forward to these from now on, by mine. Lines whose destination stays as it was go on."""
        self._wanted = dict(destinations)
        self._call(self._follow)

    @property
    def resent(self) -> int:
        """Messages sent again on connections that have ended."""
        return sum(line.resent for line in list(self.lines.values()))

    def _follow(self) -> None:
        wanted = self._wanted or {}
        for mine, line in list(self.lines.items()):
            if wanted.get(mine) != line.destination:
                self._running.pop(mine).cancel()
                del self.lines[mine]
        for mine, destination in wanted.items():
            if mine not in self.lines:
                line = self.lines[mine] = RelayLine(destination, self._outbox, self._settlements)
                self._running[mine] = asyncio.get_running_loop().create_task(self._keep_on(line))

    async def _keep_on(self, line: RelayLine) -> None:
        while True:
            try:
                await line.run()
            except Exception:
                # The outbox could not be read or written; without this the mine would never be forwarded again.
                log.exception("relay failed", mine=line.destination.mine)
                await asyncio.sleep(QUOTA_EVERY_S)

    async def _keep_quota(self) -> None:
        before: dict[str, int] = {}
        while True:
            if self._wanted is not None:
                try:
                    dropped = self._outbox.trim({mine: one.most_waiting for mine, one in self._wanted.items()})
                except Exception:
                    log.exception("the relay's quota could not be kept")
                else:
                    # Said once; how many there are by now, the totals say.
                    for mine in dropped.keys() - before.keys():
                        log.warning("relay: the oldest messages are dropped, too many wait", mine=mine)
                    before = dropped
            await asyncio.sleep(QUOTA_EVERY_S)

    async def _write_down(self) -> None:
        while True:
            await asyncio.sleep(SETTLE_EVERY_S)
            try:
                self._settlements.flush()
            except Exception:
                log.exception("what platforms answered could not be written down")

    def _call(self, function: Callable[[], None]) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(function)

    def _run(self) -> None:
        loop = self._loop
        assert loop is not None
        own = [loop.create_task(self._keep_quota()), loop.create_task(self._write_down())]
        try:
            loop.run_forever()
            tasks = [*own, *self._running.values()]
            for task in tasks:
                task.cancel()
            loop.run_until_complete(_ended(tasks))
        finally:
            loop.close()


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)  # each connection tells that it has ended


async def _within(changed: asyncio.Event, seconds: float) -> None:
    # `wait_for` of Python 3.11 swallows a cancellation that comes together with the event, and this would never end.
    with suppress(TimeoutError):
        async with asyncio.timeout(max(seconds, 0.001)):
            await changed.wait()
