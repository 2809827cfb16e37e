"""The quick way through own JSON: payloads that nothing is wrong with, read by msgspec.

It takes a payload only where it can show that `decode_json` would find nothing to refuse in its form; everything else,
also what is merely unusual (escapes, flags, statistics, units), it leaves to `decode_json`. What neither JSON nor
msgspec tells, a name that stands twice, shows in the number of quotation marks.
"""

from __future__ import annotations

import msgspec

from greenmine.ingest.decode_json import MAX_OBJECTS
from greenmine.ingest.strict_json import MAX_BYTES, MAX_FIELDS

_INT64 = 2**63
_LONGEST_BOOT = 64


class OrdinaryObject(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """One object of a payload: `ts` in ms or RFC 3339; names of values and of the device not looked at yet."""

    ts: int | str
    values: dict[str, float]
    device: str | None = None
    seq: int | None = None
    boot: str | None = None


_ONE = msgspec.json.Decoder(OrdinaryObject)
_MANY = msgspec.json.Decoder(list[OrdinaryObject])
_QUOTES_OF_NAMES = 4  # "ts" and "values"


def ordinary_objects(payload: bytes) -> list[OrdinaryObject] | None:
    """The objects of a payload of topic `up`, or None where it needs a closer look."""
    if len(payload) > MAX_BYTES or b"\\" in payload:
        return None
    try:
        objects = _MANY.decode(payload) if payload.startswith(b"[") else [_ONE.decode(payload)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # `decode_json` says what is wrong
    if not 0 < len(objects) <= MAX_OBJECTS:
        return None
    quotes = 0
    for one in objects:
        if not 0 < len(one.values) <= MAX_FIELDS:
            return None
        quotes += _QUOTES_OF_NAMES + 2 * len(one.values)
        if isinstance(one.ts, str):
            quotes += 2
        if one.device is not None:
            quotes += 4
        if one.seq is not None:
            if not 0 <= one.seq < _INT64:
                return None
            quotes += 2
        if one.boot is not None:
            if len(one.boot) > _LONGEST_BOOT:
                return None
            quotes += 4
    return objects if payload.count(b'"') == quotes else None
