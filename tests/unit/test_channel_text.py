from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmine.alerts.channel_text import block, one_line

ANY_TEXT = st.text(st.characters())  # surrogates and controls included


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("PM10 超限", "PM10 超限"),
        ("a\r\nBcc: b", "a Bcc: b"),
        ("  a \t b  ", "a b"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b31m", r"\x9b31m"),
        ("nul\x00", r"nul\x00"),
        ("a\u2028b", "a b"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\ud800", r"\ud800"),
        ("µ", "µ"),
    ],
)
def test_one_line(text: str, shown: str) -> None:
    assert one_line(text, 100) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\r\nb\rc\nd", "a\nb\nc\nd"),
        ("a\tb", "a\tb"),
        ("a\x0bb\x0cc", r"a\x0bb\x0cc"),
        ("a\u2029b", r"a\u2029b"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
    ],
)
def test_block(text: str, shown: str) -> None:
    assert block(text, 100) == shown


def test_what_is_cut_says_so() -> None:
    assert one_line("x" * 11, 10) == "x" * 9 + "…"
    assert one_line("x" * 10, 10) == "x" * 10
    assert block("x\n" * 6, 10).endswith("…")


@settings(deadline=None)
@given(ANY_TEXT, st.integers(1, 40))
def test_nothing_that_acts_is_left_and_the_limit_holds(text: str, limit: int) -> None:
    for shown, kept in ((one_line(text, limit), ""), (block(text, limit), "\n\t")):
        assert len(shown) <= limit
        assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in kept]
        assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
        shown.encode("utf-8")
