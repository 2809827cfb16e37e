"""The outermost layer of the web: which hosts and methods are answered, the security headers of every answer, and
what a person sees of an error nobody expected (an id, never a trace)."""

from __future__ import annotations

import secrets
import traceback
from collections.abc import Sequence
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from greenmine.web.language import language_cookie
from greenmine.web.problem import Problem, problem_response

MAX_BODY_BYTES = 1 << 20
METHODS = frozenset({"GET", "HEAD", "POST"})

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
"""No inline scripts, no inline styles, nothing from elsewhere. plotly.js is kept from making style elements by
`static/chart.css` and the placeholders in `_charts.html`; see `assets.plotly_style_ids`."""

_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_HSTS = "max-age=31536000"

_log = structlog.get_logger("greenmine.web")


class Boundary:
    """ASGI middleware around everything else.

    Args:
        allowed_hosts: host names (without port) that may stand in `Host`; `*.example.org` allows sub-domains,
            `*` all.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Sequence[str]) -> None:
        self._app = app
        self._hosts = [host.lower() for host in allowed_hosts]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _add_headers(scope, message)
            await send(message)

        try:
            problem = self._refusal(scope)
            if problem is not None:
                await problem_response(Request(scope), problem)(scope, receive, send_guarded)
                return
            await self._app(scope, _limited(receive), send_guarded)
        except Exception as error:
            # The last place where an error can become an answer: it is logged with its trace under an id, and the
            # person is given the id only.
            error_id = secrets.token_hex(6)
            # As text: a renderer of exceptions may print the values of variables, passwords among them.
            trace = "".join(traceback.format_exception(error))
            _log.error("request failed", error_id=error_id, path=scope["path"], trace=trace)
            if started:
                raise
            failed = Problem("internal", instance=error_id)
            await problem_response(Request(scope), failed)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._allowed(host):
            return Problem("host", detail=f"Host {host[:100]!r} is not in the list of allowed hosts of this service.")
        if scope["method"] not in METHODS:
            return Problem("method", headers={"allow": ", ".join(sorted(METHODS))})
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            return Problem("malformed", "Content-Length is no number.")
        return Problem("too_large") if int(length) > MAX_BODY_BYTES else None

    def _allowed(self, host: str) -> bool:
        if "*" in self._hosts:
            return True
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return any(name == known or (known.startswith("*.") and name.endswith(known[1:])) for known in self._hosts)


def _limited(receive: Receive) -> Receive:
    """Counts a body that says no length as it comes, and stops reading at the limit."""
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise HTTPException(413)
        return message

    return counted


def _add_headers(scope: Scope, message: Message) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("cache-control", "no-store")
    cookie = language_cookie(scope)
    if cookie:
        headers.append("set-cookie", cookie)
    if scope["scheme"] == "https":
        # Browsers ignore (and complain about) these over plain http.
        headers.setdefault("strict-transport-security", _HSTS)
        headers.setdefault("cross-origin-opener-policy", "same-origin")
