"""Feeds the commissioning view, and only while somebody looks: raw messages cost the judging of every message a lot.

Weakened guarantee: what is remembered begins when somebody begins to look; what came before is known from the board.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from greenmine.core.latest import Change, Wants
from greenmine.ingest.commissioning import CommissioningLog, Heard

LOOK_S = 60.0
"""After a page was read so long is listened for it; a page that is open is read again with every message and beat."""


class Onlooker:
    """What was heard since somebody began to look. May be fed on one thread and asked on others."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._log = CommissioningLog()
        self._until_s = -1.0

    def wants(self) -> Wants:
        """Raw messages, while somebody looks."""
        return Wants(latest=False, messages=self._looking())

    def on_changes(self, changes: Sequence[Change]) -> None:
        """A `core.latest.ChangeListener`."""
        if self._looking():
            self._log.on_changes(changes)

    def look(self, mine: str) -> dict[str, Heard]:
        """What was heard of a mine's devices, by device; listens for some time from now on."""
        if not self._looking():
            # Nobody listened meanwhile: what is remembered would look like the newest and is not.
            self._log = CommissioningLog()
        self._until_s = self._monotonic_s() + LOOK_S
        return self._log.heard(mine)

    def _looking(self) -> bool:
        return self._monotonic_s() < self._until_s
