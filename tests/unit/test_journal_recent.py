"""What was committed is handed on in memory: the same batches as the file has, in bounded room."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core.errors import StoreUnavailable
from greenmine.ingest.journal import Journal, JournalReader
from greenmine.ingest.journal_recent import RecentBatches
from greenmine.ingest.record import Batch, Record, RecordKind, StoredRecord


def batch(no: int, records: int = 1, size: int = 1) -> Batch:
    kept = tuple(StoredRecord(n, Record(RecordKind.MESSAGE, "t", b"x" * size), True) for n in range(records))
    return Batch(no, no, no, kept)


def test_only_what_follows_at_once_is_given() -> None:
    recent = RecentBatches()
    recent.add([batch(5), batch(6), batch(7)])
    assert recent.after(3, 100) == []
    assert [one.no for one in recent.after(4, 100)] == [5, 6, 7]
    assert [one.no for one in recent.after(5, 100)] == [6, 7]
    assert recent.after(7, 100) == []
    assert recent.after(4, 100) == [], "what was read is let go"


def test_whole_batches_up_to_about_as_many_records_as_asked() -> None:
    recent = RecentBatches()
    recent.add([batch(1, 3), batch(2, 3), batch(3, 3)])
    assert [one.no for one in recent.after(0, 4)] == [1, 2]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), max_size=20))
def test_it_keeps_the_newest_in_bounded_room(added: list[tuple[int, int]]) -> None:
    recent = RecentBatches(most_records=6, most_bytes=12)
    batches = [batch(no, records, size) for no, (records, size) in enumerate(added, 1)]
    for one in batches:
        recent.add([one])
    kept: list[Batch] = []
    for first in range(len(batches) + 1):
        if kept := recent.after(first, 100):
            break
    assert kept == batches[len(batches) - len(kept) :]
    assert sum(len(one.records) for one in kept) <= 6
    assert sum(len(stored.record.payload) for one in kept for stored in one.records) <= 12


def test_a_reader_that_falls_behind_goes_on_in_the_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    journal.recent = RecentBatches(most_records=4)
    reader, plain = JournalReader(tmp_path / "j.db", None, journal.recent), JournalReader(tmp_path / "j.db")
    seen: list[Batch] = []
    for number in range(20):
        record = Record(RecordKind.MESSAGE, "mines/m/d/up", b"%d" % number, "c", 3)
        journal.append([(number, number, [record]), (number, number, [])])
        if number % 7 == 6:
            while found := reader.batches(seen[-1].no if seen else 0, 3):
                seen += found
    while found := reader.batches(seen[-1].no, 3):
        seen += found
    assert seen == list(plain.all_batches())
    assert len(seen) == 40
    for one in (reader, plain, journal):
        one.close()


def test_what_did_not_commit_is_not_handed_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    journal.recent = RecentBatches()
    journal._db.execute("DROP TABLE record")
    with pytest.raises(StoreUnavailable, match="did not commit"):
        journal.append([(1, 1, [Record(RecordKind.MESSAGE, "t", b"")])])
    assert journal.recent.after(0, 10) == []
    journal.close()
