"""Acts of people (and of the command line on their behalf): they enter through the journal like readings."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from greenmine.core.alert import Alert


class ActKind(StrEnum):
    """What a principal can do that the pipeline must see."""

    ACKNOWLEDGE = "acknowledge"
    NOTE = "note"
    RESOLVE = "resolve"
    FACT = "fact"
    REPLAY_DEAD_LETTERS = "replay_dead_letters"
    APPROVE_DEVICE = "approve_device"
    REJECT_DEVICE = "reject_device"


@dataclass(frozen=True, slots=True)
class Act:
    """One act. `alert_id` for the first three kinds; `body` for the others:

    * FACT: `{"mine", "kind", "subject", "valid_from_ns", "valid_to_ns"|null, "reason", "body": {...}}`
    * REPLAY_DEAD_LETTERS: `{"record_ids": [int, ...]}`, the journal records whose dead letters are read again (the desk
      that is given `{"ids": [...]}` of dead letters looks the records up: only they are the same in a replay)
    * APPROVE_DEVICE: `{"network", "address", "mine", "device", "replay": bool}`: from now on what this address of
      another network (`core.waiting.Network`) sends is of a device that the mine's policy names; with `replay` its
      dead letters are read again at once. `note` may say why.
    * REJECT_DEVICE: `{"network", "address"}`: off the waiting list, and never on it again until it is approved.

    Two acts with one `idempotency_key` (of one principal) are one act; the second gets the first one's answer.
    """

    kind: ActKind
    principal: str
    alert_id: str = ""
    note: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    idempotency_key: str = ""

    def to_json(self) -> bytes:
        """Canonical JSON, as it stands in the journal."""
        record = {
            "kind": self.kind.value,
            "principal": self.principal,
            "alert_id": self.alert_id,
            "note": self.note,
            "body": self.body,
            "idempotency_key": self.idempotency_key,
        }
        return json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, raw: bytes) -> Act:
        """The inverse of `to_json`."""
        record = json.loads(raw)
        return cls(**{**record, "kind": ActKind(record["kind"])})


@dataclass(frozen=True, slots=True)
class ActResult:
    """What became of an act: the alert as it is now, or the id of the new fact, or counts of a replay."""

    alert: Alert | None = None
    detail: dict[str, Any] = field(default_factory=dict)
