"""The message account by device and hour: whose account something stands in, and when commits are counted."""

from __future__ import annotations

from collections import Counter, defaultdict

from greenmine.core.account import HourKey, hour_of
from greenmine.core.quality import Quality, flag_names
from greenmine.core.reading import Reading
from greenmine.pipeline.effects import Effects
from greenmine.pipeline.state import JudgeState
from greenmine.store.columns import Columns
from greenmine.store.hours import FLAGGED, QUARANTINED, REFUSED, ReasonKey, by_device, count_by_hour


class Hours:
    """Counts what happens to readings one by one: all that is not ordinary."""

    def __init__(self, state: JudgeState) -> None:
        self._state = state

    def sender(self, mine: str, device: str) -> tuple[str, str]:
        """Mine and device as far as they are registered; strangers have no account of their own."""
        if (mine, device) in self._state.registry.devices:
            return mine, device
        return (mine if mine in self._state.policies else ""), ""

    def dead(self, mine: str, device: str, word: str, clock_ns: int, fx: Effects) -> None:
        """A message or item of this sender (as `sender` gives it) was refused."""
        fx.hours[HourKey(mine, device, hour_of(clock_ns, clock_ns)), "dead"] += 1
        fx.reasons[ReasonKey(mine, device, REFUSED, word)] += 1

    def alive(self, letters: list[HourKey], clock_ns: int, fx: Effects) -> None:
        """These dead letters (sender, and when they were refused) are dead no more."""
        for mine, device, at_ns in letters:
            fx.hours[HourKey(mine, device, hour_of(at_ns, clock_ns)), "dead"] -= 1

    def quarantined(self, reading: Reading, reason: str, clock_ns: int, fx: Effects) -> None:
        """A reading was kept apart."""
        series = reading.series
        mine, device = self.sender(series.mine, series.device)
        # A clock that is wrong says nothing of the hour.
        time_ns = clock_ns if reading.quality & Quality.SKEW else reading.time_ns
        fx.hours[HourKey(mine, device, hour_of(time_ns, clock_ns)), "quarantined"] += 1
        fx.reasons[ReasonKey(mine, device, QUARANTINED, reason)] += 1

    def flagged(self, reading: Reading, fx: Effects) -> None:
        """A reading was taken with flags."""
        series = reading.series
        for name in flag_names(reading.quality):
            fx.reasons[ReasonKey(series.mine, series.device, FLAGGED, name)] += 1

    def count(self, reading: Reading, name: str, clock_ns: int, fx: Effects, number: int = 1) -> None:
        """A reading of a registered series is `taken`, `duplicate` or `conflict`."""
        series = reading.series
        fx.hours[HourKey(series.mine, series.device, hour_of(reading.time_ns, clock_ns)), name] += number


class Uncounted:
    """Counts the readings of whole commits; they go into the rows when the log of identities lets go of them."""

    def __init__(self, state: JudgeState) -> None:
        self._state = state
        self._found: defaultdict[int, Counter[int]] = defaultdict(Counter)
        """Since the round began: by hour, the readings of each series."""
        self._cut: Counter[HourKey] = Counter()
        """Of commits that the log loses when the round under way ends."""

    def count(self, columns: Columns) -> None:
        """The readings of a commit."""
        count_by_hour(columns, self._found)

    def begin_round(self) -> None:
        """When the round that begins has ended, the log has lost what it holds now."""
        names = {one.id: one.series for one in self._state.series.values()}
        for counted in (self._state.uncounted, by_device(self._found, names)):
            self._cut.update(counted)
            counted.clear()
        self._found.clear()

    def end_round(self, fx: Effects) -> None:
        """The log loses it with this commit."""
        for key, number in self._cut.items():
            fx.hours[key, "taken"] += number
        self._cut.clear()
