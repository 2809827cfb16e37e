"""Randomness that depends on the seed, a key and the time alone, so that steps can be skipped and runs repeated."""

from __future__ import annotations

import hashlib

from greenmine.core.clock import NS_PER_S

_KNOTS_KEPT = 16


def uniform(seed: int, key: str, index: int = 0) -> float:
    """A number in [0, 1) that is the same for the same arguments on every machine."""
    digest = hashlib.blake2b(f"{seed}|{key}|{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def symmetric(seed: int, key: str, index: int = 0) -> float:
    """A number in [-1, 1)."""
    return 2.0 * uniform(seed, key, index) - 1.0


class SmoothNoise:
    """A smooth function of time in [-1, 1] whose values hold together over about `persistence_s`.

    Between independent knots, `persistence_s` apart, it runs along a smooth step. It is bounded by design: a calm
    world must stay below its limits for any seed.
    """

    def __init__(self, seed: int, key: str, persistence_s: float) -> None:
        self._seed = seed
        self._key = key
        self._step_ns = int(persistence_s * NS_PER_S)
        self._knots: dict[int, float] = {}

    def at(self, time_ns: int) -> float:
        """The value at a time, ns UTC."""
        index, into_ns = divmod(time_ns, self._step_ns)
        left, right = self._knot(index), self._knot(index + 1)
        x = into_ns / self._step_ns
        return left + (right - left) * x * x * (3.0 - 2.0 * x)

    def _knot(self, index: int) -> float:
        value = self._knots.get(index)
        if value is None:
            if len(self._knots) >= _KNOTS_KEPT:
                self._knots.clear()
            value = self._knots[index] = symmetric(self._seed, self._key, index)
        return value
