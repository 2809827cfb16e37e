"""Which readings leave for another platform, and as which messages of HJ 212: decided with each batch.

Only readings that came live and are new are forwarded (no imports, no dead letters read again, nothing older than the
index of identities), the calibrated value where there is one. What a station measured at one second goes into one
message. Messages depend on the journal's batches alone, not on which of them are committed together.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import islice
from typing import NamedTuple

from greenmine.core.clock import NS_PER_MS, NS_PER_S
from greenmine.core.metric import METRICS
from greenmine.core.quality import Quality
from greenmine.core.reading import Series
from greenmine.core.relay import RelayFrame
from greenmine.core.unit import Conversion, conversion
from greenmine.ingest.hj212_factors import code_of
from greenmine.ingest.hj212_head import VERSION_2017, VERSION_2025
from greenmine.ingest.hj212_requests import qn_of, stamp_of
from greenmine.ingest.hj212_segment import ANSWER_WANTED, DAY, HOUR, MINUTE, REAL_TIME
from greenmine.ingest.record import Batch
from greenmine.pipeline.effects import Effects
from greenmine.pipeline.hj212_reader import MINUTE_PERIODS_S
from greenmine.pipeline.state import JudgeState
from greenmine.policy.model import Device
from greenmine.policy.relay import SYSTEM_TYPES
from greenmine.store.columns import ORDINARY

MOST_CP_CHARACTERS = 900
"""CP has at most 950 (HJ 212-2017 clause 6.3.4); what is longer becomes more than one message."""
_SUFFIXES = {"inst": "Rtd", "avg": "Avg", "min": "Min", "max": "Max"}
_LETTERS = (
    (Quality.INVALID, "D"),
    (Quality.MAINTENANCE, "M"),
    (Quality.CALIBRATION, "C"),
    (Quality.RANGE | Quality.NEGATIVE, "T"),
    (Quality.MANUAL, "S"),
)
"""The letter of a value is that of its gravest flag; what we only suspect is not said to others."""
_GRAVEST_FIRST = "".join(letter for _, letter in _LETTERS) + "N"


class _Station(NamedTuple):
    mine: str
    mn: str
    st: str
    flag: int


class _Target(NamedTuple):
    """What the readings of a series become."""

    station: _Station
    cn: str
    code: str
    suffix: str
    conversion: Conversion | None


class _Key(NamedTuple):
    """What goes together: one station, one command, one second of source time."""

    station: _Station
    cn: str
    second: int


class _Message(NamedTuple):
    """By factor, the texts of its values by suffix, and its letter."""

    values: dict[str, dict[str, str]]
    letters: dict[str, str]


class Relays:
    """Forwards by the policies of a state."""

    def __init__(self, state: JudgeState) -> None:
        self._state = state
        self._generation = -1
        self._stations: dict[tuple[str, str, str], tuple[_Station, dict[str, str]]] = {}
        self._targets: dict[int, _Target | None] = {}
        self._series_seen = 0

    def take(self, batch: Batch, fx: Effects) -> None:
        """Make messages of what this batch added to the store's outbox."""
        if self._generation != self._state.generation:
            self._derive()
        first, fx.relay_upto = fx.relay_upto, len(fx.store)
        if self._stations and first < fx.relay_upto:
            self._send(self._messages(first, fx), batch, fx)

    def _messages(self, first: int, fx: Effects) -> dict[_Key, _Message]:
        found: dict[_Key, _Message] = {}
        columns, targets = fx.store, self._targets
        self._note_series()
        for place in range(first, len(columns)):
            target = targets[columns.series[place]]
            if target is None:
                continue
            odd = columns.odd.get(place, ORDINARY)
            if not odd.judged:
                continue
            value = columns.values[place] if odd.calibrated is None else odd.calibrated
            key = _Key(target.station, target.cn, columns.times[place] // NS_PER_S)
            message = found.setdefault(key, _Message({}, {}))
            message.values.setdefault(target.code, {})[target.suffix] = _text(value, target.conversion)
            letter = letter_of(odd.quality)
            before = message.letters.get(target.code, letter)
            message.letters[target.code] = min(before, letter, key=_GRAVEST_FIRST.index)
        return found

    def _send(self, messages: dict[_Key, _Message], batch: Batch, fx: Effects) -> None:
        newest = self._state.relay_qn_ms
        for (station, cn, second), message in messages.items():
            for cp in _texts(second, message):
                name = station.mine, station.mn
                qn_ms = max(newest.get(name, 0) + 1, batch.clock_ns // NS_PER_MS)
                newest[name] = fx.relay_qn_ms[name] = qn_ms
                qn = qn_of(qn_ms * NS_PER_MS)
                fx.relay.append(RelayFrame(station.mine, station.mn, qn, station.st, cn, station.flag, cp))

    def _derive(self) -> None:
        self._generation = self._state.generation
        self._stations.clear()
        self._targets.clear()
        self._series_seen = 0
        for mine, policy in sorted(self._state.policies.items()):
            relay = policy.relay
            if relay is None:
                continue
            version = VERSION_2025 if relay.version == 2025 else VERSION_2017
            for one in relay.stations:
                st = one.st or _system_type(policy.device(one.device))
                station = _Station(mine, one.mn, st, version << 2 | ANSWER_WANTED)
                self._stations[mine, one.device, one.channel] = station, dict(one.units)

    def _note_series(self) -> None:
        """Learn of series that are new; they are kept in the order in which they came."""
        series = self._state.series
        if len(series) == self._series_seen:
            return
        for name, state in islice(series.items(), self._series_seen, None):
            self._targets[state.id] = self._target(name)
        self._series_seen = len(series)

    def _target(self, series: Series) -> _Target | None:
        known = self._stations.get((series.mine, series.device, series.channel))
        factor, suffix, cn = code_of(series.metric), _SUFFIXES.get(series.stat), _command(series.period_s)
        if known is None or factor is None or suffix is None or cn is None:
            return None
        station, units = known
        code, default = factor
        canonical = METRICS[series.metric].unit
        return _Target(station, cn, code, suffix, conversion(canonical, units.get(series.metric, default or canonical)))


def letter_of(quality: int) -> str:
    """The data flag of HJ 212-2017 (table 8) for a reading's quality."""
    return next((letter for flags, letter in _LETTERS if quality & flags), "N")


def _system_type(device: Device | None) -> str:
    if device is None or not device.sensors:
        return "22"
    return SYSTEM_TYPES[device.sensors[0].kind]


def _command(period_s: int) -> str | None:
    if period_s in MINUTE_PERIODS_S:
        return MINUTE
    return {0: REAL_TIME, 3600: HOUR, 86400: DAY}.get(period_s)


def _text(value: float, change: Conversion | None) -> str:
    """A decimal number as HJ 212 has it, without an exponent: the value exactly, or 15 digits after a conversion, which
    take back what the conversion added."""
    text = format(Decimal(repr(value) if change is None else f"{change.apply(value):.15g}"), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _texts(second: int, message: _Message) -> list[str]:
    """CP of as many messages as are needed, each with its DataTime."""
    head = f"DataTime={stamp_of(second * NS_PER_S)}"
    found, text = [], head
    for code, values in message.values.items():
        fields = [f"{code}-{suffix}={values[suffix]}" for suffix in _SUFFIXES.values() if suffix in values]
        part = ";" + ",".join([*fields, f"{code}-Flag={message.letters[code]}"])
        if text != head and len(text) + len(part) > MOST_CP_CHARACTERS:
            found.append(text)
            text = head
        text += part
    return [*found, text]
