"""The message account, counted in readings, whose sum is exact at every commit."""

from __future__ import annotations

from typing import NamedTuple


class Account(NamedTuple):
    """received = stored + pending + quarantined + duplicate + conflict + dead. `stored` is confirmed by the store."""

    received: int = 0
    stored: int = 0
    pending: int = 0
    quarantined: int = 0
    duplicate: int = 0
    conflict: int = 0
    dead: int = 0

    def __add__(self, other: object) -> Account:
        if not isinstance(other, Account):
            return NotImplemented
        return Account(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def balanced(self) -> bool:
        """Whether the sum holds."""
        return self.received == sum(self[1:])
