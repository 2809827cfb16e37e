"""The data page made ready for its templates: each device's day, the gaps, and the dead letters by reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from greenmine.core.account import HOUR_NS, Account, DeviceHour
from greenmine.dashboards.build import device_title
from greenmine.dashboards.panel import Words
from greenmine.policy.model import Policy
from greenmine.store.dead_letters import DeadLetterRow
from greenmine.store.hours import FLAGGED, QUARANTINED, ReasonKey

SHOWN_HOURS = 24


@dataclass(frozen=True)
class HourCell:
    """One hour of a device's strip; `level` is a word for its colour: `none full most some little`."""

    start_ns: int
    expected: int
    missing: int
    level: str


@dataclass(frozen=True)
class DeviceDay:
    """A device's account over the hours that are shown. `title` is None for senders that are not registered."""

    device: str
    title: Words | None
    expected: int
    missing: int
    account: Account
    cells: list[HourCell]

    @property
    def came(self) -> float | None:
        """The part of the expected readings that came, 0 to 1; None where nothing was expected."""
        return None if not self.expected else (self.expected - self.missing) / self.expected

    @property
    def level(self) -> str:
        """As of an hour's cell."""
        return level(self.expected, self.missing)


@dataclass(frozen=True)
class LetterGroup:
    """Dead letters of one reason, of the mine's devices or (`of_nobody`) of senders that are not registered."""

    word: str
    of_nobody: bool
    count: int
    newest: DeadLetterRow


@dataclass(frozen=True)
class OddGroup:
    """Readings of a mine that were `quarantined` or `flagged` (`kind`) for one reason, and of which devices."""

    kind: str
    word: str
    count: int
    devices: list[str]


def odd_groups(found: Mapping[ReasonKey, int]) -> list[OddGroup]:
    """By reason, quarantined before flagged, most first; refusals are shown by their dead letters."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for key, count in found.items():
        if key.kind in (QUARANTINED, FLAGGED):
            of_devices = counts.setdefault((key.kind, key.word), {})
            of_devices[key.device] = of_devices.get(key.device, 0) + count
    groups = [OddGroup(*what, sum(of.values()), sorted(filter(None, of))) for what, of in counts.items()]
    return sorted(groups, key=lambda one: (one.kind != QUARANTINED, -one.count, one.word))


def device_days(policy: Policy, hours: Iterable[DeviceHour], now_ns: int) -> list[DeviceDay]:
    """The mine's devices in the order of its policy, then others; those of which nothing was expected or came are left
    out."""
    by_device: dict[str, dict[int, DeviceHour]] = {}
    for one in hours:
        by_device.setdefault(one.device, {})[one.start_ns] = one
    last_ns = now_ns - now_ns % HOUR_NS
    starts = [last_ns - back * HOUR_NS for back in range(SHOWN_HOURS - 1, -1, -1)]
    known = [device.id for device in policy.devices if device.id in by_device]
    return [
        _day(policy, device, by_device[device], starts) for device in (*known, *sorted(by_device.keys() - set(known)))
    ]


def level(expected: int, missing: int) -> str:
    """How complete something is, as a word."""
    if not expected:
        return "none"
    if missing == 0:
        return "full"
    came = (expected - missing) / expected
    return "most" if came >= 0.9 else "some" if came >= 0.5 else "little"


def letter_groups(of_mine: Sequence[DeadLetterRow], of_nobody: Sequence[DeadLetterRow]) -> list[LetterGroup]:
    """Both by reason, most first; the letters come newest first."""
    groups: list[LetterGroup] = []
    for letters, nobody in ((of_mine, False), (of_nobody, True)):
        by_word: dict[str, list[DeadLetterRow]] = {}
        for letter in letters:
            by_word.setdefault(letter.word, []).append(letter)
        for word, found in by_word.items():
            groups.append(LetterGroup(word, nobody, len(found), found[0]))
    return sorted(groups, key=lambda group: (group.of_nobody, -group.count, group.word))


def _day(policy: Policy, device: str, hours: dict[int, DeviceHour], starts: list[int]) -> DeviceDay:
    entry = policy.device(device)
    account = sum((one.account for one in hours.values()), Account())
    return DeviceDay(
        device=device,
        title=device_title(entry) if entry else (Words.same(device) if device else None),
        expected=sum(one.expected for one in hours.values()),
        missing=sum(one.missing for one in hours.values()),
        account=account,
        cells=[_cell(start_ns, hours.get(start_ns)) for start_ns in starts],
    )


def _cell(start_ns: int, hour: DeviceHour | None) -> HourCell:
    if hour is None:
        return HourCell(start_ns, 0, 0, "none")
    return HourCell(start_ns, hour.expected, hour.missing, level(hour.expected, hour.missing))
