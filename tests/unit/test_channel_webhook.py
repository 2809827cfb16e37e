from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from greenmine.alerts.channel_webhook import WebhookChannel
from greenmine.core.clock import ManualClock
from greenmine.core.errors import ConfigError, NotFound
from greenmine.core.notice import Delivery, Notice, NoticeKind, notice_key
from tests.channel_servers import Answer, Authority, HttpServer, LoopbackServer, answer

KEY = notice_key("al-1", 1, "li", "webhook", "secret:hook")
NOTICE = Notice(KEY, "al-1", 1, NoticeKind.RAISED, "li", "webhook", "secret:hook", "s", "t", '{"北": "213"}')
NOW = 1_795_305_600  # Sun, 22 Nov 2026 00:00:00 GMT
HOST = "hooks.example.org"
PATH = "/services/B0tS3cret"
QUERY = "key=qu3ryS3cret"


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as made:
        yield made


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def to(server: LoopbackServer, timeout_s: float = 5.0, path: str = f"{PATH}?{QUERY}") -> WebhookChannel:
    place = f"127.0.0.1:{server.port}"
    clock = ManualClock(NOW * 1_000_000_000)
    return WebhookChannel(lambda _: f"http://{place}{path}\n", [place], timeout_s, clock=clock)


def over_tls(
    server: LoopbackServer, context: ssl.SSLContext | None, addresses: list[str] | None = None
) -> WebhookChannel:
    place = f"{HOST}:{server.port}"
    return WebhookChannel(
        lambda _: f"https://{place}{PATH}",
        [place],
        5.0,
        resolve=lambda *_: addresses or ["127.0.0.1"],
        ssl_context=context,
    )


def test_the_request_as_it_arrives(server: HttpServer) -> None:
    assert to(server).send(NOTICE) == Delivery.ok("HTTP 200")
    (request,) = server.requests
    assert (request.method, request.target) == ("POST", f"{PATH}?{QUERY}")
    assert request.body == NOTICE.payload.encode()
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert request.headers["idempotency-key"] == KEY
    assert request.headers["content-type"] == "application/json"
    assert "transfer-encoding" not in request.headers


def test_the_secret_is_asked_for_by_the_target_of_the_notice() -> None:
    asked: list[str] = []

    def none(name: str) -> str:
        asked.append(name)
        raise NotFound(name)

    delivery = WebhookChannel(none).send(NOTICE)
    assert asked == ["secret:hook"]
    assert (delivery.delivered, delivery.permanent) == (False, True)
    assert "secret" in delivery.detail


def test_tls_names_and_verifies_the_host_while_connecting_to_the_address(authority: Authority) -> None:
    asked: list[str | None] = []
    context = authority.server_context(HOST)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    with HttpServer(context) as server:
        assert over_tls(server, authority.client_context()).send(NOTICE).delivered
        assert server.requests[0].headers["host"] == f"{HOST}:{server.port}"
    assert asked == [HOST]


def test_a_dead_address_is_passed_over(authority: Authority) -> None:
    with HttpServer(authority.server_context(HOST)) as server:
        assert over_tls(server, authority.client_context(), ["127.0.0.2", "127.0.0.1"]).send(NOTICE).delivered


@pytest.mark.parametrize(
    ("names", "trusting"), [((HOST,), False), (("other.example.org",), True), (("127.0.0.1",), True)]
)
def test_a_certificate_that_does_not_fit_gets_nothing(
    authority: Authority, names: tuple[str, ...], trusting: bool
) -> None:
    with HttpServer(authority.server_context(*names)) as server:
        delivery = over_tls(server, authority.client_context() if trusting else None).send(NOTICE)
        assert (delivery.delivered, delivery.permanent) == (False, False)
        assert "certificate" in delivery.detail
        assert server.requests == []


def test_a_context_that_does_not_verify_is_not_taken() -> None:
    careless = ssl.create_default_context()
    careless.check_hostname = False
    with pytest.raises(ConfigError, match="verify"):
        WebhookChannel(lambda _: "", ssl_context=careless)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_delivered(server: HttpServer, status: int) -> None:
    server.answers = [answer(status)]
    assert to(server).send(NOTICE) == Delivery.ok(f"HTTP {status}")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_pass_is_for_later(server: HttpServer, status: int) -> None:
    server.answers = [answer(status)]
    assert to(server).send(NOTICE) == Delivery.retry(f"the webhook answered HTTP {status}")


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 410, 413, 422, 451])
def test_what_will_not_pass_is_refused(server: HttpServer, status: int) -> None:
    server.answers = [answer(status)]
    delivery = to(server).send(NOTICE)
    assert (delivery.delivered, delivery.permanent) == (False, True)
    assert f"HTTP {status}" in delivery.detail


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(server: HttpServer, status: int) -> None:
    with HttpServer() as trap:
        server.answers = [answer(status, f"Location: http://127.0.0.1:{trap.port}/")]
        assert to(server).send(NOTICE).permanent
        assert trap.connections == 0
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("  7 ", 7.0),
        ("999999999", 3600.0),
        ("Sun, 22 Nov 2026 00:01:30 GMT", 90.0),
        ("Sun, 22 Nov 2026 00:01:30 -0000", 90.0),
        ("Sunday, 22-Nov-26 00:01:30 GMT", 90.0),
        ("Sat, 21 Nov 2026 00:00:00 GMT", 0.0),
        ("Fri, 22 Nov 2999 00:00:00 GMT", 3600.0),
        ("-5", None),
        ("1.5", None),
        ("nan", None),
        ("soon", None),
        ("٣", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(server: HttpServer, status: int, value: str, wait_s: float | None) -> None:
    server.answers = [answer(status, f"Retry-After: {value}")]
    assert to(server).send(NOTICE) == Delivery.retry(f"the webhook answered HTTP {status}", wait_s)


def silent(server: HttpServer, _: socket.socket) -> None:
    server.closing.wait(10)


def dripping_headers(server: HttpServer, connection: socket.socket) -> None:
    server.drip(connection, b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 100_000)


def early_close(_: HttpServer, connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("reply", [silent, dripping_headers])
def test_a_slow_server_is_left_in_time(server: HttpServer, reply: Answer) -> None:
    server.answers = [reply]
    assert to(server, timeout_s=0.3).send(NOTICE) == Delivery.retry("the webhook did not answer within 0.3 s")


@pytest.mark.parametrize(
    "reply", [early_close, b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"x" * 70_000]
)
def test_what_is_not_http_is_for_later(server: HttpServer, reply: Answer) -> None:
    server.answers = [reply]
    delivery = to(server).send(NOTICE)
    assert (delivery.delivered, delivery.permanent) == (False, False)
    assert delivery.detail


def test_an_endless_body_is_not_read_to_its_end(server: HttpServer) -> None:
    sent = threading.Event()

    def endless(_: HttpServer, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        total = 0
        try:
            while total < 100_000_000:
                total += connection.send(b"x" * 65_536)
        except OSError:
            sent.set()

    server.answers = [endless]
    assert to(server).send(NOTICE) == Delivery.ok("HTTP 200")
    assert sent.wait(10)


def test_the_status_decides_even_if_the_body_never_ends(server: HttpServer) -> None:
    def headers_only(server: HttpServer, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
        server.closing.wait(10)

    server.answers = [headers_only]
    assert to(server, timeout_s=0.3).send(NOTICE) == Delivery.ok("HTTP 200")


def test_nobody_listening_is_for_later() -> None:
    with HttpServer() as server:
        channel = to(server)
    delivery = channel.send(NOTICE)
    assert (delivery.delivered, delivery.permanent) == (False, False)


@pytest.mark.parametrize(
    "error", [socket.gaierror(-2, "Name or service not known"), OSError(5, "io"), UnicodeError("label")]
)
def test_a_name_that_cannot_be_resolved_now_is_for_later(error: Exception) -> None:
    def fail(*_: object) -> list[str]:
        raise error

    delivery = WebhookChannel(lambda _: f"https://{HOST}{PATH}", resolve=fail).send(NOTICE)
    assert delivery == Delivery.retry("the webhook's host name cannot be resolved now")


def test_a_look_up_that_hangs_is_left_in_time() -> None:
    release = threading.Event()

    def hang(*_: object) -> list[str]:
        release.wait(10)
        return []

    delivery = WebhookChannel(lambda _: f"https://{HOST}{PATH}", timeout_s=0.2, resolve=hang).send(NOTICE)
    release.set()
    assert delivery == Delivery.retry("looking up the webhook's host name took longer than 0.2 s")


@pytest.mark.parametrize("key", ["", "a\r\nX-Evil: 1", "a b", "北", "\x00", "x" * 201])
def test_a_key_that_is_no_header_value_is_refused(server: HttpServer, key: str) -> None:
    assert to(server).send(replace(NOTICE, key=key)).permanent
    assert server.connections == 0


def test_a_lone_surrogate_in_the_payload_does_no_harm(server: HttpServer) -> None:
    assert to(server).send(replace(NOTICE, payload='{"a": "\ud800"}')).delivered


def test_no_answer_and_no_log_names_any_part_of_the_url(
    server: HttpServer, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    echo = f"no such page: {PATH}?{QUERY} {PATH}".encode()
    replies: list[Answer] = [answer(s, f"X-Path: {PATH}", body=echo) for s in (200, 301, 404, 429, 503)]
    replies += [early_close, b"nonsense " + echo + b"\r\n", dripping_headers]
    server.answers = list(replies)
    seen = [to(server, timeout_s=0.3).send(NOTICE).detail for _ in replies]
    urls = [
        f"https://127.0.0.1{PATH}?{QUERY}",
        f"https://{HOST}:bad{PATH}?{QUERY}",
        f"https://{HOST}:22{PATH}?{QUERY}",
        f"ftp://{HOST}{PATH}?{QUERY}",
        f"https://[{HOST}{PATH}?{QUERY}",
        f"https://l0gin:w0rd@{HOST}{PATH}?{QUERY}",
        f"https://{HOST}\r\n{PATH}?{QUERY}",
        f"{PATH}?{QUERY}",
    ]
    for url in urls:
        channel = WebhookChannel(lambda _, url=url: url, resolve=lambda *_: ["127.0.0.1"])
        seen += [channel.send(NOTICE).detail, repr(channel)]
    with HttpServer(authority.server_context("other.example.org")) as strange:
        seen.append(over_tls(strange, authority.client_context()).send(NOTICE).detail)

    def fail(host: str, _: int) -> list[str]:
        raise socket.gaierror(-2, f"{host} not known")

    seen.append(WebhookChannel(lambda _: urls[0].replace("127.0.0.1", HOST), resolve=fail).send(NOTICE).detail)
    everything = " ".join(seen) + caplog.text
    assert len(seen) == len(replies) + 2 * len(urls) + 2
    for part in ("B0tS3cret", "qu3ryS3cret", HOST, "l0gin", "w0rd"):
        assert part not in everything
