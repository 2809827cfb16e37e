"""The append-only record: every act, transition, notice and change, each entry hashed over the one before.

Whoever edits, removes or reorders an entry breaks the chain at that place. Cutting off the newest entries, or writing
all entries from some place on anew with fitting hashes, is visible only against a copy of the head kept elsewhere
(`audit verify` prints the head).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, select

from greenmine.store import schema

GENESIS = "0" * 64


class AuditEntry(NamedTuple):
    """Something to record. `body` is any JSON object without secrets."""

    at_ns: int
    principal: str
    action: str
    subject: str
    body: dict[str, Any]


class AuditRow(NamedTuple):
    """An entry as stored."""

    no: int
    at_ns: int
    principal: str
    action: str
    subject: str
    body: str
    previous: str
    hash: str


class AuditReport(NamedTuple):
    """Result of a verification. `broken_no` is the first entry that does not fit, None where all do."""

    entries: int
    head: str
    broken_no: int | None
    reason: str


def append(connection: Connection, entries: Iterable[AuditEntry]) -> None:
    """Append entries to the chain, within the caller's transaction."""
    entries = list(entries)
    if not entries:
        return
    table = schema.audit
    last = connection.execute(select(table.c.no, table.c.hash).order_by(table.c.no.desc()).limit(1)).one_or_none()
    no, previous = (last[0], last[1]) if last else (0, GENESIS)
    rows = []
    for entry in entries:
        no += 1
        body = json.dumps(entry.body, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
        digest = _hash(no, entry.at_ns, entry.principal, entry.action, entry.subject, body, previous)
        rows.append(AuditRow(no, *entry[:4], body, previous, digest)._asdict())
        previous = digest
    connection.execute(insert(table), rows)


def rows(connection: Connection) -> Iterator[AuditRow]:
    """All entries in order, streamed."""
    result = connection.execution_options(yield_per=1000).execute(select(schema.audit).order_by(schema.audit.c.no))
    return (AuditRow(*row) for row in result)


def verify(entries: Iterable[AuditRow]) -> AuditReport:
    """Follow the chain and name the first entry that does not fit."""
    count, previous = 0, GENESIS
    for row in entries:
        if row.no != count + 1:
            return AuditReport(count, previous, count + 1, f"entry {count + 1} is missing; {row.no} follows {count}")
        if row.previous != previous:
            return AuditReport(count, previous, row.no, "does not follow the entry before it")
        if row.hash != _hash(*row[:7]):
            return AuditReport(count, previous, row.no, "its content was changed after it was written")
        count, previous = row.no, row.hash
    return AuditReport(count, previous, None, "every entry fits")


def _hash(no: int, at_ns: int, principal: str, action: str, subject: str, body: str, previous: str) -> str:
    text = json.dumps([no, at_ns, principal, action, subject, body, previous], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
