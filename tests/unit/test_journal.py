"""The journal: whole batches or none, numbers that go on, damage that is seen; and the clock its batches carry."""

from __future__ import annotations

import os
import stat
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core import sqlite_library
from greenmine.core.clock import NS_PER_S, ManualClock
from greenmine.core.errors import Corrupt, StoreUnavailable
from greenmine.ingest import backlog, journal_reader
from greenmine.ingest import journal as journal_module
from greenmine.ingest.journal import Journal, JournalClock, JournalReader
from greenmine.ingest.journal_format import record_crc
from greenmine.ingest.record import Batch, Record, RecordFlag, RecordKind

HOUR_NS = 3600 * NS_PER_S
WALL_NS = 1_795_305_600 * NS_PER_S


def message(payload: bytes, flags: RecordFlag = RecordFlag.NONE) -> Record:
    return Record(RecordKind.MESSAGE, "mines/m1/d1/up", payload, "m1.d1", int(flags))


def edit(path: Path, statement: str, *parameters: Any) -> None:
    """Change the file behind the journal's back, as a failing disk or a curious person would."""
    db = sqlite_library.library.connect(str(path))
    db.execute(statement, parameters)
    db.commit()
    db.close()


def written(path: Path, *sizes: int) -> None:
    """A journal with a batch of each size; every payload is unique."""
    journal = Journal(path)
    for number, size in enumerate(sizes):
        journal.append([(number, number, [message(b"%d-%d" % (number, i)) for i in range(size)])])
    journal.close()


def read(path: Path, after: int = 0, most_records: int = 5000) -> list[Batch]:
    reader = JournalReader(path)
    try:
        return reader.batches(after, most_records)
    finally:
        reader.close()


def payloads(batches: list[Batch]) -> list[list[bytes]]:
    return [[stored.record.payload for stored in batch.records] for batch in batches]


# --- what is written is read


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    records = [
        message(b"", RecordFlag.QOS0 | RecordFlag.RETAIN | RecordFlag.DUP | RecordFlag.DENIED | RecordFlag.BAD_TOPIC),
        message(bytes(range(256)) * 1000),
        Record(RecordKind.ACT, "person:li", "确认".encode(), "ticket"),
        Record(RecordKind.MESSAGE, "mines/m1/d1\x00/up\n\u202e", b"x", "账户\x00"),
        Record(RecordKind.IMPORT, "", b"x"),
    ]
    journal = Journal(tmp_path / "j.db")
    assert journal.append([(5, 3, records), (9, 4, [])]) == [1, 2]
    journal.close()
    first, idle = read(tmp_path / "j.db")
    assert [stored.record for stored in first.records] == records
    assert [stored.id for stored in first.records] == [1, 2, 3, 4, 5]
    assert all(stored.intact for stored in first.records)
    assert (first.no, first.received_ns, first.clock_ns) == (1, 5, 3)
    assert (idle.no, idle.received_ns, idle.clock_ns, idle.records) == (2, 9, 4, ())


def test_numbers_go_on_after_a_reopen(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    written(path, 2, 0, 3)
    journal = Journal(path)
    assert (journal.last_no, journal.last_clock_ns) == (3, 2)
    assert journal.append([(10, 10, [message(b"new")]), (11, 11, [message(b"newer")])]) == [4, 5]
    assert (journal.last_no, journal.last_clock_ns) == (5, 11)
    journal.close()
    assert [stored.id for batch in read(path) for stored in batch.records] == list(range(1, 8))
    reader = JournalReader(path)
    assert (reader.last_no(), reader.last_record_id()) == (5, 7)
    found = reader.record(6)
    assert found is not None
    assert found.record.payload == b"new"
    assert reader.record(8) is None
    reader.close()


def test_an_empty_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    assert (journal.last_no, journal.last_clock_ns) == (0, None)
    assert journal.append([]) == []
    reader = JournalReader(tmp_path / "j.db")
    assert (reader.last_no(), reader.last_record_id(), reader.batches(0), list(reader.all_batches())) == (0, 0, [], [])
    reader.close()
    journal.close()


def test_only_the_owner_may_read_any_of_its_files(tmp_path: Path) -> None:
    """The write-ahead file holds the payloads before the journal does; SQLite gives it the mode of the journal."""
    old = os.umask(0)
    try:
        journal = Journal(tmp_path / "j.db")
        journal.append([(1, 1, [message(b"secret")])])
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        journal.close()
    finally:
        os.umask(old)
    assert modes == {"j.db": 0o600, "j.db-wal": 0o600, "j.db-shm": 0o600}


def test_a_journal_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    written(tmp_path / "j.db", 1)
    (tmp_path / "j.db").chmod(0o644)
    Journal(tmp_path / "j.db").close()
    assert stat.S_IMODE((tmp_path / "j.db").stat().st_mode) == 0o600
    assert payloads(read(tmp_path / "j.db")) == [[b"0-0"]]


# --- whole batches or none


def test_a_failed_append_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    written(path, 1)
    # The third record of the append meets a row that is there already: the whole append must go.
    edit(path, "INSERT INTO record VALUES (4, 1, '', '', 0, x'', 0)")
    journal = Journal(path)
    journal._last_record = 1
    with pytest.raises(StoreUnavailable) as failed:
        journal.append([(2, 2, [message(b"a"), message(b"b")]), (3, 3, [message(b"c")])])
    assert failed.value.needs_operator
    assert journal.last_no == 1
    journal.close()
    edit(path, "DELETE FROM record WHERE id = 4")
    assert payloads(read(path)) == [[b"0-0"]]


def test_a_reader_sees_whole_batches_while_the_writer_writes(tmp_path: Path) -> None:
    path, batches, size = tmp_path / "j.db", 60, 7
    journal = Journal(path)
    reader = JournalReader(path)

    def write() -> None:
        for number in range(batches):
            journal.append([(number, number, [message(b"%d-%d" % (number, i)) for i in range(size)])])

    writer = threading.Thread(target=write)
    writer.start()
    seen: list[Batch] = []
    while writer.is_alive() or reader.last_no() > len(seen):
        seen += reader.batches(len(seen))
    writer.join()
    assert payloads(seen) == [[b"%d-%d" % (n, i) for i in range(size)] for n in range(batches)]
    reader.close()
    journal.close()


def test_reading_goes_on_in_whole_batches_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "j.db"
    written(path, 3, 3, 0, 10, 1)
    assert [batch.no for batch in read(path, most_records=4)] == [1, 2]
    assert [batch.no for batch in read(path, after=2, most_records=4)] == [3, 4]
    assert [batch.no for batch in read(path, after=5)] == []
    monkeypatch.setattr(journal_reader, "MOST_BYTES", 5)
    assert [batch.no for batch in read(path)] == [1]
    reader = JournalReader(path)
    assert [batch.no for batch in reader.all_batches()] == [1, 2, 3, 4, 5]
    reader.close()


def test_what_does_not_wait_is_read_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backlog of large births: 5,000 of 256 KiB at once would be more than the machine has, at each start again."""
    births = [Record(RecordKind.MESSAGE, "spBv1.0/g/NBIRTH/e", bytes(20)) for _ in range(7)]
    journal = Journal(tmp_path / "j.db")
    journal.append([(1, 1, [message(b"waits"), *births[:3]]), (2, 2, births[3:5]), (3, 3, births[5:])])
    journal.close()
    monkeypatch.setattr(journal_reader, "MOST_BYTES", 30)
    monkeypatch.setattr(backlog, "MOST_BYTES", 30)
    reader = JournalReader(tmp_path / "j.db")
    for found in (reader.at_once(0, 3), backlog.read_at_once(reader, 0, 3, 5000)):
        assert [(batch.no, len(batch.records)) for batch in found] == [(1, 3)]
    assert [(batch.no, len(batch.records)) for batch in reader.at_once(1, 3)] == [(2, 2)]
    assert [(batch.no, len(batch.records)) for batch in reader.at_once(2, 3)] == [(3, 2)]
    reader.close()


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    written(tmp_path / "j.db", 1)
    reader = JournalReader(tmp_path / "j.db")
    with pytest.raises(sqlite_library.OperationalError, match="readonly"):
        reader._db.execute("DELETE FROM record")
    reader.close()


# --- damage


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("payload", b"1-0"),
        ("payload", b""),
        ("payload", "text"),
        ("payload", 7),
        ("source", "mines/m1/d2/up"),
        ("source", 7),
        ("client", "m1.d2"),
        ("flags", int(RecordFlag.RETAIN)),
        ("flags", 256),
        ("flags", -1),
        ("flags", "x"),
        ("kind", int(RecordKind.POLICY)),
        ("crc", 0),
    ],
)
def test_a_changed_record_is_seen_and_costs_no_other(tmp_path: Path, column: str, value: object) -> None:
    path = tmp_path / "j.db"
    written(path, 3)
    edit(path, f"UPDATE record SET {column} = ? WHERE id = 2", value)
    (batch,) = read(path)
    assert [stored.intact for stored in batch.records] == [True, False, True]
    assert batch.records[1].id == 2


def test_records_that_changed_places_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    written(path, 4)
    for was, now in ((2, 99), (3, 2), (99, 3)):
        edit(path, f"UPDATE record SET id = {now} WHERE id = {was}")
    (batch,) = read(path)
    assert [stored.intact for stored in batch.records] == [True, False, False, True]


def test_a_journal_whose_checksums_do_not_take_in_ids_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "j.db"
    with monkeypatch.context() as before:
        before.setattr(journal_module, "record_crc", lambda record, _: record_crc(record, None))
        written(path, 3)
    with closing(Journal(path)) as journal:
        journal.append([(9, 9, [message(b"later")])])
    first, second = read(path)
    assert all(stored.intact for stored in (*first.records, *second.records))
    edit(path, "UPDATE record SET payload = x'00' WHERE id = 1")
    first, second = read(path)
    assert [stored.intact for stored in (*first.records, *second.records)] == [False, True, True, True]


def test_a_text_that_is_no_longer_text_costs_only_its_record(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    written(path, 3)
    edit(path, "UPDATE record SET source = CAST(x'fffe' AS TEXT) WHERE id = 2")
    (batch,) = read(path)
    assert [stored.intact for stored in batch.records] == [True, False, True]
    assert batch.records[1].record.source == "\\xff\\xfe"


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM record WHERE id = 2",
        "DELETE FROM record WHERE id = 6",
        "UPDATE record SET id = 99 WHERE id = 2",
        "DELETE FROM batch WHERE no = 2",
        "UPDATE batch SET no = 9 WHERE no = 2",
        "UPDATE batch SET clock_ns = clock_ns + 1 WHERE no = 2",
        "UPDATE batch SET received_ns = 0 WHERE no = 2",
        "UPDATE batch SET records = 1 WHERE no = 2",
        "UPDATE batch SET first_record = 1 WHERE no = 2",
    ],
)
def test_what_nobody_can_read_past_is_said_aloud(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "j.db"
    written(path, 2, 2, 2)
    edit(path, statement)
    reader = JournalReader(path)
    with pytest.raises(Corrupt):
        list(reader.all_batches())
    reader.close()


def test_a_record_of_no_known_kind_costs_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    written(path, 2, 2)
    edit(path, "UPDATE record SET kind = 77 WHERE id = 2")
    first, second = read(path)
    assert [(one.record.kind, one.intact) for one in first.records] == [
        (RecordKind.MESSAGE, True),
        (RecordKind.LOST, False),
    ]
    assert all(one.intact for one in second.records)


def test_a_gap_behind_the_cursor_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    written(path, 1, 1, 1)
    edit(path, "DELETE FROM batch WHERE no = 2")
    with pytest.raises(Corrupt, match="lacks batches"):
        read(path, after=1)


def test_a_file_that_is_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    path.write_bytes(b"this is no database at all, but long enough to be taken for one")
    with pytest.raises(StoreUnavailable) as failed:
        Journal(path)
    assert failed.value.needs_operator
    with pytest.raises(StoreUnavailable):
        JournalReader(tmp_path / "none.db")
    with pytest.raises(StoreUnavailable):
        Journal(tmp_path / "no-folder" / "j.db")


@given(st.integers(0, 10**9), st.integers(0, 7))
def test_a_flipped_bit_is_never_read_as_if_it_were_right(
    tmp_path_factory: pytest.TempPathFactory, position: int, bit: int
) -> None:
    """Whatever bit of the file turns: a record is the one that was written, or is marked, or the reading ends with an
    error that says so."""
    path = tmp_path_factory.mktemp("flip") / "j.db"
    written(path, 4, 4)
    raw = bytearray(path.read_bytes())
    raw[position % len(raw)] ^= 1 << bit
    path.write_bytes(raw)
    try:
        batches = read(path)
    except (Corrupt, StoreUnavailable):
        return
    expected = [[b"%d-%d" % (n, i) for i in range(4)] for n in range(2)]
    for batch, whole in zip(batches, expected, strict=False):
        for stored, payload in zip(batch.records, whole, strict=True):
            assert not stored.intact or stored.record == message(payload)


# --- the clock


def test_the_clock_follows_the_machine_when_nothing_is_stepped() -> None:
    clock = ManualClock(WALL_NS)
    journal_clock = JournalClock(clock, None)
    for step_ns in (0, 1, NS_PER_S, 17 * NS_PER_S):
        clock.advance(step_ns)
        assert journal_clock.advance() == (clock.wall_ns(), clock.wall_ns())


def test_a_step_forward_does_not_end_every_hold_at_once() -> None:
    clock = ManualClock(WALL_NS)
    journal_clock = JournalClock(clock, None)
    clock.set_wall(WALL_NS + HOUR_NS)
    clock.advance(10 * NS_PER_S)
    wall_ns, clock_ns = journal_clock.advance()
    assert wall_ns == WALL_NS + HOUR_NS + 10 * NS_PER_S
    assert clock_ns == WALL_NS + 15 * NS_PER_S
    for _ in range(1_000):
        clock.advance(10 * NS_PER_S)
        journal_clock.advance()
    assert journal_clock.now_ns == clock.wall_ns()


def test_a_step_back_does_not_stop_the_timers() -> None:
    clock = ManualClock(WALL_NS)
    journal_clock = JournalClock(clock, None)
    clock.set_wall(0)
    clock.advance(10 * NS_PER_S)
    assert journal_clock.advance() == (10 * NS_PER_S, WALL_NS + 5 * NS_PER_S)
    clock.set_wall(WALL_NS - HOUR_NS)
    for _ in range(1_000):
        clock.advance(10 * NS_PER_S)
        journal_clock.advance()
    assert journal_clock.now_ns == clock.wall_ns()


def test_a_restart_goes_on_from_what_was_written() -> None:
    behind, ahead = JournalClock(ManualClock(50), 100), JournalClock(ManualClock(150), 100)
    assert (behind.now_ns, ahead.now_ns) == (100, 150)
    assert behind.advance() == (50, 100)


STEPS = st.lists(
    st.tuples(st.integers(0, 100 * NS_PER_S), st.none() | st.integers(-(10**12), 10**12).map(WALL_NS.__add__)),
    max_size=30,
)


@given(st.none() | st.integers(0, 2 * WALL_NS), STEPS)
def test_the_clock_never_goes_back_and_never_runs_away(
    last_ns: int | None, steps: list[tuple[int, int | None]]
) -> None:
    """Whatever is done to the wall clock, time passes at half to one and a half times its true speed."""
    clock = ManualClock(WALL_NS)
    journal_clock = JournalClock(clock, last_ns)
    assert journal_clock.now_ns >= (last_ns or 0)
    for elapsed_ns, wall_ns in steps:
        if wall_ns is not None:
            clock.set_wall(wall_ns)
        clock.advance(elapsed_ns)
        before = journal_clock.now_ns
        wall, after = journal_clock.advance()
        assert wall == clock.wall_ns()
        assert elapsed_ns // 2 <= after - before <= elapsed_ns + elapsed_ns // 2
        if before <= wall - elapsed_ns:
            assert after <= wall
