"""Acts of people, judged in the order of the journal; an act may be refused, and the refusal is its answer."""

from __future__ import annotations

import hashlib

from greenmine.alerts import lifecycle
from greenmine.core.act import Act, ActKind, ActResult
from greenmine.core.alert import Alert
from greenmine.core.errors import NotFound, Refused
from greenmine.ingest.record import Batch
from greenmine.pipeline.device_acts import MOST_REPLAYED, DeviceActs
from greenmine.pipeline.effects import Effects, KeptResult
from greenmine.pipeline.fact_record import FactRecord
from greenmine.pipeline.intake import Intake
from greenmine.pipeline.state import JudgeState, Past
from greenmine.pipeline.waiting import WaitingList
from greenmine.pipeline.watch import Watch
from greenmine.store.audit import AuditEntry


class Acts:
    """Applies acts to the state."""

    def __init__(self, state: JudgeState, watch: Watch, intake: Intake, past: Past, waiting: WaitingList) -> None:
        self._state = state
        self._facts = FactRecord(state, waiting)
        self._devices = DeviceActs(state, self._facts, waiting, intake, past)
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
        elif act.kind is ActKind.APPROVE_DEVICE:
            result = self._devices.approve(act, batch, fx)
        elif act.kind is ActKind.REJECT_DEVICE:
            result = self._devices.reject(act, batch, fx)
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
        fact = self._facts.add(act.body, act.principal, batch, fx)
        return ActResult(detail={"id": fact.id})

    def _replay(self, act: Act, batch: Batch, fx: Effects) -> ActResult:
        ids = act.body.get("record_ids")
        if not isinstance(ids, list) or not 0 < len(ids) <= MOST_REPLAYED or not all(map(_is_record_id, ids)):
            advice = "as `greenmine dead-letters list` shows them"
            raise Refused("ids", f"give the ids of 1 to {MOST_REPLAYED} dead letters, {advice}")
        tally = self._intake.replay_dead(ids, batch, fx)
        if tally["messages"] == 0:
            raise NotFound("none of these dead letters exists with its message, or all were replayed already")
        fx.audit.append(
            AuditEntry(batch.clock_ns, act.principal, "dead_letters.replay", "", {"record_ids": ids, **tally})
        )
        return ActResult(detail=dict(tally))


def _is_record_id(value: object) -> bool:
    return _is_time(value) and isinstance(value, int) and value > 0


def _is_time(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
