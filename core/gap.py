"""Messages that a device numbered and that never came."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class GapReason(StrEnum):
    """`open`; or why it was closed: `filled` by late messages, `expired` without them, or `reset`: the numbers stepped
    back (or leapt) without a new boot id, so that what is missing cannot be known."""

    OPEN = "open"
    FILLED = "filled"
    EXPIRED = "expired"
    RESET = "reset"


class Stream(NamedTuple):
    """One sequence of numbers: a device's `seq`, the frame counter of a network (`fcnt`), the periods of a statistic
    (`period-60`: the number is the period's place since 1970), the messages of a Sparkplug edge node
    (`edge:group/node`)."""

    mine: str
    device: str
    name: str


class Gap(NamedTuple):
    """Numbers `first_seq` to `last_seq` of one boot, of which some have not come: bit k of `left` stands for the number
    `first_seq` + k. In whatever order they come, a gap takes no more than its bits.

    `from_ns` and `to_ns` are the source times of the messages around it; all other times are on the journal's clock.
    `found_ns` is None while it may still be mere disorder.
    """

    id: str
    stream: Stream
    boot: str
    first_seq: int
    last_seq: int
    from_ns: int
    to_ns: int
    opened_ns: int
    found_ns: int | None
    filled: int
    left: int
    attempts: int
    next_ns: int
    closed_ns: int | None
    reason: GapReason

    @property
    def remaining(self) -> tuple[tuple[int, int], ...]:
        """The numbers that have not come, as ranges, both ends included."""
        runs = re.finditer("1+", f"{self.left:b}"[::-1])
        return tuple((self.first_seq + run.start(), self.first_seq + run.end() - 1) for run in runs)

    @property
    def pieces(self) -> int:
        """How many ranges `remaining` has."""
        return (self.left & ~(self.left << 1)).bit_count()

    @property
    def missing(self) -> int:
        """Numbers that have not come."""
        return self.left.bit_count()

    def without(self, seq: int) -> Gap | None:
        """The gap after this number has come; None where it was not missing."""
        place = seq - self.first_seq
        if place < 0 or not self.left >> place & 1:
            return None
        return self._replace(filled=self.filled + 1, left=self.left ^ (1 << place))


def all_of(first: int, last: int) -> int:
    """`left` of a gap from one number to another of which none has come."""
    return (1 << (last - first + 1)) - 1


@dataclass(slots=True)
class Sequence:
    """Where a stream's numbers stand: the boot, the one before it, the highest number and its source time, and when
    (journal's clock) a reset was last noted. `missing` are its open gaps by id, oldest first; `saved` is the highest
    number and its time as its row has them, None where the row is out of date."""

    id: int
    stream: Stream
    boot: str
    former_boot: str
    highest: int
    highest_ns: int
    reset_ns: int | None
    missing: dict[str, Gap] = field(default_factory=dict)
    saved: tuple[int, int] | None = field(default=None, compare=False)


def gap_id(stream: Stream, boot: str, first_seq: int, opened_ns: int) -> str:
    """An id that is the same in every replay."""
    text = json.dumps([*stream, boot, first_seq, opened_ns])
    return "g" + hashlib.sha256(text.encode()).hexdigest()[:15]
