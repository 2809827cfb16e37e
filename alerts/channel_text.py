"""Text from devices and people made safe for terminals, mail headers and answers: nothing in it can act."""

from __future__ import annotations

import unicodedata

# Characters that reorder what a reader sees (Unicode TR 36): a device name must not be able to turn a sentence round.
_REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_ACTING = frozenset({"Cc", "Cs", "Zl", "Zp"})


def one_line(text: str, limit: int) -> str:
    """`text` on one line of at most `limit` characters: blanks joined, what could act shown as an escape."""
    return _bounded("".join(_shown(c) for c in " ".join(text.split())), limit)


def block(text: str, limit: int) -> str:
    """`text` of at most `limit` characters with its line ends (as LF) and tabs kept, what else could act escaped."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return _bounded("".join(c if c in "\n\t" else _shown(c) for c in lines), limit)


def _shown(character: str) -> str:
    if character in _REORDERING or unicodedata.category(character) in _ACTING:
        return character.encode("unicode_escape").decode("ascii")
    return character


def _bounded(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
