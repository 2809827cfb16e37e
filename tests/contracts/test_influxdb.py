"""What a real InfluxDB 2 does where versions differ: refusals, retention, buckets; and that the adapter copes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from greenmine.core.errors import StoreUnavailable
from greenmine.core.reading import Reading, Series
from greenmine.core.reading_store import InMemoryReadingStore, Selection
from greenmine.store import influx_store
from greenmine.store.influx_store import InfluxReadingStore
from tests.contracts.influx_server import InfluxServer, influx_server, request_json

__all__ = ["influx_server"]

pytestmark = pytest.mark.influxdb

PM10 = Series("mine-a", "dust-1", "pm10")
HOUR_NS = 3_600 * 10**9
DAY_NS = 24 * HOUR_NS
Open = Callable[..., InfluxReadingStore]


@pytest.fixture
def bucket(influx_server: InfluxServer) -> str:
    return influx_server.fresh_bucket()


@pytest.fixture
def open_store(influx_server: InfluxServer, bucket: str) -> Iterator[Open]:
    opened = []

    def connect(**settings: object) -> InfluxReadingStore:
        all_settings = {"org": influx_server.org, "token": influx_server.token, "bucket": bucket, **settings}
        store = InfluxReadingStore(influx_server.url, **all_settings)  # type: ignore[arg-type]
        opened.append(store)
        return store

    yield connect
    for store in opened:
        store.close()


@pytest.fixture
def now_ns() -> int:
    """The server judges retention by the machine's clock, so this test has to know it."""
    return time.time_ns()


def retention(server: InfluxServer) -> dict[str, tuple[int, int]]:
    """Retention and length of shards in days, by name of bucket."""
    _, found = request_json(server, "GET", "/api/v2/buckets?limit=100&org=" + server.org)
    rules = {each["name"]: each["retentionRules"][0] for each in found["buckets"]}
    return {name: (r["everySeconds"] // 86_400, r["shardGroupDurationSeconds"] // 86_400) for name, r in rules.items()}


def spoil_field(server: InfluxServer, bucket: str, measurement: str, field: str, time_ns: int) -> None:
    """Make `field` an integer in the shard of this time, as a foreign writer would."""
    line = f"{measurement},device=foreign,mine=foreign {field}=1i {time_ns}"
    status, _ = request_json(
        server, "POST", f"/api/v2/write?org={server.org}&bucket={bucket}&precision=ns", line.encode()
    )
    assert status == 204


def test_buckets_are_made_once_and_follow_the_setting(
    influx_server: InfluxServer, bucket: str, open_store: Open
) -> None:
    store = open_store()
    assert [(change.bucket, change.action, change.retention_days) for change in store.ensure_buckets()] == [
        (bucket, "created", 400),
        (f"{bucket}_1m", "created", 0),
        (f"{bucket}_1h", "created", 0),
        (f"{bucket}_events", "created", 0),
    ]
    assert store.ensure_buckets() == []
    assert retention(influx_server)[bucket] == (400, 7)
    assert retention(influx_server)[f"{bucket}_1h"] == (0, 182)
    assert [tuple(change) for change in open_store(retention_days=30).ensure_buckets()] == [(bucket, "retention", 30)]
    assert retention(influx_server)[bucket] == (30, 1)
    assert [tuple(change) for change in open_store(retention_days=0).ensure_buckets()] == [(bucket, "retention", 0)]
    assert retention(influx_server)[bucket] == (0, 7)
    assert open_store(retention_days=0).ensure_buckets() == []


def test_a_conflict_of_types_is_told_apart_and_the_rest_is_stored(
    influx_server: InfluxServer, bucket: str, open_store: Open, now_ns: int
) -> None:
    store = open_store()
    store.ensure_buckets()
    spoil_field(influx_server, bucket, "dust", "tsp", now_ns)
    readings = [
        Reading(PM10._replace(metric=metric), now_ns + step, 1.5)
        for step in range(200)
        for metric in ("pm10", "pm25", *(["tsp"] if step % 40 == 7 else []))
    ]
    report = store.write(readings)
    bad = [reading for reading in readings if reading.series.metric == "tsp"]
    assert len(bad) == 5
    assert sorted(rejected.reading for rejected in report.rejected) == bad
    assert all("field type conflict" in rejected.reason for rejected in report.rejected)
    good = sorted(set(readings) - set(bad), key=lambda reading: (reading.series, reading.time_ns))
    assert list(store.query(Selection(mine="mine-a"))) == good


def test_readings_older_than_the_retention_are_rejected_and_the_rest_is_stored(open_store: Open, now_ns: int) -> None:
    store = open_store(retention_days=400)
    store.ensure_buckets()
    old = [Reading(PM10, now_ns - 500 * DAY_NS + step, 1.0) for step in range(3)]
    new = [Reading(PM10, now_ns - day * DAY_NS, 2.0) for day in range(300, 0, -20)]
    report = store.write([new[0], *old, *new[1:]])
    assert sorted(rejected.reading for rejected in report.rejected) == old
    assert all("retention" in rejected.reason.lower() for rejected in report.rejected)
    assert list(store.query(Selection())) == new


def test_faults_of_two_kinds_and_in_many_shards_are_all_found(
    influx_server: InfluxServer, bucket: str, open_store: Open, now_ns: int
) -> None:
    """The server names one kind, and counts those of one shard only."""
    store = open_store(retention_days=30)
    store.ensure_buckets()
    days = range(1, 21)
    for day in days:
        spoil_field(influx_server, bucket, "dust", "tsp", now_ns - day * DAY_NS)
    conflicts = [Reading(PM10._replace(metric="tsp"), now_ns - day * DAY_NS, 1.5) for day in days]
    old = [Reading(PM10, now_ns - (60 + day) * DAY_NS, 1.0) for day in days]
    good = [Reading(PM10, now_ns - day * DAY_NS + 1, 2.0) for day in days]
    report = store.write([reading for three in zip(conflicts, old, good, strict=True) for reading in three])
    assert {rejected.reading for rejected in report.rejected} == {*conflicts, *old}
    words = {rejected.reading: rejected.reason for rejected in report.rejected}
    assert all("field type conflict" in words[reading] for reading in conflicts)
    assert all("retention" in words[reading].lower() for reading in old)
    assert sorted(store.query(Selection(mine="mine-a"))) == sorted(good)


def test_lines_that_cannot_be_parsed_are_refused_with_the_whole_request(
    influx_server: InfluxServer, bucket: str, open_store: Open, now_ns: int
) -> None:
    """The dialect that the fake calls WHOLE_400, of which our encoder gives no occasion."""
    store = open_store()
    store.ensure_buckets()
    body = f"dust,device=dust-1,mine=mine-a pm10=1.5 {now_ns}\ndust,mine= pm10=1 {now_ns}\n"
    where = f"/api/v2/write?org={influx_server.org}&bucket={bucket}&precision=ns"
    status, answer = request_json(influx_server, "POST", where, body.encode())
    assert status == 400
    assert "missing tag value" in answer["message"]
    assert store.count(Selection()) == 0


@pytest.mark.parametrize("at_once", [1, 7, 30])
def test_much_is_read_in_portions_in_the_same_order(
    open_store: Open, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(influx_store, "_READINGS_AT_ONCE", at_once)
    readings = [
        Reading(Series(mine, device, metric, channel), 1_795_334_400_000_000_000 + step, step / 7, step % 3)
        for mine in ("mine-a", "mine-b")
        for device in ("dev-1", "dev-2", "dev-3")
        for metric, channel in (("pm10", ""), ("ph", ""), ("soil_moisture", "d20"), ("soil_moisture", "d40"))
        for step in range(5 if device == "dev-2" else 2)
    ]
    store = open_store(retention_days=0)
    store.ensure_buckets()
    store.write(readings)
    oracle = InMemoryReadingStore()
    oracle.write(readings)
    for selection in (Selection(), Selection(mine="mine-a"), Selection(device="dev-2"), Selection(channel="d20")):
        assert list(store.query(selection)) == list(oracle.query(selection))


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"token": "wrong"}, "token"), ({"org": "nobody"}, "nobody"), ({"bucket": "missing"}, "bucket")],
)
def test_settings_that_do_not_fit_need_an_operator(open_store: Open, settings: dict[str, str], word: str) -> None:
    store = open_store(**settings)
    calls: list[Callable[[], object]] = [
        lambda: store.write([Reading(PM10, 1, 1.0)]),
        lambda: store.count(Selection()),
        lambda: list(store.query(Selection())),
        lambda: list(store.query(Selection(), newest_first_limit=1)),
    ]
    if "bucket" not in settings:
        calls.append(store.ensure_buckets)
    for call in calls:
        with pytest.raises(StoreUnavailable, match=word) as caught:
            call()
        assert caught.value.needs_operator


def test_a_count_before_1970_comes_back(open_store: Open) -> None:
    """InfluxDB 2.9.1 never answers such a count when it is pushed down to the storage."""
    store = open_store(retention_days=0, query_timeout_s=20)
    store.ensure_buckets()
    store.write([Reading(PM10, -step, 1.0) for step in range(10)])
    assert store.count(Selection(start_ns=-5, end_ns=0)) == 5
    assert store.count(Selection(start_ns=-5, end_ns=1)) == 6


def test_names_that_look_like_code_select_nothing(open_store: Open, now_ns: int) -> None:
    store = open_store()
    store.ensure_buckets()
    store.write([Reading(PM10, now_ns, 1.0)])
    for text in ('" or true or r.mine == "', "${1}", "\\", "\n", "mine-a\x00", "矿"):
        assert store.count(Selection(mine=text)) == 0
        assert list(store.query(Selection(device=text))) == []
    assert store.count(Selection(mine="mine-a")) == 1
