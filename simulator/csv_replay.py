"""Replay of public measurements: rows of CSV files become the messages of invented mines, at their source times."""

from __future__ import annotations

import csv
import heapq
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TextIO

from greenmine.core.clock import NS_PER_S
from greenmine.core.errors import Problem, UserError
from greenmine.simulator.encode import encode_array, encode_one, reading_object, timestamp
from greenmine.simulator.mapping import Column, DataSet, data_sets, mappings, policies
from greenmine.simulator.message import TimedMessage, account, up_topic

__all__ = ["DataSet", "Replay", "ReplayCounts", "data_sets", "mappings", "messages", "policies"]

BOOT = "replay"
_PROGRESS_EVERY_ROWS = 1_000
_DAY_NS = 86_400 * NS_PER_S
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ZONE = re.compile(r"([+-])(\d{2}):(\d{2})", re.ASCII)


@dataclass(slots=True)
class ReplayCounts:
    """What was read from one file. `bad_rows` are left out whole, of `bad_values` only the value."""

    rows: int = 0
    messages: int = 0
    readings: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    """Missing values by column."""
    bad_rows: int = 0
    bad_values: int = 0


class Replay:
    """The messages of some data sets in the order of their times, read as they are asked for.

    `max_days` takes only so many days from the first row of each file. `progress(done, total)` is told bytes read,
    over all files; `report` is told of every row or value that cannot be read. `counts` grows while messages are
    taken, by path. Iterate once.

    A row becomes one message when its longest period has ended; an object in it for each period. A row that steps
    back in time is sent when it is read, late as it would be.
    """

    def __init__(
        self,
        data_sets: Sequence[DataSet],
        *,
        max_days: float | None = None,
        progress: Callable[[int, int], None] | None = None,
        report: Callable[[Problem], None] | None = None,
    ) -> None:
        self._data_sets = data_sets
        self._max_days = max_days
        self._progress = progress
        self._report = report or (lambda _: None)
        self.counts = {data_set.path: ReplayCounts() for data_set in data_sets}
        self._bytes = dict.fromkeys(self.counts, 0)
        self._total = sum(path.stat().st_size for path in self.counts)

    def messages(self) -> Iterator[TimedMessage]:
        """All messages in time order.

        Raises:
            UserError: a file cannot be read, or does not have the columns of its mapping.
        """
        yield from heapq.merge(*(self._file(data_set) for data_set in self._data_sets), key=lambda m: m.time_ns)
        if self._progress is not None:
            self._progress(self._total, self._total)

    def _file(self, data_set: DataSet) -> Iterator[TimedMessage]:
        counts = self.counts[data_set.path]
        try:
            # A byte that is no UTF-8 spoils its own cell and nothing else.
            with data_set.path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
                yield from _Rows(data_set, counts, self._report, self._max_days).read(
                    self._lines(stream, data_set.path)
                )
        except OSError as error:
            raise UserError(f"{data_set.path}: cannot be read: {error}") from error
        self._bytes[data_set.path] = data_set.path.stat().st_size

    def _lines(self, stream: TextIO, path: Path) -> Iterator[str]:
        for number, line in enumerate(stream):
            self._bytes[path] += len(line)
            if self._progress is not None and number % _PROGRESS_EVERY_ROWS == 0:
                self._progress(min(sum(self._bytes.values()), self._total), self._total)
            yield line


def messages(
    source: Path | Sequence[DataSet],
    *,
    max_days: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    report: Callable[[Problem], None] | None = None,
) -> Iterator[TimedMessage]:
    """The messages of data sets, or of those in a folder; see `Replay`."""
    found = data_sets(source) if isinstance(source, Path) else source
    return Replay(found, max_days=max_days, progress=progress, report=report).messages()


@dataclass(frozen=True, slots=True)
class _Cell:
    """A mapped column, found in the header."""

    key: str
    index: int
    column: Column
    flag_index: int | None


class _BadRow(Exception):
    """A row that cannot be used at all; field and reason."""

    def __init__(self, column: str, reason: str) -> None:
        self.column = column
        self.reason = reason
        super().__init__(reason)


class _Rows:
    """Reads the rows of one file."""

    def __init__(
        self, data_set: DataSet, counts: ReplayCounts, report: Callable[[Problem], None], max_days: float | None
    ) -> None:
        self._data_set = data_set
        self._mapping = data_set.mapping
        self._counts = counts
        self._report = report
        self._max_ns = None if max_days is None else int(max_days * _DAY_NS)
        self._missing = frozenset(token.strip() for token in self._mapping.missing) | {""}
        self._zone = _zone(self._mapping.time.zone)
        self._columns = [column for sensor in self._mapping.sensors for column in sensor.metrics.values()]
        self._delay_ns = max(column.period for column in self._columns) * NS_PER_S
        self._seq = 0
        self._newest_ns: int | None = None
        self._end_ns: int | None = None

    def read(self, lines: Iterator[str]) -> Iterator[TimedMessage]:
        header = self._header(next(lines, ""))
        times, cells = self._find(header)
        for number, line in enumerate(lines, start=2):
            try:
                row = _cells(line)
                if not row:
                    continue
                if len(row) != len(header):
                    raise _BadRow("", f"has {len(row)} cells where the header has {len(header)}")
                time_ns = self._time(row, times)
            except _BadRow as error:
                self._counts.rows += 1
                self._counts.bad_rows += 1
                where = str(self._data_set.path)
                self._report(Problem(where, number, error.column, f"{error.reason}; the row is left out"))
                continue
            if self._max_ns is not None:
                self._end_ns = time_ns + self._max_ns if self._end_ns is None else self._end_ns
                if time_ns >= self._end_ns:
                    return
            self._counts.rows += 1
            yield from self._message(time_ns, row, cells, number)

    def _header(self, line: str) -> list[str]:
        try:
            header = [name.strip() for name in _cells(line)]
        except _BadRow as error:
            raise UserError(f"{self._data_set.path}:1: {error.reason}") from error
        if not header:
            raise UserError(f"{self._data_set.path}: the file has no header")
        return header

    def _find(self, header: list[str]) -> tuple[list[int], list[_Cell]]:
        wanted = [*self._mapping.time.columns, *(column.column for column in self._columns)]
        wanted += [column.flag.column for column in self._columns if column.flag is not None]
        lacking = [name for name in wanted if name not in header]
        if lacking:
            raise UserError(
                f"{self._data_set.path}:1: mapping {self._mapping.id} needs the columns {', '.join(lacking)}; "
                f"the file has {', '.join(header)}"
            )
        cells = []
        for sensor in self._mapping.sensors:
            for metric, column in sensor.metrics.items():
                key = f"{metric}@{sensor.channel}" if sensor.channel else metric
                flag_index = None if column.flag is None else header.index(column.flag.column)
                cells.append(_Cell(key, header.index(column.column), column, flag_index))
                self._counts.missing.setdefault(column.column, 0)
        return [header.index(name) for name in self._mapping.time.columns], cells

    def _time(self, row: list[str], times: list[int]) -> int:
        text = " ".join(row[index].strip() for index in times)
        try:
            if self._mapping.time.format == "iso":
                moment = datetime.fromisoformat(text)
            else:
                moment = datetime.strptime(text, self._mapping.time.format)  # noqa: DTZ007 - the zone is added below
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=self._zone)
            since = moment - _EPOCH
        except (ValueError, OverflowError):
            raise _BadRow("+".join(self._mapping.time.columns), f"{text[:40]!r} is no time") from None
        return (since.days * 86_400 + since.seconds) * NS_PER_S + since.microseconds * 1_000

    def _message(self, time_ns: int, row: list[str], cells: list[_Cell], line: int) -> Iterator[TimedMessage]:
        groups: dict[tuple[str, int], tuple[dict[str, float], dict[str, str]]] = {}
        for cell in cells:
            value, letter = self._value(cell, row, line)
            if value is not None:
                values, letters = groups.setdefault((cell.column.stat, cell.column.period), ({}, {}))
                values[cell.key] = value
                if letter is not None:
                    letters[cell.key] = letter
        if not groups:
            return
        objects: list[dict[str, Any]] = []
        for (stat, period_s), (values, letters) in groups.items():
            self._seq += 1
            ts = timestamp(time_ns, self._zone)
            objects.append(
                reading_object(ts, values, stat=stat, period_s=period_s, seq=self._seq, boot=BOOT, flags=letters)
            )
        payload = encode_one(objects[0]) if len(objects) == 1 else next(encode_array(objects))[0]
        mine, device = self._data_set.mine, self._data_set.device
        sent_ns = time_ns + self._delay_ns
        self._newest_ns = sent_ns if self._newest_ns is None else max(sent_ns, self._newest_ns)
        readings = sum(len(entry["values"]) for entry in objects)
        self._counts.messages += 1
        self._counts.readings += readings
        sequence = tuple((device, entry["seq"]) for entry in objects)
        topic, client = up_topic(mine, device), account(mine, device)
        yield TimedMessage(self._newest_ns, mine, device, topic, payload, client, sequence, readings)

    def _value(self, cell: _Cell, row: list[str], line: int) -> tuple[float | None, str | None]:
        """The value, None if it is missing or cannot be read, and the source's flag as an HJ 212 letter."""
        text = row[cell.index].strip()
        letter = None
        if cell.column.flag is not None and cell.flag_index is not None:
            word = row[cell.flag_index].split(maxsplit=1)[:1]
            letter = cell.column.flag.letters.get(word[0]) if word else None
            if word and word[0] in cell.column.flag.missing:
                text = ""
        if text in self._missing:
            self._counts.missing[cell.column.column] += 1
            return None, None
        value = _number(text) if cell.column.words is None else cell.column.words.get(text)
        if value is None:
            self._counts.bad_values += 1
            self._report(Problem(str(self._data_set.path), line, cell.column.column, f"{text[:40]!r} is no value"))
        return value, letter


def _cells(line: str) -> list[str]:
    """The cells of one line. Line by line, so that a stray quote costs its own line and not all that follow."""
    try:
        return next(csv.reader((line,), strict=True), [])
    except csv.Error as error:
        raise _BadRow("", f"is no CSV: {error}") from None


def _number(text: str) -> float | None:
    if "_" in text or not text.isascii():  # float() would take them
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _zone(text: str) -> timezone:
    match = _ZONE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no offset")
    span = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-span if match[1] == "-" else span)
