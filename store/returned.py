"""Readings that the store has refused, given to it once more: after its schema or its retention was mended.

Nothing of it is in the journal: the refusal was not either, and a replay of the journal asks no store.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from sqlalchemy import Connection, select, update

from greenmine.core.account import Account
from greenmine.core.reading import Reading, Series
from greenmine.store import outbox, schema
from greenmine.store.moved import Moved
from greenmine.store.state import add_to_account

_T = schema.dead_letter


def give_back(connection: Connection, ids: Iterable[object], at_ns: int) -> int:
    """Put the readings of these dead letters back into the outbox, as far as they are the store's and were not given
    back before; how many. They ask the store first, since the same may have come to it meanwhile."""
    numbers = [number for number in ids if isinstance(number, int) and 0 < number < 2**63]
    which = _T.c.id.in_(numbers), _T.c.record_id == 0, _T.c.replayed_ns.is_(None)
    rows = connection.execute(select(_T.c.id, _T.c.detail).where(*which).order_by(_T.c.id)).all()
    readings = [_reading(row.detail) for row in rows]
    if not readings:
        return 0
    connection.execute(update(_T).where(_T.c.id.in_([row.id for row in rows])).values(replayed_ns=at_ns))
    outbox.push(connection, readings, check_store=True)
    add_to_account(connection, Account(dead=-len(readings), pending=len(readings)))
    moved = Moved()
    for reading in readings:
        moved.note(reading, "taken", was="dead")
    moved.write(connection)
    return len(readings)


def _reading(detail: str) -> Reading:
    mine, device, metric, channel, stat, period_s, *rest = json.loads(detail)["reading"]
    return Reading(Series(mine, device, metric, channel, stat, period_s), *rest)
