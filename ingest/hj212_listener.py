"""The listener for HJ 212 over TCP: stations connect, and a frame is answered only after the journal's commit.

Weaker than MQTT with TLS in this: the standard sends the password in the clear, and does not encrypt the connection.
Let it listen inside a private network or behind a tunnel. A station whose connection breaks before the answer sends
the frame again; the repeat is journalled too and found to be a duplicate by its identity.
"""

from __future__ import annotations

import asyncio
import resource
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import structlog

from greenmine.core.clock import NS_PER_MS, Clock
from greenmine.core.errors import ConfigError
from greenmine.ingest.gate import DeniedQuota
from greenmine.ingest.hj212_connection import Connection, Limits
from greenmine.ingest.hj212_frame import Frame
from greenmine.ingest.hj212_gate import Admission, StationGate
from greenmine.ingest.hj212_head import Head
from greenmine.ingest.hj212_history import HistoryRequests, Span, span_of
from greenmine.ingest.hj212_requests import qn_of
from greenmine.ingest.journal_writer import JournalWriter, Submission
from greenmine.ingest.record import Record

log = structlog.get_logger(__name__)

READ_BYTES = 4096
BACKLOG = 512
MAX_UNKNOWN_A_MINUTE = 1000
"""Frames of unknown stations of one address and minute whose MN is looked at: bounds what is remembered of them."""
MAX_DENIALS_A_MINUTE = 60
"""Wrong passwords of one address and minute; then no more connections are taken from it in this minute, so that the six
digits that are usual cannot be tried out."""
OTHER_FILES = 256
"""What the process needs besides the stations' sockets."""


class Heard(NamedTuple):
    """Where a station was heard last, and how it spoke."""

    connection: Connection
    head: Head


class Hj212Listener:
    """Runs the listener on a thread of its own; an `AckSink` for the journal writer. It is its connections' `Owner`.

    Raises (from `start`):
        ConfigError: the address cannot be bound.
    """

    def __init__(
        self,
        host: str,
        port: int,
        gate: StationGate,
        writer: JournalWriter,
        clock: Clock,
        limits: Limits = Limits(),  # noqa: B008 - immutable
    ) -> None:
        self.host = host
        self.port = port
        self.gate = gate
        self.buffer = bytearray(READ_BYTES)
        self.history = HistoryRequests(self._send)
        self.frames = 0
        self.answered = 0
        self.damaged = 0
        self.denied = 0
        self.unknown = 0
        self.refused_connections = 0
        self._writer = writer
        self._clock = clock
        self._limits = limits
        self._quota = DeniedQuota(clock=clock)
        self._unknown_quota = DeniedQuota(1, clock)
        self._strangers = DeniedQuota(MAX_UNKNOWN_A_MINUTE, clock)
        self._denials = DeniedQuota(MAX_DENIALS_A_MINUTE, clock)
        self._connections: set[Connection] = set()
        self._per_address: Counter[str] = Counter()
        self._heard: dict[str, Heard] = {}
        self._waiting: dict[Connection, None] = {}
        self._asked_ms = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._start_error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="hj212-listener", daemon=True)

    def start(self) -> None:
        """Listen; returns when the port is open."""
        _allow_files(self._limits.max_connections + OTHER_FILES)
        self._thread.start()
        self._started.wait()
        if self._start_error is not None:
            raise ConfigError(
                f"the HJ 212 listener cannot listen on {self.host}:{self.port}: {self._start_error}; "
                "choose another port (hj212.port) or stop the program that holds it"
            ) from self._start_error

    def stop(self) -> None:
        """Close all connections and end the thread."""
        if self._stop is not None:
            self._call(self._stop.set)
        if self._thread.is_alive():
            self._thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether it listens."""
        return self._thread.is_alive()

    def request_history(self, mn: str, payload: bytes) -> bool:
        """Ask a station for what it has kept; `payload` as `hj212_history.span_of` reads it. False where the station is
        not connected now. May be called on any thread.

        Raises:
            ValueError: the payload asks for nothing that a station can give.
        """
        span = span_of(payload)
        heard = self._heard.get(mn)
        if heard is None or not heard.connection.is_open:
            return False
        self._call(self._ask, heard.head, span)
        return True

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self._connections)

    @property
    def stations(self) -> int:
        """Stations that were heard over a connection that is open now."""
        return len(self._heard)

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        """Called by the journal writer after the commit, or without tokens when there is room again; on its thread."""
        self._call(self._committed if tokens else self._has_room, *([tokens] if tokens else []))

    def enters(self, connection: Connection) -> bool:
        """Whether there is room for one more, of this address too."""
        limits, address = self._limits, connection.address
        full = len(self._connections) >= limits.max_connections
        if full or self._per_address[address] >= limits.max_per_address or self._denials.is_spent(address):
            self.refused_connections += 1
            return False
        self._connections.add(connection)
        self._per_address[address] += 1
        return True

    def leaves(self, connection: Connection) -> None:
        """It has ended (or was never let in)."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._waiting.pop(connection, None)
        self._per_address[connection.address] -= 1
        if not self._per_address[connection.address]:
            del self._per_address[connection.address]
        for mn in connection.stations:
            heard = self._heard.get(mn)
            if heard is not None and heard.connection is connection:
                del self._heard[mn]

    def judge(self, connection: Connection, head: Head, frame: Frame) -> Admission:
        """Whether this station may speak."""
        admission = self.gate.admit(head.mn, head.pw, frame)
        if admission is Admission.GRANTED:
            self.frames += 1
            heard = self._heard.get(head.mn)
            if heard is None or heard.connection is not connection or head.cn.startswith("2"):
                # Answers have a system type (ST) of their own; that of the data is the station's.
                self._heard[head.mn] = Heard(connection, head)
                connection.stations.add(head.mn)
            if head.cn.startswith("9"):
                self.history.answered(head, frame.segment, asyncio.get_running_loop().time())
        elif admission is Admission.UNKNOWN:
            self.unknown += 1
        elif admission is Admission.DAMAGED:
            self.damaged += 1
        else:
            self.denied += 1
            self._denials.keeps(connection.address)
        return admission

    def keeps(self, connection: Connection, mn: str | None) -> bool:
        """Refused frames an address and minute; of an unknown station one a minute, for the list of those who wait."""
        address = connection.address
        if mn is None:
            return self._quota.keeps(address)
        return self._strangers.keeps(address) and self._unknown_quota.keeps(mn) and self._quota.keeps(address)

    def offer(self, connection: Connection, record: Record, asked: Head | None) -> bool:
        """Put a record into the journal's queue."""
        taken = self._writer.offer(Submission(record, self, (connection, asked)))
        if not taken:
            self._waiting[connection] = None
        return taken

    def now_ns(self) -> int:
        """Wall time."""
        return self._clock.wall_ns()

    def _committed(self, tokens: Sequence[tuple[Connection, Head | None]]) -> None:
        for connection, asked in tokens:
            self.answered += connection.committed(asked)

    def _has_room(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for connection in waiting:
            connection.resume()

    def _ask(self, station: Head, span: Span) -> None:
        # A QN is to the millisecond and names one request.
        self._asked_ms = max(self._asked_ms + 1, self._clock.wall_ns() // NS_PER_MS)
        self.history.ask(station, qn_of(self._asked_ms * NS_PER_MS), span, asyncio.get_running_loop().time())

    def _send(self, mn: str, frame: bytes) -> bool:
        heard = self._heard.get(mn)
        if heard is None or not heard.connection.is_open:
            return False
        heard.connection.write(frame)
        return True

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        """On the listener's thread, unless that has ended: then there is nobody left to tell."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(function, *arguments)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            server = await self._loop.create_server(lambda: Connection(self), self.host, self.port, backlog=BACKLOG)
        except OSError as error:
            self._start_error = error
            self._started.set()
            return
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        watch = asyncio.create_task(self._watch())
        await self._stop.wait()
        watch.cancel()
        server.close()
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0)  # each tells that it has ended

    async def _watch(self) -> None:
        """Close what takes too long."""
        limits = self._limits
        pause_s = min(1.0, limits.unfinished_s / 4, limits.first_frame_s / 4)
        while True:
            await asyncio.sleep(pause_s)
            now_s = asyncio.get_running_loop().time()
            for connection in list(self._connections):
                connection.check(now_s, limits)
            self.history.on_time(now_s)


def _allow_files(needed: int) -> None:
    """Raise the process' own limit of open files as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    with suppress(OSError, ValueError):  # not allowed here; what there is stays
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        log.warning("hj212: open files are limited below what the connections need", limit=soft, needed=needed)
