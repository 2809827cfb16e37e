"""HJ 212-2017 and -2025 as data loggers write it. Written from the standard, without knowledge of any decoder.

A segment has at most 1,024 bytes and its CP at most 950 (clause 6.3); more goes into packets, each of which is cut
between two factors. Times are +08:00. Nothing here is encrypted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import NamedTuple

from greenmine.core.clock import NS_PER_MS, NS_PER_S

MOST_DATA_BYTES = 950
MOST_SEGMENT_BYTES = 1024
MOST_PACKETS = 9999
IN_PACKETS = 2
REAL_TIME, MINUTE, HOUR, DAY, STARTED = "2011", "2051", "2061", "2031", "2081"
_CHINA = timezone(timedelta(hours=8))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POLYNOMIAL = 0xA001


class FactorData(NamedTuple):
    """What a frame says of one factor: a number for each suffix (`Rtd`, `Avg`, `Cou` ...) in the station's own unit,
    and the letter of its data flag, None where the station sends none."""

    code: str
    numbers: Mapping[str, float]
    letter: str | None = "N"


@dataclass(frozen=True, slots=True)
class Station:
    """A data logger: MN, password, the system code ST (22 air, 21 surface water, 23 noise, 39 site dust) and the
    version in bits 2 to 7 of Flag (0: 2005, 1: 2017, 2: 2025)."""

    mn: str
    password: str
    system: str = "22"
    version: int = 1


def encode_data(
    station: Station,
    command: str,
    data_time_ns: int,
    factors: Sequence[FactorData],
    *,
    sent_ns: int,
    wants_answer: bool = True,
    resent: bool = False,
) -> list[bytes]:
    """The frames of one piece of data; more than one where it does not fit into one.

    `data_time_ns` is the instant of real-time data and the start of the period of all others; `sent_ns` makes the QN,
    which has milliseconds and has to be used once. `resent` marks what is sent later than it was due (2025).

    Raises:
        ValueError: one factor is too long for a packet, or a number is not finite.
    """
    items = [f"DataTime={_digits(data_time_ns)}", *(_written(factor) for factor in factors)]
    flag = station.version << 2 | int(wants_answer)
    head = _head(station, command, sent_ns)
    late = ";RF=1" if resent else ""
    longest_head = f"{head};Flag={flag};PNUM={MOST_PACKETS};PNO={MOST_PACKETS}{late};CP=&&&&"
    parts = list(_in_parts(items, min(MOST_DATA_BYTES, MOST_SEGMENT_BYTES - len(longest_head))))
    if len(parts) == 1:
        return [encode_frame(f"{head};Flag={flag}{late};CP=&&{parts[0]}&&".encode())]
    if len(parts) > MOST_PACKETS:
        raise ValueError(f"{len(parts)} packets are more than PNUM can say")
    return [
        encode_frame(f"{head};Flag={flag | IN_PACKETS};PNUM={len(parts)};PNO={number}{late};CP=&&{part}&&".encode())
        for number, part in enumerate(parts, 1)
    ]


def encode_frame(segment: bytes) -> bytes:
    """Header, length, segment, CRC and trailer.

    Raises:
        ValueError: the segment has more than 1,024 bytes.
    """
    if len(segment) > MOST_SEGMENT_BYTES:
        raise ValueError(f"a segment of {len(segment)} bytes is longer than {MOST_SEGMENT_BYTES}")
    return b"".join((b"##", f"{len(segment):04d}".encode(), segment, f"{_crc(segment):04X}".encode(), b"\r\n"))


def _head(station: Station, command: str, sent_ns: int) -> str:
    qn = f"{_digits(sent_ns)}{sent_ns % NS_PER_S // NS_PER_MS:03d}"
    return f"QN={qn};ST={station.system};CN={command};PW={station.password};MN={station.mn}"


def _digits(time_ns: int) -> str:
    moment = _EPOCH + timedelta(seconds=time_ns // NS_PER_S)
    return f"{moment.astimezone(_CHINA):%Y%m%d%H%M%S}"


def _written(factor: FactorData) -> str:
    """`a34002-Rtd=81.3,a34002-Flag=N`."""
    fields = [f"{factor.code}-{suffix}={_decimal(number)}" for suffix, number in factor.numbers.items()]
    if factor.letter is not None:
        fields.append(f"{factor.code}-Flag={factor.letter}")
    return ",".join(fields)


def _decimal(number: float) -> str:
    """All digits that the number needs, without an exponent."""
    exact = Decimal(repr(number))
    if not exact.is_finite():
        raise ValueError(f"{number} cannot be sent")
    return f"{exact:f}"


def _in_parts(items: Sequence[str], most_bytes: int) -> Iterator[str]:
    """Items joined by `;`, as many as fit into a CP."""
    part = ""
    for item in items:
        longer = f"{part};{item}" if part else item
        if len(longer.encode()) <= most_bytes:
            part = longer
            continue
        if not part or len(item.encode()) > most_bytes:
            raise ValueError(f"a factor of {len(item)} characters does not fit into a packet")
        yield part
        part = item
    yield part


def _crc(segment: bytes) -> int:
    """Annex A, bit by bit: the register loses its low half before a byte is added."""
    register = 0xFFFF
    for byte in segment:
        register = (register >> 8) ^ byte
        for _ in range(8):
            carry, register = register & 1, register >> 1
            if carry:
                register ^= _POLYNOMIAL
    return register
