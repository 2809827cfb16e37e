"""The Flux that reads readings back, and the reading of its answers: text only, no connection.

Every value that comes from outside passes through `literal`; times are given as integers of ns, which Flux takes
exactly. A function that builds a query returns None where nothing can match, so that nobody need ask.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from greenmine.core.clock import NS_PER_S
from greenmine.core.metric import METRICS
from greenmine.core.reading import STATS, Series, split_field_name
from greenmine.core.reading_store import Selection
from greenmine.store.line_protocol import MAX_TIME_NS, MIN_TIME_NS

RESULT = "readings"
"""Name of every result; it marks rows of data apart from headers and errors."""
LABELS = ("mine", "device", "channel", "_field")
"""Columns that name a series, in the order that `to_series` takes."""

_PLAIN = frozenset((string.ascii_letters + string.digits + "-_.").encode())
_PERIODIC = "|".join(stat for stat in STATS if stat != "inst")
_QUALITY_SUFFIX = "_q"
_CALIBRATED_SUFFIX = "_cal"


class Catalogued(NamedTuple):
    """A series that has readings, how many, and whether some of them have quality bits, or a calibrated value."""

    series: Series
    readings: int
    flagged: bool
    calibrated: bool = False


def literal(text: str) -> str:
    """A Flux string literal for any text; every byte that is not an ASCII letter, digit, '-', '_' or '.' is escaped."""
    return '"' + "".join(chr(b) if b in _PLAIN else f"\\x{b:02x}" for b in text.encode("utf-8", "replace")) + '"'


def values(bucket: str, selection: Selection) -> str | None:
    """`_time`, `_value` and labels of the selected readings, a series after the other, each in order of time."""
    source = _source(bucket, selection, "")
    return source and f"{source} {_KEEP} {_YIELD}"


def newest_values(bucket: str, selection: Selection, limit: int) -> str | None:
    """`_time`, `_value` and labels of the newest `limit` of the selected readings, of whatever series."""
    source = _source(bucket, selection, "")
    # the newest of each series first, which the storage does fast, and then the newest of these
    return source and (
        f"{source} |> tail(n: {limit:d}) {_KEEP} |> group() "
        f'|> sort(columns: ["_time"], desc: true) |> limit(n: {limit:d}) {_YIELD}'
    )


def qualities(bucket: str, selection: Selection) -> str | None:
    """`_time`, `_value` and labels of the quality bits of those selected readings that have some."""
    source = _source(bucket, selection, _QUALITY_SUFFIX)
    return source and f"{source} {_KEEP} {_YIELD}"


def calibrated_values(bucket: str, selection: Selection) -> str | None:
    """`_time`, `_value` and labels of the calibrated values of those selected readings that have one."""
    source = _source(bucket, selection, _CALIBRATED_SUFFIX)
    return source and f"{source} {_KEEP} {_YIELD}"


def catalogue(bucket: str, selection: Selection) -> str | None:
    """Number as `_value`, and the labels, of every field, values and what stands beside them, in the selection."""
    source = _source(bucket, selection, f"({_QUALITY_SUFFIX}|{_CALIBRATED_SUFFIX})?")
    return source and f"{source} |> count() |> keep(columns: {_columns('_value', *LABELS)}) |> group() {_YIELD}"


def count(bucket: str, selection: Selection) -> str | None:
    """One row with the number of selected readings as `_value`, or no row where there are none."""
    source = _source(bucket, selection, "")
    return source and f'{source} |> count() |> keep(columns: ["_value"]) |> group() |> sum() {_YIELD}'


@lru_cache(maxsize=20_000)
def to_series(mine: str, device: str, channel: str, field: str) -> Series:
    """The series that these labels name; the field may be that of its quality bits or calibrated values."""
    plain = field.removesuffix(_QUALITY_SUFFIX).removesuffix(_CALIBRATED_SUFFIX)
    return Series(mine, device, *_reordered(channel, plain))


def to_catalogue(rows: Iterable[Sequence[str]]) -> list[Catalogued]:
    """The series behind the answer to `catalogue` (`_value` and labels), in their order."""
    found: dict[Series, Catalogued] = {}
    for number, *labels in rows:
        series = to_series(*labels)
        known = found.get(series, Catalogued(series, 0, False))
        if labels[-1].endswith(_QUALITY_SUFFIX):
            found[series] = known._replace(flagged=True)
        elif labels[-1].endswith(_CALIBRATED_SUFFIX):
            found[series] = known._replace(calibrated=True)
        else:
            found[series] = known._replace(readings=int(number))
    return [found[series] for series in sorted(found)]


def portions(
    catalogued: Sequence[Catalogued], selection: Selection, most: int
) -> Iterator[tuple[Selection, Sequence[Catalogued]]]:
    """Cut a selection whose series are known, in their order, into selections of at most `most` readings or one series.

    Each is narrowed to a mine, a device or a series as far as it takes, so that few requests fetch what is little.
    """
    if len(catalogued) == 1:
        yield Selection.of_series(catalogued[0].series, selection.start_ns, selection.end_ns), catalogued
    elif sum(entry.readings for entry in catalogued) <= most:
        yield selection, catalogued
    elif selection.mine is None:
        for mine, part in groupby(catalogued, lambda entry: entry.series.mine):
            yield from portions([*part], selection._replace(mine=mine), most)
    elif selection.device is None:
        for device, part in groupby(catalogued, lambda entry: entry.series.device):
            yield from portions([*part], selection._replace(device=device), most)
    else:
        for entry in catalogued:
            yield from portions([entry], selection, most)


def to_ns(time: str) -> int:
    """Nanoseconds since the epoch of an RFC 3339 time in UTC with up to nine digits of fraction, as Flux writes them.

    Raises:
        ValueError: it is not such a time.
    """
    whole, _, fraction = time.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return seconds * NS_PER_S + int(fraction.ljust(9, "0"))


def _columns(*names: str) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


_KEEP = f"|> keep(columns: {_columns('_time', '_value', *LABELS)})"
_YIELD = f'|> yield(name: "{RESULT}")'


def _reordered(channel: str, field: str) -> tuple[str, str, str, int]:
    metric, stat, period_s = split_field_name(field)
    return metric, channel, stat, period_s


def _source(bucket: str, selection: Selection, suffix: str) -> str | None:
    """The tables of the selected fields; `suffix` is a regular expression for what follows the name of a field."""
    start_ns = MIN_TIME_NS if selection.start_ns is None else max(selection.start_ns, MIN_TIME_NS)
    end_ns = MAX_TIME_NS + 1 if selection.end_ns is None else min(selection.end_ns, MAX_TIME_NS + 1)
    fields = _fields(selection)
    if start_ns >= end_ns or fields is None:
        return None
    tests = [f"r._field =~ /^{fields}{suffix}$/"]
    if selection.metric is not None:
        tests.append(f"r._measurement == {literal(METRICS[selection.metric].kind.value)}")
    for tag in ("mine", "device", "channel"):
        wanted = getattr(selection, tag)
        if wanted is not None:  # a tag that is empty is not written
            tests.append(f"r.{tag} == {literal(wanted)}" if wanted else f"not exists r.{tag}")
    before_1970 = ""
    if end_ns <= 0:
        # InfluxDB 2.9.1 never ends a count over a range that ends before 1970; it does when it has to look at each row
        before_1970 = f" |> filter(fn: (r) => r._time < time(v: {end_ns:d}))"
        end_ns = 1
    return (
        f"from(bucket: {literal(bucket)}) |> range(start: time(v: {start_ns:d}), stop: time(v: {end_ns:d})) "
        f"|> filter(fn: (r) => {' and '.join(tests)}){before_1970}"
    )


def _fields(selection: Selection) -> str | None:
    """A regular expression for the names of the selected fields, made of the vocabulary only."""
    metric, stat, period_s = selection.metric, selection.stat, selection.period_s
    if metric is not None and metric not in METRICS:
        return None
    if stat is not None and stat not in STATS:
        return None
    instants = stat in (None, "inst") and period_s in (None, 0)
    names = metric if metric is not None else f"({'|'.join(METRICS)})"
    if stat == "inst":
        return names if instants else None
    period = "[0-9]+" if period_s is None else f"{period_s:d}"
    periodic = f"_({_PERIODIC if stat is None else stat})_{period}"
    return f"{names}({periodic})?" if instants else names + periodic
