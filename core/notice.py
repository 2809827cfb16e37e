"""A notice, the channel port that carries it, and the shipped fake."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol


class NoticeKind(StrEnum):
    """What a notice tells."""

    RAISED = "raised"
    CLEARED = "cleared"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Notice:
    """What leaves for one recipient through one channel. `key` is the idempotency key; texts are plain text.

    `channel` is the kind of channel (`console`, `email`, `webhook`), `target` the address or a secret's reference.
    `payload` is a JSON object for machines (webhook bodies).
    """

    key: str
    alert_id: str
    transition: int
    kind: NoticeKind
    contact: str
    channel: str
    target: str
    subject: str
    text: str
    payload: str


class Delivery(NamedTuple):
    """What a channel says of one attempt. `permanent` means that trying again cannot help."""

    delivered: bool
    permanent: bool
    detail: str
    retry_after_s: float | None = None

    @classmethod
    def ok(cls, detail: str = "") -> Delivery:
        """The other side has taken it."""
        return cls(True, False, detail)

    @classmethod
    def retry(cls, detail: str, retry_after_s: float | None = None) -> Delivery:
        """Not taken, may be later."""
        return cls(False, False, detail, retry_after_s)

    @classmethod
    def refused(cls, detail: str) -> Delivery:
        """Not taken and never will be."""
        return cls(False, True, detail)


class Channel(Protocol):
    """Carries notices of one kind. `send` never raises for what the other side does; it says so in its answer."""

    def send(self, notice: Notice) -> Delivery:
        """Try once, within the channel's own time-out."""
        ...


class RecordingChannel:
    """The shipped fake: keeps what it was given and answers what it was told to, then `ok`."""

    def __init__(self, answers: list[Delivery] | None = None) -> None:
        self.sent: list[Notice] = []
        self._answers = list(answers or [])

    def send(self, notice: Notice) -> Delivery:
        """Record the notice and give the next answer."""
        self.sent.append(notice)
        return self._answers.pop(0) if self._answers else Delivery.ok("recorded")


def notice_key(alert_id: str, transition: int, contact: str, channel: str, target: str) -> str:
    """sha256 over what makes a notice the same notice; stable over retries, restarts and replays."""
    text = "\x1f".join((alert_id, str(transition), contact, channel, target))
    return hashlib.sha256(text.encode()).hexdigest()
