from __future__ import annotations

import io

import pytest

from greenmine.alerts.channel_console import ConsoleChannel
from greenmine.core.notice import Delivery, Notice, NoticeKind


def a_notice(
    subject: str = "北坑 PM10 超限", text: str = "dust-n1: 213 ug/m3\n确认", kind: NoticeKind = NoticeKind.RAISED
) -> Notice:
    return Notice("k", "al-7", 3, kind, "li", "console", "secret:never-shown", subject, text, "{}")


def test_the_block_reads_like_this() -> None:
    stream = io.StringIO()
    assert ConsoleChannel(stream).send(a_notice()) == Delivery.ok("written")
    assert stream.getvalue() == (
        "── 告警 ALERT · 北坑 PM10 超限\n   dust-n1: 213 ug/m3\n   确认\n   收件人 to li · al-7 #3\n"
    )


@pytest.mark.parametrize(
    ("kind", "label"),
    [(NoticeKind.RAISED, "告警 ALERT"), (NoticeKind.CLEARED, "解除 CLEARED"), (NoticeKind.TEST, "测试 TEST")],
)
def test_each_kind_has_its_label_in_both_languages(kind: NoticeKind, label: str) -> None:
    stream = io.StringIO()
    ConsoleChannel(stream).send(a_notice(kind=kind))
    assert stream.getvalue().startswith(f"── {label} · ")


def test_escape_sequences_of_a_device_are_shown_not_obeyed() -> None:
    stream = io.StringIO()
    ConsoleChannel(stream).send(a_notice(subject="\x1b[2J\r\nroot#", text="\x1b]0;x\x07\n\x9b2J"))
    written = stream.getvalue()
    assert r"\x1b[2J root#" in written
    assert not [c for c in written if c != "\n" and not c.isprintable()]


def test_the_target_is_not_shown() -> None:
    stream = io.StringIO()
    ConsoleChannel(stream).send(a_notice())
    assert "never-shown" not in stream.getvalue()


def test_a_terminal_that_knows_only_ascii_still_gets_the_alert() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    assert ConsoleChannel(stream).send(a_notice()).delivered
    assert b"ALERT" in raw.getvalue()
    assert rb"\u5317" in raw.getvalue()


def test_a_closed_stream_refuses() -> None:
    stream = io.StringIO()
    stream.close()
    answer = ConsoleChannel(stream).send(a_notice())
    assert answer == Delivery.refused("the console is closed")


def test_a_broken_pipe_is_for_later() -> None:
    class Pipe(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError(32, "Broken pipe")

    answer = ConsoleChannel(Pipe()).send(a_notice())
    assert (answer.delivered, answer.permanent) == (False, False)
    assert "Broken pipe" in answer.detail
