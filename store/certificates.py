"""Certificates that the home's authority signed: what they say, and whether they were revoked; never a key."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Connection, insert, select, update

from greenmine.core.errors import NotFound
from greenmine.store import schema

_T = schema.certificate


class Purpose(StrEnum):
    """What a certificate is for."""

    DEVICE = "device"
    SERVER = "server"


class Certificate(NamedTuple):
    """One certificate. `name` is a device's account, or a server's host names with blanks between; `serial` and
    `fingerprint` (SHA-256) are lower-case hexadecimal; times are ns UTC."""

    serial: str
    purpose: str
    name: str
    fingerprint: str
    not_before_ns: int
    not_after_ns: int
    revoked_ns: int | None = None


def add(connection: Connection, certificate: Certificate) -> None:
    """Put down one that was just signed."""
    connection.execute(insert(_T).values(certificate._asdict()))


def listed(connection: Connection) -> list[Certificate]:
    """All of them by name, the one that lasts longest first."""
    query = select(*_T.c).order_by(_T.c.name, _T.c.not_after_ns.desc(), _T.c.serial)
    return [Certificate(*row) for row in connection.execute(query)]


def revoked(connection: Connection) -> dict[str, int]:
    """Serials of the revoked, and when that was (ns UTC)."""
    query = select(_T.c.serial, _T.c.revoked_ns).where(_T.c.revoked_ns.is_not(None)).order_by(_T.c.serial)
    return {row.serial: row.revoked_ns for row in connection.execute(query)}


def revoke_all(connection: Connection, account: str, now_ns: int) -> list[str]:
    """Revoke every certificate of a device's account; the serials of those that were not revoked before."""
    wanted = (_T.c.purpose == Purpose.DEVICE.value, _T.c.name == account, _T.c.revoked_ns.is_(None))
    serials = list(connection.execute(select(_T.c.serial).where(*wanted).order_by(_T.c.serial)).scalars())
    connection.execute(update(_T).where(*wanted).values(revoked_ns=now_ns))
    return serials


def revoke(connection: Connection, name: str, serial: str, now_ns: int) -> None:
    """Revoke one certificate.

    Raises:
        NotFound: nobody of this name has such a certificate, or it is revoked already.
    """
    wanted = (_T.c.name == name, _T.c.serial == serial, _T.c.revoked_ns.is_(None))
    if connection.execute(update(_T).where(*wanted).values(revoked_ns=now_ns)).rowcount == 0:
        raise NotFound(f"{name!r} has no valid certificate {serial!r}; `greenmine devices list --json` shows them")
