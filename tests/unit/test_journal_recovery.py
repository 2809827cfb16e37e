"""Whatever happens to the journal's file, the next start goes on, and what is gone is counted against the mark."""

from __future__ import annotations

import random
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from greenmine.core import sqlite_library
from greenmine.core.errors import StoreUnavailable
from greenmine.ingest.journal import Journal, JournalReader
from greenmine.ingest.journal_mark import JournalMark, read_mark
from greenmine.ingest.journal_recovery import MARK, Loss, open_journal
from greenmine.ingest.record import Record, RecordKind, StoredRecord

BATCHES, SIZE = 40, 5


def message(text: str) -> Record:
    return Record(RecordKind.MESSAGE, "mines/m1/d1/up", text.encode() * 20, "m1.d1", 0)


def make(folder: Path, batches: int = BATCHES, clean: bool = True) -> Path:
    """A journal and its mark, as after a stop, or as after a kill: with its write-ahead file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "journal.db"
    journal = Journal(path, JournalMark(folder / MARK))
    for no in range(1, batches + 1):
        journal.append([(no, no, [message(f"{no}-{i}") for i in range(SIZE)])])
    if clean:
        journal.close()
        return path
    killed = folder / "killed"
    killed.mkdir()
    for name in ("journal.db", "journal.db-wal", MARK):
        shutil.copyfile(folder / name, killed / name)
    journal.close()
    return killed / "journal.db"


def everything(path: Path) -> list[StoredRecord]:
    reader = JournalReader(path)
    try:
        return [stored for batch in reader.all_batches() for stored in batch.records]
    finally:
        reader.close()


def start(path: Path, judged_no: int = 0) -> tuple[list[StoredRecord], Loss | None, list[tuple[int, int]]]:
    """A start, a commit after it, and what can be read then."""
    journal, loss = open_journal(path, path.parent / "archive", judged_no)
    first = journal.last_no + 1
    assert journal.append([(999, 999, [message("after")])]) == [first]
    journal.close()
    assert first > BATCHES, "a number is never used twice"
    reader = JournalReader(path)
    lost = reader.lost()
    reader.close()
    return everything(path), loss, lost


def whole(records: list[StoredRecord]) -> int:
    """Records that are as they were written; none may be anything else but marked as damaged."""
    for stored in records:
        if stored.intact and stored.record != message("after"):
            no, i = divmod(stored.id - 1, SIZE)
            assert stored.record == message(f"{no + 1}-{i}")
    return sum(stored.intact for stored in records) - 1


def accounted(records: list[StoredRecord], lost: list[tuple[int, int]]) -> None:
    """Nothing is missing but what is said to be."""
    damaged = sum(not stored.intact for stored in records)
    gone = sum(last - first + 1 for first, last in lost) * SIZE
    assert whole(records) + damaged + gone >= BATCHES * SIZE


def test_a_sound_journal_is_opened_as_it_is(tmp_path: Path) -> None:
    path = make(tmp_path)
    records, loss, lost = start(path, BATCHES)
    assert (loss, lost, whole(records)) == (None, [], BATCHES * SIZE)
    assert read_mark(tmp_path / MARK) is not None


def test_after_a_kill_nothing_is_lost(tmp_path: Path) -> None:
    records, loss, lost = start(make(tmp_path, clean=False), 3)
    assert (loss, lost, whole(records)) == (None, [], BATCHES * SIZE)


@pytest.mark.parametrize("what", ["missing", "empty", "zeroed", "half", "half zeroed", "no database"])
def test_a_file_that_is_gone_as_a_whole_or_by_half(tmp_path: Path, what: str) -> None:
    path = make(tmp_path)
    raw = path.read_bytes()
    half = len(raw) // 2
    if what == "missing":
        path.unlink()
    else:
        path.write_bytes(
            {
                "empty": b"",
                "zeroed": bytes(len(raw)),
                "half": raw[:half],
                "half zeroed": raw[:half] + bytes(half),
                "no database": b"garbage" * 100,
            }[what]
        )
    records, loss, lost = start(path)
    assert loss is not None
    assert loss.reason
    accounted(records, lost)
    if what not in ("missing",):
        assert (path.parent / loss.set_aside).exists(), "the damaged file is kept"
    again, once_more, _ = start_again(path)
    assert once_more is None, "the next start has nothing to complain of"
    assert len(again) == len(records)


def start_again(path: Path) -> tuple[list[StoredRecord], Loss | None, list[tuple[int, int]]]:
    journal, loss = open_journal(path, path.parent / "archive", 0)
    journal.close()
    reader = JournalReader(path)
    lost = reader.lost()
    reader.close()
    return everything(path), loss, lost


def test_a_short_write_ahead_file_is_told_by_the_mark(tmp_path: Path) -> None:
    """SQLite takes a damaged end of its log for no commits at all, and says nothing."""
    path = make(tmp_path, clean=False)
    log = path.with_name("journal.db-wal")
    log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
    records, loss, lost = start(path)
    assert loss is not None
    assert "was committed" in loss.reason
    assert lost[-1][1] == BATCHES
    accounted(records, lost)


def test_the_state_is_a_witness_too(tmp_path: Path) -> None:
    path = make(tmp_path)
    (tmp_path / MARK).unlink()
    path.unlink()
    journal, loss = open_journal(path, tmp_path / "archive", 17)
    assert loss is not None
    assert loss.batches == [(1, 17)]
    assert journal.append([(99, 99, [])]) == [18]
    journal.close()


def test_a_mark_of_another_journal_says_nothing_of_this_one(tmp_path: Path) -> None:
    path = make(tmp_path)
    make(tmp_path / "other", BATCHES + 9)
    shutil.copyfile(tmp_path / "other" / MARK, tmp_path / MARK)
    assert start(path)[1] is None


@pytest.mark.parametrize(
    ("statement", "records_gone", "batches_gone"),
    [
        ("DELETE FROM record WHERE id = 7", 1, 0),
        ("DELETE FROM batch WHERE no = 3", 0, 0),
        ("UPDATE batch SET clock_ns = 77 WHERE no IN (3, 4)", 0, 0),
        ("DELETE FROM batch WHERE no = 1", 0, 0),
        ("DELETE FROM batch WHERE no = 40", 0, 0),
        ("DELETE FROM record WHERE id > 100", 100, 0),
    ],
)
def test_rows_that_are_gone(tmp_path: Path, statement: str, records_gone: int, batches_gone: int) -> None:
    path = make(tmp_path)
    database = sqlite_library.library.connect(str(path))
    database.execute(statement)
    database.commit()
    database.close()
    records, loss, lost = start(path)
    assert loss is not None
    assert (loss.records, len(loss.batches)) == (records_gone, batches_gone)
    assert whole(records) == BATCHES * SIZE - records_gone
    assert lost == []


@pytest.mark.parametrize("crash_at", [1, 2])
def test_a_crash_between_two_steps_of_mending(tmp_path: Path, crash_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path)
    path.write_bytes(path.read_bytes()[:8192] + bytes(4096) + path.read_bytes()[12288:])
    real = Path.rename
    steps: list[Path] = []

    def rename(self: Path, target: Path) -> Path:
        steps.append(target)
        if len(steps) == crash_at:
            raise OSError(5, "the power went")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises((OSError, StoreUnavailable), match="the power went"):
        open_journal(path, tmp_path / "archive", 0)
    records, _, lost = start(path)
    accounted(records, lost)


def damaged_starts(folder: Path, rounds: int, flips: bool) -> None:
    """Cut or flip at random places, of the file and of its write-ahead file, and start: half of them with all that
    was written judged already, which the archive will read."""
    kept = {True: make(folder / "clean"), False: make(folder / "killed", clean=False)}
    chance = random.Random(20261126)
    for number in range(rounds):
        home = folder / f"n{number}"
        home.mkdir()
        source = kept[number % 2 == 0].parent
        for name in ("journal.db", "journal.db-wal", MARK):
            if (source / name).exists():
                shutil.copyfile(source / name, home / name)
        victim = home / ("journal.db" if number % 4 < 2 or number % 2 == 0 else "journal.db-wal")
        raw = bytearray(victim.read_bytes())
        if flips:
            raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        else:
            del raw[chance.randrange(len(raw)) :]
        victim.write_bytes(raw)
        records, _, lost = start(home / "journal.db", judged_no=BATCHES if number % 8 >= 4 else 0)
        accounted(records, lost)
        shutil.rmtree(home)


@pytest.mark.parametrize("flips", [True, False])
def test_random_cuts_and_flips(tmp_path: Path, flips: bool) -> None:
    damaged_starts(tmp_path, 50, flips)


def test_a_damaged_head_of_a_judged_batch_is_mended_at_the_start(tmp_path: Path) -> None:
    """Nobody judges it again, but the archive and what was set aside are read from there: left as it is, it would stop
    the archive, or the judging, at every start."""
    path = make(tmp_path)
    with closing(sqlite_library.library.connect(str(path))) as db:
        db.execute("UPDATE batch SET received_ns = received_ns + 4 WHERE no = 7")
        db.commit()
    records, loss, lost = start(path, judged_no=BATCHES)
    assert loss is not None
    assert (loss.mended, loss.records, lost) == ([7], 0, [])
    accounted(records, lost)
    assert start_again(path)[1] is None


@pytest.mark.parametrize("position", [18, 20, 36, 38, 39, 8194, 8199, 8202, 12290])
def test_damage_that_only_an_append_would_meet_is_no_crash_loop(tmp_path: Path, position: int) -> None:
    """Flips in the header and in the heads of pages of a journal that was judged to its end: all that a start reads is
    well, and every append fails."""
    whole = make(tmp_path / "whole").read_bytes()
    for bit in range(8):
        home = tmp_path / f"bit-{bit}"
        home.mkdir()
        shutil.copyfile(tmp_path / "whole" / MARK, home / MARK)
        raw = bytearray(whole)
        raw[position] ^= 1 << bit
        path = home / "journal.db"
        path.write_bytes(raw)
        with closing(open_journal(path, home / "archive", BATCHES)[0]) as journal:
            for number in range(40):
                journal.append([(10**6 + number, 10**6 + number, [message("x" * 200)])])


@pytest.mark.parametrize("clean", [True, False])
def test_a_flip_in_the_first_page_costs_nothing(tmp_path: Path, clean: bool) -> None:
    """The header, and the definitions of the tables: a changed name there lets every later start or append fail, though
    SQLite finds the file sound."""
    kept = make(tmp_path / "kept", clean=clean)
    sound = kept.read_bytes()
    used = [at for at in range(4096) if sound[at] or at < 108]
    flips = [(at, number % 8) for number, at in enumerate(used[::9])]
    flips += [(31, bit) for bit in range(8)]  # of the number of pages: a wrong one hides those beyond it
    for number, (at, bit) in enumerate(flips):
        home = tmp_path / f"n{number}"
        home.mkdir()
        for name in ("journal.db-wal", MARK):
            if kept.with_name(name).exists():
                shutil.copyfile(kept.with_name(name), home / name)
        raw = bytearray(sound)
        raw[at] ^= 1 << bit
        (home / "journal.db").write_bytes(raw)
        records, loss, lost = start(home / "journal.db")
        assert whole(records) == BATCHES * SIZE, f"byte {at}, bit {bit}"
        assert lost == []
        assert loss is None or (loss.records, loss.batches, loss.mended) == (0, [], [])


def test_a_renamed_column_is_damage(tmp_path: Path) -> None:
    path = make(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"clock_ns", b"clocc_ns"))
    _, loss, _ = start(path)
    assert loss is not None
    assert loss.reason == "the definition of batch is not a journal's"


def test_a_journal_that_was_begun_with_fewer_tables_is_sound(tmp_path: Path) -> None:
    path = make(tmp_path)
    database = sqlite_library.library.connect(str(path))
    database.executescript("DROP INDEX record_at_once; DROP TABLE used; DROP TABLE lost")
    database.close()
    records, loss, lost = start(path, BATCHES)
    assert (loss, lost, whole(records)) == (None, [], BATCHES * SIZE)
