"""An activity message: one JSON object of at most 4 KiB. Pure and strict: nothing unknown, nothing twice."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, TypeVar

from greenmine.core.activity import ActivityKind, ActivityState
from greenmine.core.errors import DecodeRefused, placed
from greenmine.ingest.timestamp import from_milliseconds, from_rfc3339

MAX_BYTES = 4096
LONGEST_ZONE = 64
_Word = TypeVar("_Word", ActivityKind, ActivityState)
_FIELDS = frozenset(("ts", "kind", "state", "zone", "lat", "lon"))


class DecodedActivity(NamedTuple):
    """What the payload says; the mine and the device are the topic's."""

    time_ns: int
    kind: ActivityKind
    state: ActivityState
    zone: str
    lat: float | None
    lon: float | None


def decode_activity(payload: bytes) -> DecodedActivity:
    """Decode a payload of topic `activity`.

    Raises:
        DecodeRefused: `empty size encoding json depth not_finite type duplicate_key unknown_field missing_field kind
            state zone range` and those of `ingest.timestamp`.
    """
    entry = _object(payload)
    unknown = [key for key in entry if key not in _FIELDS]
    if unknown:
        detail = f"the object has {unknown[0][:80]!r}; known are {sorted(_FIELDS)}"
        raise DecodeRefused("unknown_field", detail, unknown[0][:80])
    lat, lon = _degrees(entry, "lat", 90), _degrees(entry, "lon", 180)
    if (lat is None) != (lon is None):
        raise DecodeRefused("missing_field", "lat and lon go together", "lon" if lon is None else "lat")
    kind = _word(entry, "kind", ActivityKind)
    with placed("ts"):
        time_ns = _time(entry)
    return DecodedActivity(time_ns, kind, _word(entry, "state", ActivityState), _zone(entry), lat, lon)


def _object(payload: bytes) -> dict[str, Any]:
    if not payload:
        raise DecodeRefused("empty", "zero bytes")
    if len(payload) > MAX_BYTES:
        raise DecodeRefused("size", f"{len(payload)} bytes; the most is {MAX_BYTES}")
    try:
        document = json.loads(payload.decode("utf-8"), object_pairs_hook=_pairs, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise DecodeRefused("encoding", f"not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise DecodeRefused("depth", "nested too deep") from error
    except ValueError as error:  # a number of thousands of digits is one too
        raise DecodeRefused("json", str(error)[:200]) from error
    if not isinstance(document, dict):
        raise DecodeRefused("type", "an activity is one object")
    return document


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise DecodeRefused("duplicate_key", f"{key[:80]} stands twice", key[:80])
        found[key] = value
    return found


def _no_number(name: str) -> Any:
    raise DecodeRefused("not_finite", f"{name} is no number of JSON")


def _time(entry: dict[str, Any]) -> int:
    moment = entry.get("ts")
    if isinstance(moment, str):
        return from_rfc3339(moment)
    if isinstance(moment, int) and not isinstance(moment, bool):
        return from_milliseconds(moment)
    if moment is None:
        raise DecodeRefused("missing_field", "ts is missing")
    raise DecodeRefused("type", "ts is RFC 3339 text or integer milliseconds")


def _word(entry: dict[str, Any], field: str, words: type[_Word]) -> _Word:
    found = entry.get(field)
    if found is None:
        raise DecodeRefused("missing_field", f"{field} is missing", field)
    if not isinstance(found, str) or found not in list(words):
        raise DecodeRefused(field, f"{field} is one of {', '.join(words)}", field)
    return words(found)


def _zone(entry: dict[str, Any]) -> str:
    zone = entry.get("zone")
    if zone is None:
        return ""
    if not isinstance(zone, str):
        raise DecodeRefused("type", "zone is not text", "zone")
    if len(zone) > LONGEST_ZONE or not zone.isprintable():
        raise DecodeRefused("zone", f"zone is at most {LONGEST_ZONE} printable characters", "zone")
    return zone.strip()


def _degrees(entry: dict[str, Any], field: str, most: int) -> float | None:
    found = entry.get(field)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise DecodeRefused("type", f"{field} is not a number", field)
    if not -most <= found <= most:
        raise DecodeRefused("range", f"{field} is -{most} to {most} degrees", field)
    return float(found)
