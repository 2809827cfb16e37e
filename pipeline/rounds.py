"""The rounds in which series after series is saved: its row, and its recent identities as a chunk;
and sequence after sequence.

Which commit saves which series changes nothing that is judged: a lookup finds an identity in memory or in a chunk, and
a restart finds it in the log or in a chunk.
"""

from __future__ import annotations

from collections import deque

from greenmine.core.gap import Sequence
from greenmine.pipeline.effects import Chunk, Effects, SeriesState
from greenmine.pipeline.hours import Uncounted
from greenmine.pipeline.identities import MOST_A_COMMIT, ROUND_NS, pack_chunk
from greenmine.pipeline.state import JudgeState


class Rounds:
    """Goes round the series of a state, a few each commit."""

    def __init__(self, state: JudgeState) -> None:
        self._state = state
        self._uncounted = Uncounted(state)
        self._waiting: deque[SeriesState | Sequence] = deque()
        self._log_upto = 0
        self._begun_ns = 0
        self._moved_ns = 0

    def step(self, fx: Effects) -> None:
        """Save as many series with this commit as the time since the last one is worth."""
        self._step(fx)
        self._uncounted.count(fx.store)

    def _step(self, fx: Effects) -> None:
        clock_ns = self._state.clock_ns
        if not self._waiting:
            if clock_ns - self._begun_ns < ROUND_NS:
                return
            # Everything of the commits up to here is in memory, and so will be in a chunk when the round is done.
            self._log_upto, self._begun_ns, self._moved_ns = fx.before, clock_ns, clock_ns
            self._uncounted.begin_round()
            self._waiting.extend(self._state.series.values())
            self._waiting.extend(self._state.sequences.values())
        due = (len(self._state.series) + len(self._state.sequences)) * (clock_ns - self._moved_ns) // ROUND_NS
        if due == 0:
            return
        self._moved_ns = clock_ns
        for _ in range(min(due, MOST_A_COMMIT, len(self._waiting))):
            self._save(self._waiting.popleft(), fx)
        if not self._waiting:
            fx.log_done = self._log_upto
            self._uncounted.end_round(fx)

    def save_all(self, fx: Effects) -> None:
        """Save every series, and cut the whole log, so that nothing that is forgotten now comes back from it."""
        for state in self._state.series.values():
            self._save(state, fx)
        for sequence in self._state.sequences.values():
            self._save(sequence, fx)
        self._waiting.clear()
        fx.log_done = fx.cursor
        self._uncounted.count(fx.store)
        self._uncounted.begin_round()
        self._uncounted.end_round(fx)

    def _save(self, state: SeriesState | Sequence, fx: Effects) -> None:
        if isinstance(state, Sequence):
            if state.saved != (state.highest, state.highest_ns):
                fx.sequences[state.stream] = state
                state.saved = state.highest, state.highest_ns
            return
        if state.unsaved:
            fx.saved_series.append(state)
            state.unsaved = False
        if len(state.recent):
            fx.chunks.append(Chunk(state.id, *pack_chunk(state.recent)))
            state.recent.clear()
