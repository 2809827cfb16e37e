"""HJ 212-2017 and -2025: frames back to back, each with a factor's values at a DataTime.

What is wrong with a frame costs that frame, what is wrong with a value costs that value. Of the commands upwards, real
time (CN 2011), minute (2051), hour (2061) and day (2031) carry readings. What a station says of itself (it has started,
the state of its devices) is a note for people; all others are understood and say nothing of readings. DataTime is
+08:00, and of a statistic the start of its period.

`-Rtd` is an instant, `-Avg -Min -Max` are statistics of the command's period. `-Cou` of flow is a volume and of a
pollutant a mass, `-Zs...` are values converted to standard conditions, `-Data -DayData -NightData` are levels of a
whole day or a part of it: they are not the metric in another statistic, so they keep their name as sent
(`w00000-Cou`), as does a factor that is not known. No unit is ever claimed: what unit a station uses, its policy says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from greenmine.core.errors import DecodeRefused
from greenmine.core.quality import HJ212_LETTERS, Quality
from greenmine.ingest.decoded import Decoded, Item, RefusedItem
from greenmine.ingest.hj212_factors import factor_of, rank_of
from greenmine.ingest.hj212_fields import Group, Value, split_fields, to_number
from greenmine.ingest.hj212_frame import Damage, scan_payload
from greenmine.ingest.hj212_packets import Assembly, PacketKey, Part, key_of, with_part
from greenmine.ingest.hj212_segment import DAY, HOUR, MINUTE, NOTICES, REAL_TIME, Segment, parse_segment, redacted
from greenmine.ingest.raw_text import raw_text

MINUTE_S = 60
MOST_NOTED = 200
"""Characters of a notice that people are shown."""
_PERIODS_S = {HOUR: 3600, DAY: 86400}
_NOT_VALUES = frozenset(("eflag", "sampletime", "info", "sn"))


class _Kind(NamedTuple):
    """What a suffix says of a value, and whether the value is of the factor's own metric and unit."""

    stat: str
    is_own: bool


_KINDS = {
    "rtd": _Kind("inst", True),
    "avg": _Kind("avg", True),
    "min": _Kind("min", True),
    "max": _Kind("max", True),
    "cou": _Kind("sum", False),
    "zsrtd": _Kind("inst", False),
    "zsavg": _Kind("avg", False),
    "zsmin": _Kind("min", False),
    "zsmax": _Kind("max", False),
    "data": _Kind("avg", False),
    "daydata": _Kind("avg", False),
    "nightdata": _Kind("avg", False),
}


def decode_hj212(payload: bytes, minute_s: int = MINUTE_S) -> Decoded:
    """Decode frames that stand back to back. `Item.device` is the MN, `Item.unit` None; `minute_s` is the period of
    minute data (CN 2051), which a frame does not say. Data in packets are read where all of them are in the payload.

    Raises:
        DecodeRefused: `empty`. All else that is wrong is in `Decoded.refused`: `header length crc` of what is no frame,
            the words of `parse_segment`, `sm4_key` of what needs a key, `packet` of a packet without the others,
            `qn_reuse` of a value that another frame of the same QN contradicts, and
            `data_time field number flag duplicate_key` of values.
    """
    decoded = Decoded()
    held: dict[PacketKey, Assembly] = {}
    known: dict[tuple[str, Item], float | None] = {}
    for one in scan_payload(payload):
        try:
            if isinstance(one, Damage):
                raise DecodeRefused(one.word, one.detail)
            if one.unproved_crc is not None:
                raise DecodeRefused("sm4_key", "CP is encrypted, and there is no key", "CP")
            segment = parse_segment(one.segment)
            whole = _whole(segment, held) if segment.packets else segment
            if whole is not None:
                said = Decoded()
                decode_segment(whole, said, minute_s)
                _add_consistent(whole, said, known, decoded)
        except DecodeRefused as refused:
            decoded.refused.append(RefusedItem(refused.word, refused.detail, refused.field))
    for key, assembly in held.items():
        if not assembly.is_whole:
            decoded.refused += [
                RefusedItem("packet", f"packet {number} of {assembly.packets} without the others (QN {key.qn})", "CP")
                for number in sorted(assembly.parts)
            ]
    return decoded


def _whole(segment: Segment, held: dict[PacketKey, Assembly]) -> Segment | None:
    """The segment with the data of all its packets, at the one that makes them whole; None at the others."""
    key = key_of(segment)
    before = held.get(key)
    assembly = held[key] = with_part(before, segment, Part(0, "", "", segment.cp), 0)
    if assembly is before or not assembly.is_whole:
        return None
    return replace(segment, cp=assembly.joined())


def _add_consistent(
    segment: Segment, said: Decoded, known: dict[tuple[str, Item], float | None], decoded: Decoded
) -> None:
    """Add what a segment said, but not what contradicts another one of its QN: that is sent once for each piece of
    data, and again only with the same."""
    decoded.refused += said.refused
    decoded.notes += said.notes
    for item in said.items:
        identity = f"{segment.qn} {segment.cn}", item._replace(value=None, quality=0, place="")
        if segment.qn and known.setdefault(identity, item.value) != item.value:
            detail = f"{item.metric} is {item.value:.15g}, and another frame of QN {segment.qn} has another value"
            decoded.refused.append(RefusedItem("qn_reuse", detail, item.place))
        else:
            decoded.items.append(item)


def decode_segment(segment: Segment, decoded: Decoded, minute_s: int = MINUTE_S) -> None:
    """Add what a segment says to `decoded`.

    Raises:
        DecodeRefused: `data_time`; nothing of the segment can be kept.
    """
    period_s = _period_s(segment.cn, minute_s)
    if period_s is None:
        if segment.cn in NOTICES:
            said = raw_text(redacted(segment.cp), MOST_NOTED)
            decoded.notes.append(f"{NOTICES[segment.cn]} (CN {segment.cn}): {said}".rstrip(": "))
        return
    fields = split_fields(segment.cp)
    decoded.refused += fields.refused
    decoded.notes += [f"{name} is not used" for name in fields.other]
    groups = [group for group in fields.groups if group.values]
    if any(group.time_ns is None for group in groups):
        raise DecodeRefused("data_time", "DataTime is missing", "CP.DataTime")
    for group in groups:
        _group(group, segment.mn, period_s, decoded)


def _period_s(cn: str, minute_s: int) -> int | None:
    """Period of the command's statistics, 0 for instants, None where it carries no readings."""
    if cn == REAL_TIME:
        return 0
    return minute_s if cn == MINUTE else _PERIODS_S.get(cn)


def _group(group: Group, mn: str, period_s: int, decoded: Decoded) -> None:
    assert group.time_ns is not None
    owners = _owners(group.values)
    instants = {value.code.lower() for value in group.values if value.kind == "rtd"}
    found: dict[tuple[str, str], Item | RefusedItem] = {}
    places: dict[tuple[str, str], str] = {}
    for value in group.values:
        if value.kind in _NOT_VALUES:
            continue
        key = value.code.lower(), value.kind
        one: Item | RefusedItem
        try:
            kind = _kind(value, period_s, instants)
            if kind is None:
                decoded.notes.append(f"{value.name} has no period in real-time data and is not used")
                continue
            metric = _metric(value, kind, owners)
            quality = _quality(value, group.flags)
            one = Item(
                mn, metric, "", kind.stat, _of_kind(kind, period_s), group.time_ns, to_number(value), None, quality
            )
        except DecodeRefused as refused:
            one = RefusedItem(refused.word, refused.detail, refused.field or value.name)
        if key in found and found[key] != one:
            one = RefusedItem("duplicate_key", f"{value.name} stands twice", value.name)
        found[key] = one
        places.setdefault(key, value.name)
    decoded.items += [one._replace(place=places[key]) for key, one in found.items() if isinstance(one, Item)]
    decoded.refused += [one for one in found.values() if isinstance(one, RefusedItem)]


def _of_kind(kind: _Kind, period_s: int) -> int:
    return 0 if kind.stat == "inst" else period_s


def _owners(values: Iterable[Value]) -> dict[str, str]:
    """Which code, in lower case, is each metric here: the first of the table."""
    owners: dict[str, str] = {}
    for value in values:
        factor = factor_of(value.code)
        code = value.code.lower()
        if factor is not None and (factor.metric not in owners or rank_of(code) < rank_of(owners[factor.metric])):
            owners[factor.metric] = code
    return owners


def _kind(value: Value, period_s: int, instants: set[str]) -> _Kind | None:
    """What the value is; None for a statistic beside the instant it was due with.

    Raises:
        DecodeRefused: `field`.
    """
    kind = _KINDS.get(value.kind)
    if kind is None:
        raise DecodeRefused("field", f"{value.name}: the suffix is not known")
    if (kind.stat == "inst") == (period_s == 0):
        return kind
    if period_s == 0:
        if value.code.lower() in instants:
            return None
        raise DecodeRefused("field", f"{value.name}: real-time data have -Rtd, and {value.code} has none")
    raise DecodeRefused("field", f"{value.name}: an instant has no place in data of a period")


def _metric(value: Value, kind: _Kind, owners: dict[str, str]) -> str:
    if not kind.is_own:
        return value.name
    factor = factor_of(value.code)
    return factor.metric if factor is not None and owners[factor.metric] == value.code.lower() else value.code


def _quality(value: Value, flags: dict[str, str]) -> int:
    letter = flags.get(value.code.lower())
    if letter is None:
        return int(Quality.GOOD)
    if letter not in HJ212_LETTERS:
        detail = f"{value.code}-Flag is {letter[:10]!r}; it is one of {' '.join(HJ212_LETTERS)}"
        raise DecodeRefused("flag", detail, f"{value.code}-Flag")
    return int(HJ212_LETTERS[letter])
