"""The message account, counted in readings, whose sum is exact at every commit."""

from __future__ import annotations

from typing import NamedTuple

HOUR_NS = 3600 * 1_000_000_000
LOOKED_UP_NS = 400 * 86_400 * 1_000_000_000
"""How long what came in beside readings (activity, gaps, the hours of devices) can be looked up."""


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


class HourKey(NamedTuple):
    """A device's hour (UTC). Readings count in the hour of their source time; what has none that can be believed (a
    dead letter, a clock that is wrong) in the hour in which it was judged.

    `start_ns` 0 stands for all that is older than can be looked up. Of messages whose sender is not registered `device`
    is empty, and of those that name no mine of ours `mine` too: strangers can invent names without end.
    """

    mine: str
    device: str
    start_ns: int


class DeviceHour(NamedTuple):
    """A device's hour: how many readings its policy let expect, and the account of those that came."""

    mine: str
    device: str
    start_ns: int
    expected: int
    account: Account

    @property
    def missing(self) -> int:
        """How many of the expected are neither stored nor on their way there."""
        return max(0, self.expected - self.account.stored - self.account.pending)


def hour_of(time_ns: int, clock_ns: int) -> int:
    """Beginning of the hour of a source time, 0 where it is too long ago to be looked up."""
    return 0 if time_ns < clock_ns - LOOKED_UP_NS else time_ns - time_ns % HOUR_NS
