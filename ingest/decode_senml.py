"""SenML in JSON (RFC 8428): one array of at most 1,000 records, at most 256 KiB.

What is wrong with the pack or with a base field refuses the pack, since every later record builds on it; anything else
costs its record alone. A name is split from a device's URN in front of it (`urn:dev:mac:0024befffe804ff1:soil20` is
`soil20` of `0024befffe804ff1`), and `soil_moisture/d20` or `soil_moisture@d20` names a channel of ours; the `@` is our
one liberty with RFC 8428 section 4.5.1.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from decimal import Context, Decimal
from typing import Any, NamedTuple

from greenmine.core.clock import NS_PER_S
from greenmine.core.errors import DecodeRefused, placed
from greenmine.core.identifier import is_identifier
from greenmine.core.metric import METRICS
from greenmine.core.quality import Quality
from greenmine.ingest.decoded import Decoded, DeviceHealth, Item, RefusedItem, Unreadable
from greenmine.ingest.senml_units import senml_unit
from greenmine.ingest.strict_json import FaultyObject, check_nesting, check_surrogates, parse_json

MAX_RECORDS = 1_000
MAX_NAME = 128
VERSION = 10
ABSOLUTE_FROM_S = 2**28
"""RFC 8428 section 4.5.3: smaller times are relative to now."""

_BASE = frozenset(("bn", "bt", "bu", "bv", "bs", "bver"))
_LABELS = _BASE | {"n", "u", "v", "vs", "vb", "vd", "s", "t", "ut"}
_VALUES = ("v", "vs", "vb", "vd")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:./_@]*", re.ASCII)
_URN = re.compile(r"urn:dev:([a-z]+):(.+):([^:]*)", re.ASCII)
_MAC = re.compile(r"[0-9A-Fa-f]{12}(?:[0-9A-Fa-f]{4})?", re.ASCII)
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)
_EXACT = Context(prec=400)
_INT64 = 2**63


class _Base(NamedTuple):
    """The base fields in force; times in seconds."""

    name: str = ""
    time: Decimal = Decimal(0)
    unit: str | None = None
    value: float = 0.0
    version: int | None = None


def decode_senml(payload: bytes, at_ns: int) -> Decoded:
    """Decode a payload of topic `up/senml` that came at `at_ns`, which relative times are taken from.

    `Item.device` is the identifier of a device's URN in the name, in lower case, or None. Values that are no numbers
    are `unreadable`; a remaining energy in `%EL` is the device's health.

    Raises:
        DecodeRefused: the pack as a whole; words `empty size encoding json depth too_many_fields too_many_records
            senml_not_array senml_version senml_must_understand`, and `type not_finite unit duplicate_key` of a base
            field.
    """
    records, escaped = parse_json(payload, _explain)
    if not isinstance(records, list):
        raise DecodeRefused("senml_not_array", "a pack is an array of records")
    _check_count(records)
    check_nesting(records, 1)
    decoded = Decoded()
    base = _Base()
    for index, record in enumerate(records):
        try:
            if not isinstance(record, dict):
                raise DecodeRefused("senml_record", "a record is an object")
            _check_understood(record, f"[{index}]")
            if not record.keys() & _LABELS:
                raise DecodeRefused("senml_record", "a record has at least one label of RFC 8428")
            base = _next_base(record, base, f"[{index}]")
            if escaped:
                check_surrogates(record)
            _record(record, base, at_ns, f"[{index}]", decoded)
        except _PackRefused as refused:
            raise refused.within(f"[{index}]") from refused
        except DecodeRefused as refused:
            place = refused.within(f"[{index}]").field
            decoded.refused.append(RefusedItem(refused.word, f"[{index}]: {refused.detail}", place))
    if not (decoded.items or decoded.refused or decoded.unreadable or decoded.notes or decoded.health):
        raise DecodeRefused("empty", "the pack has no values")
    return decoded


def _explain(document: Any) -> None:
    """The deeper reason for which a pack is too large: its records, or a name."""
    if isinstance(document, list):
        _check_count(document)
        base = ""
        for index, record in enumerate(document):
            if isinstance(record, dict):
                base = str(record.get("bn", base))
                with placed(f"[{index}].n"):
                    _check_length(base + str(record.get("n", "")))


def _check_count(records: list[Any]) -> None:
    if len(records) > MAX_RECORDS:
        raise DecodeRefused("too_many_records", f"{len(records)} records; the most is {MAX_RECORDS}")


def _check_length(name: str) -> None:
    if len(name) > MAX_NAME:
        raise DecodeRefused("senml_name_len", f"bn + n has {len(name)} characters; the most is {MAX_NAME}")


class _PackRefused(DecodeRefused):
    """What costs the pack, not the record in which it stands."""


def _check_understood(record: dict[str, Any], where: str) -> None:
    """RFC 8428 section 4.4: a label that ends in `_` and is not understood costs the pack."""
    for label in record:
        if label.endswith("_"):
            detail = f"{where}: {label[:40]!r} must be understood, and is not"
            raise _PackRefused("senml_must_understand", detail, label[:40])


def _next_base(record: dict[str, Any], base: _Base, where: str) -> _Base:
    """The base fields from this record on."""
    version = record.get("bver", base.version)
    if version is not None and (isinstance(version, bool) or not isinstance(version, int)):
        raise _PackRefused("type", f"{where}: bver is an integer", "bver")
    if version is None:
        version = VERSION
    if not 0 < version <= VERSION or version != (base.version or version):
        detail = f"{where}: bver {version}; a pack is in one version, of at most {VERSION}"
        raise _PackRefused("senml_version", detail, "bver")
    if not record.keys() & _BASE:
        return base._replace(version=version)
    if isinstance(record, FaultyObject) and record.repeated & _BASE:
        twice = min(record.repeated & _BASE)
        raise _PackRefused("duplicate_key", f"{where}: {twice} stands twice", twice)
    try:
        name, unit = _text(record, "bn", base.name), _text(record, "bu", None)
        time = _seconds(record["bt"], "bt") if "bt" in record else base.time
        value = _number(record["bv"], "bv") if "bv" in record else base.value
        if "bs" in record:
            _number(record["bs"], "bs")
    except DecodeRefused as refused:
        raise _PackRefused(refused.word, f"{where}: {refused.detail}", refused.field) from refused
    return _Base(name or "", time, base.unit if unit is None else unit, value, version)


def _record(record: dict[str, Any], base: _Base, at_ns: int, where: str, decoded: Decoded) -> None:
    """Add what a record says: an item, something that is no number, health, or a note."""
    if isinstance(record, FaultyObject):
        raise DecodeRefused("duplicate_key", f"{min(record.repeated)[:40]} stands twice", min(record.repeated)[:40])
    values = [label for label in _VALUES if label in record]
    if record.keys() & _LABELS <= _BASE:
        return  # for the records that follow
    with placed("n" if "n" in record else "bn"):
        name = _name(record, base)
        device, rest = _split_urn(name)
    if len(values) > 1:
        raise DecodeRefused("senml_two_values", f"{name} has {' and '.join(values)}; a record has one value", values[1])
    if not values and "s" not in record:
        raise DecodeRefused("senml_no_value", f"{name} has neither a value nor a sum")
    unit = _text(record, "u", base.unit)
    time_ns, quality = _time_ns(record, base, at_ns)
    if "ut" in record:
        _number(record["ut"], "ut")
        decoded.notes.append(f"{name}: ut (update time) is not used")
    if "s" in record:
        _number(record["s"], "s")
    if not values:
        decoded.unreadable.append(Unreadable(rest, "stat", f"{name} is a sum without a period", f"{where}.s"))
    elif values != ["v"]:
        with placed(values[0]):
            one = _no_number(values[0], record[values[0]], rest)
        decoded.unreadable.append(one._replace(field=f"{where}.{values[0]}"))
    else:
        value = base.value + _number(record["v"], "v")
        if not math.isfinite(value):
            raise DecodeRefused("not_finite", f"{name}: bv + v is beyond a double", "v")
        if unit == "%EL":
            decoded.health = DeviceHealth(battery_percent=value)
            return
        if unit == "%RH" and not 0 <= value <= 100:
            quality |= Quality.RANGE  # no relative humidity is, whatever it is of
        with placed("u" if "u" in record else "bu"):
            ours = None if unit is None else senml_unit(unit)
        metric, channel = _split_channel(rest)
        item = Item(device, metric, channel, "inst", 0, time_ns, value, ours, int(quality), place=f"{where}.v")
        decoded.items.append(item)


def _name(record: dict[str, Any], base: _Base) -> str:
    name = base.name + (_text(record, "n", "") or "")
    if not name:
        raise DecodeRefused("senml_name", "the record has no name: neither n nor bn")
    _check_length(name)
    if not _NAME.fullmatch(name):
        raise DecodeRefused(
            "senml_name_charset", "a name has letters, digits and - : . / _ and begins with one of the first two"
        )
    return name


def _split_urn(name: str) -> tuple[str | None, str]:
    """The device that a URN in front of the name means (RFC 9039), and what is left of the name."""
    found = _URN.fullmatch(name)
    if found is None:
        return None, name
    kind, device, rest = found.groups()
    if kind == "mac" and not _MAC.fullmatch(device):
        raise DecodeRefused("senml_scope", f"urn:dev:mac:{device[:40]} is the address of no device")
    return device.lower(), rest


def _split_channel(name: str) -> tuple[str, str]:
    for sign in "@/":
        metric, at, channel = name.partition(sign)
        if at and metric in METRICS and is_identifier(channel):
            return metric, channel
    return name, ""


def _time_ns(record: dict[str, Any], base: _Base, at_ns: int) -> tuple[int, Quality]:
    """bt + t in ns. One beyond 64 bits becomes the nearest that fits and is flagged: it is a clock's fault, and the
    reading is kept apart with it."""
    seconds = base.time + (_seconds(record["t"], "t") if "t" in record else 0)
    time_ns = int(_EXACT.multiply(seconds, Decimal(NS_PER_S)).to_integral_value())
    if seconds < ABSOLUTE_FROM_S:
        time_ns += at_ns
    if -_INT64 <= time_ns < _INT64:
        return time_ns, Quality.GOOD
    return (-_INT64 if time_ns < 0 else _INT64 - 1), Quality.SKEW


def _no_number(label: str, value: Any, name: str) -> Unreadable:
    """A value of another kind, as long as it is what its label says."""
    if label == "vb":
        if not isinstance(value, bool):
            raise DecodeRefused("type", f"{name}: vb is true or false")
    elif not isinstance(value, str):
        raise DecodeRefused("type", f"{name}: {label} is text")
    elif label == "vd" and not _is_base64url(value):
        raise DecodeRefused("senml_vd", f"{name}: vd is base64url without padding (RFC 4648)")
    kind = {"vs": "text", "vb": "true or false", "vd": "data"}[label]
    return Unreadable(name, "type", f"{name} is {kind}, no number")


def _is_base64url(text: str) -> bool:
    bare = text.rstrip("=")
    if not _BASE64URL.fullmatch(bare):
        return False
    try:
        base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except binascii.Error:
        return False
    return True


def _text(record: dict[str, Any], label: str, default: str | None) -> str | None:
    value = record.get(label, default)
    if label in record and not isinstance(value, str):
        raise DecodeRefused("type", f"{label} is text", label)
    return value


def _number(value: Any, label: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DecodeRefused("type", f"{label} is a number", label)
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise DecodeRefused("range", f"{label} does not fit 64 bits", label)
    if not math.isfinite(value):
        raise DecodeRefused("not_finite", f"{label} is beyond a double", label)
    return float(value)


def _seconds(value: Any, label: str) -> Decimal:
    """Exactly what was written, as far as a double holds it."""
    _number(value, label)
    return Decimal(repr(value))
