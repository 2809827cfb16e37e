"""Sparkplug B 3.0 as an edge node sends it: Protocol Buffers written by hand, byte for byte, and the numbers of a
session. Written without knowledge of any decoder, or of the library that it uses.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from greenmine.core.clock import NS_PER_MS

INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FLOAT, DOUBLE, BOOLEAN, STRING = range(1, 13)
_WIDE = (INT64, UINT64)
_SEQ_VALUES = 256


class MetricValue(NamedTuple):
    """A metric; a birth has its name and its alias, data may have the alias alone. `value` None is null."""

    value: float | int | bool | str | None
    datatype: int = FLOAT
    name: str | None = None
    alias: int | None = None
    time_ns: int | None = None
    historical: bool = False
    with_datatype: bool = True


def sparkplug_payload(metrics: Iterable[MetricValue], time_ns: int | None = None, seq: int | None = None) -> bytes:
    """A payload: timestamp (field 1), metrics (2), seq (3)."""
    head = b"" if time_ns is None else _varint(1, time_ns // NS_PER_MS)
    body = b"".join(_bytes(2, _metric(one)) for one in metrics)
    return head + body + (b"" if seq is None else _varint(3, seq))


class EdgeSession:
    """One edge node and the devices behind it; gives topics and payloads with the numbers that the specification
    wants. Aliases are handed out in the order of the births."""

    def __init__(self, group: str, edge: str, bd_seq: int = 0) -> None:
        self.group, self.edge = group, edge
        self.bd_seq = bd_seq
        self._seq = 0
        self._aliases: dict[tuple[str, str], int] = {}

    def node_birth(self, metrics: Mapping[str, float], time_ns: int) -> tuple[str, bytes]:
        """NBIRTH: bdSeq, the control for rebirths, and the node's own metrics."""
        self._seq = 0
        self._aliases.clear()
        listed = [
            MetricValue(self.bd_seq, INT64, "bdSeq"),
            MetricValue(False, BOOLEAN, "Node Control/Rebirth"),
            *self._named("", metrics),
        ]
        return self._topic("NBIRTH"), sparkplug_payload(listed, time_ns, 0)

    def device_birth(self, device: str, metrics: Mapping[str, float], time_ns: int) -> tuple[str, bytes]:
        """DBIRTH of a device."""
        return self._topic("DBIRTH", device), sparkplug_payload(self._named(device, metrics), time_ns, self._next())

    def data(
        self, device: str, metrics: Mapping[str, float], time_ns: int, historical: bool = False
    ) -> tuple[str, bytes]:
        """DDATA of a device, or NDATA for device '': aliases alone."""
        values = [
            MetricValue(
                value,
                alias=self._aliases[device, name],
                time_ns=time_ns,
                historical=historical,
                with_datatype=False,
            )
            for name, value in metrics.items()
        ]
        kind = "DDATA" if device else "NDATA"
        return self._topic(kind, device), sparkplug_payload(values, time_ns, self._next())

    def device_death(self, device: str, time_ns: int) -> tuple[str, bytes]:
        """DDEATH of a device."""
        return self._topic("DDEATH", device), sparkplug_payload([], time_ns, self._next())

    def node_death(self) -> tuple[str, bytes]:
        """NDEATH as the broker sends it for the node: bdSeq and no number."""
        return self._topic("NDEATH"), sparkplug_payload([MetricValue(self.bd_seq, INT64, "bdSeq")])

    def skip(self, messages: int = 1) -> None:
        """Let messages be lost."""
        self._seq = (self._seq + messages) % _SEQ_VALUES

    def _named(self, device: str, metrics: Mapping[str, float]) -> Sequence[MetricValue]:
        found = []
        for name, value in metrics.items():
            alias = self._aliases.setdefault((device, name), len(self._aliases) + 1)
            found.append(MetricValue(value, name=name, alias=alias))
        return found

    def _next(self) -> int:
        self._seq = (self._seq + 1) % _SEQ_VALUES
        return self._seq

    def _topic(self, kind: str, device: str = "") -> str:
        topic = f"spBv1.0/{self.group}/{kind}/{self.edge}"
        return f"{topic}/{device}" if device else topic


def _metric(one: MetricValue) -> bytes:
    parts = []
    if one.name is not None:
        parts.append(_bytes(1, one.name.encode()))
    if one.alias is not None:
        parts.append(_varint(2, one.alias))
    if one.time_ns is not None:
        parts.append(_varint(3, one.time_ns // NS_PER_MS))
    if one.with_datatype:
        parts.append(_varint(4, one.datatype))
    if one.historical:
        parts.append(_varint(5, 1))
    parts.append(_varint(7, 1) if one.value is None else _value(one.value, one.datatype))
    return b"".join(parts)


def _value(value: float | bool | str, datatype: int) -> bytes:
    if datatype == STRING:
        return _bytes(15, str(value).encode())
    if datatype == BOOLEAN:
        return _varint(14, int(value))
    if datatype == FLOAT:
        return _tag(12, 5) + struct.pack("<f", value)
    if datatype == DOUBLE:
        return _tag(13, 1) + struct.pack("<d", value)
    whole = int(value)
    if datatype in _WIDE:
        return _varint(11, whole & (2**64 - 1))
    return _varint(10, whole & (2**32 - 1))


def _tag(field: int, wire_type: int) -> bytes:
    return _base128(field << 3 | wire_type)


def _varint(field: int, number: int) -> bytes:
    return _tag(field, 0) + _base128(number)


def _bytes(field: int, content: bytes) -> bytes:
    return _tag(field, 2) + _base128(len(content)) + content


def _base128(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
