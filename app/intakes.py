"""What came in and what did not: `web.backend.Intakes` over the state database."""

from __future__ import annotations

from greenmine.core.gap import Gap
from greenmine.store import gaps
from greenmine.store.state import StateDb


class StateIntakes:
    """What was committed last."""

    def __init__(self, state: StateDb) -> None:
        self._state = state

    def gaps(self, mine: str | None, device: str | None, open_only: bool, limit: int) -> list[Gap]:
        """Declared gaps, newest first."""
        with self._state.reading() as connection:
            return gaps.listed(connection, mine, device, open_only, limit)
