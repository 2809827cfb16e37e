"""A payload as a person reads it: text where it is text, else its bytes in hex."""

from __future__ import annotations

import unicodedata

_ALLOWED_CONTROLS = frozenset("\t\r\n\ufeff")
"""Of the characters of category C (controls, text direction, unassigned) those that stand in honest text."""


def raw_text(payload: bytes, most: int) -> str:
    """The beginning of a payload, at most `most` characters of text or `hex: ` and as many bytes as fit."""
    # A character has at most four bytes; what is cut within one must not make the rest look binary.
    head = payload[: 4 * most]
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        text = head[: error.start].decode("utf-8") if len(head) < len(payload) and error.start >= len(head) - 3 else ""
    if text and all(char in _ALLOWED_CONTROLS or unicodedata.category(char)[0] != "C" for char in text):
        return text[:most]
    return f"hex: {payload[: max(0, most - 5) // 3].hex(' ')}" if payload else ""
