"""Readings as answers: JSON and CSV, newest first cut at a cap, with the way to the older ones."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from itertools import islice

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from greenmine.core.clock import to_rfc3339
from greenmine.core.reading import Reading
from greenmine.core.reading_store import ReadingStore, Selection
from greenmine.web.api_models import reading_record

MOST_ROWS = 100_000
_CHUNK_ROWS = 2_000
CSV_COLUMNS = (
    "time",
    "mine",
    "device",
    "metric",
    "value",
    "channel",
    "stat",
    "period_s",
    "unit",
    "quality",
    "calibrated",
)
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def text_cell(text: str) -> str:
    """A text as a CSV cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def newest_page(store: ReadingStore, selection: Selection, limit: int) -> tuple[list[Reading], int | None]:
    """At most `limit` readings, the newest, and the end in ns of the selection that holds the rest (None if none).

    A page never ends in the middle of an instant, so that no reading is told twice or not at all; only where more
    than `limit` series report in one instant is that instant given whole.
    """
    found = list(store.query(selection, limit + 1))
    if len(found) <= limit:
        return found, None
    oldest_ns = min(reading.time_ns for reading in found)
    page = [reading for reading in found if reading.time_ns > oldest_ns]
    if page:
        return page, oldest_ns + 1
    whole = selection._replace(start_ns=oldest_ns, end_ns=oldest_ns + 1)
    return list(store.query(whole)), oldest_ns


def readings_response(
    request: Request, store: ReadingStore, selection: Selection, limit: int, file_format: str
) -> Response:
    """The newest readings of a selection; the query is run before the answer begins, so that its errors are seen."""
    page, next_to_ns = newest_page(store, selection, limit)
    headers = {}
    if next_to_ns is not None:
        url = request.url.include_query_params(to=to_rfc3339(next_to_ns))
        headers["link"] = f'<{url.path}?{url.query}>; rel="next"'
    if file_format == "csv":
        headers["content-disposition"] = 'attachment; filename="readings.csv"'
        return StreamingResponse(_csv(page), media_type="text/csv; charset=utf-8", headers=headers)
    return StreamingResponse(_json(page, next_to_ns), media_type="application/json", headers=headers)


def _csv(readings: Sequence[Reading]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(CSV_COLUMNS)
    rows = iter(readings)
    while True:
        chunk = list(islice(rows, _CHUNK_ROWS))
        for reading in chunk:
            record = reading_record(reading)
            record["quality"] = " ".join(record["quality"])
            cells = [record[column] for column in CSV_COLUMNS]
            writer.writerow([text_cell(cell) if isinstance(cell, str) else cell for cell in cells])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        if not chunk:
            return


def _json(readings: Sequence[Reading], next_to_ns: int | None) -> Iterator[str]:
    tail = {"truncated": next_to_ns is not None, "next_to": None if next_to_ns is None else to_rfc3339(next_to_ns)}
    yield '{"readings":['
    for start in range(0, len(readings), _CHUNK_ROWS):
        records = [
            json.dumps(reading_record(reading), ensure_ascii=False, separators=(",", ":"))
            for reading in readings[start : start + _CHUNK_ROWS]
        ]
        yield ("," if start else "") + ",".join(records)
    yield "]," + json.dumps(tail)[1:]
