"""The readings outbox: one blob a commit, written with the decision, removed when the store has confirmed it.

It is emptied from both ends: the newest first, so that a backlog delays nothing of now, and the oldest beside it.

Readings older than the index of identities wait as parcels that ask the store first. What the store answered is
written down (`decided`) before anything of them is written there, so that a crash between the two cannot make a reading
that was just stored look like its own duplicate.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from greenmine.core.errors import Corrupt
from greenmine.core.reading import Reading, Series
from greenmine.store import schema
from greenmine.store.columns import unpack
from greenmine.store.prepared import Prepared

_T = schema.readings_outbox
_PUSH = Prepared(insert(_T), ("check_store", "replayed", "readings", "blob"))
_PARCELS = 1000
_OLDEST = select(_T).order_by(_T.c.id).limit(_PARCELS)
_NEWEST = select(_T).where(_T.c.id > bindparam("b_after"), ~_T.c.check_store).order_by(_T.c.id.desc()).limit(_PARCELS)


@dataclass(slots=True)
class Parcel:
    """Readings of one commit that wait for the store. `check_store`: older than the index of identities, so the store
    itself has to be asked whether it has them; `replayed`: what it has was counted when it first came.

    `plain`: the readings as columns, where all of them are ordinary (unflagged, not calibrated).
    """

    id: int
    check_store: bool
    replayed: bool
    count: int
    plain: Plain | None
    _readings: list[Reading] | None

    @property
    def readings(self) -> list[Reading]:
        """The readings as objects."""
        if self._readings is None:
            assert self.plain is not None
            self._readings = list(map(Reading, *self.plain))
        return self._readings


class Plain(NamedTuple):
    """Ordinary readings as parallel columns: series, source times (ns), values in canonical units."""

    series: list[Series]
    times_ns: Sequence[int]
    values: Sequence[float]


def push(connection: Connection, readings: Sequence[Reading], check_store: bool, replayed: bool = False) -> None:
    """Queue readings, within the deciding transaction."""
    if readings:
        values = {"check_store": check_store, "replayed": replayed, "readings": len(readings), "blob": encode(readings)}
        connection.execute(insert(_T).values(values))


def push_packed(connection: Connection, packed: bytes, readings: int) -> None:
    """Queue readings that are packed already (`store.columns`), within the deciding transaction."""
    if readings:
        _PUSH(connection, [{"check_store": False, "replayed": False, "readings": readings, "blob": packed}])


def peek(connection: Connection, most_readings: int, names: SeriesNames | None = None) -> list[Parcel]:
    """The oldest parcels, about `most_readings` readings in all (at least one parcel if there is any). `names` is kept
    from call to call, so that a series is looked up once."""
    names = SeriesNames() if names is None else names
    return _up_to(connection.execute(_OLDEST), most_readings, names, connection)


def peek_newest(
    connection: Connection, after: int, most_readings: int, names: SeriesNames | None = None
) -> list[Parcel]:
    """The newest parcels above the number `after`, in the order of their numbers, as `peek`; without those that ask the
    store first. They may be written before all others: no reading is in two of them. What asks may not: it would not
    find what it repeats while that waits before it."""
    newest = connection.execute(select(func.coalesce(func.max(_T.c.id), 0))).scalar_one()
    if newest <= after:
        return []
    names = SeriesNames() if names is None else names
    rows = connection.execute(_NEWEST, {"b_after": max(after, newest - _PARCELS)})
    return _up_to(rows, most_readings, names, connection)[::-1]


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


def last_id(connection: Connection) -> int:
    """The newest parcel; 0 where there is none."""
    return int(connection.execute(select(func.coalesce(func.max(_T.c.id), 0))).scalar_one())


def first_id(connection: Connection) -> int | None:
    """The oldest parcel; None where there is none."""
    found = connection.execute(select(func.min(_T.c.id))).scalar_one()
    return None if found is None else int(found)


def depth(connection: Connection) -> int:
    """Readings that wait."""
    return int(connection.execute(select(func.coalesce(func.sum(_T.c.readings), 0))).scalar_one())


class SeriesNames:
    """The series behind their numbers; what is looked up once is remembered."""

    def __init__(self) -> None:
        self._known: dict[int, Series] = {}

    def of(self, series_ids: Iterable[int], connection: Connection) -> dict[int, Series]:
        """A mapping that has these numbers at least.

        Raises:
            Corrupt: a number that no series has.
        """
        missing = set(series_ids).difference(self._known)
        if missing:
            table = schema.series
            first, last = min(missing), max(missing)
            for row in connection.execute(select(table).where(table.c.id >= first, table.c.id <= last)):
                self._known[row.id] = Series(row.mine, row.device, row.metric, row.channel, row.stat, row.period_s)
            if not missing <= self._known.keys():
                raise Corrupt(f"the outbox names series {min(missing - self._known.keys())}, which does not exist")
        return self._known


def encode(readings: Sequence[Reading]) -> bytes:
    """Readings as compact JSON: each series once, then rows of (series index, time, value, quality, calibrated)."""
    index: dict[Series, int] = {}
    rows = [
        (index.setdefault(one.series, len(index)), one.time_ns, one.value, int(one.quality), one.calibrated)
        for one in readings
    ]
    return json.dumps([list(index), rows], separators=(",", ":"), ensure_ascii=False).encode()


def decode(blob: bytes) -> list[Reading]:
    """The inverse of `encode`."""
    listed, rows = json.loads(blob)
    series = [Series(*name) for name in listed]
    return [Reading(series[number], *rest) for number, *rest in rows]


def readings_of(blob: bytes, names: SeriesNames, connection: Connection) -> list[Reading]:
    """Readings of a parcel as objects."""
    found = _unpacked(blob, names, connection)
    return list(map(Reading, *found)) if isinstance(found, Plain) else found


def _up_to(rows: Iterable[Row[Any]], most_readings: int, names: SeriesNames, connection: Connection) -> list[Parcel]:
    """The first of these rows, as parcels that are written together."""
    parcels: list[Parcel] = []
    total = 0
    for row in rows:
        if parcels and (total + row.readings > most_readings or row.check_store != parcels[0].check_store):
            break
        found = _unpacked(row.blob, names, connection)
        plain, readings = (found, None) if isinstance(found, Plain) else (None, found)
        parcels.append(Parcel(row.id, row.check_store, row.replayed, row.readings, plain, readings))
        total += row.readings
    return parcels


def _unpacked(blob: bytes, names: SeriesNames, connection: Connection) -> Plain | list[Reading]:
    """What a parcel holds, in whichever of the two forms it was packed."""
    if blob.startswith(b"["):
        return decode(blob)
    columns = unpack(blob)
    known = names.of(columns.series, connection)
    plain = Plain([known[number] for number in columns.series], columns.times, columns.values)
    if not any(odd.quality or odd.calibrated is not None for odd in columns.odd.values()):
        return plain
    readings = list(map(Reading, *plain))
    for place, odd in columns.odd.items():
        readings[place] = readings[place]._replace(quality=odd.quality, calibrated=odd.calibrated)
    return readings
