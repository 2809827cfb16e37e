"""The DuckDB adapter beyond the contract: kills, full disks, files that are not ours, memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenmine.core.errors import StoreUnavailable
from greenmine.core.reading import Reading, Series
from greenmine.core.reading_store import InMemoryReadingStore, Selection
from greenmine.store import duckdb_store
from greenmine.store.duckdb_store import DuckDbReadingStore

T = 1_795_334_400_000_000_000
MINUTE_NS = 60 * 10**9
PM10 = Series("mine-a", "dust-1", "pm10")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "readings.duckdb"


@pytest.fixture
def store(path: Path) -> Iterator[DuckDbReadingStore]:
    made = DuckDbReadingStore(path)
    yield made
    made.close()


def batch(number: int, size: int = 50) -> list[Reading]:
    return [Reading(PM10, T + number * MINUTE_NS + step, float(step)) for step in range(size)]


minutes = st.integers(0, 20) | st.integers(0, 100_000)
readings = st.builds(
    lambda device, minute, value: Reading(PM10._replace(device=device), T + minute * MINUTE_NS, value),
    st.sampled_from(("dust-1", "dust-2")),
    minutes,
    st.floats(0, 100),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(readings, max_size=40), max_size=6))
def test_whatever_comes_in_whatever_order_the_first_stays(
    tmp_path_factory: pytest.TempPathFactory, writes: list[list[Reading]]
) -> None:
    store = DuckDbReadingStore(tmp_path_factory.mktemp("any") / "readings.duckdb")
    oracle = InMemoryReadingStore()
    for write in writes:
        assert store.write(write).stored == oracle.write(write).stored
    assert list(store.query(Selection())) == list(oracle.query(Selection()))
    store.close()


WRITER = """
import sys
from pathlib import Path
from greenmine.core.reading import Reading, Series
from greenmine.store.duckdb_store import DuckDbReadingStore
store = DuckDbReadingStore(Path(sys.argv[1]))
for number in range(int(sys.argv[2]), 1_000_000):
    times = [int(sys.argv[3]) + number * 60 * 10**9 + step for step in range(50)]
    store.write([Reading(Series("mine-a", "dust-1", "pm10"), time_ns, 0.5) for time_ns in times])
    print(number, flush=True)
"""


def test_what_was_confirmed_survives_kill_9(path: Path) -> None:
    confirmed = -1
    for confirmations in (1, 37, 80):
        command = [sys.executable, "-c", WRITER, str(path), str(confirmed + 1), str(T)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(confirmations):
                confirmed = int(process.stdout.readline())
            process.kill()
            rest = process.stdout.read().split()  # what it confirmed while it was being killed
        if rest:
            confirmed = int(rest[-1])
        store = DuckDbReadingStore(path)
        times = [reading.time_ns for reading in store.query(Selection())]
        store.close()
        assert len(times) % 50 == 0, "half of a write is there"
        assert len(times) >= (confirmed + 1) * 50
        assert len(set(times)) == len(times)


OPENER = """
import sys
import duckdb
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
"""


def test_a_file_that_another_process_has_open(path: Path) -> None:
    command = [sys.executable, "-c", OPENER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(StoreUnavailable, match="another process") as caught:
            DuckDbReadingStore(path)
        assert caught.value.needs_operator
        assert str(path) in str(caught.value)
        process.stdin.close()
        process.wait(30)
    DuckDbReadingStore(path).close()


def test_a_file_that_is_not_duckdbs(path: Path) -> None:
    path.write_text("time,mine,device\n" * 1_000)
    with pytest.raises(StoreUnavailable, match="damaged or not DuckDB's") as caught:
        DuckDbReadingStore(path)
    assert caught.value.needs_operator
    assert path.read_text().startswith("time,mine"), "the file must not be touched"


def test_a_file_that_was_cut_off(path: Path) -> None:
    store = DuckDbReadingStore(path)
    for number in range(30):
        store.write(batch(number, 2_000))
    store.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])

    def read_all() -> None:
        with closing(DuckDbReadingStore(path)) as cut:
            list(cut.query(Selection()))

    with pytest.raises(StoreUnavailable):
        read_all()


def test_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="check that the directory exists") as caught:
        DuckDbReadingStore(tmp_path / "nowhere" / "readings.duckdb")
    assert caught.value.needs_operator


FILLER = """
import resource, sys
from pathlib import Path
from greenmine.core.errors import StoreUnavailable
from greenmine.core.reading import Reading, Series
from greenmine.core.reading_store import Selection
from greenmine.store.duckdb_store import DuckDbReadingStore

def batch(number):
    series = Series("mine-a", "dust-1", "pm10")
    return [Reading(series, number * 60 * 10**9 + step, number + step / 7) for step in range(1_000)]

store = DuckDbReadingStore(Path(sys.argv[1]))
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))  # as a disk that is full: EFBIG instead of ENOSPC
stored = 0
try:
    while stored < 10_000:
        store.write(batch(stored))
        stored += 1
    sys.exit("the disk never got full")
except StoreUnavailable as error:
    assert not error.needs_operator, error
assert store.count(Selection()) == stored * 1_000, "reading has to go on"
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
for number in range(stored + 1):
    store.write(batch(number))
assert store.count(Selection()) == (stored + 1) * 1_000
store.close()
store = DuckDbReadingStore(Path(sys.argv[1]))
assert store.count(Selection()) == (stored + 1) * 1_000
print("filled after", stored)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of file size as Linux has them")
def test_a_full_disk_loses_nothing_and_needs_no_restart(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FILLER, str(path)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) > 0


def test_more_than_the_memory_holds_is_sorted_on_disk(path: Path) -> None:
    """Long names, different in each row: DuckDB 2.0.0 cannot sort these 200,000 within 32 MB if it may not spill."""
    store = DuckDbReadingStore(path, memory_limit="32MB")
    count = 200_000
    for start in range(0, count, 20_000):
        devices = [
            PM10._replace(device=f"dust-{n % 40}{'x' * 50}{n * 7919:019d}") for n in range(start, start + 20_000)
        ]
        store.write([Reading(series, T + start + place, 0.1) for place, series in enumerate(devices)])
    found = store.query(Selection())
    previous = next(found)
    seen = 1
    for reading in found:
        assert reading.series > previous.series
        previous = reading
        seen += 1
    assert seen == count
    store.close()


def test_a_limit_of_memory_that_makes_no_sense(path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="memory"):
        DuckDbReadingStore(path, memory_limit="plenty")


def test_a_write_that_failed_half_way_leaves_nothing(
    store: DuckDbReadingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_spans = [*batch(0), *batch(1_000)]
    limit = T + 999 * MINUTE_NS  # the first span goes in, the second does not
    fails = f"WHERE CASE WHEN {{low:d}} > {limit} THEN error('disk gone')::BOOLEAN ELSE TRUE END AND NOT EXISTS"
    with monkeypatch.context() as broken:
        broken.setattr(duckdb_store, "_INSERT", duckdb_store._INSERT.replace("WHERE NOT EXISTS", fails))
        with pytest.raises(StoreUnavailable, match="disk gone"):
            store.write(two_spans)
    assert store.count(Selection()) == 0
    assert store.write(two_spans).stored == 100
    assert list(store.query(Selection())) == two_spans


def test_a_closed_store_says_so(path: Path) -> None:
    store = DuckDbReadingStore(path)
    store.write(batch(0))
    unread = store.query(Selection())
    store.close()
    for call in (
        lambda: store.write(batch(1)),
        lambda: store.count(Selection()),
        lambda: store.query(Selection()),
        lambda: list(unread),
    ):
        with pytest.raises(StoreUnavailable):
            call()


def test_what_the_table_cannot_hold_is_rejected_by_name(store: DuckDbReadingStore) -> None:
    bad = [
        Reading(PM10, 2**63, 1.0),
        Reading(PM10, -(2**63) - 1, 1.0),
        Reading(PM10, T, 1.0, 2**31),
        Reading(PM10, T, 1.0, -1),
        Reading(PM10._replace(period_s=2**31), T, 1.0),
        Reading(PM10._replace(device="\ud800"), T, 1.0),
    ]
    report = store.write([*batch(0), *bad])
    assert report.stored == 50
    assert [rejected.reading for rejected in report.rejected] == bad
    assert list(store.query(Selection())) == batch(0)


def test_names_that_look_like_code_are_names(store: DuckDbReadingStore) -> None:
    odd = [Reading(PM10._replace(device=device), T, 1.0) for device in ("' OR 1=1 --", '"', "?", "$1", "矿", "a\x00b")]
    store.write(odd)
    for reading in odd:
        assert list(store.query(Selection(device=reading.series.device))) == [reading]


def test_a_file_of_before_there_were_calibrated_values_is_taken_over(path: Path) -> None:
    with closing(duckdb.connect(path)) as old:
        old.execute(
            "CREATE TABLE readings (mine VARCHAR NOT NULL, device VARCHAR NOT NULL, metric VARCHAR NOT NULL, "
            "channel VARCHAR NOT NULL, stat VARCHAR NOT NULL, period_s INTEGER NOT NULL, time_ns BIGINT NOT NULL, "
            "value DOUBLE NOT NULL, quality INTEGER NOT NULL)"
        )
        old.execute("INSERT INTO readings VALUES ('mine-a', 'dust-1', 'pm10', '', 'inst', 0, ?, 5.0, 1)", [T])
    for _ in range(2):
        with closing(DuckDbReadingStore(path)) as store:
            store.write([Reading(PM10, T, 5.0, 1, 5.5), Reading(PM10, T + 1, 6.0)])
            assert list(store.query(Selection())) == [Reading(PM10, T, 5.0, 1, 5.5), Reading(PM10, T + 1, 6.0)]
