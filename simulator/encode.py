"""Own JSON as devices write it: `design.md` section 5, MQTT. Written without knowledge of any decoder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from greenmine.core.clock import NS_PER_MS, NS_PER_S

MOST_OBJECTS = 1_000
MOST_BYTES = 256 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def timestamp(time_ns: int, zone: tzinfo) -> str:
    """RFC 3339 with the offset of the zone; fraction digits only where there is a fraction (3 or 9 of them)."""
    seconds, nanos = divmod(time_ns, NS_PER_S)
    text = (_EPOCH + timedelta(seconds=seconds)).astimezone(zone).isoformat()
    if nanos == 0:
        return text
    fraction = f"{nanos // NS_PER_MS:03d}" if nanos % NS_PER_MS == 0 else f"{nanos:09d}"
    return f"{text[:19]}.{fraction}{text[19:]}"


def reading_object(
    ts: str,
    values: Mapping[str, float],
    *,
    stat: str = "inst",
    period_s: int = 0,
    seq: int | None = None,
    boot: str | None = None,
    flags: Mapping[str, str] | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """One object: the values of a device at one source time. `device` only where a gateway speaks for it."""
    found: dict[str, Any] = {"ts": ts}
    if device is not None:
        found["device"] = device
    if stat != "inst":
        found["stat"], found["period_s"] = stat, period_s
    found["values"] = dict(values)
    if seq is not None:
        found["seq"] = seq
    if boot is not None:
        found["boot"] = boot
    if flags:
        found["flags"] = dict(flags)
    return found


def encode_one(entry: Mapping[str, Any]) -> bytes:
    """One object as a payload.

    Raises:
        ValueError: a value is not finite, or the payload is over 256 KiB.
    """
    payload = _dump(entry)
    if len(payload) > MOST_BYTES:
        raise ValueError(f"an object of {len(payload)} bytes is more than a payload may have")
    return payload


def encode_array(entries: Iterable[Mapping[str, Any]]) -> Iterator[tuple[bytes, int]]:
    """Arrays of at most 1,000 objects and 256 KiB, each with the number of its objects.

    Raises:
        ValueError: a value is not finite, or one object alone is over 256 KiB.
    """
    parts: list[bytes] = []
    size = 2
    for entry in entries:
        part = _dump(entry)
        if len(part) + 2 > MOST_BYTES:
            raise ValueError(f"an object of {len(part)} bytes is more than a payload may have")
        if parts and (len(parts) == MOST_OBJECTS or size + len(part) + 1 > MOST_BYTES):
            yield b"[" + b",".join(parts) + b"]", len(parts)
            parts, size = [], 2
        parts.append(part)
        size += len(part) + 1
    if parts:
        yield b"[" + b",".join(parts) + b"]", len(parts)


def _dump(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
