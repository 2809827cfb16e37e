"""All facts about devices together, as the pipeline holds them: history, calibrations, approved addresses. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from greenmine.core.fact import Fact, FactKind
from greenmine.core.waiting import canonical_address
from greenmine.ingest.calibration import Calibrations
from greenmine.ingest.device_history import DeviceHistory
from greenmine.ingest.fact_body import formed_body

KINDS = frozenset((FactKind.CALIBRATION, FactKind.REPLACEMENT, FactKind.DEVICE_MOVE, FactKind.APPROVAL))


class DeviceFacts:
    """What the facts recorded so far say of devices.

    `approvals` maps (network, address) to (mine, device); of two approvals of an address the later one counts.
    """

    def __init__(self) -> None:
        self.history = DeviceHistory()
        self.calibrations = Calibrations(self.history)
        self.approvals: dict[tuple[str, str], tuple[str, str]] = {}
        self._known: dict[int, Fact] = {}

    @classmethod
    def of(cls, facts: Iterable[Fact]) -> DeviceFacts:
        """What these say, in the order in which they were recorded."""
        found = cls()
        for fact in facts:
            found.add(fact)
        return found

    def add(self, fact: Fact) -> bool:
        """One more fact, recorded after all others; whether it is one about a device."""
        body = formed_body(fact) if fact.kind in KINDS else None
        if body is None:
            return False
        self._known[fact.id] = fact
        if fact.kind is FactKind.APPROVAL:
            network, address = body["network"], body["address"]
            self.approvals[network, canonical_address(network, address)] = fact.mine, fact.subject
        self.history.add(fact)
        self.calibrations.add(fact)
        return True

    def known(self, fact_id: int) -> Fact | None:
        """A fact about a device by its id, also one that was corrected since."""
        return self._known.get(fact_id)
