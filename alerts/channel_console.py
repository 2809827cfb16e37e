"""The console channel: a readable block on a text stream."""

from __future__ import annotations

import threading
from typing import TextIO

from greenmine.alerts.channel_text import block, one_line
from greenmine.core.notice import Delivery, Notice, NoticeKind

_LABELS = {
    NoticeKind.RAISED: "告警 ALERT",
    NoticeKind.CLEARED: "解除 CLEARED",
    NoticeKind.TEST: "测试 TEST",
}
_MAX_SUBJECT = 300
_MAX_TEXT = 8_000


class ConsoleChannel:
    """Writes notices to `stream`, each in one piece, with nothing in it that a terminal would obey."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, notice: Notice) -> Delivery:
        """Write one block. A closed stream refuses, a failing one (full disk, broken pipe) may work later."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        # A terminal set to ASCII must still get the alert.
        text = _render(notice).encode(encoding, "backslashreplace").decode(encoding)
        with self._lock:
            if self._stream.closed:
                return Delivery.refused("the console is closed")
            try:
                self._stream.write(text)
                self._stream.flush()
            except OSError as error:
                return Delivery.retry(f"the console cannot be written to: {error.strerror or type(error).__name__}")
        return Delivery.ok("written")


def _render(notice: Notice) -> str:
    body = block(notice.text, _MAX_TEXT).rstrip("\n").split("\n")
    lines = [
        f"── {_LABELS[notice.kind]} · {one_line(notice.subject, _MAX_SUBJECT)}",
        *(f"   {line}" for line in body if line.strip()),
        f"   收件人 to {one_line(notice.contact, 100)} · {one_line(notice.alert_id, 100)} #{notice.transition}",
    ]
    return "\n".join(lines) + "\n"
