"""Rows of readings on their way into the journal: checked in form here, admitted like any reading later."""

from __future__ import annotations

import json
import math
from typing import Any

from greenmine.core.errors import Refused
from greenmine.core.identifier import is_identifier
from greenmine.core.metric import METRICS
from greenmine.core.reading import STATS
from greenmine.core.unit import is_unit
from greenmine.ingest.decode_json import MAX_PERIOD_S
from greenmine.ingest.record import Record, RecordKind

FIELDS = ("mine", "device", "metric", "channel", "stat", "period_s", "time_ns", "value", "unit", "quality")


def import_record(rows: list[list[Any]], principal: str) -> Record:
    """The journal's record of these rows.

    Raises:
        Refused: `row`, with the number of the row and the field.
    """
    for number, row in enumerate(rows, 1):
        problem = _problem(row)
        if problem:
            raise Refused("row", f"row {number}: {problem}")
    payload = json.dumps(rows, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return Record(RecordKind.IMPORT, principal, payload)


def _problem(row: Any) -> str:
    if not isinstance(row, list) or len(row) != len(FIELDS):
        return f"expected {len(FIELDS)} fields: {', '.join(FIELDS)}"
    mine, device, metric, channel, stat, period_s, time_ns, value, unit, quality = row
    if not (isinstance(mine, str) and is_identifier(mine) and isinstance(device, str) and is_identifier(device)):
        return "mine and device are 1 to 63 of a-z, 0-9 and '-'"
    if not isinstance(metric, str) or metric not in METRICS:
        return f"unknown metric {str(metric)[:40]!r}"
    if channel != "" and not (isinstance(channel, str) and is_identifier(channel)):
        return "channel is empty, or 1 to 63 of a-z, 0-9 and '-'"
    if not isinstance(stat, str) or stat not in STATS or not _is_int(period_s) or (stat == "inst") != (period_s == 0):
        return "stat is inst with period_s 0, or avg, min, max, sum with its period_s"
    if not 0 <= period_s <= MAX_PERIOD_S:
        return f"period_s is 0 to {MAX_PERIOD_S}"
    if not _is_int(time_ns) or abs(time_ns) >= 2**63:
        return "time is missing or out of range"
    if value is not None and not _is_number(value):
        return "value is a finite number, or empty"
    if unit is not None and not (isinstance(unit, str) and is_unit(unit)):
        return f"unknown unit {str(unit)[:20]!r}"
    return "" if _is_int(quality) and 0 <= quality < 2**14 else "quality is a list of flags"


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond any float
        return False


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
