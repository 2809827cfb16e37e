"""Dead letters: what was refused, why, and where its payload is. There is a quota, and the oldest are out first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, update

from greenmine.core.act import Act
from greenmine.core.dead_letter import DeadLetterTotals
from greenmine.core.errors import NotFound
from greenmine.store import schema

_T = schema.dead_letter
_TOTAL = schema.dead_letter_total
MOST_ROWS = 100_000
MOST_BYTES = 256 * 1024 * 1024
"""What is kept of messages, and as much again of readings that the store refused. A replay of the journal has to keep
and drop the same, so these are no settings."""
_LOOKED_AT = 1_000


class DeadLetterRow(NamedTuple):
    """A dead letter as stored; `record_id` 0 for a reading that the store refused. `field` is the place in the payload,
    '' where it is the whole; `mine` and `device` are '' where the sender is not registered."""

    id: int
    at_ns: int
    record_id: int
    source: str
    client: str
    word: str
    field: str
    detail: str
    replayed_ns: int | None
    mine: str
    device: str
    size: int


_COLUMNS = [_T.c[name] for name in DeadLetterRow._fields]


def keep(connection: Connection, letters: Sequence[dict[str, Any]], of_store: bool = False) -> None:
    """Write new dead letters, within the deciding transaction, and drop the oldest beyond the quota."""
    if not letters:
        return
    connection.execute(insert(_T), list(letters))
    known = _totals(connection, of_store)
    grown = known._replace(rows=known.rows + len(letters), bytes=known.bytes + sum(one["size"] for one in letters))
    if grown.rows > MOST_ROWS or grown.bytes > MOST_BYTES:
        grown = _drop(connection, grown, of_store)
    if known == DeadLetterTotals():
        connection.execute(delete(_TOTAL).where(_TOTAL.c.of_store == of_store))
        connection.execute(insert(_TOTAL).values(of_store=of_store, **grown._asdict()))
    else:
        connection.execute(update(_TOTAL).where(_TOTAL.c.of_store == of_store).values(**grown._asdict()))


def totals(connection: Connection) -> DeadLetterTotals:
    """What is kept and what was dropped since the state began."""
    return DeadLetterTotals(
        *(sum(pair) for pair in zip(*(_totals(connection, one) for one in (False, True)), strict=True))
    )


def listed(
    connection: Connection,
    limit: int = 200,
    open_only: bool = True,
    word: str | None = None,
    mine: str | None = None,
    device: str | None = None,
) -> list[DeadLetterRow]:
    """Newest first; without those that were replayed, unless asked for."""
    query = select(*_COLUMNS).order_by(_T.c.id.desc()).limit(limit)
    if open_only:
        query = query.where(_T.c.replayed_ns.is_(None))
    for column, wanted in ((_T.c.word, word), (_T.c.mine, mine), (_T.c.device, device)):
        if wanted is not None:
            query = query.where(column == wanted)
    return [DeadLetterRow(*row) for row in connection.execute(query)]


def get(connection: Connection, number: int) -> DeadLetterRow:
    """One of them.

    Raises:
        NotFound: there is none of this number, or it was dropped.
    """
    row = connection.execute(select(*_COLUMNS).where(_T.c.id == number)).one_or_none()
    if row is None:
        raise NotFound(f"there is no dead letter {number}; the oldest are dropped when there are too many")
    return DeadLetterRow(*row)


def counts(connection: Connection, mine: str | None = None) -> dict[str, int]:
    """How many are kept and not replayed, by reason."""
    query = select(_T.c.word, func.count()).where(_T.c.replayed_ns.is_(None)).group_by(_T.c.word).order_by(_T.c.word)
    if mine is not None:
        query = query.where(_T.c.mine == mine)
    return dict(connection.execute(query).tuples().all())


def with_record_ids(connection: Connection, act: Act) -> Act:
    """The act with the journal records of the dead letters it names, which alone are the same in every replay.

    Raises:
        NotFound: none of them can be read again.
    """
    ids = [number for number in act.body.get("ids", []) if isinstance(number, int) and 0 < number < 2**63]
    query = select(_T.c.record_id).where(_T.c.id.in_(ids), _T.c.record_id > 0, _T.c.replayed_ns.is_(None)).distinct()
    records = sorted(connection.execute(query).scalars())
    if not records:
        raise NotFound(_why_none(connection, ids))
    return replace(act, body={"record_ids": records})


def _why_none(connection: Connection, ids: list[int]) -> str:
    again = select(_T.c.record_id).where(_T.c.id.in_(ids), _T.c.record_id > 0)
    query = select(_T.c.id).where(_T.c.record_id.in_(again), _T.c.replayed_ns.is_(None)).order_by(_T.c.id).limit(20)
    now = ", ".join(str(number) for number in connection.execute(query).scalars())
    if now:
        return f"these dead letters were read again before; what is still dead of them is now {now}"
    return "none of these dead letters can be read again; `greenmine dead-letters list` shows them"


def _totals(connection: Connection, of_store: bool) -> DeadLetterTotals:
    query = select(_TOTAL.c.rows, _TOTAL.c.bytes, _TOTAL.c.dropped).where(_TOTAL.c.of_store == of_store)
    row = connection.execute(query).one_or_none()
    return DeadLetterTotals() if row is None else DeadLetterTotals(*row)


def _drop(connection: Connection, held: DeadLetterTotals, of_store: bool) -> DeadLetterTotals:
    """Drop from the oldest on until the rest is within the quota. The letters of one record go together: a replay of
    part of them would count the others twice. What stays does not depend on how often this is asked."""
    rows, size, dropped = held
    whose = _T.c.record_id == 0 if of_store else _T.c.record_id > 0
    last_id, record_id = 0, 0
    while True:
        query = select(_T.c.id, _T.c.record_id, _T.c.size, _T.c.replayed_ns).where(whose, _T.c.id > last_id)
        found = connection.execute(query.order_by(_T.c.id).limit(_LOOKED_AT)).all()
        done = not found
        for row in found:
            if rows <= MOST_ROWS and size <= MOST_BYTES and (of_store or row.record_id != record_id):
                done = True
                break
            last_id, record_id = row.id, row.record_id
            rows, size, dropped = rows - 1, size - row.size, dropped + (row.replayed_ns is None)
        connection.execute(delete(_T).where(whose, _T.c.id <= last_id))
        if done:
            return DeadLetterTotals(rows, size, dropped)
