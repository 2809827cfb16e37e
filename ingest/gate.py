"""Who may connect and what he may do: accounts with random passwords, and grants by full topic.

A device's user name and client id are `{mine}.{device}`; it may write its own `up`, `up/senml`, `up/hj212`,
`activity` and read its own `down`. A bridge's account may read and write the topics of its network and nothing else. A
service account may read and write everything under `mines/` and the networks' topics.
Passwords are kept as PBKDF2-SHA512 in the form mosquitto reads, so that one record serves both brokers. They are made
by us with 192 random bits, so the low iteration count takes nothing from their strength.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from greenmine.core.clock import NS_PER_S, Clock, SystemClock
from greenmine.core.identifier import is_identifier

_ITERATIONS = 101
WRITE_SUFFIXES = ("up", "up/senml", "up/hj212", "activity")
READ_SUFFIXES = ("down",)
BRIDGE_TREES: Mapping[str, str] = {"chirpstack": "application/", "tts": "v3/", "sparkplug": "spBv1.0/"}
"""What the topics of each bridged network begin with."""
SERVICE_TREES = ("mines/", *BRIDGE_TREES.values())


class Account(NamedTuple):
    """An MQTT account. For a service, `mine` and `device` are empty; for a bridge `mine` is empty and `device` is its
    network, one of `BRIDGE_TREES`. Without a password hash nobody gets in by password."""

    name: str
    mine: str
    device: str
    password_hash: str
    serials: frozenset[str] = frozenset()
    """Of the certificates that let in as this account, in lower-case hexadecimal."""

    @property
    def is_service(self) -> bool:
        """Whether this is a part of greenmine, not a device or a bridge."""
        return not self.device

    @property
    def trees(self) -> tuple[str, ...]:
        """What every topic begins with that a service or a bridge may read and write; a device has none."""
        if self.is_service:
            return SERVICE_TREES
        tree = "" if self.mine else BRIDGE_TREES.get(self.device, "")
        return (tree,) if tree else ()


class Action(StrEnum):
    """What a client wants to do with a topic."""

    WRITE = "write"
    READ = "read"


def new_password() -> str:
    """A random password, 32 characters of URL-safe base64."""
    return secrets.token_urlsafe(24)


def hash_password(password: str) -> str:
    """The password in mosquitto's form `$7$iterations$salt$hash`."""
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    return f"$7${_ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def password_fits(password: str, password_hash: str) -> bool:
    """Whether the password belongs to the hash; takes the same time either way."""
    _, _, iterations, salt, expected = password_hash.split("$")
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), base64.b64decode(salt), int(iterations))
    return hmac.compare_digest(digest, base64.b64decode(expected))


def granted_topics(mine: str, device: str) -> tuple[list[str], list[str]]:
    """Topics that a device may write, and those it may read; each in full."""
    own = f"mines/{mine}/{device}/"
    return [own + suffix for suffix in WRITE_SUFFIXES], [own + suffix for suffix in READ_SUFFIXES]


def account_name(mine: str, device: str) -> str:
    """The user name and client id of a device.

    Raises:
        ValueError: not identifiers.
    """
    if not is_identifier(mine) or not is_identifier(device):
        raise ValueError("mine and device are 1 to 63 of a-z, 0-9 and '-'")
    return f"{mine}.{device}"


class DeniedQuota:
    """Refused publishes that are kept as dead letters, per account and minute, so that one account cannot fill the
    journal with them; the rest is only counted."""

    def __init__(self, most_a_minute: int = 10, clock: Clock | None = None) -> None:
        self._most = most_a_minute
        self._clock = clock or SystemClock()
        self._minute = 0
        self._counts: dict[str, int] = {}

    def keeps(self, account: str) -> bool:
        """Count one, and say whether it is kept."""
        minute = self._clock.monotonic_ns() // (60 * NS_PER_S)
        if minute != self._minute:
            self._minute, self._counts = minute, {}
        self._counts[account] = self._counts.get(account, 0) + 1
        return self._counts[account] <= self._most

    def is_spent(self, account: str) -> bool:
        """Whether nothing more of this account is kept in this minute."""
        minute = self._clock.monotonic_ns() // (60 * NS_PER_S)
        return minute == self._minute and self._counts.get(account, 0) >= self._most


class Gate:
    """Decides on connections and topics from the accounts it was given last."""

    def __init__(self, accounts: Iterable[Account] = ()) -> None:
        self._lock = threading.Lock()
        self._accounts: Mapping[str, Account] = {}
        self._write: Mapping[str, frozenset[str]] = {}
        self._read: Mapping[str, frozenset[str]] = {}
        self._on_changed: list[Callable[[frozenset[str]], None]] = []
        self.replace(accounts)

    def replace(self, accounts: Iterable[Account]) -> None:
        """Use these accounts from now on; open connections of revoked ones lose every grant at once."""
        known = {account.name: account for account in accounts}
        grants = {a.name: granted_topics(a.mine, a.device) for a in known.values() if a.mine}
        with self._lock:
            before, self._accounts = self._accounts, known
            self._write = {name: frozenset(grant[0]) for name, grant in grants.items()}
            self._read = {name: frozenset(grant[1]) for name, grant in grants.items()}
            listeners = list(self._on_changed)
        changed = frozenset(name for name, account in before.items() if not _still_fits(account, known.get(name)))
        for tell in listeners if changed else ():
            tell(changed)

    def on_changed(self, listener: Callable[[frozenset[str]], None]) -> None:
        """Call this with the names of accounts that were withdrawn, have another password or lost a certificate, after
        each such change; on the thread that called `replace`."""
        with self._lock:
            self._on_changed.append(listener)

    def admits(self, user: str | None, password: str | None, client_id: str | None) -> bool:
        """Whether this connection is who it says; a client id other than the user name is refused, since it could
        take over another's session."""
        if not user or password is None or client_id != user:
            return False
        account = self._accounts.get(user)
        if account is None or not account.password_hash:
            return False
        return password_fits(password, account.password_hash)

    def admits_certificate(self, name: str, serial: str, user: str | None, client_id: str | None) -> bool:
        """Whether the certificate, whose signature and validity were checked, lets in as `name`, which has to be the
        client id, and the user name if there is one."""
        account = self._accounts.get(name)
        return account is not None and serial in account.serials and client_id == name and user in (None, "", name)

    def allows(self, user: str | None, action: Action, topic: str) -> bool:
        """Whether the account may do this with the topic (for READ also a filter, which is compared literally)."""
        account = self._accounts.get(user or "")
        if account is None:
            return False
        if not account.mine:
            return topic.startswith(account.trees)
        granted = self._write if action is Action.WRITE else self._read
        return topic in granted.get(account.name, frozenset())  # another thread may be replacing the accounts


def _still_fits(before: Account, now: Account | None) -> bool:
    """Whether whoever came in as the account then would come in the same way now. One more certificate is no reason to
    come again."""
    return now is not None and before._replace(serials=now.serials) == now and before.serials <= now.serials
