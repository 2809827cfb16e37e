"""Which readings are there already: the identities of the last 72 hours, by series.

A reading that comes in the order of time only lengthens two columns in memory; each commit writes its readings as one
blob to the log (`recent`). Series after series, in rounds of about a minute, the columns become a compressed chunk of
that series, and the log is cut behind a finished round. After a restart the columns are what the log holds. So a commit
writes once for all its readings, whatever their number of series, and memory holds a minute or two of readings.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator

from greenmine.core.errors import Corrupt
from greenmine.store.columns import ORDINARY, Odd, from_bytes, pack_odd, unpack_odd

_CHUNK = struct.Struct("<BII")
_VERSION = 1


ROUND_NS = 60 * 1_000_000_000
"""About how long a round over all series takes, on the journal's clock."""
MOST_A_COMMIT = 500
"""Series of a round that one commit takes, so that no commit becomes long."""


class Recent:
    """Identities of one series that are in no chunk yet. Times rise; what came late stands apart."""

    __slots__ = ("late", "odd", "times", "values")

    def __init__(self) -> None:
        self.times: array[int] = array("q")
        self.values: array[float] = array("d")
        self.odd: dict[int, Odd] = {}
        """By source time."""
        self.late: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self.times) + len(self.late)

    def add(self, time_ns: int, value: float, odd: Odd) -> None:
        """Take an identity; a time that is there stays as it is."""
        if not self.times or time_ns > self.times[-1]:
            self.times.append(time_ns)
            self.values.append(value)
        elif self.value_at(time_ns) is None:
            self.late[time_ns] = value
        else:
            return
        if odd != ORDINARY:
            self.odd[time_ns] = odd

    def value_at(self, time_ns: int) -> float | None:
        """The value at a source time."""
        place = self._place(time_ns)
        return self.late.get(time_ns) if place is None else self.values[place]

    def after(self, after_ns: int) -> Iterator[tuple[int, float, Odd]]:
        """Time, value and what is odd of all identities after a time; in no particular order."""
        for time_ns, value in self.all():
            if time_ns > after_ns:
                yield time_ns, value, self.odd.get(time_ns, ORDINARY)

    def all(self) -> Iterator[tuple[int, float]]:
        """Time and value of all identities."""
        yield from zip(self.times, self.values, strict=True)
        yield from self.late.items()

    def drop_before(self, before_ns: int) -> None:
        """Forget identities before a time."""
        place = bisect_left(self.times, before_ns)
        self.times, self.values = self.times[place:], self.values[place:]
        self.odd = {time_ns: odd for time_ns, odd in self.odd.items() if time_ns >= before_ns}
        self.late = {time_ns: value for time_ns, value in self.late.items() if time_ns >= before_ns}

    def clear(self) -> None:
        """They are in a chunk now."""
        self.times, self.values = array("q"), array("d")
        self.odd.clear()
        self.late.clear()

    def _place(self, time_ns: int) -> int | None:
        place = bisect_left(self.times, time_ns)
        return place if place < len(self.times) and self.times[place] == time_ns else None


def packed_chunks(recent: Recent) -> Iterator[tuple[int, int, bytes]]:
    """First and last time and bytes of the chunks that these identities become: what came late makes one of its own, or
    a chunk with a piece of an old backlog would reach over all of the time since."""
    if not recent.late or not recent.times:
        yield pack_chunk(recent)
        return
    late = Recent()
    for time_ns in sorted(recent.late):
        late.add(time_ns, recent.late[time_ns], recent.odd.get(time_ns, ORDINARY))
    in_order = Recent()
    in_order.times, in_order.values = recent.times, recent.values
    in_order.odd = {time_ns: odd for time_ns, odd in recent.odd.items() if time_ns not in recent.late}
    yield pack_chunk(late)
    yield pack_chunk(in_order)


def pack_chunk(recent: Recent) -> tuple[int, int, bytes]:
    """First and last time of these identities, and their bytes; `recent` must not be empty."""
    times, values = recent.times, recent.values
    if recent.late:
        ordered = sorted(recent.all())
        times, values = array("q", (t for t, _ in ordered)), array("d", (v for _, v in ordered))
    odd = pack_odd(recent.odd)
    steps = array("q", times)
    for place in range(len(times) - 1, 0, -1):
        steps[place] = times[place] - times[place - 1]
    body = zlib.compress(b"".join((odd, _little(steps), _little(values))), 1)
    return times[0], times[-1], _CHUNK.pack(_VERSION, len(times), len(odd)) + body


def unpack_chunk(blob: bytes) -> Recent:
    """The inverse of `pack_chunk`.

    Raises:
        Corrupt: these bytes were not packed by `pack_chunk`.
    """
    try:
        version, count, length = _CHUNK.unpack_from(blob)
        body = zlib.decompress(blob[_CHUNK.size :])
    except (struct.error, zlib.error) as error:
        raise Corrupt(f"a chunk of identities cannot be read: {error}") from error
    if version != _VERSION or len(body) != length + 16 * count:
        raise Corrupt(f"a chunk of identities does not fit: version {version}, {count} in {len(body)} bytes")
    found = Recent()
    from_bytes(found.times, body[length : length + 8 * count])
    from_bytes(found.values, body[length + 8 * count :])
    time_ns = 0
    for place, step in enumerate(found.times):
        time_ns += step
        found.times[place] = time_ns
    found.odd = unpack_odd(body[:length])
    return found


def join_chunks(there: bytes, blob: bytes) -> bytes:
    """Two chunks of one series as one; what is in the first stays as it is."""
    found, more = unpack_chunk(there), unpack_chunk(blob)
    for time_ns, value in more.all():
        found.add(time_ns, value, more.odd.get(time_ns, ORDINARY))
    return pack_chunk(found)[2]


def _little(column: array[int] | array[float]) -> bytes:
    ordered: array[int] | array[float] = array(column.typecode)
    from_bytes(ordered, column.tobytes())
    return ordered.tobytes()
