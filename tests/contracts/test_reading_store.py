"""The contract of `ReadingStore`, kept by every adapter and by the shipped fake.

Where an adapter's documentation weakens the contract, the difference is declared in `Adapter`, and the test asserts
what the adapter does instead: nothing is left out in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread

import pytest

from greenmine.core.quality import Quality
from greenmine.core.reading import Reading, Series
from greenmine.core.reading_store import InMemoryReadingStore, ReadingStore, Selection
from greenmine.store.duckdb_store import DuckDbReadingStore
from greenmine.store.influx_store import InfluxReadingStore
from tests.contracts.influx_server import InfluxServer, influx_server

__all__ = ["influx_server"]

T = 1_795_334_400_000_000_000
HOUR_NS = 3_600 * 10**9
PM10 = Series("mine-a", "dust-1", "pm10")


@dataclass
class Adapter:
    """An adapter under test; `open` opens the same data every time it is called, `close_all` ends what is open."""

    name: str
    connect: Callable[[], ReadingStore]
    first_write_stays: bool = True
    keeps_over_restart: bool = True

    def __post_init__(self) -> None:
        self._open = ExitStack()

    def open(self) -> ReadingStore:
        store = self.connect()
        self._open.callback(store.close)
        return store

    def reopen(self) -> ReadingStore:
        self.close_all()
        return self.open()

    def close_all(self) -> None:
        self._open.close()


@pytest.fixture(params=["memory", "duckdb", pytest.param("influxdb", marks=pytest.mark.influxdb)])
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Adapter]:
    if request.param == "memory":
        made = Adapter(
            "memory",
            InMemoryReadingStore,
            keeps_over_restart=False,
        )
    elif request.param == "duckdb":
        made = Adapter("duckdb", lambda: DuckDbReadingStore(tmp_path / "readings.duckdb"))
    else:
        server: InfluxServer = request.getfixturevalue("influx_server")
        bucket = server.fresh_bucket()
        made = Adapter(
            "influxdb",
            lambda: InfluxReadingStore(server.url, server.org, server.token, bucket, retention_days=0),
            first_write_stays=False,
        )
        first = InfluxReadingStore(server.url, server.org, server.token, bucket, retention_days=0)
        first.ensure_buckets()
        first.close()
    yield made
    made.close_all()


@pytest.fixture
def store(adapter: Adapter) -> ReadingStore:
    return adapter.open()


def everything(store: ReadingStore) -> list[Reading]:
    return list(store.query(Selection()))


def ordered(readings: list[Reading]) -> list[Reading]:
    return sorted(readings, key=lambda reading: (reading.series, reading.time_ns))


def sample() -> list[Reading]:
    """Readings that differ in every part of the identity, some with quality bits, times interleaved."""
    series = [
        PM10,
        PM10._replace(mine="mine-b"),
        PM10._replace(device="dust-2"),
        PM10._replace(metric="pm25"),
        PM10._replace(metric="laeq"),
        PM10._replace(metric="soil_moisture", channel="d20"),
        PM10._replace(metric="soil_moisture", channel="d40"),
        PM10._replace(metric="soil_moisture"),
        PM10._replace(stat="avg", period_s=3600),
        PM10._replace(stat="avg", period_s=60),
        PM10._replace(stat="max", period_s=3600),
        PM10._replace(stat="sum", period_s=0),
        PM10._replace(mine="mine-b", metric="water_temp"),
    ]
    return [
        Reading(key, T + step * HOUR_NS + place, step * 10 + place / 7, 3 if (step + place) % 5 == 0 else 0)
        for step in range(4)
        for place, key in enumerate(series)
    ]


def selections() -> list[Selection]:
    """Every value of every field alone, some together, spans of time, and what nothing matches."""
    readings = sample()
    alone = {
        Selection(**{name: getattr(reading.series, name)})
        for reading in readings
        for name in ("mine", "device", "metric", "channel", "stat", "period_s")
    }
    spans = {
        Selection(start_ns=T + HOUR_NS),
        Selection(end_ns=T + HOUR_NS),
        Selection(start_ns=T + HOUR_NS, end_ns=T + 3 * HOUR_NS),
        Selection(metric="pm10", start_ns=T, end_ns=T + 1),
        Selection(start_ns=T + HOUR_NS, end_ns=T + HOUR_NS),
        Selection(start_ns=T + HOUR_NS, end_ns=T),
        Selection(start_ns=-(2**63), end_ns=2**63 - 1),
    }
    together = {
        Selection(mine="mine-a", metric="pm10"),
        Selection(mine="mine-a", stat="avg"),
        Selection(metric="pm10", stat="avg", period_s=3600),
        Selection(metric="pm10", period_s=0),
        Selection(stat="inst", period_s=0),
        Selection(stat="inst", period_s=60),
        Selection(mine="mine-a", device="dust-1", channel=""),
        *(Selection.of_series(reading.series) for reading in readings),
        *(Selection.of_series(reading.series, T + HOUR_NS, T + 2 * HOUR_NS) for reading in readings),
    }
    nothing = {
        Selection(mine="mine-c"),
        Selection(mine=""),
        Selection(metric="ph"),
        Selection(metric="no-such-metric"),
        Selection(metric=".*"),
        Selection(stat="median"),
        Selection(channel="d60"),
        Selection(period_s=7),
        Selection(mine='mine-a" or true or r.mine == "'),
        Selection(device="dust-1' OR '1'='1"),
        Selection(channel="d20\\"),
        Selection(mine="${mine}"),
        Selection(mine="矿山"),
    }
    return sorted(alone | spans | together | nothing, key=repr)


def test_an_empty_store_has_nothing(store: ReadingStore) -> None:
    assert everything(store) == []
    assert list(store.query(Selection(), newest_first_limit=5)) == []
    assert store.count(Selection()) == 0


def test_writing_nothing_is_fine(store: ReadingStore) -> None:
    report = store.write([])
    assert (report.stored, report.rejected) == (0, [])


def test_what_was_written_is_read_by_series_and_time(store: ReadingStore) -> None:
    readings = sample()
    report = store.write(readings[::-1])
    assert (report.stored, report.rejected) == (len(readings), [])
    assert everything(store) == ordered(readings)
    assert store.count(Selection()) == len(readings)


def test_every_field_of_a_selection_selects(store: ReadingStore) -> None:
    oracle = InMemoryReadingStore()
    for each in (store, oracle):
        each.write(sample())
    sizes = set()
    for selection in selections():
        expected = list(oracle.query(selection))
        assert list(store.query(selection)) == expected, selection
        assert store.count(selection) == len(expected), selection
        sizes.add(len(expected))
    assert {0, 1, len(sample())} < sizes, "the selections do not tell anything apart"


def test_a_span_of_time_is_half_open(store: ReadingStore) -> None:
    store.write([Reading(PM10, T + step, float(step)) for step in range(5)])
    found = store.query(Selection.of_series(PM10, T + 1, T + 3))
    assert [reading.time_ns - T for reading in found] == [1, 2]
    assert store.count(Selection.of_series(PM10, T + 1, T + 3)) == 2


def test_a_limit_takes_the_newest_in_the_same_order(store: ReadingStore) -> None:
    readings = sample()
    store.write(readings)
    by_time = sorted(readings, key=lambda reading: reading.time_ns)
    for limit in (0, 1, 7, len(readings), len(readings) + 1):
        expected = ordered(by_time[len(by_time) - min(limit, len(by_time)) :])
        assert list(store.query(Selection(), newest_first_limit=limit)) == expected
    one = [reading for reading in by_time if reading.series == PM10]
    assert list(store.query(Selection.of_series(PM10), newest_first_limit=2)) == one[-2:]
    early = Selection(end_ns=T + HOUR_NS)
    expected = ordered([reading for reading in by_time if reading.time_ns < T + HOUR_NS][-3:])
    assert list(store.query(early, newest_first_limit=3)) == expected


def test_a_limit_among_equal_times_still_holds(store: ReadingStore) -> None:
    store.write([Reading(PM10._replace(device=f"dust-{n}"), T, float(n)) for n in range(6)])
    found = list(store.query(Selection(), newest_first_limit=4))
    assert len(found) == 4
    assert found == ordered(found)


def test_writing_the_same_again_changes_nothing(store: ReadingStore) -> None:
    readings = sample()
    for _ in range(3):
        report = store.write(readings)
        assert (report.stored, report.rejected) == (len(readings), [])
    store.write(readings[10:20] + readings[5:15])
    assert everything(store) == ordered(readings)
    assert store.count(Selection()) == len(readings)


def test_a_value_that_is_written_again_keeps_the_first(store: ReadingStore, adapter: Adapter) -> None:
    store.write([Reading(PM10, T, 1.0, 2)])
    store.write([Reading(PM10, T, 9.0, 4), Reading(PM10, T + 1, 5.0)])
    expected = Reading(PM10, T, 1.0, 2) if adapter.first_write_stays else Reading(PM10, T, 9.0, 4)
    assert everything(store) == [expected, Reading(PM10, T + 1, 5.0)]


def test_of_two_values_in_one_write_the_first_is_kept(store: ReadingStore) -> None:
    report = store.write([Reading(PM10, T, 1.0, 2), Reading(PM10, T, 9.0)])
    assert (report.stored, report.rejected) == (2, [])
    assert everything(store) == [Reading(PM10, T, 1.0, 2)]


def test_late_readings_find_their_place(store: ReadingStore) -> None:
    hours = [0, 500, 501, 3, 2_000, 1, 2]
    for hour in hours:
        store.write([Reading(PM10, T + hour * HOUR_NS, float(hour))])
    late_and_live = [Reading(PM10, T + hour * HOUR_NS, -1.0 if hour in hours else 0.5) for hour in (4, 500, 1_000)]
    new = [reading for reading in late_and_live if reading.value == 0.5]
    store.write(new)
    assert [reading.time_ns for reading in everything(store)] == sorted(
        T + hour * HOUR_NS for hour in (*hours, 4, 1_000)
    )


def test_a_batch_with_a_late_repetition_keeps_what_is_there(store: ReadingStore, adapter: Adapter) -> None:
    store.write([Reading(PM10, T + hour * HOUR_NS, float(hour)) for hour in range(0, 300, 3)])
    again = 30.0 if adapter.first_write_stays else -1.0
    store.write([Reading(PM10, T + 30 * HOUR_NS, -1.0), Reading(PM10, T + 900 * HOUR_NS, 900.0)])
    found = {reading.time_ns: reading.value for reading in everything(store)}
    assert found[T + 30 * HOUR_NS] == again
    assert len(found) == 101


@pytest.mark.parametrize(
    "value",
    [
        *(0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, -1.7976931348623157e308),
        *(0.1 + 0.2, 1 / 3, 1e16, 1e22, 123456789.12345679, 9007199254740991.0, -40.0),
    ],
)
def test_floats_come_back_exactly(store: ReadingStore, value: float) -> None:
    store.write([Reading(PM10, T, value)])
    (found,) = everything(store)
    assert repr(found.value) == repr(value)


def test_times_are_exact_to_the_nanosecond(store: ReadingStore) -> None:
    times = [-(2**62) - 1, -1_000_000_001, -1, 0, 1, 999_999_999, T, T + 1, T + 120, T + 123_456_789, 2**62 + 1]
    store.write([Reading(PM10, time_ns, float(place)) for place, time_ns in enumerate(times)])
    assert [(reading.time_ns, reading.value) for reading in everything(store)] == [
        (time_ns, float(place)) for place, time_ns in enumerate(times)
    ]
    for time_ns in times:
        assert store.count(Selection(start_ns=time_ns, end_ns=time_ns + 1)) == 1


def test_quality_comes_back_bit_by_bit(store: ReadingStore) -> None:
    every = [0, *(flag.value for flag in Quality if flag), 2**14 - 1]
    readings = [Reading(PM10, T + place, float(place), quality) for place, quality in enumerate(every)]
    store.write(readings)
    assert everything(store) == readings
    assert list(store.query(Selection(), newest_first_limit=len(every))) == readings


def test_a_calibrated_value_comes_back_beside_the_raw_one(store: ReadingStore) -> None:
    readings = [
        Reading(PM10, T, 80.0, 0, 81.5),
        Reading(PM10, T + 1, 80.0),
        Reading(PM10, T + 2, 80.0, 3, -0.25),
        Reading(PM10._replace(stat="avg", period_s=3600), T, 70.0, 0, 0.1 + 0.2),
        Reading(PM10._replace(metric="pm25"), T, 40.0),
    ]
    assert store.write(readings).stored == len(readings)
    assert everything(store) == ordered(readings)
    assert store.count(Selection()) == len(readings)
    assert list(store.query(Selection(), newest_first_limit=2)) == readings[1:3]
    assert list(store.query(Selection.of_series(PM10, T + 1, T + 3))) == readings[1:3]


def test_a_calibrated_value_can_be_given_later_and_again(store: ReadingStore) -> None:
    raw = [Reading(PM10, T + step, float(step), 3 if step == 1 else 0) for step in range(4)]
    store.write(raw)
    better = [raw[1]._replace(calibrated=1.5), raw[2]._replace(calibrated=2.5)]
    assert store.write(better).stored == 2
    assert everything(store) == [raw[0], *better, raw[3]]
    store.write([better[0]._replace(calibrated=1.75)])
    assert everything(store) == [raw[0], better[0]._replace(calibrated=1.75), better[1], raw[3]]
    assert store.count(Selection()) == 4


def test_writing_without_a_calibrated_value_takes_none_away(store: ReadingStore) -> None:
    store.write([Reading(PM10, T, 1.0, 0, 1.5)])
    store.write([Reading(PM10, T, 1.0), Reading(PM10, T + 1, 2.0)])
    assert everything(store) == [Reading(PM10, T, 1.0, 0, 1.5), Reading(PM10, T + 1, 2.0)]


def test_a_calibrated_value_that_is_no_number_is_rejected(store: ReadingStore) -> None:
    bad = [Reading(PM10, T, 1.0, 0, float("nan")), Reading(PM10, T + 1, 1.0, 0, float("inf"))]
    report = store.write([*bad, Reading(PM10, T + 2, 1.0)])
    assert [one.reading.time_ns for one in report.rejected] == [T, T + 1]
    assert everything(store) == [Reading(PM10, T + 2, 1.0)]


def test_series_that_share_device_and_time_stay_apart(store: ReadingStore) -> None:
    readings = [
        Reading(PM10, T, 1.0, 1),
        Reading(PM10._replace(stat="avg", period_s=60), T, 2.0),
        Reading(PM10._replace(stat="avg", period_s=3600), T, 3.0, 4),
        Reading(PM10._replace(metric="pm25"), T, 4.0),
        Reading(PM10._replace(metric="wind_speed"), T, 5.0, 8),
        Reading(PM10._replace(channel="roof"), T, 6.0),
    ]
    store.write(readings)
    assert everything(store) == ordered(readings)


def test_series_that_differ_in_one_part_stay_apart_over_several_writes(store: ReadingStore) -> None:
    readings = [Reading(series, T, float(place)) for place, series in enumerate({r.series: None for r in sample()})]
    for reading in readings:
        assert store.write([reading]).stored == 1
    assert everything(store) == ordered(readings)


def test_good_readings_are_stored_beside_those_that_can_never_be(store: ReadingStore, adapter: Adapter) -> None:
    good = [Reading(PM10, T + step, float(step)) for step in range(50)]
    bad = [
        Reading(PM10, T + 100, None),
        Reading(PM10, T + 101, float("nan")),
        Reading(PM10, T + 102, float("inf")),
        Reading(PM10, 2**63, 1.0),
    ]
    report = store.write([*good[:25], *bad, *good[25:]])
    assert [rejected.reading for rejected in report.rejected] == bad
    assert all(rejected.reason for rejected in report.rejected)
    assert report.stored == len(good)
    assert everything(store) == good


def test_ten_thousand_readings_go_in_one_write(store: ReadingStore) -> None:
    readings = [
        Reading(Series("mine-a", f"dev-{n % 20}", ("pm10", "laeq", "ph")[n % 3]), T + (n // 60) * 10**9, n / 3, n % 4)
        for n in range(10_000)
    ]
    report = store.write(readings)
    assert (report.stored, report.rejected) == (10_000, [])
    assert store.count(Selection()) == 10_000
    assert everything(store) == ordered(readings)


def test_a_restart_keeps_what_was_written(adapter: Adapter) -> None:
    adapter.open().write(sample())
    store = adapter.reopen()
    assert everything(store) == (ordered(sample()) if adapter.keeps_over_restart else [])
    store.write(sample()[:3])
    assert store.count(Selection()) == (len(sample()) if adapter.keeps_over_restart else 3)


def test_reading_and_writing_at_the_same_time(store: ReadingStore, adapter: Adapter) -> None:
    batches = [[Reading(PM10, T + n * 100 + step, float(step)) for step in range(100)] for n in range(20)]
    written = {reading for batch in batches for reading in batch}
    failures: list[BaseException] = []
    done = Event()

    def look(seen: int) -> int:
        found = everything(store)
        assert set(found) <= written
        assert all(before.time_ns < after.time_ns for before, after in pairwise(found))
        assert len(found) >= seen, "what was read once is gone"
        assert len(list(store.query(Selection(), newest_first_limit=10))) == 10
        assert store.count(Selection()) >= len(found)
        return len(found)

    def read_until_done() -> None:
        try:
            seen = 0
            while not done.is_set():
                seen = look(seen)
        except BaseException as error:
            failures.append(error)
            raise

    readers = [Thread(target=read_until_done) for _ in range(3)]
    store.write(batches[0])
    for reader in readers:
        reader.start()
    seen = 0
    for batch in batches[1:]:
        store.write(batch)
        seen = look(seen)
    done.set()
    for reader in readers:
        reader.join(60)
    assert not failures
    assert not any(reader.is_alive() for reader in readers)
    assert everything(store) == ordered(list(written))


def test_several_writers_at_the_same_time(store: ReadingStore, adapter: Adapter) -> None:
    batches = [[Reading(PM10, T + at, float(at)) for at in range(n * 50, n * 50 + 100)] for n in range(20)]
    failures: list[BaseException] = []

    def write(own: list[list[Reading]]) -> None:
        try:
            for batch in own:
                assert store.write(batch).stored == len(batch)
        except BaseException as error:
            failures.append(error)
            raise

    shares = [batches[n::4] for n in range(4)]
    writers = [Thread(target=write, args=(share,)) for share in shares]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert not failures
    assert not any(writer.is_alive() for writer in writers)
    assert everything(store) == ordered(list({reading for batch in batches for reading in batch}))


def test_an_iterator_that_is_left_unread_holds_nothing_up(store: ReadingStore) -> None:
    store.write(sample())
    left = store.query(Selection())
    next(left)
    store.write([Reading(PM10, T - 1, 0.0)])
    assert store.count(Selection()) == len(sample()) + 1
