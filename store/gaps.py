"""Sequences of devices and the gaps in them, as stored."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select

from greenmine.core.errors import Corrupt
from greenmine.core.gap import Gap, GapReason, Sequence, Stream, all_of
from greenmine.store import schema

_T = schema.gap
_ADVANCE = struct.Struct("<qqq")
_LOG = insert(schema.sequence_log)
_MOST_RANGES = 256
"""With more, the bits take less room."""


def save_sequences(connection: Connection, sequences: Iterable[Sequence], cursor: int) -> None:
    """Write whole rows, with the commit of journal cursor `cursor`."""
    table = schema.sequence
    rows = [
        {
            "id": one.id,
            **one.stream._asdict(),
            "boot": one.boot,
            "former_boot": one.former_boot,
            "highest": one.highest,
            "highest_ns": one.highest_ns,
            "reset_ns": one.reset_ns,
            "cursor": cursor,
        }
        for one in sequences
    ]
    if rows:
        connection.execute(delete(table).where(table.c.id == bindparam("b_id")), [{"b_id": row["id"]} for row in rows])
        connection.execute(insert(table), rows)


def log_advances(connection: Connection, sequences: Iterable[Sequence], cursor: int) -> None:
    """Write down how far these sequences are, in one row for all: with a row each, a commit that has a message of each
    device would cost more than the messages themselves."""
    numbers = [number for one in sequences for number in (one.id, one.highest, one.highest_ns)]
    if numbers:
        blob = struct.pack(f"<{len(numbers)}q", *numbers)
        connection.execute(_LOG, {"cursor": cursor, "blob": blob})


def cut_log(connection: Connection, upto: int) -> None:
    """Forget what stands in the rows of all sequences."""
    connection.execute(delete(schema.sequence_log).where(schema.sequence_log.c.cursor <= upto))


def sequences(connection: Connection) -> list[Sequence]:
    """All sequences as of the last commit, by id; their gaps are not filled in.

    Raises:
        Corrupt: the log does not fit the sequences.
    """
    table, log = schema.sequence, schema.sequence_log
    found: dict[int, Sequence] = {}
    saved_at: dict[int, int] = {}
    for row in connection.execute(select(table).order_by(table.c.id)):
        stream = Stream(row.mine, row.device, row.name)
        found[row.id] = Sequence(
            row.id,
            stream,
            row.boot,
            row.former_boot,
            row.highest,
            row.highest_ns,
            row.reset_ns,
            saved=(row.highest, row.highest_ns),
        )
        saved_at[row.id] = row.cursor
    for cursor, blob in connection.execute(select(log.c.cursor, log.c.blob).order_by(log.c.cursor)).tuples():
        if len(blob) % _ADVANCE.size:
            raise Corrupt(f"the log of sequences has {len(blob)} bytes at {cursor}")
        for number, highest, highest_ns in _ADVANCE.iter_unpack(blob):
            if number not in found:
                raise Corrupt(f"the log of sequences names {number} at {cursor}, which does not exist")
            if cursor > saved_at[number]:
                found[number].highest, found[number].highest_ns = highest, highest_ns
    return list(found.values())


def save(connection: Connection, gaps: dict[str, Gap | None]) -> None:
    """Write gaps by id; None takes one away that was only disorder."""
    if gaps:
        connection.execute(delete(_T).where(_T.c.id == bindparam("b_id")), [{"b_id": one} for one in gaps])
    rows = [_row(one) for one in gaps.values() if one is not None]
    if rows:
        connection.execute(insert(_T), rows)


def waiting(connection: Connection) -> list[Gap]:
    """Gaps that are open or suspected, in the order in which they were."""
    query = select(_T).where(_T.c.reason == GapReason.OPEN.value).order_by(_T.c.opened_ns, _T.c.first_seq, _T.c.id)
    return [_gap(row) for row in connection.execute(query)]


def listed(
    connection: Connection,
    mine: str | None = None,
    device: str | None = None,
    open_only: bool = False,
    limit: int = 500,
) -> list[Gap]:
    """Declared gaps, newest first."""
    query = select(_T).where(_T.c.found_ns.is_not(None)).order_by(_T.c.found_ns.desc(), _T.c.id).limit(limit)
    if mine is not None:
        query = query.where(_T.c.mine == mine)
    if device is not None:
        query = query.where(_T.c.device == device)
    if open_only:
        query = query.where(_T.c.reason == GapReason.OPEN.value)
    return [_gap(row) for row in connection.execute(query)]


def counts(connection: Connection) -> dict[str, int]:
    """Declared gaps by reason, for as long as they are kept."""
    query = select(_T.c.reason, func.count()).where(_T.c.found_ns.is_not(None)).group_by(_T.c.reason)
    return dict(connection.execute(query).tuples().all())


def prune(connection: Connection, before_ns: int) -> None:
    """Forget gaps that were closed before this time."""
    connection.execute(delete(_T).where(_T.c.closed_ns < before_ns))


def _row(one: Gap) -> dict[str, Any]:
    row = {**one._asdict(), **one.stream._asdict(), "reason": one.reason.value}
    row["stream"] = row.pop("name")
    del row["left"]
    few = one.pieces <= _MOST_RANGES
    row["remaining"] = json.dumps(one.remaining, separators=(",", ":")) if few else f"{one.left:x}"
    return row


def _gap(row: Row[Any]) -> Gap:
    text = row.remaining
    ranges = json.loads(text) if text.startswith("[") else None
    left = int(text, 16) if ranges is None else sum(all_of(a, b) << (a - row.first_seq) for a, b in ranges)
    return Gap(
        id=row.id,
        stream=Stream(row.mine, row.device, row.stream),
        boot=row.boot,
        first_seq=row.first_seq,
        last_seq=row.last_seq,
        from_ns=row.from_ns,
        to_ns=row.to_ns,
        opened_ns=row.opened_ns,
        found_ns=row.found_ns,
        filled=row.filled,
        left=left,
        attempts=row.attempts,
        next_ns=row.next_ns,
        closed_ns=row.closed_ns,
        reason=GapReason(row.reason),
    )
