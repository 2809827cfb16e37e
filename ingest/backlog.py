"""A backlog that is set aside: which batches of the journal wait, and which of their records do not.

What is set aside, and when what of it is judged, stands in the journal itself as records of the service, so that a
replay does the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from greenmine.ingest.record import Batch, Record, RecordKind, StoredRecord

MOST_BYTES = 16 * 1024 * 1024
"""Payloads that one call that reads batches takes, and those of one batch more."""
SET_ASIDE = "set_aside"
DRAIN = "drain"
AT_ONCE = "(kind <> 1 OR source GLOB 'spBv1.0/*' OR source GLOB '*/activity')"
"""`is_at_once` in SQL, over the journal's table of records."""


class Aside(NamedTuple):
    """A range of batches whose messages wait, and its records. `since_ns`: up to when had been judged then;
    `clock_ns`: the clock of the last batch."""

    first_no: int
    last_no: int
    first_record: int
    last_record: int
    since_ns: int
    clock_ns: int

    @property
    def records(self) -> int:
        """How many records stand in it; some of them may not have had to wait."""
        return self.last_record - self.first_record + 1


class Drain(NamedTuple):
    """The next slice of what waits: these batches, and the first record after them."""

    first_no: int
    last_no: int
    next_record: int


class HasBatches(Protocol):
    """What reads a journal."""

    def batches(self, after: int, most_records: int = 5000) -> list[Batch]:
        """See `JournalReader.batches`."""
        ...


def is_at_once(record: Record) -> bool:
    """Whether a record of a backlog is judged in its place: all that is no message, what mines say of their activity
    (rules ask for it), and Sparkplug (its sessions live by the order of messages)."""
    return (
        record.kind is not RecordKind.MESSAGE
        or record.source.startswith("spBv1.0/")
        or record.source.endswith("/activity")
    )


def set_aside_payload(aside: Aside) -> bytes:
    """The record of the service that sets a range aside."""
    return json.dumps({"event": SET_ASIDE, **aside._asdict()}).encode()


def drain_payload(drain: Drain) -> bytes:
    """The record of the service upon which a slice is judged."""
    return json.dumps({"event": DRAIN, **drain._asdict()}).encode()


def drain_of(event: dict[str, Any]) -> Drain:
    """A slice from its event."""
    return Drain(*(event[name] for name in Drain._fields))


def set_aside_by(records: Iterable[StoredRecord]) -> list[Aside]:
    """The ranges that these records set aside."""
    found: list[Aside] = []
    for stored in records:
        if stored.intact and stored.record.kind is RecordKind.SERVICE:
            event = json.loads(stored.record.payload)
            if event["event"] == SET_ASIDE:
                found.append(Aside(*(event[name] for name in Aside._fields)))
    return found


def read_at_once(journal: HasBatches, after: int, upto: int, most_records: int) -> list[Batch]:
    """Batches numbered above `after` up to `upto` that have records to be judged at once, with these alone; by reading
    all of them."""
    found: list[Batch] = []
    total = size = 0
    while after < upto and total < most_records and size <= MOST_BYTES and (batches := journal.batches(after)):
        for batch in batches:
            kept = tuple(stored for stored in batch.records if is_at_once(stored.record))
            if kept and batch.no <= upto and total < most_records and size <= MOST_BYTES:
                found.append(batch._replace(records=kept))
                total += len(kept)
                size += sum(len(stored.record.payload) for stored in kept)
        after = batches[-1].no
    return found
