"""What every channel over a socket keeps to: one time limit for the whole exchange, and TLS that verifies."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from greenmine.core.errors import ConfigError


class Deadline:
    """Cuts a connection `after_s` seconds after `with` is entered.

    A socket's own time-out starts anew with every byte, so a server that sends one byte a second holds the caller for
    ever. Cutting makes the blocked call see the end of the stream; `passed` then tells why.
    """

    def __init__(self, after_s: float) -> None:
        self.passed = False
        self._lock = threading.Lock()
        self._connection: Callable[[], socket.socket | None] = lambda: None
        self._timer = threading.Timer(after_s, self._cut)
        self._timer.daemon = True

    def watch(self, connection: Callable[[], socket.socket | None]) -> None:
        """Say where the socket is found when cutting; till then it may be None or be replaced (STARTTLS)."""
        with self._lock:
            self._connection = connection

    def _cut(self) -> None:
        with self._lock:
            self.passed = True
            connection = self._connection()
        if connection is not None:
            try:
                # The plain method: SSLSocket's own would pull the TLS state from under the thread that is reading.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            except OSError:
                return  # already closed by its owner, which is what cutting is for

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()


def verifying_context(given: ssl.SSLContext | None) -> ssl.SSLContext:
    """TLS 1.2 or newer that verifies certificate and host name: the machine's authorities, or `given` if it does so.

    Raises ConfigError for a context that is weaker.
    """
    if given is None:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context
    recent = given.minimum_version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    if not (recent and given.check_hostname and given.verify_mode == ssl.CERT_REQUIRED):
        raise ConfigError("a channel's TLS context must verify certificates and host names and start at TLS 1.2")
    return given
