from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3.util.connection
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmine.alerts import address_guard
from greenmine.alerts.address_guard import AddressGuard, closed_because
from greenmine.alerts.channel_webhook import WebhookChannel
from greenmine.core.errors import ConfigError, Refused
from greenmine.core.notice import Notice, NoticeKind
from tests.channel_servers import LoopbackServer

PUBLIC = "93.184.215.14"
SECRET = "t0psecret"
NOTICE = Notice("k1", "al-1", 1, NoticeKind.RAISED, "li", "webhook", "secret:hook", "s", "t", "{}")

# Every host but the literal addresses resolves to what stands beside it. PORT is the trap's port, made an allowed one.
LITERAL = [
    "127.0.0.1",
    "127.8.9.10",
    "127.0.0.1.",
    "0.0.0.0",
    "10.0.0.5",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "169.254.0.1",
    "100.64.0.1",
    "100.127.255.254",
    "192.0.0.8",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.251",
    "240.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:10.0.0.5]",
    "[::ffff:169.254.169.254]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[2001:db8::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fe80::1%25lo]",
    "[fec0::1]",
    "[ff02::1]",
    "１２７.０.０.１",
    "127。0。0。1",
]
ODD = [
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "127.1",
    "0177.0.0.1",
    "127.0.0.0x1",
    "0",
    "300.300.300.300",
    "[v1.fe80]",
    "[::1",
    "::1",
    "a..b",
    "-a.example.org",
    "a b.example.org",
    "exa\tmple.org",
    "x" * 64 + ".example.org",
    "",
    ".",
    "user:pass@example.org",
    "example.org@127.0.0.1",
    "example.org\\@127.0.0.1",
    "127.0.0.1#@example.org",
    "127.0.0.1?@example.org",
    "example.org\r\nHost: 127.0.0.1",
]
NAMED = {
    "localhost": ["127.0.0.1"],
    "LOCALHOST": ["127.0.0.1"],
    "localhost.": ["127.0.0.1"],
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ": ["127.0.0.1"],
    "metadata.google.internal": ["169.254.169.254"],
    "127.0.0.1.nip.example": ["127.0.0.1"],
    "mixed.example.org": [PUBLIC, "127.0.0.1"],
    "mixed6.example.org": [PUBLIC, "::1"],
    "mapped.example.org": ["::ffff:127.0.0.1"],
    "scoped.example.org": ["fe80::1%lo"],
    "garbage.example.org": ["not an address"],
    "many.example.org": [PUBLIC] * 15 + ["10.0.0.1"],
}
OTHER_URLS = [
    "http://example.org/",
    "http://169.254.169.254/latest/meta-data/",
    "ftp://example.org/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "javascript:alert(1)",
    "unix:///var/run/docker.sock",
    "//example.org/",
    "example.org",
    "",
    "https:///path",
    "https://example.org:22/",
    "https://example.org:6379/",
    "https://example.org:0/",
    "https://example.org:99999/",
    "https://example.org:/",
    "https://example.org:x/",
    "https://example.org/" + "x" * 3_000,
]


@pytest.fixture
def trap(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackServer]:
    """Catches every connection that is tried, wherever to, so that a gap in the guard shows and reaches nobody."""
    with LoopbackServer(lambda _: None) as server:

        def into_the_trap(address: tuple[str, int], *_: Any, **__: Any) -> socket.socket:
            return socket.create_connection(("127.0.0.1", server.port), timeout=5)

        monkeypatch.setattr(urllib3.util.connection, "create_connection", into_the_trap)
        monkeypatch.setattr(address_guard, "_PORTS", frozenset({443, 8443, server.port}))
        yield server


def blocked(url: str, resolve: address_guard.Resolver, trap: LoopbackServer) -> None:
    delivery = WebhookChannel(lambda _: url, timeout_s=5.0, resolve=resolve).send(NOTICE)
    assert (delivery.delivered, delivery.permanent) == (False, True)
    assert delivery.detail.startswith("blocked: ")
    assert SECRET not in delivery.detail
    assert trap.connections == 0


@pytest.mark.parametrize("host", LITERAL + ODD)
def test_addresses_in_every_spelling_are_blocked(trap: LoopbackServer, host: str) -> None:
    # A resolver as lenient as the system's: were the spelling not refused, it would lead to the trap.
    blocked(f"https://{host}:{trap.port}/{SECRET}", lambda *_: ["127.0.0.1"], trap)


@pytest.mark.parametrize("host", LITERAL + ODD)
def test_the_spelling_alone_is_reason_enough(trap: LoopbackServer, host: str) -> None:
    blocked(f"https://{host}/{SECRET}", lambda *_: [PUBLIC], trap)


@pytest.mark.parametrize("host", NAMED)
def test_names_that_lead_inside_are_blocked(trap: LoopbackServer, host: str) -> None:
    blocked(f"https://{host}:{trap.port}/{SECRET}", lambda *_: NAMED[host], trap)


@pytest.mark.parametrize("url", OTHER_URLS)
def test_other_schemes_and_ports_are_blocked(trap: LoopbackServer, url: str) -> None:
    blocked(url, lambda *_: [PUBLIC], trap)


def test_the_trap_catches_what_the_guard_lets_through(trap: LoopbackServer) -> None:
    channel = WebhookChannel(lambda _: f"https://example.org/{SECRET}", timeout_s=5.0, resolve=lambda *_: [PUBLIC])
    assert not channel.send(NOTICE).delivered
    assert trap.connections == 1


def test_the_name_is_looked_up_once_and_what_was_judged_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [[PUBLIC], ["127.0.0.1"], ["169.254.169.254"]]
    tried: list[tuple[str, int]] = []

    def refuse(address: tuple[str, int], *_: Any, **__: Any) -> socket.socket:
        tried.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(urllib3.util.connection, "create_connection", refuse)
    WebhookChannel(lambda _: "https://rebind.example.org/x", resolve=lambda *_: answers.pop(0)).send(NOTICE)
    assert tried == [(PUBLIC, 443)]
    assert len(answers) == 2


@pytest.mark.parametrize(
    ("url", "host", "port", "request_target", "host_header"),
    [
        ("https://example.org", "example.org", 443, "/", "example.org"),
        ("https://EXAMPLE.org:8443/a?b=c#d", "example.org", 8443, "/a?b=c", "example.org:8443"),
        ("https://example.org./a", "example.org", 443, "/a", "example.org"),
        (
            "https://例子.测试/路?值=1",
            "xn--fsqu00a.xn--0zwm56d",
            443,
            "/%E8%B7%AF?%E5%80%BC=1",
            "xn--fsqu00a.xn--0zwm56d",
        ),
        ("https://example.org/a%2Fb?x=%20&y=a+b", "example.org", 443, "/a%2Fb?x=%20&y=a+b", "example.org"),
        ("https://[2606:4700::1111]/", "2606:4700::1111", 443, "/", "[2606:4700::1111]"),
        (f"https://{PUBLIC}/", PUBLIC, 443, "/", PUBLIC),
    ],
)
def test_good_urls_pass_in_one_spelling(url: str, host: str, port: int, request_target: str, host_header: str) -> None:
    endpoint = AddressGuard(resolve=lambda *_: [PUBLIC]).check(url)
    assert (endpoint.host, endpoint.port, endpoint.request_target) == (host, port, request_target)
    assert endpoint.host_header == host_header
    assert endpoint.scheme == "https"


def test_listed_hosts_may_be_inside_on_http_and_on_any_port_and_only_they() -> None:
    guard = AddressGuard(["10.0.0.5:8080", "hooks.internal:80", "[::1]:9000"], lambda *_: ["10.0.0.6"])
    assert guard.check("http://10.0.0.5:8080/x").addresses == ("10.0.0.5",)
    assert guard.check("http://hooks.internal/x").addresses == ("10.0.0.6",)
    assert guard.check("https://[::1]:9000/x").addresses == ("::1",)
    for other in ("http://10.0.0.5:8081/", "http://10.0.0.6:8080/", "http://hooks.internal:8080/", "https://[::1]/"):
        with pytest.raises(Refused) as refusal:
            guard.check(other)
        assert refusal.value.word == "blocked"


@pytest.mark.parametrize(
    "entry", ["", "host", "host:", ":80", "http://host:80", "host:80/path", "a b:80", "host:0", "u@h:80"]
)
def test_an_allow_list_entry_that_cannot_be_read_is_a_mistake_in_the_settings(entry: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        AddressGuard([entry])


def test_a_host_without_addresses_is_for_later() -> None:
    with pytest.raises(OSError, match="no address"):
        AddressGuard(resolve=lambda *_: []).check("https://example.org/")


def test_an_endpoint_does_not_show_its_path() -> None:
    endpoint = AddressGuard(resolve=lambda *_: [PUBLIC]).check(f"https://example.org/{SECRET}")
    assert SECRET not in repr(endpoint) + str(endpoint)


@settings(deadline=None)
@given(st.ip_addresses())
def test_only_global_addresses_are_open(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if closed_because(address) is None:
        plain = getattr(address, "ipv4_mapped", None) or address
        assert plain.is_global
        closed = ("private", "loopback", "link_local", "multicast", "reserved", "unspecified")
        assert not [kind for kind in closed if getattr(plain, f"is_{kind}")]


@settings(deadline=None)
@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_judged_as_what_it_maps(address: ipaddress.IPv4Address) -> None:
    mapped = ipaddress.IPv6Address(f"::ffff:{address}")
    assert (closed_because(mapped) is None) == (closed_because(address) is None)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_an_endpoint_or_a_refusal(text: str) -> None:
    guard = AddressGuard(resolve=lambda *_: [PUBLIC])
    for url in (text, f"https://{text}", f"https://{text}/x", f"https://example.org:{text}"):
        try:
            endpoint = guard.check(url)
        except Refused:
            continue
        else:
            assert endpoint.request_target.isascii()
            assert endpoint.host.isascii()
            assert not set("\r\n ") & set(endpoint.request_target + endpoint.host)
