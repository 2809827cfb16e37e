"""What is kept of readings that were quarantined and of conflicts: one sender that is wrong all day must not fill the
state. How many there were, the counts of reasons and the accounts say for ever."""

from __future__ import annotations

from sqlalchemy import Connection, delete, func, select

from greenmine.store import schema

MOST_ROWS = 200_000
"""Of each. A replay of the journal has to keep and drop the same, so this is no setting."""


def prune(connection: Connection, before_ns: int) -> None:
    """Forget the oldest beyond the number, and what is from before a time (ns, the journal's clock); but not readings
    of a message whose dead letter may still be read again, since they would be counted twice then."""
    letter = schema.dead_letter
    replayable = select(letter.c.record_id).where(letter.c.replayed_ns.is_(None))
    for table in (schema.quarantine, schema.conflict):
        newest = select(func.coalesce(func.max(table.c.id), 0)).scalar_subquery()
        is_old = (table.c.at_ns < before_ns) | (table.c.id <= newest - MOST_ROWS)
        connection.execute(delete(table).where(is_old, table.c.record_id.not_in(replayable)))
