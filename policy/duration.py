"""Durations as people write them: a whole number and a unit, `30s`, `5m`, `2h`, `1d`."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema

_DURATION = re.compile(r"([0-9]{1,7})(s|m|h|d)", re.ASCII)
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST_S = 31 * 86400
"""No window, hold or delay of a policy may be longer than 31 days."""

CANONICAL = {"canonical": True}
"""Validation context of the canonical form, in which a duration is `{"s": n}`; see `policy.canonical`."""


def parse_duration(text: Any) -> int:
    """Seconds.

    Raises:
        ValueError: not text with a unit, negative, or over 31 days.
    """
    if isinstance(text, bool) or not isinstance(text, str):
        raise ValueError("write a duration with its unit, as 30s, 5m, 2h or 1d")
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write a whole number and s, m, h or d, as 30s or 5m")
    seconds = int(match[1]) * _UNIT_S[match[2]]
    if seconds > LONGEST_S:
        raise ValueError(f"{text!r} is longer than 31d")
    return seconds


def duration_text(seconds: int) -> str:
    """The shortest text that `parse_duration` reads as this many whole seconds (not negative)."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNIT_S[unit] == 0:
            return f"{seconds // _UNIT_S[unit]}{unit}"
    return f"{seconds}s"


def _to_seconds(value: Any, info: ValidationInfo) -> int:
    # Only a canonical policy (journal, hash) carries seconds as an object; in YAML that is an error.
    if info.context == CANONICAL and isinstance(value, dict) and set(value) == {"s"}:
        seconds = value["s"]
        if type(seconds) is not int or not 0 <= seconds <= LONGEST_S:
            raise ValueError(f"{seconds!r} is not a whole number of seconds from 0 to {LONGEST_S}")
        return seconds
    return parse_duration(value)


def _to_canonical(seconds: int) -> dict[str, int]:
    return {"s": seconds}


Seconds = Annotated[
    int,
    BeforeValidator(_to_seconds),
    PlainSerializer(_to_canonical, return_type=dict[str, int], when_used="json"),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,7}(s|m|h|d)$", "examples": ["30s", "5m", "2h", "1d"]}),
]
