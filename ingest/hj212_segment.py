"""The data segment of HJ 212-2017 and -2025 (clause 6.3): who speaks, what it is, and the bytes of CP. Pure.

Lenient where the field is: no QN (2005), QN without milliseconds or as a date in words, no Flag, blanks after `;`, a
`;` before the closing `&&`, an MN shorter than 24 characters. Everything else is refused with a word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime

from greenmine.core.errors import DecodeRefused

ANSWER_WANTED = 1
"""Bit A of Flag."""
IN_PACKETS = 2
"""Bit D of Flag: PNUM and PNO are there."""
MOST_PACKETS = 100
REAL_TIME, MINUTE, HOUR, DAY = "2011", "2051", "2061", "2031"
NOTICES = {
    "2021": "state of its devices",
    "2041": "running times of its devices",
    "2081": "the station has started",
    "3019": "serial number of an instrument",
    "3020": "information about an instrument",
}
"""What a station says of itself, by CN."""

_OPENING, _CLOSING = b"CP=&&", b"&&"
_MN = re.compile(r"[0-9A-Za-z_]{1,24}", re.ASCII)
_PASSWORD = re.compile(r"[!-:<-~]{1,24}", re.ASCII)
_TWO_DIGITS = re.compile(r"[0-9]{2}", re.ASCII)
_FEW_DIGITS = re.compile(r"[0-9]{1,4}", re.ASCII)
_CN = re.compile(r"10[0-9]{2}|2[0-9]{3}|30[0-9]{2}|901[1-5]", re.ASCII)
_QN = re.compile(r"([0-9]{14})(?:[0-9]{3})?", re.ASCII)
_QN_IN_WORDS = re.compile(r"[A-Z][a-z]{2} [A-Z][a-z]{2} [0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} CST [0-9]{4}", re.ASCII)
_SHOWN_PASSWORD = re.compile(rb"(PW\s*=)[^;&]*")


@dataclass(frozen=True, slots=True)
class Segment:
    """A data segment. `qn` is '' where there is none, `flag` None; `packets` and `packet_no` are 0 where it is whole.

    `cp` is what stands between `CP=&&` and `&&`; its text may be UTF-8 or GBK, the separators are ASCII in both.
    """

    qn: str
    st: str
    cn: str
    password: str = field(repr=False)
    mn: str
    flag: int | None
    packets: int
    packet_no: int
    is_resent: bool
    cp: bytes

    @property
    def wants_answer(self) -> bool:
        """Whether bit A of Flag is set."""
        return bool((self.flag or 0) & ANSWER_WANTED)


def parse_segment(segment: bytes) -> Segment:
    """The fields of a data segment.

    Raises:
        DecodeRefused: `cp` (missing or not closed), `qn`, `cn`, `auth` (no password, or one that is none), `mn`,
            `packet`, `field` (ST, Flag, RF, or a field that stands twice).
    """
    head, opening, rest = segment.partition(_OPENING)
    cp, closing, after = rest.partition(_CLOSING)
    if not opening or not closing or after.strip(b"; \t"):
        raise DecodeRefused("cp", "the data are not between CP=&& and &&", "CP")
    fields = _fields(head)
    flag = _flag(fields)
    packets, packet_no = _packets(fields, flag)
    return Segment(
        _qn(fields.get("QN")),
        _matching(fields, "ST", _TWO_DIGITS, "field"),
        _matching(fields, "CN", _CN, "cn"),
        _password(fields.get("PW", "")),
        _matching(fields, "MN", _MN, "mn"),
        flag,
        packets,
        packet_no,
        _is_resent(fields),
        cp,
    )


def redacted(payload: bytes) -> bytes:
    """The same bytes without the password of any frame in them, for people and logs."""
    return _SHOWN_PASSWORD.sub(rb"\1***", payload)


def shown_payload(source: str, payload: bytes) -> bytes:
    """What people may see of a journalled payload: all of it, but no password where it came as HJ 212."""
    return redacted(payload) if "hj212" in source else payload


def beijing_digits(text: str) -> datetime:
    """`YYYYMMDDhhmmss` as a date without zone.

    Raises:
        ValueError: no such moment.
    """
    parts = (text[0:4], text[4:6], text[6:8], text[8:10], text[10:12], text[12:14])
    year, month, day, hour, minute, second = (int(part) for part in parts)
    return datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - the zone is the caller's


def _fields(head: bytes) -> dict[str, str]:
    fields: dict[str, str] = {}
    for part in head.decode("utf-8", "replace").split(";"):
        name, _, value = part.strip().partition("=")
        if name in fields:
            raise DecodeRefused("field", f"{name[:20]} stands twice", name[:20])
        if name:
            fields[name] = value.strip()
    return fields


def _matching(fields: dict[str, str], name: str, pattern: re.Pattern[str], word: str) -> str:
    value = fields.get(name, "")
    if not pattern.fullmatch(value):
        raise DecodeRefused(word, f"{name} is {value[:40]!r}" if value else f"{name} is missing", name)
    return value


def _qn(text: str | None) -> str:
    if text is None or _QN_IN_WORDS.fullmatch(text):
        return text or ""
    match = _QN.fullmatch(text)
    if match is None:
        raise DecodeRefused("qn", f"QN is {text[:40]!r}; it is YYYYMMDDhhmmsszzz", "QN")
    try:
        beijing_digits(match[1])
    except ValueError as error:
        raise DecodeRefused("qn", f"QN is no date: {error}", "QN") from error
    return text


def _password(text: str) -> str:
    if not _PASSWORD.fullmatch(text):
        raise DecodeRefused("auth", "PW is not 1 to 24 printable characters" if text else "PW is missing", "PW")
    return text


def _flag(fields: dict[str, str]) -> int | None:
    text = fields.get("Flag")
    if text is None:
        return None
    if not _FEW_DIGITS.fullmatch(text) or int(text) > 255:
        raise DecodeRefused("field", f"Flag is {text[:20]!r}; it is 0 to 255", "Flag")
    return int(text)


def _packets(fields: dict[str, str], flag: int | None) -> tuple[int, int]:
    """How many packets there are and which this is; (0, 0) for a segment that is whole."""
    number, of = fields.get("PNO"), fields.get("PNUM")
    if number is None and of is None:
        if (flag or 0) & IN_PACKETS:
            raise DecodeRefused("packet", "Flag says that PNUM and PNO are there, and they are not", "PNUM")
        return 0, 0
    for name, text in (("PNUM", of), ("PNO", number)):
        if text is None or not _FEW_DIGITS.fullmatch(text):
            raise DecodeRefused("packet", f"{name} is missing or no number", name)
    packets, packet_no = int(of or 0), int(number or 0)
    if not 1 <= packets <= MOST_PACKETS:
        raise DecodeRefused("packet", f"PNUM={packets}; it is 1 to {MOST_PACKETS}", "PNUM")
    if not 1 <= packet_no <= packets:
        raise DecodeRefused("packet", f"PNO={packet_no} of PNUM={packets}", "PNO")
    return (packets, packet_no) if packets > 1 else (0, 0)


def _is_resent(fields: dict[str, str]) -> bool:
    text = fields.get("RF", "0")
    if text not in ("0", "1"):
        raise DecodeRefused("field", f"RF is {text[:20]!r}; it is 1 on data that are sent again", "RF")
    return text == "1"
