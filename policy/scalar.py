"""What a value without quotes means, by the YAML 1.2 core schema, less everything that is easily misread."""

from __future__ import annotations

import math
import re

_NULL = ("", "~", "null", "Null", "NULL")
_TRUE = ("true", "True", "TRUE")
_FALSE = ("false", "False", "FALSE")

_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})", re.ASCII)
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+", re.ASCII)
_OTHER_BASE = re.compile(r"[-+]?0[xXoObB][0-9a-fA-F_]+", re.ASCII)
_UNDERSCORE = re.compile(r"[-+]?[0-9.]*[0-9][0-9.]*_[0-9._]*([eE][-+]?[0-9_]+)?", re.ASCII)
_LONG_WHOLE = re.compile(r"[-+]?[0-9]+", re.ASCII)


def plain_value(text: str) -> str | int | float | bool | None:
    """The value of a scalar without quotes. Dates and times stay text: who needs one parses it.

    Raises:
        ValueError: it looks like a number that programs read differently, or is none that can be judged.
    """
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if _WHOLE.fullmatch(text):
        return int(text)
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not a number that can be judged; write a finite number")
    if _LEADING_ZERO.fullmatch(text):
        raise ValueError(
            f"{text} begins with 0 and may be read as octal; write {text.lstrip('+-0') or '0'} for a number, "
            f'"{text}" in quotes for an id or a code'
        )
    if _OTHER_BASE.fullmatch(text):
        raise ValueError(f'{text} is not a decimal number; write it in decimal, or "{text}" in quotes for text')
    if _UNDERSCORE.fullmatch(text):
        raise ValueError(
            f"{text}: programs differ on numbers with underscores; write {text.replace('_', '')}, "
            f'or "{text}" in quotes for text'
        )
    if _LONG_WHOLE.fullmatch(text):
        raise ValueError(f'the number is too long; put it in quotes if it is an id: "{text[:40]}"')
    if _DECIMAL.fullmatch(text):
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(f"{text} is too large; write a finite number")
        return value
    return text
