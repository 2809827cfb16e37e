"""The webhook channel: one HTTPS POST with an idempotency key, to an address that was judged before connecting.

The URL is a secret. No answer, log line or error text of this module repeats any part of it, and what the other side
says in its body is not repeated either, since error pages like to quote the path.
"""

from __future__ import annotations

import contextlib
import http.client
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.exceptions import TimeoutError as ConnectionTimeout

from greenmine.alerts.address_guard import AddressGuard, Endpoint, Resolver, system_resolver
from greenmine.alerts.channel_connection import Deadline, verifying_context
from greenmine.core.clock import NS_PER_S, Clock, SystemClock
from greenmine.core.errors import GreenmineError, Refused
from greenmine.core.notice import Delivery, Notice

_MAX_BODY_READ = 4_096
_MAX_TRIED = 4
"""All addresses of a host are judged, this many at most are tried."""
_MAX_RETRY_AFTER_S = 3_600.0
"""A wish beyond this is cut: a server must not be able to silence an alert for days."""
_TRY_LATER = frozenset({408, 425, 429})
_KEY = re.compile(r"[!-~]{1,200}")


class WebhookChannel:
    """Posts `notice.payload` to the URL that `resolve_secret(notice.target)` gives.

    `allow` lists `host:port` that may be reached although they are not public or not https (see AddressGuard).
    `timeout_s` bounds the whole attempt: look-up, connection, TLS and answer. `resolve_secret` raises GreenmineError,
    LookupError or OSError where there is no such secret. 2xx is delivered; 3xx is refused (redirects are not followed);
    408, 425, 429, 5xx and everything that fails on the way is for later; other 4xx are refused. `clock` is what a
    Retry-After date is measured against.
    """

    def __init__(
        self,
        resolve_secret: Callable[[str], str],
        allow: Iterable[str] = (),
        timeout_s: float = 10.0,
        *,
        resolve: Resolver = system_resolver,
        ssl_context: ssl.SSLContext | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._resolve_secret = resolve_secret
        self._guard = AddressGuard(allow, resolve)
        self._timeout_s = timeout_s
        self._clock = clock or SystemClock()
        self._tls = verifying_context(ssl_context)

    def send(self, notice: Notice) -> Delivery:
        """Try once. The answer never names the URL; a refusal by the address guard begins with `blocked`."""
        if not _KEY.fullmatch(notice.key):
            return Delivery.refused("the notice's key cannot be a header; it must be printable ASCII without blanks")
        try:
            url = self._resolve_secret(notice.target).strip()
        except (GreenmineError, LookupError, OSError) as error:
            return Delivery.refused(
                f"the webhook's secret cannot be read ({type(error).__name__}); check its name and its file"
            )
        # What a socket takes is real time: not the injected clock, which a demo may scale.
        started_s = time.monotonic()
        try:
            endpoint = self._find(url)
        except Refused as refusal:
            return Delivery.refused(str(refusal))
        except (OSError, UnicodeError):
            return Delivery.retry("the webhook's host name cannot be resolved now")
        if endpoint is None:
            return Delivery.retry(f"looking up the webhook's host name took longer than {self._timeout_s:g} s")
        left_s = self._timeout_s - (time.monotonic() - started_s)
        return self._post(endpoint, notice, max(left_s, 0.001))

    def _find(self, url: str) -> Endpoint | None:
        """Check and resolve within the time-out; None when that passes. getaddrinfo cannot be interrupted, so it gets a
        thread of its own that ends when the system's resolver gives up."""
        answer: queue.SimpleQueue[Endpoint | Exception] = queue.SimpleQueue()

        def look_up() -> None:
            try:
                answer.put(self._guard.check(url))
            except Exception as error:  # noqa: BLE001 - handed over to the waiting thread and raised there
                answer.put(error)

        threading.Thread(target=look_up, name="webhook-look-up", daemon=True).start()
        try:
            found = answer.get(timeout=self._timeout_s)
        except queue.Empty:
            return None
        if isinstance(found, Exception):
            raise found
        return found

    def _post(self, endpoint: Endpoint, notice: Notice, left_s: float) -> Delivery:
        failure = Delivery.retry("the webhook's server cannot be connected to")
        with Deadline(left_s) as deadline:
            addresses = endpoint.addresses[:_MAX_TRIED]
            for address in addresses:
                # One dead address (IPv6 without a route) must not use up the time of the others.
                connection = self._connection(endpoint, address, left_s / len(addresses))
                deadline.watch(partial(_socket_of, connection))
                try:
                    connection.connect()
                except (HTTPError, OSError) as error:
                    connection.close()
                    failure = self._failed(error, deadline)
                    if deadline.passed or isinstance(error, ssl.SSLError):
                        break
                    continue
                with contextlib.closing(connection):
                    connection.sock.settimeout(left_s)
                    return self._exchange(connection, endpoint, notice, deadline)
        return failure

    def _connection(self, endpoint: Endpoint, address: str, timeout_s: float) -> HTTPConnection:
        """A connection to the checked address; TLS asks for and verifies the name."""
        if endpoint.scheme == "http":
            return HTTPConnection(address, endpoint.port, timeout=timeout_s)
        return HTTPSConnection(
            address, endpoint.port, timeout=timeout_s, server_hostname=endpoint.host, ssl_context=self._tls
        )

    def _exchange(self, connection: HTTPConnection, endpoint: Endpoint, notice: Notice, deadline: Deadline) -> Delivery:
        headers = {
            "Host": endpoint.host_header,
            "Content-Type": "application/json",
            "Idempotency-Key": notice.key,
            "User-Agent": "greenmine",
            "Connection": "close",
        }
        body = notice.payload.encode("utf-8", "replace")
        try:
            connection.request(
                "POST", endpoint.request_target, body, headers, preload_content=False, decode_content=False
            )
            response = connection.getresponse()
        except (HTTPError, http.client.HTTPException, OSError) as error:
            return self._failed(error, deadline)
        if deadline.passed:  # headers cut short look complete to http.client
            return self._failed(TimeoutError(), deadline)
        # The status has decided; the rest of the answer is read only so that the server can finish writing it.
        with contextlib.suppress(HTTPError, http.client.HTTPException, OSError):
            response.read(_MAX_BODY_READ)
        return self._judge(response.status, response.headers.get("Retry-After"))

    def _failed(self, error: Exception, deadline: Deadline) -> Delivery:
        if deadline.passed or isinstance(error, ConnectionTimeout | TimeoutError):
            return Delivery.retry(f"the webhook did not answer within {self._timeout_s:g} s")
        if isinstance(error, ssl.SSLCertVerificationError):
            return Delivery.retry(
                f"the certificate of the webhook's server is not accepted (verify code {error.verify_code});"
                " it must be valid for the host name and issued by an authority this machine trusts"
            )
        if isinstance(error, ssl.SSLError):
            return Delivery.retry("no TLS connection with the webhook's server; it must speak TLS 1.2 or newer")
        return Delivery.retry(f"the connection to the webhook failed ({type(error).__name__})")

    def _judge(self, status: int, retry_after: str | None) -> Delivery:
        if 200 <= status < 300:
            return Delivery.ok(f"HTTP {status}")
        if status < 200 or status in _TRY_LATER or status >= 500:
            return Delivery.retry(f"the webhook answered HTTP {status}", self._retry_after_s(retry_after))
        if 300 <= status < 400:
            return Delivery.refused(
                f"the webhook answered HTTP {status}; redirects are not followed, give the final URL"
            )
        return Delivery.refused(f"the webhook answered HTTP {status}; check its URL and what it accepts")

    def _retry_after_s(self, value: str | None) -> float | None:
        """Seconds from a Retry-After header (RFC 9110 10.2.3), at least 0; None where it is absent or unreadable."""
        if value is None:
            return None
        text = value.strip()
        if re.fullmatch(r"[0-9]{1,10}", text):
            return min(float(text), _MAX_RETRY_AFTER_S)
        try:
            moment = parsedate_to_datetime(text)
            if moment.tzinfo is None:  # "-0000"; HTTP dates are in UTC whatever they say
                moment = moment.replace(tzinfo=UTC)
            wait_s = moment.timestamp() - self._clock.wall_ns() / NS_PER_S
        except (ValueError, OverflowError, OSError):
            return None
        return min(max(wait_s, 0.0), _MAX_RETRY_AFTER_S)


def _socket_of(connection: HTTPConnection) -> socket.socket | None:
    return connection.sock
