"""Sparkplug B 3.0: topics, and payloads as they are sent, however they are written."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import NamedTuple

from greenmine.core.errors import DecodeRefused

MAX_METRICS = 5_000
"""More than our own format takes: a birth lists all that a gateway has."""
REBIRTH = "Node Control/Rebirth"
BD_SEQ = "bdSeq"
NOT_READINGS = ("Node Control/", "Device Control/")
"""Begin the names of commands, which births list beside the readings."""


class MessageType(StrEnum):
    """What a message says of an edge node or of a device behind it."""

    NBIRTH = "NBIRTH"
    NDEATH = "NDEATH"
    NDATA = "NDATA"
    NCMD = "NCMD"
    DBIRTH = "DBIRTH"
    DDEATH = "DDEATH"
    DDATA = "DDATA"
    DCMD = "DCMD"

    @property
    def is_command(self) -> bool:
        """Whether it goes to the node."""
        return self in (MessageType.NCMD, MessageType.DCMD)


class SparkplugTopic(NamedTuple):
    """`node` is `group/edge`; `device` is '' for the node itself."""

    type: MessageType
    node: str
    device: str

    @property
    def address(self) -> str:
        """`group/edge`, or `group/edge/device`."""
        return f"{self.node}/{self.device}" if self.device else self.node


class DataType(IntEnum):
    """Data types that a number can be in, and Boolean (Sparkplug 3.0 section 6.4.16)."""

    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11


class SparkplugMetric(NamedTuple):
    """A metric as sent. `kind` names the field of the value: `int long float double boolean`, or another one whose
    value is no number. `quality` is the property of that name: 192 good, 0 bad, 500 stale. `is_historical` marks what
    was kept while there was no connection."""

    name: bytes | None
    alias: int | None
    timestamp_ms: int | None
    datatype: int | None
    kind: str | None
    value: object
    is_null: bool
    unit: bytes | None
    quality: int | None
    is_historical: bool = False


class SparkplugPayload(NamedTuple):
    """A payload as sent."""

    timestamp_ms: int | None
    seq: int | None
    metrics: list[SparkplugMetric]


def check_count(metrics: int) -> None:
    """Refuse a payload with more metrics than are read: `too_many_records`."""
    if metrics > MAX_METRICS:
        raise DecodeRefused("too_many_records", f"{metrics} metrics; the most is {MAX_METRICS}", "metrics")


def sparkplug_topic(topic: str) -> SparkplugTopic | None:
    """A topic that `parse_topic` knows as Sparkplug; None for the state of a host."""
    _, group, *rest = topic.split("/")
    if group == "STATE":
        return None
    kind, edge, *device = rest
    return SparkplugTopic(MessageType(kind), f"{group}/{edge}", device[0] if device else "")


def rebirth_topic(node: str) -> str:
    """Where an edge node is asked for its births."""
    group, edge = node.split("/")
    return f"spBv1.0/{group}/NCMD/{edge}"
