"""Readings of one commit as parallel columns, packed as bytes: what the outbox and the log of identities hold.

A reading costs 24 bytes and no object: the number of its series, the source time (ns), the value. What is not ordinary
of a reading stands in `odd` by its position: quality bits, whether it was shown to conditions, a calibrated value.
"""

from __future__ import annotations

import json
import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from greenmine.core.errors import Corrupt

_HEADER = struct.Struct("<BIII")
_RUN = struct.Struct("<Iqq")
_VERSION = 1
_SWAP = sys.byteorder == "big"
"""Columns rest in little-endian order."""


class Odd(NamedTuple):
    """What is not ordinary of a reading. `judged`: it came live, so that conditions were to see it; `usable`: they did,
    by the policy of that moment."""

    quality: int
    judged: bool
    usable: bool
    calibrated: float | None = None


ORDINARY = Odd(0, True, True, None)


class Run(NamedTuple):
    """When readings came: those up to this place."""

    upto: int
    received_ns: int
    clock_ns: int


@dataclass(slots=True)
class Columns:
    """Parallel columns: `series` are the state's numbers of series, `times` ns, `values` in canonical units."""

    series: array[int] = field(default_factory=lambda: array("q"))
    times: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    odd: dict[int, Odd] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.times)

    def add(self, series_id: int, time_ns: int, value: float, odd: Odd = ORDINARY) -> None:
        """Append one reading."""
        if odd != ORDINARY:
            self.odd[len(self.times)] = odd
        self.series.append(series_id)
        self.times.append(time_ns)
        self.values.append(value)

    def end_run(self, received_ns: int, clock_ns: int) -> None:
        """What was added since the last run came at this time."""
        if len(self.times) > (self.runs[-1].upto if self.runs else 0):
            self.runs.append(Run(len(self.times), received_ns, clock_ns))

    def rows(self) -> Iterator[tuple[int, int, float, Odd]]:
        """Series number, time, value and what is odd, in order."""
        odd = self.odd
        for place, (series_id, time_ns, value) in enumerate(zip(self.series, self.times, self.values, strict=True)):
            yield series_id, time_ns, value, odd.get(place, ORDINARY)


def pack(columns: Columns) -> bytes:
    """The columns as bytes."""
    odd, runs = pack_odd(columns.odd), b"".join(_RUN.pack(*run) for run in columns.runs)
    parts = [_HEADER.pack(_VERSION, len(columns.times), len(odd), len(columns.runs)), odd, runs]
    parts += (_bytes(column) for column in (columns.series, columns.times, columns.values))
    return b"".join(parts)


def unpack(blob: bytes) -> Columns:
    """The inverse of `pack`.

    Raises:
        Corrupt: these bytes were not packed by `pack`.
    """
    try:
        version, count, length, runs = _HEADER.unpack_from(blob)
    except struct.error as error:
        raise Corrupt(f"columns of readings without a header: {error}") from error
    middle = _HEADER.size + length
    start = middle + _RUN.size * runs
    if version != _VERSION or len(blob) != start + 24 * count:
        raise Corrupt(f"columns of readings do not fit: version {version}, {count} readings in {len(blob)} bytes")
    columns = Columns(
        odd=unpack_odd(blob[_HEADER.size : middle]),
        runs=[Run(*one) for one in _RUN.iter_unpack(blob[middle:start])],
    )
    size = 8 * count
    from_bytes(columns.series, blob[start : start + size])
    from_bytes(columns.times, blob[start + size : start + 2 * size])
    from_bytes(columns.values, blob[start + 2 * size :])
    return columns


def from_bytes(column: array[int] | array[float], raw: bytes) -> None:
    """Fill an empty column from its little-endian bytes."""
    column.frombytes(raw)
    if _SWAP:
        column.byteswap()


def _bytes(column: array[int] | array[float]) -> bytes:
    if _SWAP:
        column = column[:]
        column.byteswap()
    return column.tobytes()


def pack_odd(odd: dict[int, Odd]) -> bytes:
    """What is odd, by place, as JSON; nothing where nothing is."""
    if not odd:
        return b""
    rows: list[Sequence[object]] = [
        (place, one.quality, one.judged + 2 * one.usable, one.calibrated) for place, one in odd.items()
    ]
    return json.dumps(rows, separators=(",", ":")).encode()


def unpack_odd(raw: bytes) -> dict[int, Odd]:
    """The inverse of `pack_odd`."""
    return {
        place: Odd(quality, bool(ways & 1), bool(ways & 2), calibrated)
        for place, quality, ways, calibrated in json.loads(raw or b"[]")
    }
