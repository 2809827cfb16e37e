"""A small HTTP server that answers writes as InfluxDB 2 does, and misbehaves on demand.

It keeps the fields of each point (so a point that comes twice is there once), records every request, takes gzip, and
refuses lines in both dialects. It does not understand Flux.
"""

from __future__ import annotations

import gzip
import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

PARTIAL_422 = "422-partial"
"""As InfluxDB 2.9: the good lines are stored; the message and its number cover one kind of fault only."""
WHOLE_400 = "400-whole"
"""As older ones, and as all to lines that cannot be parsed: nothing of the request is stored."""


@dataclass
class Script:
    """What to answer to one request, instead of what InfluxDB would."""

    status: int = 204
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    store: bool = False
    """Store the lines before the answer."""
    hang_up: bool = False
    """Close the connection without an answer."""
    wait: Event | None = None
    """Answer only after this is set: the client's time-out comes first."""
    cut_after: int | None = None
    """Promise the whole body and send only so many bytes of it."""


@dataclass
class Request:
    """A request as it came; `lines` of a write, unpacked."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    lines: list[str]


class FakeInflux:
    """The server; use `running()`."""

    def __init__(self, dialect: str = PARTIAL_422) -> None:
        self.dialect = dialect
        self.requests: list[Request] = []
        self.scripts: deque[Script | None] = deque()
        """Answers to the next requests; None is what InfluxDB would answer, as is every one after the last."""
        self.points: dict[tuple[str, str], dict[str, str]] = {}
        self.fault: Callable[[str], str | None] = lambda line: None
        """The kind of fault of a line, None for a good one."""
        self.max_body_bytes: int | None = None
        self.url = ""

    @contextmanager
    def running(self) -> Iterator[FakeInflux]:
        """Serve on a free port of 127.0.0.1 until the block ends."""
        fake = self

        class Handler(_Handler):
            influx = fake

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join(10)

    def answer(self, request: Request) -> Script:
        """What InfluxDB would answer to a write, after doing it."""
        if self.max_body_bytes is not None and len(request.body) > self.max_body_bytes:
            return Script(413, json.dumps({"code": "request too large", "message": "request body too large"}))
        faults = [self.fault(line) for line in request.lines]
        kinds = [kind for kind in faults if kind is not None]
        if self.dialect == PARTIAL_422 or not kinds:
            self.keep([line for line, kind in zip(request.lines, faults, strict=True) if kind is None])
        if not kinds:
            return Script(204)
        if self.dialect == WHOLE_400:
            return Script(400, json.dumps({"code": "invalid", "message": kinds[0]}))
        message = f"failure writing points to database: partial write: {kinds[0]} dropped={kinds.count(kinds[0])}"
        return Script(422, json.dumps({"code": "unprocessable entity", "message": message}))

    def keep(self, lines: list[str]) -> None:
        """Store lines: the fields of a point that is there already are overwritten."""
        for line in lines:
            head, fields, time = line.split(" ")
            point = self.points.setdefault((head, time), {})
            for item in fields.split(","):
                name, _, value = item.partition("=")
                point[name] = value

    @property
    def value_count(self) -> int:
        """Number of stored values, quality bits not counted."""
        return sum(1 for point in self.points.values() for name in point if not name.endswith("_q"))


class _Handler(BaseHTTPRequestHandler):
    influx: FakeInflux
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body of an answer are two writes

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        where = urlsplit(self.path)
        lines: list[str] = []
        if where.path == "/api/v2/write":
            text = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            lines = text.decode().splitlines()
        headers = {name.lower(): text for name, text in self.headers.items()}
        request = Request("POST", where.path, parse_qs(where.query), headers, body, lines)
        self.influx.requests.append(request)
        script = self.influx.scripts.popleft() if self.influx.scripts else None
        script = script or self.influx.answer(request)
        if script.store:
            self.influx.keep(lines)
        if script.wait is not None:
            script.wait.wait(30)
        if script.hang_up or script.wait is not None:
            self.close_connection = True
            return
        self._send(script)

    def _send(self, script: Script) -> None:
        content = script.body.encode()
        self.send_response(script.status)
        for name, text in script.headers.items():
            self.send_header(name, text)
        if script.status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: script.cut_after])
        if script.cut_after is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the requests are recorded."""
