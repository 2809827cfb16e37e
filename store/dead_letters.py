"""Dead letters: what was refused, why, and where its payload is."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import Connection, select

from greenmine.core.act import Act
from greenmine.core.errors import NotFound
from greenmine.store import schema

_T = schema.dead_letter


class DeadLetterRow(NamedTuple):
    """A dead letter as stored; `record_id` 0 for a reading that the store refused."""

    id: int
    at_ns: int
    record_id: int
    source: str
    client: str
    word: str
    detail: str
    replayed_ns: int | None


def listed(connection: Connection, limit: int = 200, open_only: bool = True) -> list[DeadLetterRow]:
    """Newest first; without those that were replayed, unless asked for."""
    query = select(_T).order_by(_T.c.id.desc()).limit(limit)
    if open_only:
        query = query.where(_T.c.replayed_ns.is_(None))
    return [DeadLetterRow(*row) for row in connection.execute(query)]


def with_record_ids(connection: Connection, act: Act) -> Act:
    """The act with the journal records of the dead letters it names, which alone are the same in every replay.

    Raises:
        NotFound: none of them can be read again.
    """
    ids = [number for number in act.body.get("ids", []) if isinstance(number, int) and 0 < number < 2**63]
    query = select(_T.c.record_id).where(_T.c.id.in_(ids), _T.c.record_id > 0, _T.c.replayed_ns.is_(None)).distinct()
    records = sorted(connection.execute(query).scalars())
    if not records:
        raise NotFound("none of these dead letters can be read again; `greenmine dead-letters list` shows them")
    return replace(act, body={"record_ids": records})
