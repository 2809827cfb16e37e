"""The readings outbox: one blob a commit, written with the decision, removed when the store has confirmed it.

Readings older than the index of identities wait as parcels that ask the store first. What the store answered is
written down (`decided`) before anything of them is written there, so that a crash between the two cannot make a reading
that was just stored look like its own duplicate.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, update

from greenmine.core.reading import Reading, Series
from greenmine.store import schema

_T = schema.readings_outbox


class Parcel(NamedTuple):
    """Readings of one commit that wait for the store. `check_store`: older than the index of identities, so the store
    itself has to be asked whether it has them; `replayed`: what it has was counted when it first came."""

    id: int
    check_store: bool
    replayed: bool
    readings: list[Reading]


def push(connection: Connection, readings: Sequence[Reading], check_store: bool, replayed: bool = False) -> None:
    """Queue readings, within the deciding transaction."""
    if readings:
        values = {"check_store": check_store, "replayed": replayed, "readings": len(readings), "blob": encode(readings)}
        connection.execute(insert(_T).values(values))


def peek(connection: Connection, most_readings: int) -> list[Parcel]:
    """The oldest parcels, about `most_readings` readings in all (at least one parcel if there is any)."""
    parcels: list[Parcel] = []
    total = 0
    for row in connection.execute(select(_T).order_by(_T.c.id).limit(1000)):
        if parcels and (total + row.readings > most_readings or row.check_store != parcels[0].check_store):
            break
        parcels.append(Parcel(row.id, row.check_store, row.replayed, decode(row.blob)))
        total += row.readings
    return parcels


def decided(connection: Connection, parcel: Parcel, new: Sequence[Reading]) -> None:
    """Of a parcel that had to ask the store, keep in its place those readings that the store has not."""
    if new:
        values = {"check_store": False, "readings": len(new), "blob": encode(new)}
        connection.execute(update(_T).where(_T.c.id == parcel.id).values(values))
    else:
        remove(connection, [parcel])


def remove(connection: Connection, parcels: Sequence[Parcel]) -> None:
    """Forget parcels that the store has confirmed."""
    connection.execute(delete(_T).where(_T.c.id.in_([parcel.id for parcel in parcels])))


def depth(connection: Connection) -> int:
    """Readings that wait."""
    return int(connection.execute(select(func.coalesce(func.sum(_T.c.readings), 0))).scalar_one())


def encode(readings: Sequence[Reading]) -> bytes:
    """Readings as compact JSON: each series once, then rows of (series index, time, value, quality), and the calibrated
    value where there is one."""
    index: dict[Series, int] = {}
    rows = [
        (
            index.setdefault(reading.series, len(index)),
            reading.time_ns,
            reading.value,
            int(reading.quality),
            *(() if reading.calibrated is None else (reading.calibrated,)),
        )
        for reading in readings
    ]
    return json.dumps([list(index), rows], separators=(",", ":"), ensure_ascii=False).encode()


def decode(blob: bytes) -> list[Reading]:
    """The inverse of `encode`."""
    names, rows = json.loads(blob)
    series = [Series(*name) for name in names]
    return [Reading(series[number], *rest) for number, *rest in rows]
