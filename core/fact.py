"""What judges besides readings and policy: dated statements, each by somebody, never changed."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class FactKind(StrEnum):
    """Kinds of facts that verdicts and admission may ask for."""

    CALIBRATION = "calibration"
    MAINTENANCE = "maintenance"
    EXCEPTIONAL = "exceptional"
    DEVICE_MOVE = "device_move"
    BACKGROUND = "background"
    APPROVAL = "approval"
    INVALIDATION = "invalidation"


class Fact(NamedTuple):
    """A row of the append-only table. Times in ns UTC; `valid_to_ns` None is open; `body` is canonical JSON.

    A fact is corrected by a later one of the same subject, never by an edit.
    """

    id: int
    mine: str
    kind: FactKind
    subject: str
    valid_from_ns: int
    valid_to_ns: int | None
    recorded_at_ns: int
    by: str
    reason: str
    body: str
