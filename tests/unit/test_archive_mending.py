"""A damaged manifest never stops a start: what it said is said again, from the lines that fit and the segments."""

from __future__ import annotations

from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from greenmine.ingest.archive import MANIFEST, ArchiveReader, Segment, manifest_lines
from greenmine.ingest.archive_mending import GONE, mend_manifest
from greenmine.ingest.archive_writer import ArchiveWriter, Snapshot
from greenmine.ingest.journal import Journal, JournalReader
from greenmine.ingest.journal_recovery import open_journal
from greenmine.ingest.record import Record, RecordKind

BATCHES = 30
CUTS = (10, 20)


def make(folder: Path) -> Path:
    """A journal of which two thirds have gone to the archive; the archive's folder."""
    archive = folder / "archive"
    journal, loss = open_journal(folder / "journal.db", archive, 0)
    assert loss is None
    for number in range(1, BATCHES + 1):
        payload = f"message {number}".encode()
        records = [Record(RecordKind.MESSAGE, "mines/m1/d1/up", payload, "m1.d1", 0)] * (number % 3)
        journal.append([(number, number, records)])
    writer, first_no = ArchiveWriter(archive), 1
    with closing(JournalReader(journal.path, archive)) as reader:
        for last_no in CUTS:
            (archive / f"state-{last_no:012d}.db.gz").write_bytes(b"state")
            before = Snapshot(f"state-{first_no - 1:012d}.db.gz", sha256(b"state").hexdigest())
            writer.add(reader, first_no, last_no, before if first_no > 1 else Snapshot())
            first_no = last_no + 1
    while journal.forget(CUTS[-1], 10):
        pass
    journal.close()
    return archive


def segments(archive: Path) -> list[Segment]:
    return ArchiveReader(archive).segments()


def payloads(folder: Path) -> list[bytes]:
    with closing(JournalReader(folder / "journal.db", folder / "archive")) as reader:
        return [stored.record.payload for batch in reader.all_batches() for stored in batch.records]


def test_a_flipped_bit_anywhere_changes_nothing_that_is_read(tmp_path: Path) -> None:
    archive = make(tmp_path)
    sound, known, everything = (archive / MANIFEST).read_bytes(), segments(archive), payloads(tmp_path)
    assert [(one.first_no, one.last_no) for one in known] == [(1, 10), (11, 20)]
    assert len(everything) == BATCHES
    for bit in range(0, len(sound) * 8, 23):
        raw = bytearray(sound)
        raw[bit // 8] ^= 1 << bit % 8
        (archive / MANIFEST).write_bytes(raw)
        journal, loss = open_journal(tmp_path / "journal.db", archive, BATCHES)
        journal.close()
        ArchiveWriter(archive)
        assert segments(archive) == known, f"bit {bit}"
        assert list(ArchiveReader(archive).verify()) == []
        if bit // 8 < len(sound) - 1:  # the last line's end: a line that a crash cut off, and no damage
            assert loss is not None
            assert (archive / loss.set_aside).read_bytes() == bytes(raw)
            (archive / loss.set_aside).unlink()
    assert payloads(tmp_path) == everything


@pytest.mark.parametrize("left", [0, 1, 100])
def test_a_manifest_that_is_cut_off_is_written_again(tmp_path: Path, left: int) -> None:
    archive = make(tmp_path)
    known = segments(archive)
    (archive / MANIFEST).write_bytes((archive / MANIFEST).read_bytes()[:left])
    assert mend_manifest(archive) == ""
    assert segments(archive) == known
    assert mend_manifest(archive) == ""


def test_a_segment_without_an_index_is_kept_apart_and_its_batches_are_known_to_be_lost(tmp_path: Path) -> None:
    archive = make(tmp_path)
    newest = archive / segments(archive)[-1].name
    newest.write_bytes(newest.read_bytes()[:-3])
    (archive / MANIFEST).write_bytes((archive / MANIFEST).read_bytes().splitlines(keepends=True)[0])
    journal, loss = open_journal(tmp_path / "journal.db", archive, BATCHES)
    journal.close()
    assert loss is not None
    assert loss.batches == [(11, 20)]
    assert newest.with_name(f"{newest.name}.unreadable").exists()
    assert open_journal(tmp_path / "journal.db", archive, BATCHES)[1] is None


def test_a_segment_whose_removal_can_no_longer_be_read_is_known_to_be_gone(tmp_path: Path) -> None:
    archive = make(tmp_path)
    ArchiveWriter(archive).remove_oldest(segments(archive)[0], 5, "older than the retention of readings")
    raw = (archive / MANIFEST).read_bytes().replace(b"older than", b"elder than")
    (archive / MANIFEST).write_bytes(raw)
    assert mend_manifest(archive) == f"{MANIFEST}.damaged-001"
    assert [one.first_no for one in segments(archive)] == [11]
    assert GONE in [line.get("reason") for line in manifest_lines(archive)]


def test_a_removal_that_a_crash_kept_from_being_carried_out_is_carried_out(tmp_path: Path) -> None:
    archive = make(tmp_path)
    oldest = archive / segments(archive)[0].name
    raw = oldest.read_bytes()
    ArchiveWriter(archive).remove_oldest(segments(archive)[0], 5, "older than the retention of readings")
    oldest.write_bytes(raw)
    ArchiveWriter(archive)
    assert not oldest.exists()
    assert [one.first_no for one in segments(archive)] == [11]


def test_a_sound_archive_and_none_at_all_are_left_alone(tmp_path: Path) -> None:
    assert mend_manifest(tmp_path / "none") == ""
    archive = make(tmp_path)
    before = (archive / MANIFEST).read_bytes()
    assert mend_manifest(archive) == ""
    assert (archive / MANIFEST).read_bytes() == before
    assert Journal(tmp_path / "journal.db").last_no == BATCHES
