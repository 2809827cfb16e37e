"""The judge: applies journal batches to the state, one after the other, and collects what follows.

A pure function of the state, the batch and what was committed before. Records come first, then the clock: in a batch
that carries both a reading and the end of a hold, the reading is the newer knowledge. Timers are looked at once in
each second of the journal's clock.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from greenmine.alerts import lifecycle
from greenmine.alerts.retry import GIVE_UP_AFTER_NS, next_attempt_ns
from greenmine.core.act import Act, ActResult
from greenmine.core.clock import NS_PER_S
from greenmine.core.errors import Corrupt, GreenmineError
from greenmine.core.latest import Change
from greenmine.core.notice import NoticeKind
from greenmine.ingest.backlog import DRAIN, Aside
from greenmine.ingest.disk_room import DISK_FULL, DISK_HAS_ROOM
from greenmine.ingest.record import Batch, RecordKind, StoredRecord
from greenmine.pipeline.activities import Activities
from greenmine.pipeline.acts import Acts
from greenmine.pipeline.backlog import Backlog
from greenmine.pipeline.downlinks import Downlinks
from greenmine.pipeline.effects import Effects, Forget, NoticeState, PolicyActivation
from greenmine.pipeline.gaps import Gaps
from greenmine.pipeline.hj212_reader import Secrets, no_secrets
from greenmine.pipeline.intake import Intake
from greenmine.pipeline.relay import Relays
from greenmine.pipeline.state import IDENTITY_SPAN_NS, JudgeState, Past
from greenmine.pipeline.waiting import WaitingList
from greenmine.pipeline.watch import Watch
from greenmine.policy.canonical import from_canonical_json, policy_hash
from greenmine.store.audit import AuditEntry
from greenmine.store.writer import STORE_REFUSES, STORE_TAKES

PRUNE_EVERY_NS = 3600 * 1_000_000_000
STANDS_ALONE = frozenset((RecordKind.ACT, RecordKind.POLICY, RecordKind.SERVICE))
"""Records that look up what was committed before, or that many more may be judged upon: batches with one are committed
by themselves."""


class Judge:
    """Applies batches to a state."""

    def __init__(self, state: JudgeState, past: Past, secrets: Secrets = no_secrets) -> None:
        self.state = state
        self._past = past
        self._activities = Activities(state, past)
        self._gaps = Gaps(state)
        self._watch = Watch(state, self._activities)
        self._waiting = WaitingList(state)
        self._downlinks = Downlinks(state)
        self.intake = Intake(state, self._watch, past, self._activities, self._gaps, self._waiting, secrets)
        self._backlog = Backlog(state, self._watch, self.intake, self._waiting, past)
        self._relays = Relays(state)
        self._acts = Acts(state, self._watch, self.intake, past, self._waiting)
        self._by_kind: dict[RecordKind, Callable[[StoredRecord, Batch, Effects], None]] = {
            RecordKind.MESSAGE: self._message,
            RecordKind.IMPORT: self.intake.imported,
            RecordKind.ACT: self._act,
            RecordKind.POLICY: self._policy,
            RecordKind.DELIVERY: self._delivery,
            RecordKind.SERVICE: self._service,
            RecordKind.DOWNLINK: self._downlinks.attempted,
        }

    def apply(self, batch: Batch, fx: Effects, aside: Aside | None = None) -> None:
        """Judge one batch; its records in order, then the clock. Of a range that is set `aside` it has only the records
        that do not wait, and no timer runs."""
        if aside is not None:
            self._backlog.enter(aside, fx)
        for stored in batch.records:
            kind = stored.record.kind
            if not stored.intact and kind not in (RecordKind.MESSAGE, RecordKind.IMPORT):
                # An act or a policy that cannot be trusted is not guessed at, and not passed over in silence either. To
                # stop here would stop every alarm for good, since each start would come to the same record.
                body = {"record": stored.id, "kind": kind.name.lower()}
                fx.audit.append(AuditEntry(batch.clock_ns, "service:journal", "journal.damaged_record", "", body))
                continue
            self._by_kind[kind](stored, batch, fx)
        fx.end_run(batch.received_ns, batch.clock_ns)
        self._relays.take(batch, fx)
        if aside is not None:
            if batch.no == aside.last_no:
                self._backlog.leave(aside)
                self._note_link(fx)
        elif batch.clock_ns // NS_PER_S != self.state.clock_ns // NS_PER_S:
            self._watch.on_clock(batch.clock_ns, fx)
            self._activities.on_clock(batch.clock_ns, fx)
            self._gaps.on_clock(batch.clock_ns, fx)
            self._downlinks.on_clock(batch.clock_ns, fx)
            self.intake.on_clock(batch.clock_ns, fx)
        if len(fx.downlinks) > fx.downlinks_taken:
            self._downlinks.take_over(batch.clock_ns, fx)
        self.state.clock_ns = batch.clock_ns
        if self.prunes(batch):
            self.state.pruned_ns = batch.clock_ns
            before_ns = batch.clock_ns - IDENTITY_SPAN_NS
            fx.forget = Forget(batch.clock_ns, before_ns, self.state.needed_longer_ns(before_ns))
        fx.cursor, fx.clock_ns = batch.no, batch.clock_ns

    def prunes(self, batch: Batch) -> bool:
        """Whether identities are forgotten after this batch. It has to be the last of its commit: what comes later
        stays until the next time, however old it is."""
        return batch.clock_ns - self.state.pruned_ns > PRUNE_EVERY_NS

    def _message(self, stored: StoredRecord, batch: Batch, fx: Effects) -> None:
        if self.state.link_down_since_ns is not None or self.state.link_alerts:
            # The event that said so may not have found room in the journal's queue; a message is better evidence.
            self._link_is_up(batch, fx)
        self.intake.message(stored, batch, fx)

    def _act(self, stored: StoredRecord, batch: Batch, fx: Effects) -> None:
        act = Act.from_json(stored.record.payload)
        answer: ActResult | GreenmineError
        try:
            answer = self._acts.apply(act, batch, fx)
        except GreenmineError as error:
            answer = error
            body = {"kind": act.kind.value, "refused": str(error)}
            fx.audit.append(AuditEntry(batch.clock_ns, act.principal, "act.refused", act.alert_id, body))
        fx.results[stored.record.client] = answer

    def _policy(self, stored: StoredRecord, batch: Batch, fx: Effects) -> None:
        record = json.loads(stored.record.payload)
        mine, canonical = record["mine"], record["canonical"]
        policies = dict(self.state.policies)
        if canonical:
            policy = from_canonical_json(canonical)
            policies[mine] = policy
            digest = policy_hash(policy)
            self.state.expected_since_ns[mine] = batch.clock_ns
        else:
            policies.pop(mine, None)
            digest = ""
            self.state.expected_since_ns.pop(mine, None)
        self.state.policy_hashes[mine] = digest
        former = self.state.bindings
        self.state.set_policies(policies, self._past)
        self._watch.drop_removed(mine, former, batch.clock_ns, fx)
        self._waiting.drop_registered(fx)
        principal = stored.record.source
        fx.policies.append(PolicyActivation(mine, digest, batch.clock_ns, principal, canonical))
        action = "policy.activate" if canonical else "policy.remove"
        fx.audit.append(AuditEntry(batch.clock_ns, principal, action, mine, {"hash": digest}))
        fx.changes.append(Change("policy", mine))

    def _service(self, stored: StoredRecord, batch: Batch, fx: Effects) -> None:
        state, event = self.state, json.loads(stored.record.payload)
        name = event["event"]
        if name == DRAIN:
            self._backlog.drain(event, batch, fx)
            return
        if name == "link_up":
            self._link_is_up(batch, fx)
        elif name == "start":
            # A start by itself does not bring a lost connection back: its alerts stay until something is heard.
            state.listening_since_ns, state.link_down_since_ns = batch.clock_ns, None
        elif name == "link_down" and state.link_down_since_ns is None:
            state.link_down_since_ns = batch.clock_ns
        elif name == DISK_FULL:
            self._watch.disk_full(batch.clock_ns, fx)
        elif name == STORE_REFUSES:
            self._watch.store_refuses(batch.clock_ns, fx)
        elif name == STORE_TAKES:
            self._watch.store_takes(batch.clock_ns, fx)
        elif name == DISK_HAS_ROOM:
            state.listening_since_ns = batch.clock_ns
            self._watch.disk_has_room(batch.clock_ns, fx)
        self._note_link(fx)
        fx.audit.append(AuditEntry(batch.clock_ns, stored.record.source, f"service.{name}", "", event))

    def _link_is_up(self, batch: Batch, fx: Effects) -> None:
        self.state.listening_since_ns, self.state.link_down_since_ns = batch.clock_ns, None
        self._watch.link_restored(batch.clock_ns, fx)
        self._note_link(fx)

    def _note_link(self, fx: Effects) -> None:
        fx.listening_since_ns, fx.link_down_since_ns = self.state.listening_since_ns, self.state.link_down_since_ns
        fx.link_changed = True

    def _delivery(self, stored: StoredRecord, batch: Batch, fx: Effects) -> None:
        result = json.loads(stored.record.payload)
        waiting = self.state.notices.get(result["key"])
        if waiting is None:
            return
        moved = _after_attempt(waiting, result, batch.clock_ns)
        fx.notices[moved.notice.key] = moved
        if moved.state == "pending":
            self.state.notices[moved.notice.key] = moved
            return
        del self.state.notices[moved.notice.key]
        notice = moved.notice
        body = {
            "alert": notice.alert_id,
            "kind": notice.kind.value,
            "contact": notice.contact,
            "channel": notice.channel,
            "state": moved.state,
            "attempts": moved.attempts,
            "detail": moved.detail,
        }
        fx.audit.append(AuditEntry(batch.clock_ns, stored.record.source, "notice.ended", notice.key, body))
        if notice.kind is not NoticeKind.TEST:
            self._note_delivery(moved, stored, batch, fx)

    def _note_delivery(self, moved: NoticeState, stored: StoredRecord, batch: Batch, fx: Effects) -> None:
        """Put into the alert's history who was told, or that somebody could not be."""
        notice = moved.notice
        key = self.state.keys_by_id.get(notice.alert_id)
        alert = fx.alerts.get(notice.alert_id)
        if alert is None:
            alert = self.state.alerts[key] if key is not None else self._past.alert(notice.alert_id)
        if alert is None:
            raise Corrupt(f"notice {notice.key} names the alert {notice.alert_id}, which does not exist")
        delivered = moved.state == "delivered"
        note = f"{notice.kind.value} {notice.contact} {notice.channel} {moved.detail}".strip()
        self._watch.keep(*lifecycle.told(alert, delivered, stored.record.source, note, batch.clock_ns), fx)


def _after_attempt(waiting: NoticeState, result: dict[str, object], clock_ns: int) -> NoticeState:
    attempts = waiting.attempts + 1
    detail = str(result["detail"])[:500]
    moved = waiting._replace(attempts=attempts, detail=detail, first_attempt_ns=waiting.first_attempt_ns or clock_ns)
    if result["delivered"]:
        return moved._replace(state="delivered", ended_ns=clock_ns)
    if result["permanent"]:
        return moved._replace(state="refused", ended_ns=clock_ns)
    if clock_ns - waiting.created_ns > GIVE_UP_AFTER_NS:
        return moved._replace(state="expired", ended_ns=clock_ns)
    wish = result["retry_after_s"]
    wait_s = float(wish) if isinstance(wish, int | float) else None
    return moved._replace(next_ns=next_attempt_ns(waiting.notice.key, attempts, clock_ns, wait_s))
