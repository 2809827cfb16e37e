"""The data of HJ 212 (what stands in CP): fields, their names and numbers, before anything is known of factors. Pure.

Fields are told apart by `;` and `,` alike, since stations use either for both. Both are ASCII in UTF-8 and in GBK, and
no part of a longer character in either, so bytes are split and text is only made to be shown.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import NamedTuple

from greenmine.core.clock import NS_PER_S
from greenmine.core.errors import DecodeRefused
from greenmine.ingest.decoded import RefusedItem
from greenmine.ingest.hj212_segment import beijing_digits

_SEPARATORS = re.compile(rb"[;,]")
_NAME = re.compile(r"([0-9A-Za-z]{1,20})-([A-Za-z][A-Za-z-]{0,30})", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)", re.ASCII)
_DATA_TIME = re.compile(r"[0-9]{14}", re.ASCII)
_EAST_8_S = 8 * 3600
_EPOCH_YEAR_RANGE = range(1678, 2262)
_KINDS = {"td": "rtd", "rtd-rtd": "rtd"}
"""Typos of stations in the field."""


class Value(NamedTuple):
    """One field of a factor: its code as sent, what it is of it (`rtd avg min max cou zsrtd ...`) and its text."""

    code: str
    kind: str
    name: str
    text: str


@dataclass(slots=True)
class Group:
    """What belongs to one DataTime; `time_ns` is None where there is none. `flags`: letters by code in lower case."""

    time_ns: int | None
    values: list[Value] = field(default_factory=list)
    flags: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Fields:
    """All of a CP; `other` are names of fields that are of no factor."""

    groups: list[Group] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    refused: list[RefusedItem] = field(default_factory=list)


def split_fields(cp: bytes) -> Fields:
    """The fields of CP, grouped by the DataTime that stands before them (one that comes later holds for those before it
    where it is the only one).

    Raises:
        DecodeRefused: `data_time`, a time that is none: without it no value can be kept.
    """
    fields = Fields([Group(None)])
    for raw in _SEPARATORS.split(cp):
        text = raw.decode("utf-8", "replace").strip()
        if text:
            _add(text, fields)
    first = fields.groups[0]
    if first.time_ns is None and len({group.time_ns for group in fields.groups[1:]}) == 1:
        first.time_ns = fields.groups[1].time_ns
    return fields


def from_data_time(text: str) -> int:
    """`YYYYMMDDhhmmss` of +08:00 in ns.

    Raises:
        DecodeRefused: `data_time`.
    """
    if not _DATA_TIME.fullmatch(text):
        raise DecodeRefused("data_time", f"DataTime is {text[:30]!r}; it is YYYYMMDDhhmmss", "CP.DataTime")
    try:
        moment = beijing_digits(text)
    except ValueError as error:
        raise DecodeRefused("data_time", f"DataTime {text} is no date: {error}", "CP.DataTime") from error
    if moment.year not in _EPOCH_YEAR_RANGE:
        raise DecodeRefused("data_time", f"DataTime {text} is before 1678 or after 2261", "CP.DataTime")
    days = moment.toordinal() - 719_163
    return (days * 86400 + moment.hour * 3600 + moment.minute * 60 + moment.second - _EAST_8_S) * NS_PER_S


def to_number(value: Value) -> float:
    """A decimal number as HJ 212 has it: no exponent, no hexadecimal, ASCII digits.

    Raises:
        DecodeRefused: `number`.
    """
    if not _NUMBER.fullmatch(value.text):
        raise DecodeRefused("number", f"{value.name} is {value.text[:40]!r}, no number", value.name)
    number = float(value.text)
    if not math.isfinite(number):
        raise DecodeRefused("number", f"{value.name} is beyond a double", value.name)
    return number


def _add(text: str, fields: Fields) -> None:
    name, equals, value = (part.strip() for part in text.partition("="))
    if name == "DataTime" and equals:
        time_ns = from_data_time(value)
        if fields.groups[-1].time_ns != time_ns:
            fields.groups.append(Group(time_ns))
        return
    match = _NAME.fullmatch(name)
    if match is None:
        if equals and name.isascii() and name.isalnum():
            fields.other.append(name[:40])
        else:
            fields.refused.append(RefusedItem("field", f"{text[:40]!r} is no field of a factor", f"CP.{text[:40]}"))
        return
    if not equals:
        fields.refused.append(RefusedItem("field", f"{name} has no value", name))
        return
    code, kind = match[1], match[2].lower()
    kind = _KINDS.get(kind, kind)
    if kind == "flag":
        fields.groups[-1].flags[code.lower()] = value.upper()
    else:
        fields.groups[-1].values.append(Value(code, kind, name, value))
