"""A sliding window over source time, and the means that conditions judge."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from fractions import Fraction

from greenmine.policy.model import MeanRule
from greenmine.rules.binding import Binding


class Window:
    """The usable values of one series over its longest rule's window, newest last, in order of source time."""

    def __init__(self, span_ns: int) -> None:
        self.span_ns = span_ns
        self._samples: deque[tuple[int, float]] = deque()

    def add(self, time_ns: int, value: float) -> None:
        """Take the newest value; drop what is a whole span older."""
        self._samples.append((time_ns, value))
        while self._samples[0][0] <= time_ns - self.span_ns:
            self._samples.popleft()

    def mean(self, binding: Binding) -> float | None:
        """The mean over the binding's window up to the newest value, or None while too few of the due values came.

        Sums are taken anew each time, so that the result does not depend on what was in the window before.
        """
        assert isinstance(binding.rule, MeanRule)
        if not self._samples:
            return None
        start_ns = self._samples[-1][0] - binding.window_ns
        values = [value for time_ns, value in self._samples if time_ns > start_ns]
        if len(values) < binding.due:
            return None
        return energy_mean(values) if binding.rule.energy else arithmetic_mean(values)


def arithmetic_mean(values: Sequence[float]) -> float:
    """The mean of finite values, the same in whatever order, and never outside of them: by its two roundings alone the
    mean of three readings of 0.1, all on a limit, would be above it."""
    try:
        mean = math.fsum(values) / len(values)
    except OverflowError:
        mean = float(sum(map(Fraction, values)) / len(values))
    return min(max(mean, min(values)), max(values))


def energy_mean(levels_db: Sequence[float]) -> float:
    """Level of the mean energy, 10 lg(mean(10^(L/10))), dB: the Leq of equal intervals (GB 12348-2008 3.2).

    Relative to the highest level, so that nothing overflows and equal levels have themselves for their mean.
    """
    highest = max(levels_db)
    energies = [10 ** ((level - highest) / 10) for level in levels_db]
    return highest + 10 * math.log10(math.fsum(energies) / len(energies))
