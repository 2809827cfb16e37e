"""What stands in the journal: records of everything that enters, in batches that carry the clock."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import NamedTuple


class RecordKind(IntEnum):
    """What a record is; the numbers are part of the stored format."""

    MESSAGE = 1
    ACT = 2
    POLICY = 3
    DELIVERY = 4
    SERVICE = 5
    IMPORT = 6
    LOST = 7
    """Stands where a record cannot be read any more; also what a damaged row of no known kind is read as."""


class RecordFlag(IntFlag):
    """How a message came."""

    NONE = 0
    QOS0 = 1
    RETAIN = 2
    DUP = 4
    DENIED = 8
    BAD_TOPIC = 16
    UNFINISHED = 64
    """What there is of a frame whose rest did not come in time."""


def arrival_flags(qos: int, retain: bool, dup: bool) -> RecordFlag:
    """The flags that MQTT's own say of a message."""
    flags = RecordFlag.NONE
    if qos == 0:
        flags |= RecordFlag.QOS0
    if retain:
        flags |= RecordFlag.RETAIN
    if dup:
        flags |= RecordFlag.DUP
    return flags


class Record(NamedTuple):
    """One thing that entered. `source` is the MQTT topic, or the principal of an act; `client` the MQTT account,
    or the ticket by which the answer to an act finds its way back."""

    kind: RecordKind
    source: str
    payload: bytes
    client: str = ""
    flags: int = 0


class StoredRecord(NamedTuple):
    """A record as it was read back. `intact` is False where its checksum does not fit."""

    id: int
    record: Record
    intact: bool


class Batch(NamedTuple):
    """Records that were committed together. An idle interval is a batch without records.

    `received_ns` is the wall clock, which may step; `clock_ns` never goes back and is what timers run on.
    """

    no: int
    received_ns: int
    clock_ns: int
    records: tuple[StoredRecord, ...]
