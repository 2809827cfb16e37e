"""The waiting list of unregistered devices in the relational state."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from greenmine.core.errors import NotFound
from greenmine.core.waiting import Network, WaitingDevice, WaitingKey, WaitingValue
from greenmine.store import schema

_T = schema.waiting_device
_M = schema.muted_device


def save(connection: Connection, changed: Mapping[WaitingKey, WaitingDevice | None]) -> None:
    """Write the present state of these; None takes one off the list."""
    for key, device in changed.items():
        connection.execute(delete(_T).where(_T.c.network == key.network.value, _T.c.address == key.address))
        if device is not None:
            values = json.dumps(device.values, ensure_ascii=False, separators=(",", ":"))
            row = {**device._asdict(), "network": key.network.value, "values": values}
            connection.execute(insert(_T).values(row))


def mute(connection: Connection, changed: Mapping[WaitingKey, tuple[int, str] | None]) -> None:
    """Remember who rejected an address and when; None forgets that it was."""
    for key, rejected in changed.items():
        connection.execute(delete(_M).where(_M.c.network == key.network.value, _M.c.address == key.address))
        if rejected is not None:
            at_ns, by = rejected
            connection.execute(insert(_M).values(network=key.network.value, address=key.address, at_ns=at_ns, by=by))


def listed(connection: Connection) -> list[WaitingDevice]:
    """Who waits, heard last first."""
    query = select(_T).order_by(_T.c.record_id.desc(), _T.c.network.desc(), _T.c.address.desc())
    return [_device(row) for row in connection.execute(query)]


def get(connection: Connection, network: Network, address: str) -> WaitingDevice:
    """One of them.

    Raises:
        NotFound: it does not wait.
    """
    query = select(_T).where(_T.c.network == network.value, _T.c.address == address)
    row = connection.execute(query).one_or_none()
    if row is None:
        advice = "`greenmine devices waiting list` shows who waits"
        raise NotFound(f"{network.value} {address!r} is not on the waiting list; {advice}")
    return _device(row)


def muted(connection: Connection) -> Iterable[WaitingKey]:
    """Addresses that were rejected."""
    query = select(_M.c.network, _M.c.address)
    return [WaitingKey(Network(row.network), row.address) for row in connection.execute(query)]


def _device(row: Row[Any]) -> WaitingDevice:
    found = dict(row._mapping)
    values = tuple(WaitingValue(*one) for one in json.loads(found["values"]))
    return WaitingDevice(**{**found, "network": Network(found["network"]), "values": values})
