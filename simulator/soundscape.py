"""Sound at a mine's boundary: the surroundings and the machines by shift, summed as energies."""

from __future__ import annotations

import math
from typing import NamedTuple

from greenmine.simulator.daily import SHIFT_WORK, LocalTime, day_wave
from greenmine.simulator.randomness import SmoothNoise, symmetric


class Sound(NamedTuple):
    """dB(A); lamax > l10 > laeq > l50 > l90."""

    laeq: float
    lamax: float
    l10: float
    l50: float
    l90: float


def energy_sum_db(*levels_db: float) -> float:
    """The level of several sources together: 10 lg of the sum of their energies."""
    return 10 * math.log10(sum(10 ** (level / 10) for level in levels_db))


class Soundscape:
    """The sound at one place."""

    def __init__(self, seed: int, place: str) -> None:
        key = f"sound/{place}"
        self._distance_db = 1.5 * symmetric(seed, f"{key}/distance")
        self._around = SmoothNoise(seed, f"{key}/around", 1800)
        self._machines = SmoothNoise(seed, f"{key}/machines", 600)
        self._peaks = SmoothNoise(seed, f"{key}/peaks", 120)

    def at(self, time_ns: int, local: LocalTime) -> Sound:
        """The levels around a time; `local` is the mine's time at `time_ns`."""
        around = 39.0 + 3.0 * day_wave(local.hour, 14) + 2.0 * self._around.at(time_ns)
        work = 10 * math.log10(SHIFT_WORK.at(local.hour))
        machines = 49.0 + work + 2.0 * self._machines.at(time_ns) + self._distance_db
        laeq = energy_sum_db(around, machines)
        return Sound(laeq, laeq + 7.0 + 3.0 * self._peaks.at(time_ns), laeq + 2.2, laeq - 1.4, laeq - 4.5)
