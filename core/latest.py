"""What is newest of a series, and the changes that live views are told of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from greenmine.core.reading import Series


class Latest(NamedTuple):
    """The newest reading of a series by source time, and when it came (journal's clock)."""

    series: Series
    time_ns: int
    value: float
    quality: int
    received_ns: int
    calibrated: float | None = None

    @property
    def judged_value(self) -> float:
        """The calibrated value where there is one, else the raw one."""
        return self.value if self.calibrated is None else self.calibrated


class Change(NamedTuple):
    """Something that a commit changed. By `kind`, `what` is:

    * `latest`: a `Latest`
    * `alert`: an `Alert`
    * `transition`: a `Transition`
    * `activity`: an `ActivityInterval` that began, or changed
    * `message`: a dict of one raw message and what was decoded from it (for `tail`)
    * `policy`: the id of the mine whose policy became active
    """

    kind: str
    what: Any


ChangeListener = Callable[[Sequence[Change]], None]
"""Called after each commit, on the pipeline's thread, and must not block."""


NO_MESSAGES: frozenset[tuple[str, str]] = frozenset()
ALL_MESSAGES = frozenset({("", "")})


class Wants(NamedTuple):
    """What a listener wants to be told of besides alerts and policies, at the moment: newest values cost a little, raw
    messages a lot. `messages` are the (mine, device) that are looked at, '' for any."""

    latest: bool = True
    messages: frozenset[tuple[str, str]] = ALL_MESSAGES
