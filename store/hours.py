"""The message account by device and hour, and how often which reason was given, in the relational state.

Rows have what was taken (stored or still waiting for the store) beside what was not. Ordinary readings are not counted
here one by one: as long as their commit is in the log of identities (`schema.recent`) they are counted from there, and
when the log is cut they are added to the rows, in the same transaction. How many still wait is read off the outbox. So
the sum over all hours is the message account at every commit.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal_column,
    select,
    update,
)

from greenmine.core.account import HOUR_NS, Account, HourKey
from greenmine.core.reading import Series
from greenmine.store import outbox, schema
from greenmine.store.columns import Columns, unpack

_T = schema.device_hour
COUNTS = ("taken", "quarantined", "duplicate", "conflict", "dead")
REFUSED, QUARANTINED, FLAGGED = "refused", "quarantined", "flagged"


class ReasonKey(NamedTuple):
    """A reason why something of a device was refused or quarantined, or a flag that a reading was taken with."""

    mine: str
    device: str
    kind: str
    word: str


def add(connection: Connection, changes: Mapping[tuple[HourKey, str], int]) -> None:
    """Add to the counts named in `COUNTS`, within the deciding transaction."""
    rows: dict[HourKey, dict[str, int]] = defaultdict(lambda: dict.fromkeys(COUNTS, 0))
    for (key, name), number in changes.items():
        if number:
            rows[key][name] += number
    _add(connection, _T, COUNTS, [{**key._asdict(), **counts} for key, counts in rows.items()])


def add_reasons(connection: Connection, changes: Mapping[ReasonKey, int]) -> None:
    """Count reasons, within the deciding transaction."""
    rows = [{**key._asdict(), "count": number} for key, number in changes.items()]
    _add(connection, schema.reason, ("count",), rows)


def count_by_hour(columns: Columns, found: defaultdict[int, Counter[int]]) -> None:
    """Add the readings of each series (by its number) to those of the hours (ns of their beginning) they are of."""
    times = columns.times
    if not times:
        return
    first, last = min(times) // HOUR_NS, max(times) // HOUR_NS
    if first == last:  # nearly always, and then counted without a step of ours for each
        found[first * HOUR_NS].update(columns.series)
    else:
        for series_id, time_ns in zip(columns.series, times, strict=True):
            found[time_ns - time_ns % HOUR_NS][series_id] += 1


def by_device(found: Mapping[int, Counter[int]], names: Mapping[int, Series]) -> Counter[HourKey]:
    """The same by device; `names` has the series of every number."""
    counted: Counter[HourKey] = Counter()
    for start_ns, numbers in found.items():
        for series_id, number in numbers.items():
            series = names[series_id]
            counted[HourKey(series.mine, series.device, start_ns)] += number
    return counted


def tally(columns: Columns, names: Mapping[int, Series]) -> Counter[HourKey]:
    """How many readings are of which device and hour; `names` has the series of every number."""
    found: defaultdict[int, Counter[int]] = defaultdict(Counter)
    count_by_hour(columns, found)
    return by_device(found, names)


def accounts(
    connection: Connection,
    mine: str | None = None,
    device: str | None = None,
    from_ns: int | None = None,
    to_ns: int | None = None,
) -> dict[HourKey, Account]:
    """The accounts of hours that begin in the span, by device, as of the last commit; without `from_ns` also of what is
    older than can be looked up (hour 0). One transaction has to be under way, so that all parts are of one moment."""
    names = outbox.SeriesNames()
    query = select(_T)
    if mine is not None:
        query = query.where(_T.c.mine == mine)
    if device is not None:
        query = query.where(_T.c.device == device)
    if from_ns is not None:
        query = query.where(_T.c.start_ns >= from_ns)
    if to_ns is not None:
        query = query.where(_T.c.start_ns < to_ns)
    rows = connection.execute(query).tuples()
    found = {HourKey(*row[:3]): dict(zip(COUNTS, row[3:], strict=True)) for row in rows}

    def asked(key: HourKey) -> bool:
        return (
            mine in (None, key.mine)
            and device in (None, key.device)
            and (from_ns is None or key.start_ns >= from_ns)
            and (to_ns is None or key.start_ns < to_ns)
        )

    for key, number in uncounted(connection, names).items():
        if asked(key):
            found.setdefault(key, dict.fromkeys(COUNTS, 0))["taken"] += number
    waiting: Counter[HourKey] = Counter()
    for key, number in _waiting(connection, names).items():
        # The row of an hour that was pruned meanwhile is part of hour 0.
        there = key if key in found else key._replace(start_ns=0)
        if asked(key) and there in found:
            waiting[there] += number
    return {key: _account(counts, waiting[key]) for key, counts in sorted(found.items())}


def reasons(connection: Connection, mine: str | None = None, device: str | None = None) -> dict[ReasonKey, int]:
    """How often each reason was given since the state began."""
    table = schema.reason
    query = select(table).order_by(*table.primary_key.columns)
    if mine is not None:
        query = query.where(table.c.mine == mine)
    if device is not None:
        query = query.where(table.c.device == device)
    return {ReasonKey(*row[:4]): row[4] for row in connection.execute(query).tuples()}


def reason_totals(connection: Connection) -> dict[tuple[str, str], int]:
    """The same by kind and word alone."""
    kind, word = schema.reason.c.kind, schema.reason.c.word
    query = select(kind, word, func.sum(schema.reason.c.count)).group_by(kind, word).order_by(kind, word)
    return {(row[0], row[1]): int(row[2]) for row in connection.execute(query).tuples()}


def uncounted(connection: Connection, names: outbox.SeriesNames) -> Counter[HourKey]:
    """Readings whose commit is still in the log of identities, and which are in no row."""
    found: Counter[HourKey] = Counter()
    for (blob,) in connection.execute(select(schema.recent.c.blob).where(schema.recent.c.taken)).tuples():
        columns = unpack(blob)
        found.update(tally(columns, names.of(columns.series, connection)))
    return found


def prune(connection: Connection, before_ns: int) -> None:
    """Make hours before this time part of hour 0 of their device, so that the sum stays."""
    old = (_T.c.start_ns > 0) & (_T.c.start_ns < before_ns)
    sums = [func.sum(_T.c[name]) for name in COUNTS]
    query = select(_T.c.mine, _T.c.device, *sums).where(old).group_by(_T.c.mine, _T.c.device)
    rows = connection.execute(query).tuples().all()
    connection.execute(delete(_T).where(old))
    names = ("mine", "device", *COUNTS)
    _add(connection, _T, COUNTS, [{**dict(zip(names, row, strict=True)), "start_ns": 0} for row in rows])


def _add(connection: Connection, table: Table, counts: Sequence[str], rows: list[dict[str, object]]) -> None:
    """Add to rows, which are made where they are not there yet."""
    if not rows:
        return
    keys = [column.name for column in table.primary_key.columns]
    same = [table.c[name] == bindparam(f"b_{name}") for name in keys]
    given = [{f"b_{name}": value for name, value in row.items()} for row in rows]
    there = exists(literal_column("1")).where(*same)
    zeros: list[ColumnElement[Any]] = [
        *(bindparam(f"b_{name}").label(name) for name in keys),
        *(literal_column("0").label(n) for n in counts),
    ]
    connection.execute(insert(table).from_select([*keys, *counts], select(*zeros).where(~there)), given)
    changed = {name: table.c[name] + bindparam(f"b_{name}") for name in counts}
    connection.execute(update(table).where(*same).values(changed), given)


def _account(counts: Mapping[str, int], waiting: int) -> Account:
    received = sum(counts.values())
    others = {name: counts[name] for name in COUNTS[1:]}
    return Account(received=received, stored=counts["taken"] - waiting, pending=waiting, **others)


def _waiting(connection: Connection, names: outbox.SeriesNames) -> Counter[HourKey]:
    found: Counter[HourKey] = Counter()
    for (blob,) in connection.execute(select(schema.readings_outbox.c.blob)).tuples():
        if blob.startswith(b"["):
            for reading in outbox.decode(blob):
                series, time_ns = reading.series, reading.time_ns
                found[HourKey(series.mine, series.device, time_ns - time_ns % HOUR_NS)] += 1
        else:
            columns = unpack(blob)
            found.update(tally(columns, names.of(columns.series, connection)))
    return found
