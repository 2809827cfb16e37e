"""What the uplinks of LoRaWAN network servers have in common: values by the device maker's names, bytes, signal."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from greenmine.core.errors import DecodeRefused
from greenmine.ingest.decoded import Decoded, DeviceHealth, Item, Unreadable
from greenmine.ingest.strict_json import FaultyObject, check_keys

MAX_NAME = 256
"""As long as a codec can name."""
MAX_FRAME_BYTES = 255
MAX_LEVEL = 300
"""dBm or dB, of either sign; NaN is beyond it too."""
_EUI = re.compile(r"[0-9A-Fa-f]{16}", re.ASCII)
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)

_INT64 = 2**63


def add_fields(fields: Mapping[str, Any], where: str, like: Item, decoded: Decoded) -> None:
    """Add what the network's payload codec made and wrote into `where`: an item a number, with its path in dots for a
    name (`soil.d20`).

    Numbers may be text (`"21.40"`); anything else is unreadable, and costs something only where its name is mapped.
    A name that stands twice is unreadable too. One that is too long is cut and marked, so that no codec means it.
    """
    for path, value in _leaves(fields, ""):
        name = path if len(path) <= MAX_NAME else f"{path[:MAX_NAME]}…"
        try:
            number = _number(value, name)
        except DecodeRefused as refused:
            decoded.unreadable.append(Unreadable(name, refused.word, refused.detail, f"{where}.{name}"))
        else:
            decoded.items.append(like._replace(metric=name, value=number, place=f"{where}.{name}"))


def section(document: Mapping[str, Any], *path: str, required: bool = True) -> Mapping[str, Any]:
    """The object at a path; an empty one where it is absent and not `required`.

    Raises:
        DecodeRefused: `missing_field`, `type`, `duplicate_key`.
    """
    found: Any = document
    for depth, key in enumerate(path, 1):
        where = ".".join(path[:depth])
        found = found.get(key)
        if found is None:
            if required:
                raise DecodeRefused("missing_field", f"{where} is missing", where)
            return {}
        if not isinstance(found, dict):
            raise DecodeRefused("type", f"{where} is not an object", where)
        check_keys(found, where)
    return found  # type: ignore[no-any-return]


def text(entry: Mapping[str, Any], key: str, where: str = "") -> str:
    """A text that must be there, in the object at `where`: `missing_field`, `type`."""
    place = f"{where}.{key}" if where else key
    found = entry.get(key)
    if found is None or found == "":
        raise DecodeRefused("missing_field", f"{key} is missing", place)
    if not isinstance(found, str):
        raise DecodeRefused("type", f"{key} is not text", place)
    return found


def count(entry: Mapping[str, Any], key: str, most: int, where: str = "") -> int:
    """A counter in the object at `where`; absent means 0, since servers leave out zero: `type`, `range`."""
    place, found = f"{where}.{key}" if where else key, entry.get(key, 0)
    if isinstance(found, bool) or not isinstance(found, int):
        raise DecodeRefused("type", f"{key} is not an integer", place)
    if not 0 <= found <= most:
        raise DecodeRefused("range", f"{key} is 0 to {most}", place)
    return found


def eui(found: str) -> str:
    """A device EUI in lower case: `device_id_charset` where it is none."""
    if not _EUI.fullmatch(found):
        raise DecodeRefused("device_id_charset", "a device EUI is 16 hexadecimal digits")
    return found.lower()


def session(entry: Mapping[str, Any], key: str) -> str | None:
    """The device address, which changes when a device joins anew and its counter restarts."""
    found = entry.get(key)
    return found[:64] if isinstance(found, str) and found else None


def frame_bytes(found: Any) -> bytes:
    """The bytes of an uplink from base64: `type`, `base64`, `size`."""
    if not isinstance(found, str):
        raise DecodeRefused("type", "the payload's bytes are not text")
    try:
        raw = base64.b64decode(found, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DecodeRefused("base64", "the payload's bytes are not base64") from error
    if len(raw) > MAX_FRAME_BYTES:
        raise DecodeRefused("size", f"a LoRaWAN payload has at most {MAX_FRAME_BYTES} bytes")
    return raw


def signal(gateways: Any) -> DeviceHealth | None:
    """Strength and signal-to-noise ratio at the gateway that heard best; None where none says it. A strength that is
    left out, or that no radio hears, is unknown; a ratio that is left out beside one is 0."""
    heard: list[tuple[float, float]] = []
    for gateway in gateways if isinstance(gateways, list) else ():
        if isinstance(gateway, dict) and _is_level(gateway.get("rssi")) and _is_level(gateway.get("snr", 0)):
            heard.append((float(gateway["rssi"]), float(gateway.get("snr", 0))))
    if not heard:
        return None
    rssi_dbm, snr_db = max(heard)
    return DeviceHealth(rssi_dbm, snr_db)


def _leaves(fields: Mapping[str, Any], before: str) -> Iterable[tuple[str, Any]]:
    repeated = fields.repeated if isinstance(fields, FaultyObject) else frozenset()
    for key, value in fields.items():
        if key in repeated:
            yield before + key, _REPEATED
        elif isinstance(value, dict):
            # What is too long is not copied into each of its leaves.
            yield from _leaves(value, f"{before}{key}."[: MAX_NAME + 1])
        else:
            yield before + key, value


_REPEATED = object()


def _number(value: Any, name: str) -> float | None:
    if value is None:
        return None
    if value is _REPEATED:
        raise DecodeRefused("duplicate_key", f"{name} stands twice")
    if isinstance(value, str) and _NUMBER.fullmatch(value) and len(value) <= 64:
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DecodeRefused("type", f"{name} is not a number")
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise DecodeRefused("range", f"{name} does not fit 64 bits")
    if not math.isfinite(value):
        raise DecodeRefused("not_finite", f"{name} is beyond a double")
    return float(value)


def _is_level(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_LEVEL
