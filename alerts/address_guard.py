"""Where a notice may be sent: a URL is checked, its host resolved once, and every address judged before anything
connects (server-side request forgery: redirects, rebinding and odd spellings of internal addresses).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import SplitResult, quote, urlsplit

from greenmine.core.errors import ConfigError, Refused

Resolver = Callable[[str, int], Sequence[str]]
"""Host and port to the addresses of the host, as text; raises OSError where it cannot."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_PORTS = frozenset({443, 8443})
_DEFAULT_PORT = {"http": 80, "https": 443}
_MAX_URL = 2_048
_MAX_ADDRESSES = 16

# Named, so that a refusal says why; what is in no row and not global is refused all the same. The first row that holds
# gives the name.
_CLOSED = tuple(
    (ipaddress.ip_network(network), why)
    for network, why in (
        ("169.254.169.254/32", "the metadata service of a cloud"),
        ("fd00:ec2::254/128", "the metadata service of a cloud"),
        ("0.0.0.0/8", "an unspecified address"),
        ("127.0.0.0/8", "a loopback address"),
        ("10.0.0.0/8", "a private address"),
        ("172.16.0.0/12", "a private address"),
        ("192.168.0.0/16", "a private address"),
        ("100.64.0.0/10", "a carrier's shared address (CGNAT)"),
        ("169.254.0.0/16", "a link-local address"),
        ("192.0.0.0/24", "an address for protocols"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("198.18.0.0/15", "an address for benchmarks"),
        ("224.0.0.0/4", "a multicast address"),
        ("240.0.0.0/4", "a reserved or broadcast address"),
        ("::/128", "an unspecified address"),
        ("::1/128", "a loopback address"),
        ("::/96", "an IPv4-compatible IPv6 address"),
        ("64:ff9b::/96", "a NAT64 address"),
        ("64:ff9b:1::/48", "a NAT64 address"),
        ("2001::/32", "a Teredo address"),
        ("2002::/16", "a 6to4 address"),
        ("fc00::/7", "a private address"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a site-local address"),
        ("ff00::/8", "a multicast address"),
    )
)
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# What inet_aton takes for an address and the strict parser does not: 127.1, 0x7f000001, 2130706433, 0177.0.0.1.
_NUMERIC_LABEL = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A target that may be connected to. `addresses` are the checked ones: connect to these, never to the name again.

    `host` is what TLS verifies and the Host header says; `request_target` is path and query, and secret.
    """

    scheme: str
    host: str
    port: int
    addresses: tuple[str, ...]
    request_target: str

    def __repr__(self) -> str:
        return "Endpoint(...)"  # the path of a webhook is its password

    @property
    def host_header(self) -> str:
        """The Host header: the port only where it is not the scheme's own."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == _DEFAULT_PORT[self.scheme] else f"{name}:{self.port}"


def system_resolver(host: str, port: int) -> Sequence[str]:
    """The machine's own name look-up. It has no time limit of its own: call it under one."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class AddressGuard:
    """Decides where a URL may lead.

    `allow` lists `host:port` (`[::1]:8080` for IPv6) that may be reached wherever they lead, over http as well and on
    any port: the operator's own machines. Everything else is https on port 443 or 8443 to public addresses only.
    """

    def __init__(self, allow: Iterable[str] = (), resolve: Resolver = system_resolver) -> None:
        self._allow = frozenset(_allowed(entry) for entry in allow)
        self._resolve = resolve

    def check(self, url: str) -> Endpoint:
        """Where `url` leads. Raises Refused with word `blocked` (its detail never repeats the URL), and OSError
        where the host cannot be resolved now."""
        parts = _split(url)
        host, port = _host(parts), _port(parts)
        listed = (host, port) in self._allow
        if parts.scheme != "https" and not listed:
            _block("only https is allowed, except to hosts listed in the settings")
        if port not in _PORTS and not listed:
            _block("only the ports 443 and 8443 are allowed, except to hosts listed in the settings")
        literal = _literal(host)
        found = [literal] if literal else list(self._resolve(host, port))[:_MAX_ADDRESSES]
        if not found:
            raise OSError("the host has no address")
        if not listed:
            for address in found:
                _judge(address)
        target = quote(parts.path or "/", safe="/%:=&~+!$,;'@()*[]|")
        if parts.query:
            target += "?" + quote(parts.query, safe="/%:=&~+!$,;'@()*[]|?")
        return Endpoint(parts.scheme, host, port, tuple(str(a) for a in found), target)


def closed_because(address: _Address) -> str | None:
    """Why no notice may go to `address`, or None for a public one."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        inner = closed_because(address.ipv4_mapped)
        return None if inner is None else f"{inner} written as IPv6"
    for network, why in _CLOSED:
        if address in network:
            return why
    if address.version == 6 and address not in _GLOBAL_V6:
        return "not a public address"
    return None if address.is_global else "not a public address"


def _block(why: str) -> NoReturn:
    raise Refused("blocked", why)


def _split(url: str) -> SplitResult:
    if len(url) > _MAX_URL:
        _block(f"the URL is longer than {_MAX_URL} characters")
    if any(c <= " " or c == "\x7f" or c == "\\" for c in url):
        _block("the URL has a blank, a backslash or a control character in it")
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in _DEFAULT_PORT:
        _block("this is not an http or https URL")
    if "@" in parts.netloc:
        _block("the URL carries a user name or password")
    return parts


def _host(parts: SplitResult) -> str:
    """The host in its one spelling: lower case, ASCII (IDNA), no closing dot; an IPv6 address without brackets."""
    name = parts.hostname or ""
    if parts.netloc.startswith("["):
        try:
            return str(ipaddress.IPv6Address(name))
        except ValueError:
            _block("the URL has no valid IPv6 address between its brackets")
    try:
        ascii_name = name.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError:
        ascii_name = ""
    labels = ascii_name.split(".")
    if not ascii_name or len(ascii_name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        _block("the URL has no valid host name")
    if _NUMERIC_LABEL.fullmatch(labels[-1]) and _literal(ascii_name) is None:
        _block("the host is an address in an unusual spelling")
    return ascii_name


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0 or parts.netloc.endswith(":"):
        _block("the port is not a number from 1 to 65535")
    return _DEFAULT_PORT[parts.scheme] if port is None else port


def _literal(host: str) -> str | None:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def _judge(address: str) -> None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        parsed = None
    why = "its name resolves to something that is not an address" if parsed is None else closed_because(parsed)
    if why is not None:
        _block(f"the host leads to {why}" if parsed is not None else why)


def _allowed(entry: str) -> tuple[str, int]:
    try:
        parts = _split(f"https://{entry}")
        if parts.port is None or parts.path or parts.query or parts.fragment:
            raise ValueError(entry)
        return _host(parts), _port(parts)
    except (ValueError, Refused):
        raise ConfigError(
            f"allowed webhook host {entry!r} is not HOST:PORT; write for instance 10.0.0.5:8080"
        ) from None
