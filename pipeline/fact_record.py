"""Facts that people add: checked in form, kept, and known from then on."""

from __future__ import annotations

import json
from typing import Any

from greenmine.core.errors import Conflict, NotFound, Refused
from greenmine.core.fact import Fact, FactKind
from greenmine.core.identifier import is_identifier
from greenmine.ingest.device_facts import KINDS
from greenmine.ingest.fact_body import check_fact_body
from greenmine.ingest.record import Batch
from greenmine.pipeline.effects import Effects
from greenmine.pipeline.recalibrate import stale_spans
from greenmine.pipeline.state import JudgeState
from greenmine.pipeline.waiting import WaitingList
from greenmine.store.audit import AuditEntry


class FactRecord:
    """Takes facts into a state."""

    def __init__(self, state: JudgeState, waiting: WaitingList) -> None:
        self._state = state
        self._waiting = waiting

    def add(self, given: dict[str, Any], by: str, batch: Batch, fx: Effects) -> Fact:
        """Take a fact in: it counts from now on, and what is stored is brought up to it later.

        Raises:
            NotFound, Conflict, Refused: it is not taken, and nothing has changed.
        """
        state, body = self._state, _checked_fact(given, self._state)
        fact = Fact(
            id=self._state.next_fact_id,
            mine=body["mine"],
            kind=FactKind(body["kind"]),
            subject=body["subject"],
            valid_from_ns=body["valid_from_ns"],
            valid_to_ns=body["valid_to_ns"],
            recorded_at_ns=batch.clock_ns,
            by=by,
            reason=body["reason"],
            body=json.dumps(body["body"], ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False),
        )
        state.next_fact_id += 1
        fx.facts.append(fact)
        fx.audit.append(AuditEntry(fact.recorded_at_ns, fact.by, "fact.add", f"fact:{fact.id}", fact._asdict()))
        corrected = state.devices.known(body["body"].get("corrects", 0)) if fact.kind in KINDS else None
        state.take_fact(fact)
        fx.recalibrations += [span for one in (fact, corrected) if one is not None for span in stale_spans(one)]
        self._waiting.drop_registered(fx)
        return fact


def _checked_fact(body: dict[str, Any], state: JudgeState) -> dict[str, Any]:
    wanted = {"mine", "kind", "subject", "valid_from_ns", "valid_to_ns", "reason", "body"}
    if set(body) != wanted:
        raise Refused("fact_fields", f"a fact has exactly {sorted(wanted)}")
    if not isinstance(body["mine"], str) or body["mine"] not in state.policies:
        raise NotFound(f"there is no active policy of a mine {str(body['mine'])[:63]!r}")
    if body["kind"] not in list(FactKind):
        raise Refused("fact_kind", f"kind is one of {', '.join(FactKind)}")
    subject, start_ns, end_ns = body["subject"], body["valid_from_ns"], body["valid_to_ns"]
    if not isinstance(subject, str) or not all(is_identifier(part) for part in subject.split("/") if part):
        raise Refused("fact_subject", "subject is a device, device/metric or device/metric/channel, or empty")
    if not _is_time(start_ns) or not (end_ns is None or _is_time(end_ns)):
        raise Refused("fact_time", "valid_from_ns and valid_to_ns are integers (ns UTC); valid_to_ns may be null")
    if end_ns is not None and end_ns <= start_ns:
        raise Conflict("valid_to must be after valid_from")
    if not isinstance(body["reason"], str) or not body["reason"].strip() or len(body["reason"]) > 2000:
        raise Refused("fact_reason", "say why, in at most 2000 characters")
    if not isinstance(body["body"], dict) or not _is_plain_json(body["body"]):
        raise Refused("fact_body", "body is a JSON object, and its numbers are finite")
    kind = FactKind(body["kind"])
    check_fact_body(kind, subject, body["body"], state.policies[body["mine"]])
    if kind in KINDS and "corrects" in body["body"]:
        _check_corrected(body, state.devices.known(body["body"]["corrects"]))
    return body


def _check_corrected(body: dict[str, Any], corrected: Fact | None) -> None:
    device = body["subject"].split("/")[0]
    about = None if corrected is None else (corrected.mine, corrected.kind.value, corrected.subject.split("/")[0])
    if about != (body["mine"], body["kind"], device):
        raise NotFound(f"there is no {body['kind']} of {device} with the id {body['body']['corrects']} to correct")


def _is_plain_json(value: dict[str, Any]) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return False
    return True


def _is_time(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
