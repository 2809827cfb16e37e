"""Feeds the commissioning view, and only of mines at which somebody looks: raw messages cost the judging of each a lot.

Weakened guarantee: what is remembered begins when somebody begins to look; what came before is known from the board.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from greenmine.core.latest import Change, Wants
from greenmine.ingest.commissioning import CommissioningLog, Heard

LOOK_S = 60.0
"""After a page was read so long is listened for it; a page that is open is read again with every message and beat."""


class Onlooker:
    """What was heard of each mine since somebody began to look. May be fed on one thread and asked on others."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._logs: dict[str, tuple[float, CommissioningLog]] = {}

    def wants(self) -> Wants:
        """Raw messages of the mines that somebody looks at."""
        return Wants(latest=False, messages=frozenset((mine, "") for mine in self._looked_at()))

    def on_changes(self, changes: Sequence[Change]) -> None:
        """A `core.latest.ChangeListener`."""
        logs = self._looked_at()
        for change in changes:
            if change.kind == "message" and change.what["mine"] in logs:
                logs[change.what["mine"]].hear(change.what)

    def look(self, mine: str) -> dict[str, Heard]:
        """What was heard of a mine's devices, by device; listens for some time from now on."""
        # Where nobody listened meanwhile, what was remembered would look like the newest and is not.
        log = self._looked_at().get(mine) or CommissioningLog()
        with self._lock:
            self._logs[mine] = (self._monotonic_s() + LOOK_S, log)
        return log.heard(mine)

    def _looked_at(self) -> dict[str, CommissioningLog]:
        """The logs of the mines that somebody looks at; the others are let go."""
        now_s = self._monotonic_s()
        with self._lock:
            self._logs = {mine: one for mine, one in self._logs.items() if now_s < one[0]}
            return {mine: log for mine, (_, log) in self._logs.items()}
