"""One connection of the HJ 212 listener: its bytes become records for the journal, and answers once these are on disk.

Not answered are frames that are damaged (clause 6.3), of an unknown station or with a wrong password. A connection may
speak for several stations (a gateway); each frame is judged by its own MN and PW.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple, Protocol, cast

import structlog

from greenmine.ingest.hj212_frame import MAX_NOISE_BYTES, Damage, Frame, FrameScanner, build_frame
from greenmine.ingest.hj212_gate import NOBODY, SOURCE, Admission, is_mn
from greenmine.ingest.hj212_head import Head, head_of
from greenmine.ingest.hj212_requests import answers_to
from greenmine.ingest.record import Record, RecordFlag, RecordKind

log = structlog.get_logger(__name__)

MAX_UNCOMMITTED = 256
"""Frames of one connection that wait for the commit; then no more is read from it."""
MAX_UNSENT_BYTES = 16 * 1024
"""Answers that a station has not taken; then no more is read from it."""
MAX_DENIALS = 3
"""Wrong passwords; then the connection is closed."""
KEPT_BYTES = 2048
"""Of damage."""


class Owner(Protocol):
    """What a connection asks of its listener."""

    buffer: bytearray
    damaged: int

    def enters(self, connection: Connection) -> bool:
        """Whether there is room for it."""
        ...

    def leaves(self, connection: Connection) -> None:
        """It has ended."""
        ...

    def judge(self, connection: Connection, head: Head, frame: Frame) -> Admission:
        """Whether this station may speak; counts it, and remembers where it was heard."""
        ...

    def keeps(self, connection: Connection, mn: str | None) -> bool:
        """Whether there is room in the quota for what cannot be taken; `mn` is an unknown station's."""
        ...

    def offer(self, connection: Connection, record: Record, asked: Head | None) -> bool:
        """Put a record into the journal's queue; False when that is full, and `resume` is called when it has room."""
        ...

    def now_ns(self) -> int:
        """Wall time, for the answer to a station that asks what time it is."""
        ...


class _Pending(NamedTuple):
    record: Record
    asked: Head | None


class Limits(NamedTuple):
    """`unfinished_s`: how long the rest of a frame may take, and how long a station may leave answers unread.
    `first_frame_s`: how long a stranger may take to show a good frame. `idle_s`: twice the longest interval of
    real-time data (3600 s)."""

    max_connections: int = 2000
    max_per_address: int = 32
    unfinished_s: float = 10.0
    first_frame_s: float = 60.0
    idle_s: float = 7200.0


class Connection(asyncio.BufferedProtocol):
    """Runs on the listener's loop."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._scanner = FrameScanner()
        self._transport: asyncio.Transport | None = None
        self._pending: deque[_Pending] = deque()
        self._uncommitted = 0
        self._denials = 0
        self._unfinished_since: float | None = None
        self._unread_since: float | None = None
        self._good_at: float | None = None
        self._opened_at = 0.0
        self._ended = False
        self._paused = False
        self.address = ""
        self.stations: set[str] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A stranger has connected."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if peer else ""
        self._opened_at = asyncio.get_running_loop().time()
        if not self._owner.enters(self):
            self._transport.abort()
            self._transport = None
            return
        self._transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES)

    def connection_lost(self, _: Exception | None) -> None:
        """What the journal has not taken is let go of: it was not answered, so the station sends it again."""
        self._transport = None
        self._pending.clear()
        self._owner.leaves(self)

    def get_buffer(self, _: int) -> bytearray:
        """All connections read into one buffer: what came is taken out at once."""
        return self._owner.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come."""
        now = asyncio.get_running_loop().time()
        for found in self._scanner.feed(bytes(self._owner.buffer[:nbytes])):
            if isinstance(found, Frame):
                self._unfinished_since = None
                self._frame(found, now)
            else:
                self._damage(found, RecordFlag.NONE)
            if not self.is_open:
                break  # after wrong passwords nothing more is looked at
        self._note_unfinished(now)
        if self._scanner.noise_bytes > MAX_NOISE_BYTES:
            self.close()
        self.resume()

    def eof_received(self) -> bool:
        """The peer sends nothing more, and may still wait for answers to what it sent."""
        self._give_up_unfinished()
        self._ended = True
        return bool(self._pending or self._uncommitted)

    def pause_writing(self) -> None:
        """The station does not take its answers."""
        self._unread_since = asyncio.get_running_loop().time()
        self._read(False)

    def resume_writing(self) -> None:
        """It does again."""
        self._unread_since = None
        self.resume()

    def resume(self) -> None:
        """Offer what is pending; read on if there is room for more."""
        while self._pending:
            record, asked = self._pending[0]
            if not self._owner.offer(self, record, asked):
                self._read(False)
                return
            self._pending.popleft()
            self._uncommitted += 1
        self._read(self._uncommitted < MAX_UNCOMMITTED and self._unread_since is None)

    def committed(self, asked: Head | None) -> bool:
        """A record of this connection is on disk: answer it; whether anything was answered."""
        self._uncommitted -= 1
        answers = answers_to(asked, self._owner.now_ns()) if asked is not None and self.is_open else []
        for segment in answers:
            self.write(build_frame(segment))
        if self._ended and not (self._pending or self._uncommitted):
            self.close()
        elif self._uncommitted == MAX_UNCOMMITTED - 1 and not self._pending:
            self.resume()
        return bool(answers)

    def write(self, frame: bytes) -> None:
        """Send a frame to the station."""
        if self._transport is not None and self.is_open:
            self._transport.write(frame)

    def check(self, now: float, limits: Limits) -> None:
        """Close the connection if it took too long over something."""
        quiet_since = self._opened_at if self._good_at is None else self._good_at
        quiet_limit = limits.first_frame_s if self._good_at is None else limits.idle_s
        if self._unread_since is not None:
            if now - self._unread_since > limits.unfinished_s:
                self.abort()
        elif self._paused:
            return  # it is we who do not read
        elif self._unfinished_since is not None and now - self._unfinished_since > limits.unfinished_s:
            self._give_up_unfinished()
            self.close()
        elif now - quiet_since > quiet_limit:
            self.close()

    def close(self) -> None:
        """End the connection; answers that were written still leave."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def is_open(self) -> bool:
        """Whether frames can be sent to it."""
        return self._transport is not None and not self._transport.is_closing()

    def _frame(self, frame: Frame, now: float) -> None:
        head = head_of(frame.segment)
        admission = self._owner.judge(self, head, frame)
        mn = head.mn if is_mn(head.mn) else NOBODY
        if admission is Admission.GRANTED:
            self._good_at = now
            self._pend(mn, frame.raw, RecordFlag.NONE, head)
        elif admission is Admission.DENIED:
            self._denials += 1
            if self._owner.keeps(self, None):
                log.warning("hj212: wrong or missing password", mn=mn, address=self.address)
                self._pend(mn, frame.raw, RecordFlag.DENIED, None)
            if self._denials >= MAX_DENIALS:
                self.close()
        elif self._owner.keeps(self, mn if admission is Admission.UNKNOWN else None):
            self._pend(mn, frame.raw, RecordFlag.NONE, None)

    def _give_up_unfinished(self) -> None:
        for damage in self._scanner.flush():
            self._damage(damage, RecordFlag.UNFINISHED)
        self.resume()

    def _damage(self, damage: Damage, flags: RecordFlag) -> None:
        self._owner.damaged += 1
        if self._owner.keeps(self, None):
            self._pend(NOBODY, damage.raw[:KEPT_BYTES], flags, None)

    def _pend(self, mn: str, raw: bytes, flags: RecordFlag, asked: Head | None) -> None:
        record = Record(RecordKind.MESSAGE, SOURCE + mn, raw, f"tcp:{self.address}", int(flags))
        self._pending.append(_Pending(record, asked))

    def _note_unfinished(self, now: float) -> None:
        """Half a frame waits for its rest; a stranger's noise waits for a first good frame as well."""
        noisy = self._scanner.noise_bytes > 0 and self._good_at is None
        if not self._scanner.waiting_bytes and not noisy:
            self._unfinished_since = None
        elif self._unfinished_since is None:
            self._unfinished_since = now

    def _read(self, on: bool) -> None:
        if self._transport is None or not self.is_open or on is not self._paused:
            return
        self._paused = not on
        if on and not self._ended:
            if self._unfinished_since is not None:
                self._unfinished_since = asyncio.get_running_loop().time()
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()
