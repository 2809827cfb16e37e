"""The journal's writer: commit first, acknowledge second, in order; and nothing at all when the commit fails."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core.clock import NS_PER_S, Clock, ManualClock
from greenmine.core.errors import StoreUnavailable
from greenmine.ingest.journal import Journal, JournalReader
from greenmine.ingest.journal_writer import MOST_BATCH_BYTES, JournalWriter, Submission, WriterLimits
from greenmine.ingest.record import Batch, Record, RecordKind
from tests.failing_disk import fail_now_and_then
from tests.mqtt_client import WAIT_S

WALL_NS = 1_795_305_600 * NS_PER_S
QUICK = WriterLimits(linger_s=0.0, tick_s=0.01)
NEVER_TICKS = WriterLimits(linger_s=0.0, tick_s=WAIT_S)


def record(payload: bytes) -> Record:
    return Record(RecordKind.MESSAGE, "mines/m1/d1/up", payload)


class FakeJournal:
    """In the place of the journal: writes its commits into the same log as the acknowledgements. Can be held, and can
    be told to fail."""

    def __init__(self) -> None:
        self.last_clock_ns: int | None = None
        self.log: list[tuple[str, Any]] = []
        self.batches: list[tuple[int, int, list[bytes]]] = []
        self.failure: Exception | None = None
        self.released = threading.Event()
        self.released.set()
        self.entered = threading.Event()
        self.ticked = threading.Event()

    def append(self, stamped: Sequence[tuple[int, int, Sequence[Record]]]) -> list[int]:
        for received_ns, clock_ns, records in stamped:
            payloads = [one.payload for one in records]
            if payloads:
                self.entered.set()
                assert self.released.wait(WAIT_S)
                if self.failure is not None:
                    raise self.failure
                self.log += [("commit", payload) for payload in payloads]
            else:
                self.ticked.set()
            self.batches.append((received_ns, clock_ns, payloads))
        return []


class Sink:
    """Notes acknowledgements in the journal's log."""

    def __init__(self, journal: FakeJournal, name: str = "ack") -> None:
        self._journal = journal
        self._name = name
        self.room = threading.Event()

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        if not tokens:
            self.room.set()
        self._journal.log += [(self._name, token) for token in tokens]


class Rig:
    def __init__(self, limits: WriterLimits = QUICK, clock: Clock | None = None) -> None:
        self.journal = FakeJournal()
        self.sink = Sink(self.journal)
        self.failures: list[StoreUnavailable] = []
        self.failed = threading.Event()
        self.commits = 0
        fake: Any = self.journal
        self.writer = JournalWriter(fake, clock or ManualClock(WALL_NS), self._committed, self._fail, limits)

    def offer(self, payload: bytes, sink: Sink | None = None, at_ns: int | None = None) -> bool:
        return self.writer.offer(Submission(record(payload), sink or self.sink, payload, at_ns))

    def _committed(self) -> None:
        self.commits += 1

    def _fail(self, error: StoreUnavailable) -> None:
        self.failures.append(error)
        self.failed.set()


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.journal.released.set()
    made.writer.stop()


# --- order


def test_every_acknowledgement_follows_its_commit_in_the_order_of_receipt(rig: Rig) -> None:
    """Mutation check, done by hand: with the acknowledgement put before `self._journal.append` in
    `JournalWriter._commit` every `ack` stands before its `commit` in the log, and this test is red."""
    sent = [b"%d" % number for number in range(200)]
    rig.writer.start()
    for payload in sent:
        assert rig.offer(payload)
    rig.writer.stop()
    log = rig.journal.log
    assert [what for name, what in log if name == "commit"] == sent
    assert [what for name, what in log if name == "ack"] == sent
    for payload in sent:
        assert log.index(("commit", payload)) < log.index(("ack", payload))


def test_nothing_is_acknowledged_while_the_commit_is_held(rig: Rig) -> None:
    rig.journal.released.clear()
    rig.writer.start()
    rig.offer(b"a")
    assert rig.journal.entered.wait(WAIT_S)
    rig.offer(b"b")
    assert rig.journal.log == []
    rig.journal.released.set()
    rig.writer.stop()
    assert rig.journal.log == [("commit", b"a"), ("ack", b"a"), ("commit", b"b"), ("ack", b"b")]


def test_each_sink_gets_its_own_tokens_in_order(rig: Rig) -> None:
    other = Sink(rig.journal, "other")
    for payload, sink in ((b"1", rig.sink), (b"2", other), (b"3", rig.sink), (b"4", other)):
        rig.offer(payload, sink)
    assert rig.writer.offer(Submission(record(b"nobody waits")))
    rig.writer.start()
    rig.writer.stop()
    log = rig.journal.log
    assert [what for name, what in log if name == "ack"] == [b"1", b"3"]
    assert [what for name, what in log if name == "other"] == [b"2", b"4"]
    assert ("commit", b"nobody waits") in log


def test_a_commit_is_announced_after_its_acknowledgements(rig: Rig) -> None:
    rig.offer(b"a")
    rig.writer._on_commit = lambda: rig.journal.log.append(("told", b"a"))
    rig.writer.start()
    rig.writer.stop()
    assert rig.journal.log[:3] == [("commit", b"a"), ("ack", b"a"), ("told", b"a")]


# --- failure


@pytest.mark.parametrize("failure", [StoreUnavailable("disk full"), ValueError("something else")])
def test_a_failed_commit_acknowledges_nothing_and_ends_the_writer(rig: Rig, failure: Exception) -> None:
    rig.journal.failure = failure
    rig.offer(b"a")
    rig.writer.start()
    assert rig.failed.wait(WAIT_S)
    assert not rig.offer(b"b")
    assert not rig.writer.put(Submission(record(b"c")), 0.0)
    rig.writer.stop()
    assert rig.journal.log == []
    assert rig.failures == [rig.writer.failed]
    assert str(failure.args[0]) in str(rig.writer.failed)
    assert rig.commits == 0


def test_a_full_queue_does_not_keep_a_failed_writer_from_stopping() -> None:
    rig = Rig(QUICK._replace(queue_records=3, batch_records=1))
    rig.journal.failure = StoreUnavailable("disk full")
    rig.journal.released.clear()
    rig.writer.start()
    rig.offer(b"a")
    assert rig.journal.entered.wait(WAIT_S)
    assert [rig.offer(b"b") for _ in range(4)] == [True, True, True, False]
    rig.journal.released.set()
    assert rig.failed.wait(WAIT_S)
    rig.writer.stop()
    assert rig.journal.log == []


def test_a_sink_that_raises_is_as_loud_as_a_failed_commit(rig: Rig) -> None:
    class Broken(Sink):
        def acknowledge(self, tokens: Sequence[Any]) -> None:
            raise OSError("the socket is gone")

    rig.offer(b"a", Broken(rig.journal))
    rig.writer.start()
    assert rig.failed.wait(WAIT_S)
    assert "the socket is gone" in str(rig.writer.failed)


# --- the queue


def test_a_full_queue_refuses_and_says_when_there_is_room_again() -> None:
    rig = Rig(QUICK._replace(queue_records=2, batch_records=1))
    rig.journal.released.clear()
    rig.writer.start()
    rig.offer(b"a")
    assert rig.journal.entered.wait(WAIT_S)
    bystander = Sink(rig.journal)
    assert [rig.offer(b"b"), rig.offer(b"c"), rig.offer(b"d")] == [True, True, False]
    assert rig.writer.refused_full == 1
    assert rig.writer.backlog == 3, "two wait, and one is not committed yet"
    assert not rig.sink.room.is_set()
    rig.journal.released.set()
    assert rig.sink.room.wait(WAIT_S)
    assert not bystander.room.is_set()
    assert rig.offer(b"d")
    rig.writer.stop()
    assert [what for name, what in rig.journal.log if name == "ack"] == [b"a", b"b", b"c", b"d"]


def test_one_who_was_refused_is_told_of_room_although_nothing_of_his_was_in_the_queue() -> None:
    rig = Rig(QUICK._replace(queue_records=1))
    refused = Sink(rig.journal)
    assert rig.offer(b"a")
    assert not rig.offer(b"b", refused)
    rig.writer.start()
    assert refused.room.wait(WAIT_S)
    rig.writer.stop()
    assert rig.journal.log == [("commit", b"a"), ("ack", b"a")]


def test_the_queue_is_bounded_in_bytes_too() -> None:
    rig = Rig(NEVER_TICKS._replace(queue_bytes=100))
    assert rig.offer(b"x" * 1_000)  # a single one always fits, or it never would
    assert not rig.offer(b"y")
    rig.writer.start()
    assert rig.sink.room.wait(WAIT_S)
    assert rig.offer(b"y" * 60)
    rig.writer.stop()
    assert len([name for name, _ in rig.journal.log if name == "ack"]) == 2


def test_acts_wait_for_room() -> None:
    rig = Rig(QUICK._replace(queue_records=1))
    assert rig.offer(b"a")
    assert not rig.writer.put(Submission(record(b"b"), rig.sink, b"b"), 0.0)
    rig.writer.start()
    assert rig.writer.put(Submission(record(b"b"), rig.sink, b"b"), WAIT_S)
    rig.writer.stop()
    assert [what for name, what in rig.journal.log if name == "ack"] == [b"a", b"b"]


def test_what_is_queued_at_the_stop_is_committed_and_nothing_after_it(rig: Rig) -> None:
    sent = [b"%d" % number for number in range(1_200)]
    for payload in sent:
        assert rig.offer(payload)
    rig.writer.start()
    rig.writer.stop()
    assert [what for name, what in rig.journal.log if name == "ack"] == sent
    assert rig.writer.committed_records == len(sent)
    assert not rig.offer(b"late")
    assert not rig.writer.put(Submission(record(b"late")), 0.0)
    rig.writer.stop()


def test_stop_wakes_an_idle_writer() -> None:
    rig = Rig(NEVER_TICKS)
    rig.writer.start()
    rig.writer.stop()
    assert not rig.writer._thread.is_alive()


def test_a_commit_takes_at_most_a_batch() -> None:
    rig = Rig(QUICK._replace(batch_records=10))
    for number in range(25):
        rig.offer(b"%d" % number)
    rig.writer.start()
    rig.writer.stop()
    assert [len(payloads) for _, _, payloads in rig.journal.batches if payloads] == [10, 10, 5]


def test_a_commit_takes_no_further_record_once_it_has_a_megabyte() -> None:
    """A batch is judged in one commit: 500 of the largest messages took nine seconds, in which no alarm was raised."""
    rig = Rig(QUICK)
    for size in (400_000, 400_000, 400_000, 10, MOST_BATCH_BYTES, 10):
        rig.offer(b"x" * size)
    rig.writer.start()
    rig.writer.stop()
    found = [[len(one) for one in payloads] for _, _, payloads in rig.journal.batches if payloads]
    assert found == [[400_000] * 3, [10, MOST_BATCH_BYTES], [10]]


def test_many_threads_lose_nothing(rig: Rig) -> None:
    rig.writer.start()
    threads = [
        threading.Thread(target=lambda n=n: [rig.offer(b"%d-%d" % (n, i)) for i in range(100)])  # type: ignore[misc]
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rig.writer.stop()
    acknowledged = [what for name, what in rig.journal.log if name == "ack"]
    assert len(acknowledged) == 800
    for n in range(8):
        own = [token for token in acknowledged if token.startswith(b"%d-" % n)]
        assert own == [b"%d-%d" % (n, i) for i in range(100)]


# --- stamps


def test_an_idle_interval_is_journalled(rig: Rig) -> None:
    rig.writer.start()
    assert rig.journal.ticked.wait(WAIT_S)
    rig.writer.stop()
    assert rig.journal.batches[0] == (WALL_NS, WALL_NS, [])
    assert rig.commits >= 1


def test_records_without_a_virtual_time_are_one_batch_of_now() -> None:
    clock = ManualClock(WALL_NS)
    rig = Rig(NEVER_TICKS, clock)
    rig.offer(b"a")
    rig.offer(b"b")
    clock.advance(5)
    rig.writer.start()
    rig.writer.stop()
    assert rig.journal.batches[0] == (WALL_NS + 5, WALL_NS + 5, [b"a", b"b"])


def test_each_virtual_time_is_a_batch_of_its_own_and_acts_between_them_take_their_place() -> None:
    """The feed may be far ahead of the writer; an act that was queued between two messages happens between them."""
    clock = ManualClock(1_000)
    rig = Rig(NEVER_TICKS, clock)
    for payload, at_ns in ((b"a", 1_000), (b"b", 1_000), (b"act", None), (b"c", 2_000), (b"act2", None), (b"d", 9_000)):
        rig.offer(payload, at_ns=at_ns)
    clock.advance(8_000)
    rig.writer.start()
    rig.writer.stop()
    assert rig.journal.batches[:3] == [
        (1_000, 1_000, [b"a", b"b", b"act"]),
        (2_000, 2_000, [b"c", b"act2"]),
        (9_000, 9_000, [b"d"]),
    ]


def test_a_virtual_time_that_steps_back_is_held() -> None:
    rig = Rig(NEVER_TICKS, ManualClock(5_000))
    rig.journal.last_clock_ns = 500
    for payload, at_ns in ((b"a", 3_000), (b"b", 2_000), (b"c", 4_000)):
        rig.offer(payload, at_ns=at_ns)
    rig.writer.start()
    rig.writer.stop()
    assert [clock_ns for _, clock_ns, _ in rig.journal.batches[:2]] == [3_000, 4_000]


def test_the_clock_of_a_tick_is_not_behind_a_virtual_time_nor_ahead_of_the_next() -> None:
    clock = ManualClock(1_000)
    rig = Rig(NEVER_TICKS, clock)
    rig.writer._stamped([Submission(record(b"a"), at_ns=5_000)])
    assert [clock_ns for _, clock_ns, _ in rig.writer._stamped([])] == [5_000]
    clock.advance(9_000)
    assert [clock_ns for _, clock_ns, _ in rig.writer._stamped([])] == [10_000]
    assert [clock_ns for _, clock_ns, _ in rig.writer._stamped([Submission(record(b"b"), at_ns=6_000)])] == [10_000]


COMMITS = st.lists(
    st.tuples(st.integers(0, 100), st.lists(st.none() | st.integers(0, 2_000), max_size=5)), min_size=1, max_size=10
)


@given(COMMITS)
def test_the_clock_of_the_batches_never_goes_back(commits: list[tuple[int, list[int | None]]]) -> None:
    clock = ManualClock(1_000)
    rig = Rig(NEVER_TICKS, clock)
    clocks, count = [], 0
    for elapsed_ns, times in commits:
        clock.advance(elapsed_ns)
        for _, clock_ns, records in rig.writer._stamped([Submission(record(b""), at_ns=at_ns) for at_ns in times]):
            clocks.append(clock_ns)
            count += len(records)
    assert clocks == sorted(clocks)
    assert count == sum(len(times) for _, times in commits)


# --- with a real journal


def test_what_was_acknowledged_is_on_disk(tmp_path: Path) -> None:
    """At the moment of each acknowledgement another connection reads the record from the file."""
    path = tmp_path / "j.db"
    journal = Journal(path)
    missing: list[Any] = []

    class Checking:
        def acknowledge(self, tokens: Sequence[Any]) -> None:
            reader = JournalReader(path)
            found = {stored.record.payload for batch in reader.all_batches() for stored in batch.records}
            reader.close()
            missing.extend(token for token in tokens if token not in found)

    writer = JournalWriter(journal, ManualClock(WALL_NS), lambda: None, lambda _: None, QUICK)
    sink = Checking()
    writer.start()
    for number in range(300):
        assert writer.offer(Submission(record(b"%d" % number), sink, b"%d" % number))
    writer.stop()
    journal.close()
    assert missing == []
    assert writer.committed_records == 300


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace, which makes the disk fail")
def test_what_was_acknowledged_is_on_a_disk_that_fails_now_and_then(tmp_path: Path) -> None:
    fail_now_and_then(tmp_path, 20)


def test_the_journal_of_a_restart_goes_on_with_its_clock(tmp_path: Path) -> None:
    def run(clock: Clock) -> list[Batch]:
        journal = Journal(tmp_path / "j.db")
        writer = JournalWriter(journal, clock, lambda: None, lambda _: None, NEVER_TICKS)
        writer.offer(Submission(record(b"x")))
        writer.start()
        writer.stop()
        journal.close()
        reader = JournalReader(tmp_path / "j.db")
        batches = [batch for batch in reader.all_batches() if batch.records]
        reader.close()
        return batches

    run(ManualClock(WALL_NS))
    first, second = run(ManualClock(WALL_NS - 3600 * NS_PER_S))
    assert (first.received_ns, first.clock_ns) == (WALL_NS, WALL_NS)
    assert (second.received_ns, second.clock_ns) == (WALL_NS - 3600 * NS_PER_S, WALL_NS)
