"""Readings in InfluxDB 2, through influxdb-client."""

from __future__ import annotations

import codecs
import csv
import gzip
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from threading import Lock
from typing import NamedTuple

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.domain.bucket import Bucket
from influxdb_client.domain.bucket_retention_rules import BucketRetentionRules
from influxdb_client.domain.dialect import Dialect
from influxdb_client.rest import ApiException
from influxdb_client.service.write_service import WriteService
from urllib3.exceptions import HTTPError

from greenmine.core.errors import StoreUnavailable
from greenmine.core.reading import Reading, Series
from greenmine.core.reading_store import Rejected, Selection, WriteReport
from greenmine.store import flux
from greenmine.store.bisection import Refusal, isolate
from greenmine.store.influx_answer import Answer
from greenmine.store.line_protocol import Line, LineEncoder

DAY_S = 86_400
_GZIP_LEVEL = 1  # measured: a quarter of the time of level 6, a nineteenth of the client's own 9, a fifth more bytes

_READINGS_AT_ONCE = 100_000  # as many may be kept to bring them into order: some 30 MB
_ROW = ("_time", "_value", *flux.LABELS)


class BucketChange(NamedTuple):
    """What `ensure_buckets` did to a bucket: `created`, or `retention` changed. 0 days is for ever."""

    bucket: str
    action: str
    retention_days: int


class InfluxReadingStore:
    """Readings in an InfluxDB 2 bucket.

    Weaker than the port: **the first write of a reading does not stay.** InfluxDB overwrites a value that is written
    again with the same series and time, silently. The pipeline compares identities before it writes (in its index of
    the last hours, and against this store for older ones), so `write` here skips nothing and asks nothing. Writing the
    same readings again changes nothing, as the port demands. A reading that is overwritten with quality 0 keeps the
    bits it had.

    `write` returns when InfluxDB answered 204, which by its default settings it does after fsync of its log. There is
    no batching and no retry in here: the caller keeps what is not confirmed and calls again.

    A call of `query` without a limit asks for the series first and then for as many of them at a time as memory
    allows, so it is no snapshot. Safe for use by several threads; writes run one at a time.

    Raises:
        StoreUnavailable: from every method: not reachable, overloaded (with the server's Retry-After), or refusing us
            as a whole (`needs_operator`), which only a change of settings or server mends.
    """

    def __init__(
        self,
        url: str,
        org: str,
        token: str,
        bucket: str = "greenmine",
        retention_days: int = 400,
        *,
        write_timeout_s: float = 10.0,
        query_timeout_s: float = 60.0,
        lines_per_request: int = 5_000,
        ca_file: str | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            url: of the server, `http://host:8086`.
            org: name of the organisation.
            token: an API token with read and write access to the buckets (and to all buckets, for `ensure_buckets`).
            bucket: for raw readings; the others are named after it.
            retention_days: of raw readings, 0 for ever; used by `ensure_buckets` only.
            write_timeout_s: for one request, after which it counts as not written.
            query_timeout_s: for the server to start its answer, and for each pause in it.
            lines_per_request: a longer write is sent in several requests.
            ca_file: PEM file with the authority of the server's certificate, where it is not a public one.
        """
        if retention_days < 0 or lines_per_request < 1:
            raise ValueError("retention_days must not be negative, lines_per_request at least 1")
        self._url, self._org, self._bucket = url, org, bucket
        self._retention_days = retention_days
        self._write_timeout_ms = int(write_timeout_s * 1_000)
        self._lines_per_request = lines_per_request
        self._encoder = LineEncoder()
        self._writing = Lock()
        timeout_ms = int(query_timeout_s * 1_000)
        self._client = InfluxDBClient(url, token=token, org=org, timeout=timeout_ms, retries=False, ssl_ca_cert=ca_file)
        # below the client's WriteApi, which packs at level 9 and does not tell the status
        self._writes = WriteService(self._client.api_client)  # type: ignore[no-untyped-call]
        self._closed = False

    def write(self, readings: Sequence[Reading]) -> WriteReport:
        """Write readings; those that InfluxDB refuses for good are found by bisecting and reported, the rest is stored.

        A refused line that carries several readings is sent again with each of them in a line of its own.
        """
        with self._writing:
            self._check_open()
            lines, rejected = self._encoder.encode(readings)
            refused = self._send(lines)
            joined = [line for line, _ in refused if len(line.readings) > 1]
            final = [(line, reason) for line, reason in refused if len(line.readings) == 1]
            final += self._send([single for line in joined for single in self._encoder.alone(line)])
        rejected += [Rejected(line.readings[0], reason) for line, reason in final]
        return WriteReport(stored=len(readings) - len(rejected), rejected=rejected)

    def write_columns(self, series: Sequence[Series], times_ns: Sequence[int], values: Sequence[float]) -> bool:
        """Write ordinary readings. False where some cannot be stored, or InfluxDB found fault with any: then `write` is
        to be called with all of them, which changes nothing of those that it took."""
        with self._writing:
            self._check_open()
            lines = self._encoder.columns(series, times_ns, values)
            if lines is None:
                return False
            step = self._lines_per_request  # a server that takes less makes it smaller meanwhile
            return all(self._post(lines[start : start + step]) is None for start in range(0, len(lines), step))

    def query(self, selection: Selection, newest_first_limit: int | None = None) -> Iterator[Reading]:
        """Readings of the selection by series and time, streamed; errors may come while they are read."""
        self._check_open()
        if newest_first_limit is not None:
            return iter(self._newest(selection, newest_first_limit))
        return self._in_order(selection)

    def count(self, selection: Selection) -> int:
        """Number of readings in the selection, counted by the server."""
        return sum(int(number) for (number,) in self._rows(flux.count(self._bucket, selection), ("_value",)))

    def ensure_buckets(self) -> list[BucketChange]:
        """Create the buckets that are missing and correct the retention of the others; what was done, nothing at best.

        Shortening the retention of raw readings lets InfluxDB delete what is older: that is what the setting means.
        """
        changes: list[BucketChange] = []
        with self._translated("look after the buckets of"):
            self._check_open()
            api = self._client.buckets_api()
            # all, as a look for a single name that does not exist is a 404, like one in an unknown organisation
            existing = {bucket.name: bucket for bucket in api.find_buckets_iter(org=self._org, limit=100)}  # type: ignore[no-untyped-call]
            for name, days, shard_days in self._wanted_buckets():
                rule = BucketRetentionRules(
                    type="expire", every_seconds=days * DAY_S, shard_group_duration_seconds=shard_days * DAY_S
                )  # type: ignore[no-untyped-call]
                bucket = existing.get(name)
                if bucket is None:
                    api.create_bucket(bucket_name=name, retention_rules=rule, org=self._org)
                    changes.append(BucketChange(name, "created", days))
                elif _retention_s(bucket) != rule.every_seconds:
                    bucket.retention_rules = [rule]
                    api.update_bucket(bucket)
                    changes.append(BucketChange(name, "retention", days))
        return changes

    def close(self) -> None:
        """Close the connections."""
        self._closed = True
        self._client.close()  # type: ignore[no-untyped-call]

    def _wanted_buckets(self) -> list[tuple[str, int, int]]:
        """Name, retention and length of a shard in days; fewer, longer shards where data are sparse and kept for ever.

        A shard is dropped as a whole, so that a shorter one keeps closer to a short retention.
        """
        raw_shard_days = 1 if 0 < self._retention_days <= 180 else 7
        return [
            (self._bucket, self._retention_days, raw_shard_days),
            (f"{self._bucket}_1m", 0, 28),
            (f"{self._bucket}_1h", 0, 182),
            (f"{self._bucket}_events", 0, 28),
        ]

    # writing

    def _send(self, lines: Sequence[Line]) -> list[tuple[Line, str]]:
        """Write all lines, a request's worth at a time; the refused ones with the reason."""
        refused: list[tuple[Line, str]] = []
        start = 0
        while start < len(lines):
            portion = lines[start : start + self._lines_per_request]
            start += len(portion)
            refused += isolate(portion, self._post_lines)
        return refused

    def _post_lines(self, lines: Sequence[Line]) -> Refusal | None:
        return self._post([line.text for line in lines])

    def _post(self, lines: Sequence[str]) -> Refusal | None:
        """One request; None if InfluxDB took all lines, its refusal if some or all of them are at fault."""
        body = gzip.compress("\n".join(lines).encode("ascii"), _GZIP_LEVEL)
        with self._translated("write to"):
            try:
                _, status, _ = self._writes.post_write_with_http_info(  # type: ignore[no-untyped-call]
                    self._org,
                    self._bucket,
                    body,
                    precision="ns",
                    content_encoding="gzip",
                    content_type="text/plain; charset=utf-8",
                    _request_timeout=self._write_timeout_ms,
                )
            except ApiException as error:
                if error.status == 413 and len(lines) > 1:
                    return self._post_halves(lines)
                refusal = _answer(error).refusal(len(lines))
                if refusal is None:
                    raise
                return refusal
        if status != 204:
            raise StoreUnavailable(
                f"{self._url} answered {status} to a write, InfluxDB 2 answers 204: check that the URL is that of an "
                "InfluxDB 2 and that no proxy answers in its place",
                needs_operator=True,
            )
        return None

    def _post_halves(self, lines: Sequence[str]) -> Refusal | None:
        middle = len(lines) // 2
        self._lines_per_request = max(1, min(self._lines_per_request, middle))
        refusals = [self._post(lines[:middle]), self._post(lines[middle:])]
        some = [refusal for refusal in refusals if refusal is not None]
        if not some:
            return None
        return Refusal(some[0].reason, every=len(some) == 2 and all(refusal.every for refusal in some))

    # reading

    def _in_order(self, selection: Selection) -> Iterator[Reading]:
        catalogued = flux.to_catalogue(self._rows(flux.catalogue(self._bucket, selection), ("_value", *flux.LABELS)))
        for portion, entries in flux.portions(catalogued, selection, _READINGS_AT_ONCE):
            bits = self._qualities(portion) if any(entry.flagged for entry in entries) else {}
            better = self._calibrated(portion) if any(entry.calibrated for entry in entries) else {}
            found = self._readings(flux.values(self._bucket, portion), bits, better)
            # one series comes in its order, and may be too long to be kept
            yield from found if len(entries) == 1 else sorted(found, key=_place)

    def _newest(self, selection: Selection, limit: int) -> list[Reading]:
        if limit <= 0:
            return []
        found = [*self._readings(flux.newest_values(self._bucket, selection, limit), {}, {})]
        if not found:
            return []
        times = [reading.time_ns for reading in found]
        span = selection._replace(start_ns=min(times), end_ns=max(times) + 1)
        bits, better = self._qualities(span), self._calibrated(span)
        whole = (r._replace(quality=bits.get(_place(r), 0), calibrated=better.get(_place(r))) for r in found)
        return sorted(whole, key=_place)

    def _readings(
        self, query: str | None, bits: dict[tuple[Series, int], int], better: dict[tuple[Series, int], float]
    ) -> Iterator[Reading]:
        for time, value, *labels in self._rows(query, _ROW):
            series, time_ns = flux.to_series(*labels), flux.to_ns(time)
            place = series, time_ns
            yield Reading(series, time_ns, float(value), bits.get(place, 0), better.get(place))

    def _calibrated(self, selection: Selection) -> dict[tuple[Series, int], float]:
        return {
            (flux.to_series(*labels), flux.to_ns(time)): float(value)
            for time, value, *labels in self._rows(flux.calibrated_values(self._bucket, selection), _ROW)
        }

    def _qualities(self, selection: Selection) -> dict[tuple[Series, int], int]:
        return {
            (flux.to_series(*labels), flux.to_ns(time)): int(bits)
            for time, bits, *labels in self._rows(flux.qualities(self._bucket, selection), _ROW)
        }

    def _rows(self, query: str | None, columns: Sequence[str]) -> Iterator[Sequence[str]]:
        """The columns of each row of the answer, as text, '' where a row has none."""
        if query is None:
            return
        self._check_open()
        dialect = Dialect(annotations=[], date_time_format="RFC3339Nano")  # type: ignore[no-untyped-call]
        with self._translated("read from"):
            response = self._client.query_api().query_raw(query, dialect=dialect)
            try:
                rows = csv.reader(codecs.iterdecode(response, "utf-8"))
                pick = None
                for row in rows:
                    if pick is not None and len(row) > 1 and row[1] == flux.RESULT:
                        yield pick(row)
                    elif len(row) > 1 and row[1] == "result":
                        pick = _picker(row, columns)
                    elif row:
                        # an error after the answer began comes as one more table; a stranger's page ends here too
                        words = " ".join([*row, *next(rows, [])])
                        raise StoreUnavailable(f"the answer of {self._url} to a query broke off: {words[:500]}")
            finally:
                response.close()

    # errors

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed: open a new one")

    @contextmanager
    def _translated(self, purpose: str) -> Iterator[None]:
        """Turns what the client library raises into StoreUnavailable with what to do."""
        attempt = f"cannot {purpose} InfluxDB at {self._url} (org {self._org}, bucket {self._bucket})"
        try:
            yield
        except ApiException as error:
            raise _answer(error).explain(attempt) from error
        except HTTPError as error:
            raise StoreUnavailable(f"{attempt}: {error} - is it running, and does the URL lead to it?") from error
        except (csv.Error, UnicodeDecodeError) as error:
            raise StoreUnavailable(f"{attempt}: the answer cannot be read: {error}") from error


def _place(reading: Reading) -> tuple[Series, int]:
    return reading.series, reading.time_ns


def _retention_s(bucket: Bucket) -> int:
    return sum(rule.every_seconds for rule in bucket.retention_rules or [])


def _answer(error: ApiException) -> Answer:
    body = error.body if isinstance(error.body, str) else (error.body or b"").decode("utf-8", "replace")
    return Answer(error.status or 0, str(error.reason or ""), body, error.headers or {})


def _picker(header: list[str], columns: Sequence[str]) -> Callable[[list[str]], Sequence[str]]:
    """A function that takes the columns out of a row under this header."""
    places = [header.index(column) if column in header else len(header) for column in columns]
    if len(places) > 1 and max(places) < len(header):
        return itemgetter(*places)
    return lambda row: [[*row, ""][place] for place in places]
