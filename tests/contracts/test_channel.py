"""What every Channel keeps to, whoever carries the notice."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from enum import StrEnum
from typing import Protocol

import pytest

from greenmine.alerts.channel_console import ConsoleChannel
from greenmine.alerts.channel_email import EmailChannel
from greenmine.alerts.channel_webhook import WebhookChannel
from greenmine.core.notice import Channel, Delivery, Notice, NoticeKind, RecordingChannel, notice_key
from tests.channel_servers import HttpServer, SmtpServer, answer

SUBJECT = "北坑 PM10 超限 over limit"
TEXT = "dust-n1: 213.0 ug/m3 > 150\n确认 acknowledge on the board"

# ESC sequences, CR LF with header and SMTP commands, NUL, a lone surrogate, right-to-left override, markup, bulk
HOSTILE = [
    "\x1b[2J\x1b]0;owned\x07",
    "x\r\nBcc: victim@example.org\r\n\r\nbody",
    "x\r\n.\r\nMAIL FROM:<evil@example.org>\r\n",
    "\x00\x85\u2028\u2029",
    "\ud800 alone",
    "\u202egnp.exe",
    "{{ 7*7 }} <script>alert(1)</script> =cmd()",
    "粉" * 100_000,
]


def a_notice(subject: str = SUBJECT, text: str = TEXT, transition: int = 1) -> Notice:
    return Notice(
        key=notice_key("al-1", transition, "li", "kind", "target"),
        alert_id="al-1",
        transition=transition,
        kind=NoticeKind.RAISED,
        contact="li",
        channel="kind",
        target="li@example.org",
        subject=subject,
        text=text,
        payload=json.dumps({"subject": subject, "text": text}, ensure_ascii=False),
    )


class Outcome(StrEnum):
    """What the other side will do with an attempt."""

    TAKE = "take"
    LATER = "later"
    NEVER = "never"


class Rig(Protocol):
    channel: Channel

    def arrived(self) -> list[tuple[str | None, str]]:
        """What the other side has taken, oldest first: the key (None where none travels) and the text."""
        ...

    def close(self) -> None: ...


class RecordingRig:
    def __init__(self, plan: list[Outcome]) -> None:
        answers = {
            Outcome.TAKE: Delivery.ok(),
            Outcome.LATER: Delivery.retry("told to"),
            Outcome.NEVER: Delivery.refused("told to"),
        }
        self._plan = plan
        self._fake = RecordingChannel([answers[o] for o in plan])
        self.channel: Channel = self._fake

    def arrived(self) -> list[tuple[str | None, str]]:
        outcomes = self._plan + [Outcome.TAKE] * len(self._fake.sent)
        taken = [n for n, o in zip(self._fake.sent, outcomes, strict=False) if o is Outcome.TAKE]
        return [(n.key, f"{n.subject}\n{n.text}") for n in taken]

    def close(self) -> None: ...


class _Terminal(io.StringIO):
    def __init__(self, plan: list[Outcome]) -> None:
        super().__init__()
        self.plan = plan

    @property
    def closed(self) -> bool:
        return bool(self.plan) and self.plan[0] is Outcome.NEVER

    def write(self, text: str) -> int:
        if self.plan and self.plan.pop(0) is Outcome.LATER:
            raise OSError(28, "No space left on device")
        return super().write(text)


class ConsoleRig:
    def __init__(self, plan: list[Outcome]) -> None:
        self._stream = _Terminal(list(plan))
        self.channel: Channel = ConsoleChannel(self._stream)

    def arrived(self) -> list[tuple[str | None, str]]:
        self._stream.plan.clear()
        return [(None, part) for part in self._stream.getvalue().split("──") if part]

    def close(self) -> None: ...


class EmailRig:
    def __init__(self, plan: list[Outcome]) -> None:
        self._server = SmtpServer()
        replies = {
            Outcome.TAKE: "250 ok",
            Outcome.LATER: "450 4.2.0 greylisted, come back",
            Outcome.NEVER: "550 5.1.1 no such user",
        }
        self._server.replies["RCPT"] = [replies[o] for o in plan]
        self.channel: Channel = EmailChannel(
            "127.0.0.1", self._server.port, "none-loopback-only", None, None, "greenmine@example.org", 5.0
        )

    def arrived(self) -> list[tuple[str | None, str]]:
        return [
            (m.message["X-Greenmine-Idempotency-Key"], f"{m.message['Subject']}\n{m.message.get_content()}")
            for m in self._server.mails
        ]

    def close(self) -> None:
        self._server.close()


class WebhookRig:
    def __init__(self, plan: list[Outcome]) -> None:
        self._server = HttpServer()
        statuses = {Outcome.TAKE: 204, Outcome.LATER: 503, Outcome.NEVER: 410}
        self._server.answers = [answer(statuses[o]) for o in plan]
        self._plan = plan
        place = f"127.0.0.1:{self._server.port}"
        self.channel: Channel = WebhookChannel(lambda _: f"http://{place}/hook?token=s3cret", [place], 5.0)

    def arrived(self) -> list[tuple[str | None, str]]:
        outcomes = self._plan + [Outcome.TAKE] * len(self._server.requests)
        taken = [r for r, o in zip(self._server.requests, outcomes, strict=False) if o is Outcome.TAKE]
        return [(r.headers["idempotency-key"], "\n".join(json.loads(r.body).values())) for r in taken]

    def close(self) -> None:
        self._server.close()


CARRY_A_KEY = [RecordingRig, EmailRig, WebhookRig]
Make = Callable[..., Rig]


@pytest.fixture(params=[*CARRY_A_KEY, ConsoleRig], ids=lambda rig: rig.__name__)
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    made: list[Rig] = []

    def build(*plan: Outcome) -> Rig:
        made.append(request.param(list(plan)))
        return made[-1]

    yield build
    for rig in made:
        rig.close()


def assert_well_formed(delivery: Delivery) -> None:
    assert not (delivery.delivered and delivery.permanent)
    assert len(delivery.detail) <= 500
    assert delivery.detail.isprintable()
    assert delivery.retry_after_s is None or (not delivery.delivered and delivery.retry_after_s >= 0)


def test_a_notice_arrives_once_with_its_words(make: Make) -> None:
    rig = make()
    delivery = rig.channel.send(a_notice())
    assert_well_formed(delivery)
    assert delivery.delivered
    ((_, text),) = rig.arrived()
    assert SUBJECT in text
    assert all(line in text for line in TEXT.split("\n"))


@pytest.mark.parametrize("make", CARRY_A_KEY, indirect=True, ids=lambda rig: rig.__name__)
def test_a_repeat_can_be_recognised_by_its_key(make: Make) -> None:
    rig = make()
    first, second = a_notice(transition=1), a_notice(transition=2)
    for notice in (first, first, second):
        assert rig.channel.send(notice).delivered
    assert [key for key, _ in rig.arrived()] == [first.key, first.key, second.key]


def test_what_may_work_later_is_not_permanent_and_does_work_later(make: Make) -> None:
    rig = make(Outcome.LATER, Outcome.TAKE)
    failed = rig.channel.send(a_notice())
    assert_well_formed(failed)
    assert (failed.delivered, failed.permanent) == (False, False)
    assert failed.detail
    assert rig.channel.send(a_notice()).delivered
    assert len(rig.arrived()) == 1


def test_a_refusal_is_permanent_and_says_why(make: Make) -> None:
    rig = make(Outcome.NEVER)
    refused = rig.channel.send(a_notice())
    assert_well_formed(refused)
    assert (refused.delivered, refused.permanent) == (False, True)
    assert refused.detail
    assert rig.arrived() == []


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_carried_or_refused_but_never_raises(make: Make, text: str) -> None:
    rig = make()
    hostile = replace(a_notice(subject=f"A{text}Z", text=f"A{text}Z"), contact=text, alert_id=text)
    assert_well_formed(rig.channel.send(hostile))
    good = rig.channel.send(a_notice())
    assert good.delivered
    assert SUBJECT in rig.arrived()[-1][1]


@pytest.mark.parametrize("kind", list(NoticeKind))
def test_every_kind_of_notice_is_carried(make: Make, kind: NoticeKind) -> None:
    rig = make()
    assert rig.channel.send(replace(a_notice(), kind=kind)).delivered
    assert len(rig.arrived()) == 1


def test_two_threads_may_send_at_once(make: Make) -> None:
    rig = make()
    with ThreadPoolExecutor(4) as pool:
        sent = list(pool.map(rig.channel.send, [a_notice(subject=f"No {n}.", transition=n) for n in range(12)]))
    assert all(d.delivered for d in sent)
    texts = [text for _, text in rig.arrived()]
    assert len(texts) == 12
    assert all(any(f"No {n}." in text for text in texts) for n in range(12))
