"""The quick way through own JSON: payloads that nothing is wrong with, read by msgspec.

It takes a payload only where it can show that `decode_json` would find nothing to refuse in its form; everything else,
also what is merely unusual (escapes, flags, statistics, units), it leaves to `decode_json`. What neither JSON nor
msgspec tells, a name that stands twice, shows in the number of texts.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from greenmine.ingest.decode_json import MAX_OBJECTS
from greenmine.ingest.strict_json import MAX_BYTES, MAX_FIELDS

_Seq = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Boot = Annotated[str, msgspec.Meta(max_length=64)]
_Values = Annotated[dict[str, float], msgspec.Meta(min_length=1, max_length=MAX_FIELDS)]


class OrdinaryObject(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """One object of a payload: `ts` in ms or RFC 3339; names of values and of the device not looked at yet."""

    ts: int | str
    values: _Values
    device: str | None = None
    seq: _Seq | None = None
    boot: _Boot | None = None


_ONE = msgspec.json.Decoder(OrdinaryObject)
_MANY = msgspec.json.Decoder(Annotated[list[OrdinaryObject], msgspec.Meta(min_length=1, max_length=MAX_OBJECTS)])
TEXTS_OF_AN_OBJECT = 2  # the names "ts" and "values"
TEXTS_OF_DEVICE = TEXTS_OF_BOOT = 2
TEXTS_OF_SEQ = TEXTS_OF_TS = 1


def ordinary_objects(payload: bytes) -> list[OrdinaryObject] | None:
    """The objects of a payload of topic `up`, or None where it needs a closer look. Whoever has gone through them still
    has to ask `has_texts`."""
    if len(payload) > MAX_BYTES or b"\\" in payload:
        return None
    try:
        return _MANY.decode(payload) if payload.startswith(b"[") else [_ONE.decode(payload)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # `decode_json` says what is wrong


def has_texts(payload: bytes, texts: int) -> bool:
    """Whether as many texts stand in the payload as its objects have: `TEXTS_OF_...` what each has, and one for each
    value. Otherwise a name stands twice in an object, and only the last was seen."""
    return payload.count(b'"') == 2 * texts
