"""What is forwarded to another platform: a message of HJ 212 from the decision until it was answered."""

from __future__ import annotations

from typing import NamedTuple


class RelayFrame(NamedTuple):
    """A message without its password, which is put in when it is sent. `mine` says to which platform it goes.

    `qn` is unique for its `mn` and stays the same however often the message is sent, so that the other side can tell a
    repeat. `flag` and all others as HJ 212 has them; `cp` is what stands between `CP=&&` and `&&`.
    """

    mine: str
    mn: str
    qn: str
    st: str
    cn: str
    flag: int
    cp: str


class WaitingFrame(NamedTuple):
    """A message in the outbox. Ids grow with time."""

    id: int
    frame: RelayFrame


class RelayTotals(NamedTuple):
    """What became of messages: answered, given up because only they were never answered, dropped by the quota."""

    delivered: int = 0
    unanswered: int = 0
    dropped: int = 0
