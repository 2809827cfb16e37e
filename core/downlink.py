"""A message to a device: asked for by a decision, kept in an outbox of the same transaction, sent at least once."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import NamedTuple


class DownlinkKind(StrEnum):
    """Why a device is spoken to."""

    BACKFILL = "backfill"
    REBIRTH = "rebirth"
    HISTORY = "history"


HJ212_TARGET = "hj212:"
"""Begins the target of a frame for a station on the HJ 212 listener; its MN follows. Every other target is an MQTT
topic."""


class Downlink(NamedTuple):
    """`target` is an MQTT topic, or `hj212:{MN}`. After `expires_ns` (journal's clock) nobody needs it any more."""

    id: str
    kind: DownlinkKind
    target: str
    payload: bytes
    created_ns: int
    expires_ns: int


def downlink_id(kind: DownlinkKind, target: str, created_ns: int, payload: bytes) -> str:
    """An id that is the same in every replay."""
    head = "\x1f".join((kind.value, target, str(created_ns))).encode()
    return "d" + hashlib.sha256(head + b"\x1f" + payload).hexdigest()[:15]
