"""Data of HJ 212 that came in several packets (PNUM, PNO): put together again, in any order, within bounds. Pure.

Stations cut either between two fields or anywhere; both are joined right as long as a cut after a value is before a
field's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from greenmine.core.errors import DecodeRefused
from greenmine.ingest.hj212_segment import Segment

MAX_AGE_NS = 600 * 1_000_000_000
"""How long the first packet waits for the last, on the journal's clock."""
MOST_OF_A_STATION = 4
MOST_AT_ALL = 2_000
MOST_BYTES = 16 * 1024 * 1024

_SEPARATORS = (b";", b",")
_FIELD = re.compile(rb"\s*[0-9A-Za-z]+(?:-[A-Za-z-]+)?\s*=")


class PacketKey(NamedTuple):
    """What the packets of one piece of data have in common."""

    mn: str
    qn: str
    cn: str


class Part(NamedTuple):
    """The data of one packet, and the journal's record that brought them."""

    record_id: int
    source: str
    client: str
    cp: bytes


class Joined(NamedTuple):
    """Of which journal records a record's data were put together, and when on the journal's clock."""

    at_ns: int
    records: set[int]


@dataclass(frozen=True, slots=True)
class Assembly:
    """Packets so far, by their number. One that is whole is kept for a while, so that a packet that is sent again is
    known as such. `begun_ns` on the journal's clock."""

    packets: int
    begun_ns: int
    parts: Mapping[int, Part]
    size_bytes: int

    @property
    def is_whole(self) -> bool:
        """Whether all packets are there."""
        return len(self.parts) == self.packets

    def joined(self) -> bytes:
        """The data of all packets."""
        return join(self.parts[number].cp for number in sorted(self.parts))


def key_of(segment: Segment) -> PacketKey:
    """Which data a packet is of.

    Raises:
        DecodeRefused: `packet`, it has no QN, by which packets are told apart.
    """
    if not segment.qn:
        raise DecodeRefused("packet", "a packet without QN belongs to nothing", "QN")
    return PacketKey(segment.mn, segment.qn, segment.cn)


def with_part(known: Assembly | None, segment: Segment, part: Part, clock_ns: int) -> Assembly:
    """The assembly with this packet in it; the same object where the packet was there already.

    Raises:
        DecodeRefused: `packet`, it contradicts what is known.
    """
    if known is None:
        return Assembly(segment.packets, clock_ns, {segment.packet_no: part}, len(part.cp))
    if known.packets != segment.packets:
        raise DecodeRefused("packet", f"PNUM={segment.packets}, and another packet says {known.packets}", "PNUM")
    before = known.parts.get(segment.packet_no)
    if before is None:
        parts = {**known.parts, segment.packet_no: part}
        return replace(known, parts=parts, size_bytes=known.size_bytes + len(part.cp))
    if before.cp != part.cp:
        raise DecodeRefused("packet", f"PNO={segment.packet_no} came with other data before", "PNO")
    return known


def given_up(held: Mapping[PacketKey, Assembly], new: PacketKey, size_bytes: int) -> list[PacketKey]:
    """Which assemblies make room for a packet: of its own station the oldest where there are too many, and of all those
    that are whole, oldest first.

    Raises:
        DecodeRefused: `packet`, what is not yet whole takes all the room.
    """
    others = [key for key in held if key != new]
    of_station = [key for key in others if key.mn == new.mn]
    out: list[PacketKey] = []
    if len(of_station) >= MOST_OF_A_STATION:
        out.append(min(of_station, key=lambda key: (not held[key].is_whole, held[key].begun_ns, key)))
    left = [key for key in held if key not in out]
    room = MOST_BYTES - size_bytes - sum(held[key].size_bytes for key in left)
    if len(left) < MOST_AT_ALL and room >= 0:
        return out
    for key in sorted((key for key in left if held[key].is_whole), key=lambda key: (held[key].begun_ns, key)):
        out.append(key)
        room += held[key].size_bytes
        if len(held) - len(out) < MOST_AT_ALL and room >= 0:
            return out
    raise DecodeRefused("packet", "too many stations send packets that are not yet whole")


def join(parts: Iterable[bytes]) -> bytes:
    """Data in one piece. A separator is put in where a packet ends with a value and the next begins with a name."""
    joined = b""
    for part in parts:
        last = joined[max(joined.rfind(b";"), joined.rfind(b",")) + 1 :]
        if b"=" in last and part[:1] not in _SEPARATORS and _FIELD.match(part):
            joined += b";"
        joined += part
    return joined
