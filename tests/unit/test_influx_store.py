"""How the InfluxDB adapter takes the server's answers, against a fake that speaks both dialects of refusal."""

from __future__ import annotations

import json
import math
import random
import socket
from collections.abc import Callable, Iterator
from threading import Event

import pytest

from greenmine.core.errors import StoreUnavailable
from greenmine.core.reading import Reading, Series
from greenmine.core.reading_store import Selection
from greenmine.store.influx_answer import Answer
from greenmine.store.influx_store import InfluxReadingStore
from tests.contracts.fake_influx import PARTIAL_422, WHOLE_400, FakeInflux, Script

T = 1_795_334_400_000_000_000
PM10 = Series("mine-a", "dust-1", "pm10")
CONFLICT = 'field type conflict: input field "pm10" on measurement "dust" is type float, already exists as type integer'
TOO_OLD = "dropped points outside retention policy of duration 9600h0m0s"
UNPARSABLE = "unable to parse 'dust,mine=': missing tag value"


@pytest.fixture(params=[PARTIAL_422, WHOLE_400])
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fake() -> Iterator[FakeInflux]:
    with FakeInflux().running() as running:
        yield running


@pytest.fixture
def store(fake: FakeInflux) -> Iterator[InfluxReadingStore]:
    made = InfluxReadingStore(fake.url, "org-a", "secret-token", write_timeout_s=20)
    yield made
    made.close()


def steps(count: int) -> list[Reading]:
    return [Reading(PM10, T + step, float(step)) for step in range(count)]


def time_of(line: str) -> int:
    return int(line.rsplit(" ", 1)[1])


def faulty(faults: dict[int, str]) -> Callable[[str], str | None]:
    """A fault for the lines of these times."""
    return lambda line: faults.get(time_of(line))


def error_body(message: str, code: str = "invalid") -> str:
    return json.dumps({"code": code, "message": message})


def test_a_write_is_one_request_of_packed_lines(fake: FakeInflux, store: InfluxReadingStore) -> None:
    report = store.write([*steps(2), Reading(PM10._replace(metric="pm25"), T, 7.5, 3)])
    assert (report.stored, report.rejected) == (3, [])
    (request,) = fake.requests
    assert request.path == "/api/v2/write"
    assert request.query == {"org": ["org-a"], "bucket": ["greenmine"], "precision": ["ns"]}
    assert request.headers["authorization"] == "Token secret-token"
    assert request.headers["content-encoding"] == "gzip"
    assert request.lines == [
        f"dust,device=dust-1,mine=mine-a pm10=0.0,pm25=7.5,pm25_q=3i {T}",
        f"dust,device=dust-1,mine=mine-a pm10=1.0 {T + 1}",
    ]


def test_a_long_write_is_sent_in_portions(fake: FakeInflux, store: InfluxReadingStore) -> None:
    assert store.write(steps(12_000)).stored == 12_000
    assert [len(request.lines) for request in fake.requests] == [5_000, 5_000, 2_000]
    assert fake.value_count == 12_000


def test_nothing_is_sent_for_nothing(fake: FakeInflux, store: InfluxReadingStore) -> None:
    assert store.write([]).stored == 0
    assert store.write([Reading(PM10, T, math.nan)]).stored == 0
    assert fake.requests == []


@pytest.mark.parametrize("seed", range(3))
def test_bad_readings_are_told_apart_with_few_requests(
    fake: FakeInflux, store: InfluxReadingStore, dialect: str, seed: int
) -> None:
    """37 bad of 10,000: 20 of a conflicting type, 10 too old, 7 that cannot be parsed."""
    fake.dialect = dialect
    places = random.Random(seed).sample(range(10_000), 37)
    kinds = [*[CONFLICT] * 20, *[TOO_OLD] * 10, *[UNPARSABLE] * 7]
    faults = {T + place: kind for place, kind in zip(places, kinds, strict=True)}
    fake.fault = faulty(faults)
    report = store.write(steps(10_000))
    assert report.stored == 10_000 - 37
    assert {rejected.reading.time_ns for rejected in report.rejected} == set(faults)
    assert all(faults[rejected.reading.time_ns] in rejected.reason for rejected in report.rejected)
    assert fake.value_count == 10_000 - 37
    assert len(fake.requests) <= 37 * math.log2(5_000) + 10


def test_a_request_that_was_refused_line_by_line_is_not_searched(fake: FakeInflux, store: InfluxReadingStore) -> None:
    """All of a type conflict, as after a change of a field's type: the number in the message says so."""
    fake.fault = lambda line: CONFLICT
    report = store.write(steps(4_000))
    assert report.stored == 0
    assert len(report.rejected) == 4_000
    assert len(fake.requests) == 1


def test_a_number_that_covers_one_kind_of_fault_only_is_not_taken_for_all(
    fake: FakeInflux, store: InfluxReadingStore
) -> None:
    fake.fault = faulty({T: CONFLICT, T + 1: TOO_OLD, T + 2: TOO_OLD})
    report = store.write(steps(3))
    assert [CONFLICT in report.rejected[0].reason, TOO_OLD in report.rejected[1].reason] == [True, True]
    assert len(report.rejected) == 3


def test_of_a_refused_line_the_good_readings_are_stored(
    fake: FakeInflux, store: InfluxReadingStore, dialect: str
) -> None:
    fake.dialect = dialect
    fake.fault = lambda line: CONFLICT if "pm10=" in line else None
    metrics = ("pm25", "pm10", "tsp")
    readings = [Reading(PM10._replace(metric=metric), T + step, 1.5, 2) for step in range(10) for metric in metrics]
    report = store.write(readings)
    assert {rejected.reading for rejected in report.rejected} == {r for r in readings if r.series.metric == "pm10"}
    assert report.stored == 20
    assert fake.value_count == 20


def test_both_kinds_of_rejection_are_reported(fake: FakeInflux, store: InfluxReadingStore) -> None:
    fake.fault = faulty({T + 1: TOO_OLD})
    nameless = Reading(PM10._replace(device="no name"), T, 1.0)
    report = store.write([nameless, *steps(3)])
    assert report.stored == 2
    assert {(rejected.reading.time_ns, rejected.reading.series.device) for rejected in report.rejected} == {
        (T, "no name"),
        (T + 1, "dust-1"),
    }


def test_too_large_requests_are_halved_and_the_next_are_smaller(fake: FakeInflux, store: InfluxReadingStore) -> None:
    fake.max_body_bytes = 2_000
    fake.fault = faulty({T + 77: CONFLICT})
    report = store.write(steps(5_000))
    assert report.stored == 4_999
    assert [rejected.reading.time_ns for rejected in report.rejected] == [T + 77]
    assert fake.value_count == 4_999
    fake.requests.clear()
    fake.fault = lambda line: None
    assert store.write(steps(5_000)).stored == 5_000
    assert all(len(request.body) <= 2_000 for request in fake.requests), "it asks for the same refusal again"


def test_a_single_line_that_is_too_large_is_rejected(fake: FakeInflux, store: InfluxReadingStore) -> None:
    fake.max_body_bytes = 10
    (rejected,) = store.write(steps(1)).rejected
    assert "too large" in rejected.reason


@pytest.mark.parametrize(
    ("script", "retry_after_s", "needs_operator", "word"),
    [
        (Script(401, error_body("unauthorized access", "unauthorized")), None, True, "token"),
        (Script(403, error_body("forbidden", "forbidden")), None, True, "token"),
        (Script(404, error_body('bucket "greenmine" not found', "not found")), None, True, "bucket"),
        (Script(429, "", {"Retry-After": "30"}), 30.0, False, "429"),
        (Script(503, error_body("overloaded"), {"Retry-After": "7"}), 7.0, False, "overloaded"),
        (Script(503, "<html>starting</html>"), None, False, "503"),
        (Script(500, error_body("internal error: disk on fire")), None, False, "disk on fire"),
        (Script(502, "<html>Bad Gateway</html>"), None, False, "502"),
        (Script(400, "<html>400 The plain HTTP request was sent to HTTPS port</html>"), None, True, "URL"),
        (Script(422, ""), None, True, "URL"),
        (Script(301, "", {"Location": "https://example.invalid/"}), None, True, "URL"),
        (Script(200, "<html>welcome</html>"), None, True, "200"),
        (Script(hang_up=True), None, False, "running"),
        (Script(hang_up=True, store=True), None, False, "running"),
    ],
    ids=lambda value: f"{value.status}{'-hang-up' * value.hang_up}" if isinstance(value, Script) else "",
)
def test_answers_that_are_not_about_the_lines_keep_them(
    fake: FakeInflux,
    store: InfluxReadingStore,
    script: Script,
    retry_after_s: float | None,
    needs_operator: bool,
    word: str,
) -> None:
    fake.scripts.append(script)
    with pytest.raises(StoreUnavailable) as caught:
        store.write(steps(100))
    assert caught.value.retry_after_s == retry_after_s
    assert caught.value.needs_operator is needs_operator
    assert word in str(caught.value)
    assert fake.url in str(caught.value)
    assert "secret-token" not in str(caught.value)
    assert len(fake.requests) == 1, "the caller repeats, not the adapter"
    assert store.write(steps(100)).stored == 100
    assert fake.value_count == 100


def test_500_for_the_retention_is_for_good(fake: FakeInflux, store: InfluxReadingStore) -> None:
    message = "unexpected error writing points to database: partial write: points beyond retention policy dropped=1"
    fake.scripts.append(Script(500, error_body(message, "internal error")))
    (rejected,) = store.write(steps(1)).rejected
    assert rejected.reason == message


def test_a_time_out_after_the_commit_leaves_no_duplicate(fake: FakeInflux) -> None:
    store = InfluxReadingStore(fake.url, "org-a", "secret-token", write_timeout_s=0.3)
    answer = Event()
    fake.scripts.append(Script(store=True, wait=answer))
    try:
        with pytest.raises(StoreUnavailable, match="timed out") as caught:
            store.write(steps(100))
        assert not caught.value.needs_operator
    finally:
        answer.set()
    store.close()
    patient = InfluxReadingStore(fake.url, "org-a", "secret-token")
    assert patient.write(steps(100)).stored == 100
    patient.close()
    assert len(fake.points) == 100
    assert fake.value_count == 100


def test_an_outage_in_the_middle_of_a_search_loses_nothing(fake: FakeInflux, store: InfluxReadingStore) -> None:
    fake.dialect = WHOLE_400
    fake.fault = faulty({T + 700: CONFLICT})
    for answered in (1, 4, 9):
        fake.scripts.extend([*[None] * answered, Script(503)])
        with pytest.raises(StoreUnavailable):
            store.write(steps(1_000))
    report = store.write(steps(1_000))
    assert report.stored == 999
    assert [rejected.reading.time_ns for rejected in report.rejected] == [T + 700]
    assert fake.value_count == 999


def test_a_server_that_is_not_there(fake: FakeInflux) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        store = InfluxReadingStore(f"http://127.0.0.1:{probe.getsockname()[1]}", "org-a", "secret-token")
        for call in (
            lambda: store.write(steps(1)),
            lambda: store.count(Selection()),
            lambda: list(store.query(Selection())),
            store.ensure_buckets,
        ):
            with pytest.raises(StoreUnavailable, match="is it running") as caught:
                call()
            assert not caught.value.needs_operator
        store.close()


def test_a_closed_store_says_so(fake: FakeInflux, store: InfluxReadingStore) -> None:
    store.close()
    for call in (
        lambda: store.write(steps(1)),
        lambda: store.count(Selection()),
        lambda: list(store.query(Selection())),
        store.ensure_buckets,
    ):
        with pytest.raises(StoreUnavailable, match="closed"):
            call()
    assert fake.requests == []


HEADER = ",result,table,_value\r\n"
ROW = ",readings,0,5\r\n"


def test_a_count_is_read_from_the_answer(fake: FakeInflux, store: InfluxReadingStore) -> None:
    fake.scripts.append(Script(200, HEADER + ROW + "\r\n"))
    assert store.count(Selection()) == 5
    fake.scripts.append(Script(200, "\r\n"))
    assert store.count(Selection()) == 0


@pytest.mark.parametrize(
    "script",
    [
        Script(200, f"{HEADER}{ROW}\r\n,error,reference\r\n,runtime error: out of memory,897\r\n"),
        Script(200, "<html>welcome</html>"),
        Script(200, ROW),
        Script(200, HEADER + ROW * 10, cut_after=40),
        Script(200, '{"message": "not a table"}'),
        Script(500, error_body("query failed")),
        Script(hang_up=True),
    ],
    ids=["error-table", "html", "no-header", "cut-off", "json", "500", "hang-up"],
)
def test_an_answer_that_breaks_off_is_no_short_answer(
    fake: FakeInflux, store: InfluxReadingStore, script: Script
) -> None:
    fake.scripts.append(script)
    with pytest.raises(StoreUnavailable):
        store.count(Selection())


def test_the_error_in_a_stream_is_told(fake: FakeInflux, store: InfluxReadingStore) -> None:
    fake.scripts.append(Script(200, f"{HEADER}\r\n,error,reference\r\n,runtime error: out of memory,897\r\n"))
    with pytest.raises(StoreUnavailable, match="out of memory"):
        store.count(Selection())


def test_what_cannot_match_is_not_asked_for(fake: FakeInflux, store: InfluxReadingStore) -> None:
    assert list(store.query(Selection(metric="no-such-metric"))) == []
    assert list(store.query(Selection(start_ns=5, end_ns=5))) == []
    assert list(store.query(Selection(), newest_first_limit=0)) == []
    assert store.count(Selection(stat="inst", period_s=60)) == 0
    assert fake.requests == []


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="retention_days"):
        InfluxReadingStore("http://localhost:1", "o", "t", retention_days=-1)
    with pytest.raises(ValueError, match="lines_per_request"):
        InfluxReadingStore("http://localhost:1", "o", "t", lines_per_request=0)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": " 120 "}, 120.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "Sun, 22 Nov 2026 10:00:30 GMT", "Date": "Sun, 22 Nov 2026 10:00:00 GMT"}, 30.0),
        ({"Retry-After": "Sun, 22 Nov 2026 09:00:00 GMT", "Date": "Sun, 22 Nov 2026 10:00:00 GMT"}, 0.0),
        ({"Retry-After": "Sun, 22 Nov 2026 10:00:30 GMT"}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], expected: float | None) -> None:
    assert Answer(503, "", "", headers).retry_after_s == expected


def test_a_failure_of_tls_is_the_operators() -> None:
    error = Answer(0, "SSLError: certificate verify failed", "", {}).explain("cannot write to InfluxDB at https://x")
    assert error.needs_operator
    assert "certificate" in str(error)
