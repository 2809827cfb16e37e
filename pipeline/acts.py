"""Acts of people, judged in the order of the journal; an act may be refused, and the refusal is its answer."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from greenmine.alerts import lifecycle
from greenmine.core.act import Act, ActKind, ActResult
from greenmine.core.alert import Alert
from greenmine.core.errors import Conflict, NotFound, Refused
from greenmine.core.fact import Fact, FactKind
from greenmine.core.identifier import is_identifier
from greenmine.ingest.device_facts import KINDS
from greenmine.ingest.fact_body import check_fact_body
from greenmine.ingest.record import Batch
from greenmine.pipeline.effects import Effects, KeptResult
from greenmine.pipeline.intake import Intake
from greenmine.pipeline.recalibrate import stale_spans
from greenmine.pipeline.state import JudgeState, Past
from greenmine.pipeline.watch import Watch
from greenmine.store.audit import AuditEntry

MOST_REPLAYED = 10_000
"""Journal records that one act may have read again."""


class Acts:
    """Applies acts to the state."""

    def __init__(self, state: JudgeState, watch: Watch, intake: Intake, past: Past) -> None:
        self._state = state
        self._watch = watch
        self._intake = intake
        self._past = past

    def apply(self, act: Act, batch: Batch, fx: Effects) -> ActResult:
        """What became of the act.

        Raises:
            NotFound, Conflict, Refused: the act changes nothing.
        """
        digest = hashlib.sha256(act.to_json()).hexdigest()
        if act.idempotency_key:
            kept = self._kept(act.principal, act.idempotency_key, fx)
            if kept is not None:
                if kept.body_hash != digest:
                    raise Refused("idempotency_key_reused", "this key was used for another act")
                return ActResult(self._alert(kept.alert_id, fx) if kept.alert_id else None, kept.detail)
        if act.kind is ActKind.FACT:
            result = self._fact(act, batch, fx)
        elif act.kind is ActKind.REPLAY_DEAD_LETTERS:
            result = self._replay(act, batch, fx)
        else:
            result = self._handle(act, batch, fx)
        if act.idempotency_key:
            alert_id = result.alert.id if result.alert else ""
            fx.kept_results.append(
                KeptResult(act.principal, act.idempotency_key, digest, batch.clock_ns, alert_id, result.detail)
            )
        return result

    def _handle(self, act: Act, batch: Batch, fx: Effects) -> ActResult:
        alert = self._alert(act.alert_id, fx)
        step: lifecycle.Step | None
        if act.kind is ActKind.ACKNOWLEDGE:
            step = lifecycle.acknowledged(alert, act.principal, act.note, batch.clock_ns)
        elif act.kind is ActKind.NOTE:
            step = lifecycle.noted(alert, act.principal, act.note, batch.clock_ns)
        else:
            step = lifecycle.resolved(alert, act.principal, act.note, batch.clock_ns)
        if step is not None:
            self._watch.keep(*step, fx)
            alert = step[0]
        return ActResult(alert)

    def _kept(self, principal: str, idempotency_key: str, fx: Effects) -> KeptResult | None:
        """The answer already given under a key, a moment ago in this very batch or before."""
        for kept in fx.kept_results:
            if (kept.principal, kept.idempotency_key) == (principal, idempotency_key):
                return kept
        return self._past.kept_result(principal, idempotency_key)

    def _alert(self, alert_id: str, fx: Effects) -> Alert:
        alert = fx.alerts.get(alert_id)
        if alert is None:
            key = self._state.keys_by_id.get(alert_id)
            alert = self._state.alerts[key] if key is not None else self._past.alert(alert_id)
        if alert is None:
            raise NotFound(f"there is no alert {alert_id!r}")
        return alert

    def _fact(self, act: Act, batch: Batch, fx: Effects) -> ActResult:
        body = _checked_fact(act.body, self._state)
        fact = Fact(
            id=self._state.next_fact_id,
            mine=body["mine"],
            kind=FactKind(body["kind"]),
            subject=body["subject"],
            valid_from_ns=body["valid_from_ns"],
            valid_to_ns=body["valid_to_ns"],
            recorded_at_ns=batch.clock_ns,
            by=act.principal,
            reason=body["reason"],
            body=json.dumps(body["body"], ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False),
        )
        self._record(fact, fx)
        return ActResult(detail={"id": fact.id})

    def _record(self, fact: Fact, fx: Effects) -> None:
        """Take a fact in: it counts from now on, and what is stored is brought up to it later."""
        state = self._state
        state.next_fact_id += 1
        fx.facts.append(fact)
        fx.audit.append(AuditEntry(fact.recorded_at_ns, fact.by, "fact.add", f"fact:{fact.id}", fact._asdict()))
        corrected = state.devices.known(json.loads(fact.body).get("corrects", 0))
        state.take_fact(fact)
        fx.recalibrations += [span for one in (fact, corrected) if one is not None for span in stale_spans(one)]

    def _replay(self, act: Act, batch: Batch, fx: Effects) -> ActResult:
        ids = act.body.get("record_ids")
        if not isinstance(ids, list) or not 0 < len(ids) <= MOST_REPLAYED or not all(map(_is_record_id, ids)):
            advice = "as `greenmine dead-letters list` shows them"
            raise Refused("ids", f"give the ids of 1 to {MOST_REPLAYED} dead letters, {advice}")
        tally = self._intake.replay_dead(ids, batch, fx)
        if tally["messages"] == 0:
            raise NotFound("none of these dead letters exists, or all were replayed already")
        fx.audit.append(
            AuditEntry(batch.clock_ns, act.principal, "dead_letters.replay", "", {"record_ids": ids, **tally})
        )
        return ActResult(detail=dict(tally))


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


def _is_record_id(value: object) -> bool:
    return _is_time(value) and isinstance(value, int) and value > 0


def _is_time(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
