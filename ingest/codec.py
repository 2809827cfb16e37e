"""From the names of a device's maker to ours: applies a policy's codec to a decoded payload. Pure."""

from __future__ import annotations

import math
import re

from greenmine.core.errors import DecodeRefused
from greenmine.core.identifier import is_identifier
from greenmine.core.metric import METRICS
from greenmine.ingest.decoded import Decoded, DeviceHealth, Frame, Item, RefusedItem
from greenmine.policy.codec import Codec, CodecField, CodecTarget

MOST_SHOWN = 8
"""Names that a refusal lists."""
_NO_CODEC = Codec()
_NAME_END = re.compile("[@/]")


def apply_codec(decoded: Decoded, codec: Codec | None) -> Decoded:
    """The same payload in our vocabulary, with `Item.device` None: the network's name of the device has served.

    A name that the codec maps becomes its metric; `metric` or `metric@channel` of ours stays; all other names of a
    message are refused together (`unknown_field`), unless the codec ignores them. What is no number is refused where
    its name is mapped or ours, and costs nothing otherwise. Bytes that neither the network nor the codec reads are
    refused (`no_codec`).
    """
    codec = codec or _NO_CODEC
    ours = Decoded(
        refused=list(decoded.refused), health=decoded.health, sender=decoded.sender, notes=list(decoded.notes)
    )
    unknown: list[Item] = []
    for item in decoded.items:
        target = codec.fields.get(_sent_name(item))
        if target is not None:
            _add(ours, _mapped(item, target))
        elif item.metric == codec.battery:
            if item.value is not None:
                ours.health = _with_battery(ours.health, item.value, codec.battery_unit)
        elif (own := _own(item)) is not None:
            ours.items.append(own)
        elif item.metric not in codec.ignore:
            unknown.append(item)
    for one in decoded.unreadable:
        if one.name in codec.fields or is_ours(one.name):
            ours.refused.append(RefusedItem(one.word, one.detail, one.field))
        else:
            ours.notes.append(one.detail)
    if unknown:
        shown = ", ".join(item.metric[:64] for item in unknown[:MOST_SHOWN])
        more = f" and {len(unknown) - MOST_SHOWN} more" if len(unknown) > MOST_SHOWN else ""
        detail = f"the device's codec knows nothing of {shown}{more}"
        ours.refused.append(RefusedItem("unknown_field", detail, unknown[0].place))
    if decoded.frame is not None and decoded.sender is not None:
        _read_bytes(decoded.frame, decoded.sender, codec, ours)
    return ours


def is_ours(name: str) -> bool:
    """Whether a name as sent is one of our metrics, perhaps with a channel."""
    return _NAME_END.split(name, maxsplit=1)[0] in METRICS


def _sent_name(item: Item) -> str:
    return f"{item.metric}@{item.channel}" if item.channel else item.metric


def _own(item: Item) -> Item | None:
    """The item where its name is of our own vocabulary."""
    metric, at, channel = item.metric.partition("@")
    if metric not in METRICS or (at and not is_identifier(channel)):
        return None
    return item._replace(device=None, metric=metric, channel=channel or item.channel)


def _mapped(item: Item, target: CodecField) -> Item | RefusedItem:
    # What the payload says of the unit is of the number that was sent.
    sent_unit = item.unit if (target.scale, target.offset) == (1, 0) else None
    return _placed(item._replace(stat=target.stat, period_s=target.period), item.value, target, sent_unit)


def _placed(item: Item, value: float | None, target: CodecTarget, sent_unit: str | None) -> Item | RefusedItem:
    if value is not None:
        value = value * target.scale + target.offset
        if not math.isfinite(value):
            detail = f"{target.metric} is beyond a double after scale and offset"
            return RefusedItem("not_finite", detail, item.place)
    unit = target.unit or sent_unit
    return item._replace(device=None, metric=target.metric, channel=target.channel, value=value, unit=unit)


def _add(ours: Decoded, one: Item | RefusedItem) -> None:
    if isinstance(one, Item):
        ours.items.append(one)
    else:
        ours.refused.append(one)


def _read_bytes(frame: Frame, like: Item, codec: Codec, ours: Decoded) -> None:
    wanted = [one for one in codec.bytes_ if one.port in (None, frame.port)]
    if not codec.bytes_:
        detail = f"neither the network nor the device's codec reads the {len(frame.payload)} bytes"
        raise DecodeRefused("no_codec", detail, like.place)
    if not wanted:
        ours.notes.append(f"the device's codec reads nothing of port {frame.port}")
    for one in wanted:
        raw = frame.payload[one.at : one.at + one.length]
        if len(raw) < one.length:
            detail = f"{one.metric} is bytes {one.at} to {one.at + one.length - 1}, of {len(frame.payload)} sent"
            ours.refused.append(RefusedItem("frame_short", detail, like.place))
            continue
        number = int.from_bytes(raw, "little" if one.little_endian else "big", signed=one.signed)
        _add(ours, _placed(like, float(number), one, None))


def _with_battery(health: DeviceHealth | None, value: float, unit: str) -> DeviceHealth:
    health = health or DeviceHealth()
    if unit == "%":
        return health._replace(battery_percent=value)
    return health._replace(battery_v=value / 1000 if unit == "mV" else value)
