"""Own JSON: one object, or an array of at most 1,000, at most 256 KiB.

One bad object or value never costs a good one: what is wrong with the whole payload refuses it, what is wrong with
one object or value is refused beside the others. A name that stands twice in `values` or `flags` costs the values of
that name; one that stands twice in the object itself costs the object. A byte order mark is refused (`json`). A number
too small for a double is stored as 0.
"""

from __future__ import annotations

import math
from typing import Any

from greenmine.core.errors import DecodeRefused
from greenmine.core.identifier import is_identifier
from greenmine.core.metric import METRICS
from greenmine.core.quality import HJ212_LETTERS, Quality
from greenmine.core.reading import STATS
from greenmine.core.unit import convertible
from greenmine.ingest.decoded import Decoded, Item, RefusedItem
from greenmine.ingest.strict_json import FaultyObject, check_nesting, check_surrogates, parse_json
from greenmine.ingest.timestamp import from_milliseconds, from_rfc3339

MAX_OBJECTS = 1_000
MAX_PERIOD_S = 366 * 86400
_INT64 = 2**63
_FIELDS = frozenset(("ts", "values", "seq", "boot", "flags", "stat", "period_s", "device", "unit"))


def decode_json(payload: bytes) -> Decoded:
    """Decode a payload of topic `up`.

    Raises:
        DecodeRefused: the payload as a whole; words `empty size encoding json depth not_finite too_many_fields
            too_many_records type`.
    """
    document, escaped = parse_json(payload)
    objects = document if isinstance(document, list) else [document]
    if len(objects) > MAX_OBJECTS:
        raise DecodeRefused("too_many_records", f"{len(objects)} objects; the most is {MAX_OBJECTS}")
    if isinstance(document, float) and not math.isfinite(document):
        raise DecodeRefused("not_finite", "the payload is no finite number, and no object either")
    if not isinstance(document, list | dict):
        raise DecodeRefused("type", "a payload is one object or an array of objects")
    decoded = Decoded()
    for index, entry in enumerate(objects):
        where = f"[{index}]" if isinstance(document, list) else ""
        try:
            check_nesting(entry, 2 if where else 1)
            _object(entry, where, escaped, decoded)
        except DecodeRefused as refused:
            decoded.refused.append(RefusedItem(refused.word, refused.detail, _joined(where, refused.field)))
    if not decoded.items and not decoded.refused:
        raise DecodeRefused("empty", "the array has no objects")
    return decoded


def _object(entry: Any, where: str, escaped: bool, decoded: Decoded) -> None:
    if not isinstance(entry, dict):
        raise DecodeRefused("type", f"{where or 'payload'} is not an object")
    if escaped:
        check_surrogates([item for item in entry.items() if item[0] not in ("values", "flags")])
    if isinstance(entry, FaultyObject):
        raise DecodeRefused(
            "duplicate_key",
            f"{where}{'.' if where else ''}{min(entry.repeated)} stands twice",
            min(entry.repeated)[:80],
        )
    unknown = [key for key in entry if key not in _FIELDS]
    if unknown:
        detail = f"{where or 'payload'} has {unknown[0]!r}; known are {sorted(_FIELDS)}"
        raise DecodeRefused("unknown_field", detail, unknown[0][:80])
    at = "ts"
    try:
        time_ns = _time(entry)
        at = "device"
        device = _device(entry)
        at = "stat"
        stat, period_s = _statistic(entry)
        at = "unit"
        unit = _unit_text(entry)
        at = "flags"
        flags = _mapping(entry, "flags")
        at = "seq"
        seq, boot = _sequence(entry)
        at = "values"
        values = _mapping(entry, "values")
        if not values:
            raise DecodeRefused("missing_field", f"{where or 'payload'} has no values")
    except DecodeRefused as refused:
        raise refused.at(refused.field or at) from refused
    for name, value in values.items():
        place = _joined(where, f"values.{name[:80]}")
        try:
            if escaped:
                check_surrogates((name, value, flags.get(name)))
            _check_once(name, values, flags)
            metric, channel = _metric(name)
            number = _number(name, value)
            _unit(metric, unit)
            quality = _flag(name, flags)
        except DecodeRefused as refused:
            at = _joined(where, refused.field) if refused.field else place
            decoded.refused.append(RefusedItem(refused.word, _joined(where, refused.detail), at))
            continue
        decoded.items.append(
            Item(device, metric, channel, stat, period_s, time_ns, number, unit, quality, seq, boot, place)
        )


def _joined(where: str, rest: str) -> str:
    return f"{where}.{rest}" if where and rest else where or rest


def _unit_text(entry: dict[str, Any]) -> str | None:
    unit = entry.get("unit")
    if unit is not None and not isinstance(unit, str):
        raise DecodeRefused("type", "unit is not text")
    return unit


def _time(entry: dict[str, Any]) -> int:
    moment = entry.get("ts")
    if isinstance(moment, str):
        return from_rfc3339(moment)
    if isinstance(moment, int) and not isinstance(moment, bool):
        return from_milliseconds(moment)
    if moment is None:
        raise DecodeRefused("missing_field", "ts is missing")
    raise DecodeRefused("type", "ts is RFC 3339 text or integer milliseconds")


def _device(entry: dict[str, Any]) -> str | None:
    device = entry.get("device")
    if device is None:
        return None
    if not isinstance(device, str):
        raise DecodeRefused("type", "device is not text")
    if not is_identifier(device):
        raise DecodeRefused("device_id_charset", "device is 1 to 63 of a-z, 0-9 and '-'")
    return device


def _statistic(entry: dict[str, Any]) -> tuple[str, int]:
    stat, period_s = entry.get("stat", "inst"), entry.get("period_s", 0)
    if stat not in STATS:
        raise DecodeRefused("stat", f"stat is one of {', '.join(STATS)}")
    if isinstance(period_s, bool) or not isinstance(period_s, int):
        raise DecodeRefused("type", "period_s is an integer of seconds", "period_s")
    if not 0 <= period_s <= MAX_PERIOD_S:
        raise DecodeRefused("range", f"period_s is 0 to {MAX_PERIOD_S}", "period_s")
    if (stat == "inst") != (period_s == 0):
        raise DecodeRefused("stat", "stat inst goes with period_s 0; every other stat needs its period_s")
    return stat, period_s


def _sequence(entry: dict[str, Any]) -> tuple[int | None, str | None]:
    seq, boot = entry.get("seq"), entry.get("boot")
    if seq is not None:
        if isinstance(seq, bool) or not isinstance(seq, int):
            raise DecodeRefused("type", "seq is an integer")
        if not 0 <= seq < _INT64:
            raise DecodeRefused("range", "seq is 0 to 9223372036854775807")
    if boot is not None and (not isinstance(boot, str) or len(boot) > 64):
        raise DecodeRefused("type", "boot is text of at most 64 characters", "boot")
    return seq, boot


def _mapping(entry: dict[str, Any], field: str) -> dict[str, Any]:
    found = entry.get(field, {})
    if not isinstance(found, dict):
        raise DecodeRefused("type", f"{field} is not an object")
    return found


def _check_once(name: str, values: dict[str, Any], flags: dict[str, Any]) -> None:
    for field, mapping in (("values", values), ("flags", flags)):
        if isinstance(mapping, FaultyObject) and name in mapping.repeated:
            raise DecodeRefused("duplicate_key", f"{field}.{name[:80]} stands twice", f"{field}.{name[:80]}")


def _metric(name: str) -> tuple[str, str]:
    metric, at, channel = name.partition("@")
    if metric not in METRICS:
        raise DecodeRefused("unknown_field", f"values.{name[:80]}: unknown metric")
    if at and not is_identifier(channel):
        raise DecodeRefused("channel_charset", f"values.{name[:80]}: a channel is 1 to 63 of a-z, 0-9 and '-'")
    return metric, channel


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DecodeRefused("type", f"values.{name} is not a number")
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise DecodeRefused("range", f"values.{name} does not fit 64 bits")
    if not math.isfinite(value):
        raise DecodeRefused("not_finite", f"values.{name} is no finite number: NaN, infinity, or beyond a double")
    return float(value)


def _unit(metric: str, unit: str | None) -> None:
    if unit is not None and not convertible(unit, METRICS[metric].unit):
        raise DecodeRefused("unit", f"values.{metric} cannot be in {unit[:20]!r}; its unit is {METRICS[metric].unit}")


def _flag(name: str, flags: dict[str, Any]) -> Quality:
    letter = flags.get(name)
    if letter is None:
        return Quality.GOOD
    if not isinstance(letter, str) or letter not in HJ212_LETTERS:
        raise DecodeRefused("flag", f"flags.{name} is one of {' '.join(HJ212_LETTERS)}", f"flags.{name[:80]}")
    return HJ212_LETTERS[letter]
