"""Sparkplug B 3.0 payloads: one message of an edge node, or of a device behind it."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from greenmine.core.errors import DecodeRefused, placed
from greenmine.core.quality import Quality
from greenmine.ingest.decoded import Decoded, Item, RefusedItem, Unreadable
from greenmine.ingest.sparkplug import BD_SEQ, NOT_READINGS, DataType, SparkplugMetric, SparkplugPayload
from greenmine.ingest.sparkplug_protobuf import parse_sparkplug
from greenmine.ingest.strict_json import MAX_BYTES
from greenmine.ingest.timestamp import from_milliseconds

MAX_NAME = 256
MAX_SEQ = 255
BAD_QUALITY = frozenset((0, 500))
"""Bad, and stale."""

_DATATYPES = frozenset(int(kind) for kind in DataType) - {int(DataType.BOOLEAN)}
_BITS = {DataType.INT8: 8, DataType.INT16: 16, DataType.INT32: 32, DataType.INT64: 64}
_NUMBERS = ("int", "long", "float", "double")


class Alias(NamedTuple):
    """What a birth says of an alias."""

    name: str
    datatype: int | None


@dataclass(slots=True)
class SparkplugMessage:
    """A message, and what it says of its session. `defined` are aliases that it gives names to; `unnamed` are items
    (with metric '') whose alias no birth that is known has named. `time_ns` is when it was sent, None where it does not
    say; `historical` are the source times of its values that were kept while there was no connection."""

    decoded: Decoded
    seq: int | None
    bd_seq: int | None
    defined: dict[int, Alias] = field(default_factory=dict)
    unnamed: list[tuple[int, Item]] = field(default_factory=list)
    time_ns: int | None = None
    historical: set[int] = field(default_factory=set)


def decode_sparkplug(payload: bytes, device: str, aliases: Mapping[int, Alias]) -> SparkplugMessage:
    """Decode what `device` (`group/edge[/device]`) sent; `aliases` are those of its own birth.

    A Float is the shortest decimal number that names it (21.4, not 21.399999618530273). Values that are no numbers are
    `unreadable`. Historical values are items like any other; they are late.

    Raises:
        DecodeRefused: `size protobuf too_many_records range`.
    """
    if len(payload) > MAX_BYTES:
        raise DecodeRefused("size", f"{len(payload)} bytes; the most is {MAX_BYTES}")
    return decode_payload(parse_sparkplug(payload), device, aliases)


def decode_payload(sent: SparkplugPayload, device: str, aliases: Mapping[int, Alias]) -> SparkplugMessage:
    """The same of a payload that has been read already: only `range` is refused."""
    if sent.seq is not None and not 0 <= sent.seq <= MAX_SEQ:
        raise DecodeRefused("range", f"seq is 0 to {MAX_SEQ}", "seq")
    message = SparkplugMessage(Decoded(), sent.seq, None)
    if sent.timestamp_ms is not None:
        with suppress(DecodeRefused):  # each value that has no time of its own is refused for it
            message.time_ns = from_milliseconds(sent.timestamp_ms)
    for index, metric in enumerate(sent.metrics):
        try:
            _metric(metric, sent.timestamp_ms, device, aliases, message)
        except DecodeRefused as refused:
            place = refused.field or f"metrics[{index}]"
            message.decoded.refused.append(RefusedItem(refused.word, f"metrics[{index}]: {refused.detail}", place))
    return message


def _metric(
    metric: SparkplugMetric,
    payload_ms: int | None,
    device: str,
    aliases: Mapping[int, Alias],
    message: SparkplugMessage,
) -> None:
    name, datatype = _name(metric), metric.datatype
    if name is not None and metric.alias is not None:
        message.defined[metric.alias] = Alias(name, datatype)
    if name is None and metric.alias is not None:
        known = message.defined.get(metric.alias) or aliases.get(metric.alias)
        if known is not None:
            name, datatype = known.name, known.datatype if datatype is None else datatype
    if name is None and metric.alias is None:
        raise DecodeRefused("missing_field", "a metric has neither name nor alias")
    if name == BD_SEQ:
        if not isinstance(metric.value, int) or not 0 <= metric.value < 1 << 63:
            raise DecodeRefused("range", "bdSeq is an integer from 0", BD_SEQ)
        message.bd_seq = metric.value
        return
    if name is not None and name.startswith(NOT_READINGS):
        return
    shown = name if name is not None else f"alias {metric.alias}"
    try:
        value = _value(metric, datatype, shown)
    except DecodeRefused as refused:
        message.decoded.unreadable.append(Unreadable(name or "", refused.word, refused.detail, shown))
        return
    time_ms = metric.timestamp_ms if metric.timestamp_ms is not None else payload_ms
    if time_ms is None:
        raise DecodeRefused("missing_field", f"{shown} has no timestamp", shown)
    quality = Quality.INVALID if metric.quality in BAD_QUALITY else Quality.GOOD
    unit = None if metric.unit is None else _text(metric.unit, "engUnit")
    with placed(shown):
        time_ns = from_milliseconds(time_ms)
    item = Item(device, name or "", "", "inst", 0, time_ns, value, unit, int(quality), place=shown)
    if metric.is_historical:
        message.historical.add(item.time_ns)
    if name is not None:
        message.decoded.items.append(item)
    else:
        assert metric.alias is not None
        message.unnamed.append((metric.alias, item))


def _name(metric: SparkplugMetric) -> str | None:
    if metric.name is None:
        return None
    name = _text(metric.name, "name")
    if not name:
        return None
    if len(name) > MAX_NAME:
        raise DecodeRefused("size", f"a name has {len(name)} characters; the most is {MAX_NAME}")
    return name


def _text(raw: bytes, what: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DecodeRefused("encoding", f"{what} is not UTF-8") from error


def _value(metric: SparkplugMetric, datatype: int | None, shown: str) -> float | None:
    """The number, or None for null.

    Raises:
        DecodeRefused: `type`, `not_finite`.
    """
    if metric.is_null:
        return None
    value = metric.value
    if metric.kind not in _NUMBERS or isinstance(value, bool) or not isinstance(value, int | float):
        raise DecodeRefused("type", f"{shown} is not a number")
    if isinstance(value, int):
        return float(_signed(value, datatype, shown))
    if not math.isfinite(value):
        raise DecodeRefused("not_finite", f"{shown} is not finite")
    return _shortest(value) if metric.kind == "float" else value


def _signed(value: int, datatype: int | None, shown: str) -> int:
    """Integers go as unsigned ones, the negative in two's complement of 32 or 64 bits (some send just their width)."""
    if datatype is None:
        if value >= 1 << 31:
            raise DecodeRefused("type", f"{shown} may be negative; it has no data type, and its birth is not known")
        return value
    if datatype not in _DATATYPES:
        raise DecodeRefused("type", f"{shown} is not a number")
    bits = _BITS.get(DataType(datatype))
    if bits is None:
        return value
    low = value & ((1 << bits) - 1)
    return low - (1 << bits) if low >> (bits - 1) else low


def _shortest(value: float) -> float:
    wire = struct.pack("<f", value)
    for digits in range(6, 9):
        short = float(f"{value:.{digits}g}")
        if struct.pack("<f", short) == wire:
            return short
    return float(f"{value:.9g}")
