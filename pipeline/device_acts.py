"""What people decide about devices that wait: approve an address, or reject it."""

from __future__ import annotations

from typing import Any

from greenmine.core.act import Act, ActResult
from greenmine.core.errors import Conflict, NotFound, Refused
from greenmine.core.fact import FactKind
from greenmine.core.waiting import LONGEST_ADDRESS, Network, WaitingKey, canonical_address
from greenmine.ingest.record import Batch
from greenmine.ingest.registry import Registry
from greenmine.pipeline.effects import Effects
from greenmine.pipeline.fact_record import FactRecord
from greenmine.pipeline.intake import Intake
from greenmine.pipeline.state import JudgeState, Past
from greenmine.pipeline.waiting import WaitingList
from greenmine.store.audit import AuditEntry

MOST_REPLAYED = 10_000
"""Journal records that one act may have read again."""
_APPROVED = ("network", "address", "mine", "device")


class DeviceActs:
    """Applies these acts to a state."""

    def __init__(self, state: JudgeState, facts: FactRecord, waiting: WaitingList, intake: Intake, past: Past) -> None:
        self._state = state
        self._facts = facts
        self._waiting = waiting
        self._intake = intake
        self._past = past

    def approve(self, act: Act, batch: Batch, fx: Effects) -> ActResult:
        """From now on the address speaks for the device; its dead letters may be read again at once.

        Raises:
            NotFound, Conflict, Refused: nothing has changed.
        """
        if not {"network", "address", "mine", "device"} <= set(act.body) <= {*_APPROVED, "replay"}:
            raise Refused("approval", f"an approval has {', '.join(_APPROVED)} and may have replay")
        key, device = _waiting_key(act.body), act.body["device"]
        if key.network is Network.MQTT:
            raise Refused("network", "an own topic names its device itself: add the device to the mine's policy")
        wanted = (act.body["mine"], device)
        taken = Registry.of(self._state.policies.values()).addresses.get((key.network.value, key.address), wanted)
        if taken != wanted:
            raise Conflict(f"a policy says whose address {key.address} is: {'/'.join(taken or ('several devices',))}")
        fact = {
            "mine": act.body["mine"],
            "kind": FactKind.APPROVAL.value,
            "subject": device,
            "valid_from_ns": batch.clock_ns,
            "valid_to_ns": None,
            "reason": act.note.strip() or "approved from the waiting list",
            "body": {"network": key.network.value, "address": key.address},
        }
        made = self._facts.add(fact, act.principal, batch, fx)
        self._waiting.unmute(key, fx)
        detail: dict[str, Any] = {"id": made.id, **fact["body"], "mine": made.mine, "device": device}
        if act.body.get("replay", False) is True:
            records = self._past.dead_of_address(key.network.value, key.address, MOST_REPLAYED)
            try:
                detail["replayed"] = self._intake.replay_dead(records, batch, fx)
            except NotFound as error:  # the journal has let go of some; the approval stands
                detail["replayed"] = None
                detail["not_replayed"] = str(error)
        return ActResult(detail=detail)

    def reject(self, act: Act, batch: Batch, fx: Effects) -> ActResult:
        """Off the list, and never on it again until it is approved.

        Raises:
            NotFound, Refused: nothing has changed.
        """
        key = _waiting_key(act.body)
        if key not in self._state.waiting:
            raise NotFound(f"{key.network.value} {key.address!r} is not on the waiting list")
        self._waiting.mute(key, act.principal, batch.clock_ns, fx)
        said = {"network": key.network.value, "address": key.address}
        fx.audit.append(
            AuditEntry(batch.clock_ns, act.principal, "device.reject", key.address, {**said, "note": act.note})
        )
        return ActResult(detail=said)


def _waiting_key(body: dict[str, Any]) -> WaitingKey:
    network, address = body.get("network"), body.get("address")
    if network not in list(Network):
        raise Refused("network", f"network is one of {', '.join(Network)}")
    if not isinstance(address, str) or not 0 < len(address) <= LONGEST_ADDRESS:
        raise Refused("address", f"address is text of at most {LONGEST_ADDRESS} characters")
    return WaitingKey(Network(network), canonical_address(network, address))
