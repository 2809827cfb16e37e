"""MQTT accounts in the relational state; passwords only as hashes."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, insert, select, update

from greenmine.core.errors import NotFound
from greenmine.store import schema

_T = schema.device_account


class DeviceAccount(NamedTuple):
    """An account; for services `mine` and `device` are empty, for bridges `mine` is and `device` is
    the network. Without a password (empty hash) it is used with a certificate only."""

    name: str
    mine: str
    device: str
    password_hash: str
    created_ns: int
    revoked_ns: int | None


def put(connection: Connection, account: DeviceAccount) -> None:
    """Make the account, or give it a new password and lift a revocation."""
    values = account._asdict()
    changed = connection.execute(update(_T).where(_T.c.name == account.name).values(values))
    if changed.rowcount == 0:
        connection.execute(insert(_T).values(values))


def admit(connection: Connection, account: DeviceAccount) -> None:
    """Make the account unless it is there; a revoked one comes back as given, so that its old password does not."""
    found = connection.execute(select(_T.c.revoked_ns).where(_T.c.name == account.name)).one_or_none()
    if found is None or found.revoked_ns is not None:
        put(connection, account)


def revoke(connection: Connection, name: str, now_ns: int) -> None:
    """Take the account's rights away.

    Raises:
        NotFound: there is no such account, or it is revoked already.
    """
    changed = connection.execute(
        update(_T).where(_T.c.name == name, _T.c.revoked_ns.is_(None)).values(revoked_ns=now_ns)
    )
    if changed.rowcount == 0:
        raise NotFound(f"there is no active device account {name!r}; `greenmine devices list` shows them")


def listed(connection: Connection, active_only: bool = False) -> list[DeviceAccount]:
    """All accounts by name."""
    query = select(_T).order_by(_T.c.name)
    if active_only:
        query = query.where(_T.c.revoked_ns.is_(None))
    return [DeviceAccount(*row) for row in connection.execute(query)]
