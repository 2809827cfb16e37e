"""What stands before CP in a data segment of HJ 212 (clause 6.3): who speaks, and what he wants answered. Pure.

Lenient: it only finds out whom to answer and how. Whether a segment can be read is the decoder's to say.
"""

from __future__ import annotations

from typing import NamedTuple

from greenmine.ingest.hj212_segment import ANSWER_WANTED

VERSION_2017 = 1
VERSION_2025 = 2
"""Bits V5 to V0 of Flag."""


class Head(NamedTuple):
    """Fields as text, empty where there is none; a `flag` that is missing or no number is 0. `pw` is a secret."""

    qn: str
    st: str
    cn: str
    pw: str
    mn: str
    flag: int

    @property
    def wants_answer(self) -> bool:
        """Whether bit A is set."""
        return bool(self.flag & ANSWER_WANTED)

    @property
    def version(self) -> int:
        """The version bits: 0 for 2005, 1 for 2017, 2 for 2025."""
        return self.flag >> 2

    def __repr__(self) -> str:
        """Without the password: this may end up in a log."""
        return f"Head(qn={self.qn!r}, st={self.st!r}, cn={self.cn!r}, mn={self.mn!r}, flag={self.flag})"


def head_of(segment: bytes) -> Head:
    """The fields before CP; the first of each name counts."""
    fields: dict[bytes, bytes] = {}
    for part in segment.partition(b"CP=&&")[0].split(b";"):
        name, _, value = part.strip().partition(b"=")
        fields.setdefault(name, value.strip())

    def text(name: bytes) -> str:
        return fields.get(name, b"").decode("utf-8", "replace")

    flag = fields.get(b"Flag", b"")
    number = int(flag) if flag.isdigit() and len(flag) <= 3 and flag.isascii() else 0
    return Head(text(b"QN"), text(b"ST"), text(b"CN"), text(b"PW"), text(b"MN"), number)
