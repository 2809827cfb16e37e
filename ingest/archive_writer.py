"""Writing the archive: a segment is written, flushed and renamed before the manifest names it, and the manifest names
it before its batches leave the journal. One process writes an archive, the one that holds the home."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from greenmine.core.errors import StoreFull, StoreUnavailable
from greenmine.ingest.archive import (
    GENESIS,
    MANIFEST,
    ArchiveReader,
    Segment,
    SegmentFile,
    line_hash,
    manifest_lines,
)
from greenmine.ingest.archive_mending import mend_manifest
from greenmine.ingest.journal_format import sync_directory
from greenmine.ingest.journal_reader import JournalReader

_ENOSPC = 28


class Snapshot(NamedTuple):
    """The state's file in the archive, and its checksum; empty for the beginning of a journal."""

    name: str = ""
    sha256: str = ""


class ArchiveWriter:
    """Adds segments to an archive and takes the oldest away.

    Raises:
        StoreFull: no room; nothing was added.
        StoreUnavailable: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reader = ArchiveReader(folder)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            self._mend()
        except OSError as error:
            raise _unwritable(error) from error

    def add(self, journal: JournalReader, first_no: int, last_no: int, snapshot: Snapshot) -> Segment:
        """Copy these batches of the journal into a segment; in bounded memory."""
        name = f"segment-{first_no:012d}.gms"
        fresh = self.folder / f"{name}.new"
        try:
            fresh.unlink(missing_ok=True)
            writer = SegmentFile(fresh)
            try:
                fresh.chmod(0o600)
                segment = self._fill(writer, journal, first_no, last_no)._replace(
                    name=name, snapshot=snapshot.name, snapshot_sha256=snapshot.sha256
                )
            except BaseException:
                writer.abandon()
                raise
            fresh.replace(self.folder / name)
            sync_directory(self.folder)
            self._enter(segment._asdict())
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise _unwritable(error) from error
        return segment

    def remove_oldest(self, segment: Segment, at_ns: int, reason: str) -> None:
        """Take a segment away; its line stays, and a line says when and why."""
        try:
            self._enter({"removed": segment.name, "at_ns": at_ns, "reason": reason})
            for name in (segment.name, segment.snapshot):
                if name:
                    (self.folder / name).unlink(missing_ok=True)
            sync_directory(self.folder)
        except OSError as error:
            raise _unwritable(error) from error

    def _fill(self, writer: SegmentFile, journal: JournalReader, first_no: int, last_no: int) -> Segment:
        next_record = first_record = self.reader.last_record_id() + 1
        clocks: list[int] = []
        lost: list[tuple[int, int]] = []
        after, at = first_no - 1, first_no
        while after < last_no and (found := journal.batches(after)):
            for batch in found:
                if batch.no > last_no:
                    break
                if batch.no > at:
                    lost.append((at, batch.no - 1))
                at = batch.no + 1
                if batch.records:
                    next_record = batch.records[0].id
                writer.add(batch, next_record)
                next_record += len(batch.records)
                clocks = [clocks[0] if clocks else batch.clock_ns, batch.clock_ns]
            after = found[-1].no
        if at <= last_no:
            lost.append((at, last_no))
        size, digest = writer.finish(os.fsync)
        return Segment(
            name="",
            first_no=first_no,
            last_no=last_no,
            first_record=first_record,
            last_record=next_record - 1,
            first_clock_ns=clocks[0] if clocks else 0,
            last_clock_ns=clocks[-1] if clocks else 0,
            bytes=size,
            raw_bytes=writer.raw_bytes,
            sha256=digest,
            damaged=writer.damaged,
            lost=lost,
            snapshot="",
            snapshot_sha256="",
        )

    def _enter(self, line: dict[str, Any]) -> None:
        """Append a line to the manifest, chained to the one before."""
        previous = GENESIS
        for known in manifest_lines(self.folder):
            previous = known["hash"]
        line = {**line, "previous": previous}
        line["hash"] = line_hash(line)
        path = self.folder / MANIFEST
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            end = os.fstat(handle).st_size
            raw = json.dumps(line, sort_keys=True).encode() + b"\n"
            if os.write(handle, raw) < len(raw):
                os.ftruncate(handle, end)
                raise OSError(_ENOSPC, "no room for the manifest's line")
            os.fsync(handle)
        finally:
            os.close(handle)
        sync_directory(self.folder)

    def _mend(self) -> None:
        """Take away what a crash left: half a line at the manifest's end, half a segment, and a segment whose removal
        was entered and not carried out."""
        path = self.folder / MANIFEST
        if path.exists():
            with path.open("r+b") as file:
                size = file.seek(0, 2)
                file.seek(0)
                whole = sum(len(line) for line in file if line.endswith(b"\n"))
                if whole < size:
                    file.truncate(whole)
                    os.fsync(file.fileno())
        for segment in self.folder.glob("segment-*.new"):
            segment.unlink()
        mend_manifest(self.folder)
        for line in manifest_lines(self.folder):
            if "removed" in line:
                (self.folder / line["removed"]).unlink(missing_ok=True)


def _unwritable(error: OSError) -> StoreUnavailable:
    if error.errno == _ENOSPC:
        return StoreFull(f"the archive has no room: {error.strerror}", needs_operator=True)
    return StoreUnavailable(f"the archive cannot be written: {error}", needs_operator=True)
