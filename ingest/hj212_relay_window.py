"""Messages under way on one connection: which were sent, when they are sent again, what became of them. Pure.

A message that gets no answer within `overtime` is sent again with the same QN, `recount` times in all. If others were
answered meanwhile, it alone is given up (the platform will not have it); if none was, the platform is dead and the
message goes on waiting for the next connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from greenmine.core.relay import RelayFrame, WaitingFrame
from greenmine.ingest.hj212_frame import Frame, build_frame
from greenmine.ingest.hj212_head import VERSION_2025, Head, head_of
from greenmine.ingest.hj212_requests import DATA_ANSWER, RequestResult, request_answer, segment_of

SIZE = 16
"""Messages under way at a time."""


class Terms(Protocol):
    """What the window needs to know of the platform."""

    @property
    def overtime_s(self) -> float:
        """How long an answer is waited for."""
        ...

    @property
    def recount(self) -> int:
        """How often a message is sent."""
        ...

    @property
    def passwords(self) -> Mapping[str, str]:
        """By MN."""
        ...


@dataclass(slots=True)
class _Flying:
    id: int
    frame: RelayFrame
    sent: int
    due_s: float
    answered_before: int
    """How many were answered on this connection when it was sent first."""


class Window:
    """One connection's messages. Those up to `maybe_sent` may have been sent before it."""

    def __init__(self, terms: Terms, maybe_sent: int) -> None:
        self._terms = terms
        self._maybe_sent = maybe_sent
        self._flying: dict[tuple[str, str], _Flying] = {}
        self._delivered: list[int] = []
        self._unanswered: list[int] = []
        self.loaded_id = 0
        self.answered = 0
        self.resent = 0
        self.is_dead = False

    @property
    def under_way(self) -> int:
        """Messages that were sent and not answered."""
        return len(self._flying)

    @property
    def room(self) -> int:
        """How many more may be under way."""
        return SIZE - self.under_way

    @property
    def wants_more(self) -> bool:
        """Whether it is time to load more: half of it is free."""
        return 2 * self.room >= SIZE

    def load(self, waiting: Iterable[WaitingFrame], now_s: float) -> Iterator[bytes]:
        """Take these under way; the frames to send. Those of stations without a password go on waiting."""
        for one in waiting:
            self.loaded_id = one.id
            flying = _Flying(one.id, one.frame, 1, now_s + self._terms.overtime_s, self.answered)
            frame = self._built(flying, resent=one.id <= self._maybe_sent)
            if frame is not None:
                self.resent += one.id <= self._maybe_sent
                self._flying[one.frame.mn, one.frame.qn] = flying
                yield frame

    def heard(self, frame: Frame) -> bytes | None:
        """A frame of the platform; what to answer to it. What it asks for is refused: we are no data logger."""
        head = head_of(frame.segment)
        flying = self._flying.pop((head.mn, head.qn), None) if head.cn == DATA_ANSWER else None
        if flying is not None:
            self.answered += 1
            self._delivered.append(flying.id)
            return None
        if head.wants_answer and head.cn[:1] in "123" and len(head.qn) + len(head.st) <= 64:
            return build_frame(request_answer(head, RequestResult.REFUSED))
        return None

    def due_again(self, now_s: float) -> Iterator[bytes]:
        """The frames to send again now."""
        for key, flying in list(self._flying.items()):
            if now_s < flying.due_s:
                continue
            if flying.sent < self._terms.recount:
                flying.sent += 1
                flying.due_s = now_s + self._terms.overtime_s
                frame = self._built(flying, resent=True)
                if frame is not None:
                    self.resent += 1
                    yield frame
            elif self.answered > flying.answered_before:
                del self._flying[key]
                self._unanswered.append(flying.id)
            else:
                self.is_dead = True

    def pause_s(self, now_s: float, longest_s: float) -> float:
        """How long there is nothing to do unless something comes."""
        return min([longest_s, *(flying.due_s - now_s for flying in self._flying.values())])

    def take_settled(self) -> tuple[list[int], list[int]]:
        """Ids of messages that were answered, and of those that were given up, since the last call."""
        settled = self._delivered, self._unanswered
        self._delivered, self._unanswered = [], []
        return settled

    def _built(self, flying: _Flying, resent: bool) -> bytes | None:
        frame = flying.frame
        password = self._terms.passwords.get(frame.mn)
        if password is None:
            return None
        head = Head(frame.qn, frame.st, frame.cn, password, frame.mn, frame.flag)
        return build_frame(segment_of(head, frame.cp, resent=resent and head.version == VERSION_2025))
