"""What is known of devices besides their readings: `web.backend.Devices` over the state database."""

from __future__ import annotations

from greenmine.core.waiting import Network, WaitingDevice
from greenmine.ingest.device_suggestion import suggest_device
from greenmine.store import waiting
from greenmine.store.state import StateDb


class StateDevices:
    """What was committed last."""

    def __init__(self, state: StateDb) -> None:
        self._state = state

    def waiting(self) -> list[WaitingDevice]:
        """Devices that nobody has registered, heard last first."""
        with self._state.reading() as connection:
            return waiting.listed(connection)

    def waiting_one(self, network: Network, address: str) -> WaitingDevice:
        """One of them. Raises NotFound."""
        with self._state.reading() as connection:
            return waiting.get(connection, network, address)

    def suggestion(self, device: WaitingDevice) -> str:
        """YAML for the policy's `devices`, guessed from what the device sent."""
        return suggest_device(device)
