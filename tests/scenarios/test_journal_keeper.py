"""The archive and the room on the disk: what leaves the journal's file can still be read, replayed and verified."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from greenmine.core.clock import NS_PER_S, ManualClock
from greenmine.core.errors import StoreFull
from greenmine.core.reading_store import InMemoryReadingStore
from greenmine.ingest.backlog import Aside
from greenmine.ingest.disk_room import DISK_FULL, DISK_HAS_ROOM, MEGABYTE, Ballast, DiskRoom, DiskUsage, Room
from greenmine.ingest.journal import Journal, JournalReader
from greenmine.ingest.journal_mark import JournalMark
from greenmine.ingest.journal_recovery import MARK, open_journal
from greenmine.ingest.journal_writer import JournalWriter, Submission, WriterLimits
from greenmine.ingest.record import Record, RecordKind
from greenmine.journal_keeper import JournalKeeper, KeeperLimits
from greenmine.local_alarm import LocalAlarm
from greenmine.pipeline.commit import ASIDE
from greenmine.pipeline.pipeline import Pipeline
from greenmine.pipeline.snapshot import opened_snapshot
from greenmine.store.state import StateDb, set_meta
from greenmine.store.writer import StoreWriter
from tests.pipeline_scenes import DUSTY, START_NS, activation, entry, everything, message, policy

HOUR_NS = 3600 * NS_PER_S
PLENTY = DiskUsage(10**12, 10**11, 9 * 10**11)
WAIT_S = 20.0


class Home:
    """A journal, a state and a keeper that is stepped by hand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = Journal(path / "journal.db", JournalMark(path / MARK))
        self.reader = JournalReader(path / "journal.db", path / "archive")
        self.state = StateDb(path / "state.db")
        self.store = InMemoryReadingStore()
        self.pipeline = Pipeline(self.reader, self.state)
        self.usage = PLENTY
        self.writer = JournalWriter(self.journal, ManualClock(START_NS), lambda: None, lambda _: None)
        self.room = DiskRoom(path, Ballast(path / "ballast", 0), usage=lambda _: self.usage)
        self.keeper = JournalKeeper(
            self.journal,
            self.reader,
            self.writer,
            self.state,
            self.room,
            path / "archive",
            lambda: (self.pipeline.cursor, self.pipeline.clock_ns),
            KeeperLimits(archive_ns=30 * 24 * HOUR_NS),
        )
        self.hour = 0

    def go(self, hours: int, stored: bool = True) -> None:
        """An hour is a message; then everything is judged and, if wanted, stored."""
        for _ in range(hours):
            at_ns = START_NS + self.hour * HOUR_NS
            heard = message(entry(at_ns, {"pm10": 20.0 + self.hour % 200}))
            self.journal.append([(at_ns, at_ns, [activation(policy([DUSTY])) if self.hour == 0 else heard])])
            self.pipeline.run_available()
            self.hour += 1
            if stored:
                StoreWriter(self.state, self.store, ManualClock(at_ns)).run_available()
            self.keeper.archive()
            while self.writer._forget_to:
                self.writer._tidy()

    def close(self) -> None:
        self.reader.close()
        self.journal.close()
        self.state.close()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    made.close()


def test_what_is_stored_goes_to_the_archive_after_its_time(home: Home) -> None:
    home.go(96)
    assert home.keeper.segments == [], "a segment is a day, and stays three more"
    home.go(2)
    (segment,) = home.keeper.segments
    assert (segment.first_no, segment.snapshot) == (1, "")
    assert home.reader.first_no() == segment.last_no + 1
    home.go(48)
    first, second, *_ = home.keeper.segments
    assert second.first_no == first.last_no + 1
    assert second.snapshot
    assert list(home.keeper._archive.reader.verify()) == []


def test_what_the_store_has_not_confirmed_stays(home: Home) -> None:
    home.go(200, stored=False)
    assert home.keeper.segments == []
    home.go(1)
    home.keeper.archive()
    assert home.keeper.segments != []


def test_what_is_set_aside_stays(home: Home) -> None:
    home.go(10)
    waiting = Aside(5, 20, 5, 20, START_NS, START_NS + 20 * HOUR_NS)
    with home.state.writing() as connection:
        set_meta(connection, ASIDE, json.dumps([waiting]))
    home.go(190)
    assert home.keeper.segments == []
    with home.state.writing() as connection:
        set_meta(connection, ASIDE, "[]")
    home.go(1)
    assert home.keeper.segments != []


def test_the_whole_journal_is_read_as_if_nothing_had_left(home: Home) -> None:
    home.go(200)
    assert home.keeper.segments
    assert [batch.no for batch in home.reader.all_batches()] == list(range(1, 201))
    assert home.reader.record(2) is not None, "evidence is found in the archive"
    again = StateDb(home.path / "again.db")
    Pipeline(home.reader, again).run_available()
    told, live = everything(again), everything(home.state)
    again.close()
    for part in ("alert", "transition", "condition", "dead_letter", "audit", "identities"):
        assert told[part] == live[part], part


def test_a_segment_can_be_judged_again_from_its_snapshot(home: Home) -> None:
    home.go(200)
    segment = home.keeper.segments[1]
    with opened_snapshot(home.path / "archive" / segment.snapshot) as state:
        pipeline = Pipeline(home.reader, state)
        assert pipeline.cursor == segment.first_no - 1
        pipeline.run_available()
        assert everything(state)["transition"] == everything(home.state)["transition"]


def test_a_changed_segment_is_found(home: Home) -> None:
    home.go(200)
    path = home.path / "archive" / home.keeper.segments[0].name
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3] ^= 4
    path.write_bytes(raw)
    assert any(path.name in words for words in home.keeper._archive.reader.verify())


def test_a_start_with_an_archive_finds_nothing_missing(home: Home) -> None:
    home.go(200)
    home.reader.close()
    home.journal.close()
    journal, loss = open_journal(home.path / "journal.db", home.path / "archive", home.pipeline.cursor)
    assert loss is None
    assert journal.append([(START_NS * 2, START_NS * 2, [])]) == [201]
    journal.close()
    home.journal, home.reader = Journal(home.path / "journal.db"), JournalReader(home.path / "journal.db")


def test_where_room_is_short_what_is_stored_goes_at_once(home: Home) -> None:
    home.go(3)
    home.usage = DiskUsage(10**12, 95 * 10**10, 2 * 10**9)
    assert home.keeper.look() is Room.SHORT
    home.keeper.archive()
    assert [one.last_no for one in home.keeper.segments] == [3]


@pytest.mark.parametrize("stored", [True, False])
def test_a_short_disk_is_not_filled_with_snapshots(home: Home, stored: bool) -> None:
    """Each holds the whole state: one a look would take the room that the archive is to make."""
    home.go(3, stored)
    home.usage = DiskUsage(10**12, 95 * 10**10, 2 * 10**9)
    assert home.keeper.look() is Room.SHORT
    start_ns = START_NS + home.hour * HOUR_NS
    taken = set()
    for second in range(0, 3600, 20):
        at_ns = start_ns + second * NS_PER_S
        home.journal.append([(at_ns, at_ns, [message(entry(at_ns, {"pm10": 20.0}))])])
        home.pipeline.run_available()
        if stored:
            StoreWriter(home.state, home.store, ManualClock(at_ns)).run_available()
        home.keeper.archive()
        taken |= {path.name for path in (home.path / "archive").glob("state-*.db.gz")}
    assert len(taken) == (6 if stored else 1)
    assert len(home.keeper.segments) == (6 if stored else 0)


def test_segments_older_than_the_readings_are_removed_and_that_is_on_record(home: Home) -> None:
    home.go(24 * 36)
    oldest = home.keeper.segments[0]
    assert oldest.last_clock_ns >= START_NS + (24 * 36 - 24 * 32) * HOUR_NS
    assert not (home.path / "archive" / "segment-000000000001.gms").exists()
    assert list(home.keeper._archive.reader.verify()) == []


def test_without_room_nothing_is_acknowledged_and_acts_are_still_taken(home: Home) -> None:
    told: list[object] = []

    class Sink:
        def acknowledge(self, tokens: Any) -> None:
            told.append(tokens)

    record = message(entry(START_NS, {"pm10": 1.0}))
    home.usage = DiskUsage(10**12, 999 * 10**9, 10**8)
    assert home.keeper.look() is Room.NONE
    sink = Sink()
    assert not home.writer.offer(Submission(record, sink, 1))
    assert home.writer.offer(Submission(record)), "what the service itself has to record"
    assert told == []
    home.usage = PLENTY
    home.writer._queue.clear()
    assert home.keeper.look() is Room.ENOUGH
    assert told == [()], "there is room again"
    assert home.writer.offer(Submission(record, sink, 1))


def test_a_full_disk_is_entered_once_and_so_is_its_end(home: Home) -> None:
    def entered() -> list[str]:
        return [json.loads(one.record.payload)["event"] for one in home.writer._queue]

    home.keeper.look()
    assert entered() == [], "nothing was said, and nothing is to be said"
    home.usage = DiskUsage(10**12, 999 * 10**9, 10**8)
    home.writer._limits = WriterLimits(queue_records=0)
    home.keeper.look()
    assert entered() == []
    home.writer._limits = WriterLimits()
    for _ in range(3):
        home.keeper.look()
    assert entered() == ["disk_full"]
    home.usage = PLENTY
    home.keeper.look()
    assert entered() == ["disk_full", "disk_room"]
    home.keeper._alarm = LocalAlarm(home.writer, lambda: True, DISK_FULL, DISK_HAS_ROOM)  # as after a restart
    home.keeper.look()
    assert entered()[2:] == ["disk_room"]


def test_the_quota_of_the_journal(home: Home) -> None:
    home.room.quota_bytes = home.journal.size_bytes() * 2
    assert home.keeper.look() is Room.ENOUGH
    home.room.quota_bytes = int(home.journal.size_bytes() / 0.95)
    assert home.keeper.look() is Room.SHORT
    home.room.quota_bytes = home.journal.size_bytes()
    assert home.keeper.look() is Room.NONE


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB in memory; mounting one needs root."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def journal_holds(path: Path, records: int) -> bool:
    reader = JournalReader(path)
    try:
        return reader.sound() and sum(len(batch.records) for batch in reader.all_batches()) == records
    finally:
        reader.close()


class Sink:
    """Keeps what is acknowledged; `done` is set with the token that is waited for."""

    def __init__(self, until: int) -> None:
        self._until = until
        self.acknowledged: list[int] = []
        self.done = threading.Event()

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        self.acknowledged += tokens
        if self.acknowledged[-1:] == [self._until]:
            self.done.set()


class TestFullDisk:
    """A journal that may not grow beyond some pages: SQLite says that the disk is full, as it does on a real one."""

    def full(self, path: Path) -> Journal:
        journal = Journal(path)
        pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
        journal._db.execute(f"PRAGMA max_page_count={pages + 2}")
        return journal

    def test_nothing_is_acknowledged_until_there_is_room_and_then_all_in_order(self, tmp_path: Path) -> None:
        journal = self.full(tmp_path / "journal.db")
        sink, released = Sink(until=99), threading.Event()
        writer = JournalWriter(
            journal, ManualClock(START_NS), lambda: None, pytest.fail, WriterLimits(linger_s=0.0), released.set
        )
        for number in range(100):
            assert writer.offer(Submission(Record(RecordKind.MESSAGE, "t", b"x" * 5000, "", 0), sink, number))
        writer.start()
        assert released.wait(WAIT_S), "the ballast is asked for"
        assert not sink.done.is_set()
        assert isinstance(writer.full, StoreFull)
        assert sink.acknowledged == []
        journal._db.execute("PRAGMA max_page_count=1000000")
        assert sink.done.wait(WAIT_S), "it goes on by itself"
        assert sink.acknowledged == list(range(100))
        assert writer.full is None
        writer.stop()
        journal.close()
        reader = JournalReader(tmp_path / "journal.db")
        assert sum(len(batch.records) for batch in reader.all_batches()) == 100
        reader.close()

    def test_a_real_full_disk_stops_acknowledgements_and_costs_nothing(self, small_disk: Path) -> None:
        """reliability P6, on a file system of 8 MB."""
        filler = small_disk / "filler"
        filler.write_bytes(b"x" * 6 * MEGABYTE)
        sink, full = Sink(until=599), threading.Event()
        journal = Journal(small_disk / "journal.db")
        limits = WriterLimits(linger_s=0.0, batch_records=50)
        writer = JournalWriter(journal, ManualClock(START_NS), lambda: None, pytest.fail, limits, full.set)
        for number in range(600):
            assert writer.offer(Submission(Record(RecordKind.MESSAGE, "t", b"x" * 5000, "", 0), sink, number))
        writer.start()
        assert full.wait(WAIT_S)
        assert isinstance(writer.full, StoreFull)
        before = list(sink.acknowledged)
        assert before == list(range(len(before)))
        assert len(before) < 600
        filler.unlink()
        assert sink.done.wait(WAIT_S), "it goes on by itself"
        assert sink.acknowledged == list(range(600))
        writer.stop()
        assert journal_holds(small_disk / "journal.db", 600)
        journal.close()

    def test_the_state_waits_for_room_too(self, home: Home) -> None:
        home.go(1)
        with home.state.writing() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        at_ns = START_NS + HOUR_NS
        home.journal.append([(at_ns, at_ns, [message(b"garbage" * 3000) for _ in range(200)])])
        found_full: list[object] = []

        class RoomAfterOneWait(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                found_full.append((home.pipeline.full, timeout))
                with home.state.writing() as connection:
                    connection.exec_driver_sql("PRAGMA max_page_count=1000000")
                return False

        home.pipeline.stopping = RoomAfterOneWait()
        home.pipeline.run_available()
        ((full, _),) = found_full
        assert isinstance(full, StoreFull)
        assert home.pipeline.full is None
        assert home.state.account().dead == 200, "once, not twice"


def test_the_ballast_is_given_up_and_made_again(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "ballast", 2 * MEGABYTE)
    room = DiskRoom(tmp_path, ballast, usage=lambda _: usage)
    usage = PLENTY
    assert ballast.make()
    assert room.look(0) is Room.ENOUGH
    assert ballast.release()
    usage = DiskUsage(10**12, 10**12 - MEGABYTE, MEGABYTE)
    assert room.look(0) is Room.NONE
    assert not ballast.there
    usage = PLENTY
    assert room.look(0) is Room.ENOUGH
    assert ballast.there
