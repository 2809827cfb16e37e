"""A payload as a person reads it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.ingest.raw_text import raw_text


@pytest.mark.parametrize(
    ("payload", "most", "shown"),
    [
        (b'{"a": 1}\r\n', 100, '{"a": 1}\r\n'),
        ("粉尘 81".encode(), 100, "粉尘 81"),
        ("粉尘".encode() * 50, 7, "粉尘粉尘粉尘粉"),
        (b"x" * 27 + "尘".encode() * 2, 7, "xxxxxxx"),
        ("粉\u3000尘\u00a0".encode(), 100, "粉\u3000尘\u00a0"),
        ("ab\u202ecd".encode(), 100, "hex: 61 62 e2 80 ae 63 64"),
        (b"\x08\x01\xff", 100, "hex: 08 01 ff"),
        (b"a\x00b", 100, "hex: 61 00 62"),
        (b"\xff" * 100, 20, "hex: ff ff ff ff ff"),
        (b"", 100, ""),
        ("尘".encode()[:2], 100, "hex: e5 b0"),
    ],
)
def test_text_is_text_and_the_rest_is_hex(payload: bytes, most: int, shown: str) -> None:
    assert raw_text(payload, most) == shown


@given(st.binary(max_size=400), st.integers(8, 60))
def test_it_is_bounded_and_printable(payload: bytes, most: int) -> None:
    shown = raw_text(payload, most)
    assert len(shown) <= most
    assert not any(unicodedata.category(char)[0] == "C" for char in shown if char not in "\t\r\n\ufeff")
    assert bool(shown) == bool(payload)
