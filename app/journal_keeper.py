"""Looks after the journal beside the work: room on the disk, the archive, and what may leave the file.

A segment goes to the archive when its readings are confirmed by the store and its age is reached, or earlier where room
is short. Each segment stands between two snapshots of the state, so that it can be judged again by itself.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import structlog

from greenmine.core.errors import GreenmineError, StoreUnavailable
from greenmine.ingest.archive import Segment
from greenmine.ingest.archive_writer import ArchiveWriter, Snapshot
from greenmine.ingest.disk_room import DISK_FULL, DISK_HAS_ROOM, DiskRoom, Room
from greenmine.ingest.journal import Journal, JournalReader
from greenmine.ingest.journal_writer import JournalWriter
from greenmine.local_alarm import LocalAlarm
from greenmine.pipeline.commit import aside_of
from greenmine.pipeline.snapshot import StateSnapshot, take_snapshot
from greenmine.store import outbox
from greenmine.store.state import StateDb

log = structlog.get_logger(__name__)
LOOK_EVERY_S = 1.0
ARCHIVE_EVERY_LOOKS = 60
_HOUR_NS = 3600 * 1_000_000_000


class KeeperLimits(NamedTuple):
    """`keep_ns`: how long what is stored stays in the journal's file. `segment_ns`: how much time goes into a segment,
    and `short_segment_ns` at the least where room is short: with each goes a snapshot of the whole state.
    `archive_ns`: how long segments are kept (0: for ever)."""

    keep_ns: int = 72 * _HOUR_NS
    segment_ns: int = 24 * _HOUR_NS
    short_segment_ns: int = _HOUR_NS // 6
    archive_ns: int = 0


class JournalKeeper:
    """One thread. Its failures never stop the service: they are said, and tried again."""

    def __init__(
        self,
        journal: Journal,
        reader: JournalReader,
        writer: JournalWriter,
        state: StateDb,
        room: DiskRoom,
        archive: Path,
        progress: Callable[[], tuple[int, int]],
        limits: KeeperLimits = KeeperLimits(),  # noqa: B008 - immutable
        is_alarmed: Callable[[], bool] = lambda: False,
    ) -> None:
        """`progress` gives the cursor and the journal's clock of the last judged batch; `is_alarmed` whether the mines
        have been told that the disk is full."""
        self._journal, self._reader, self._writer, self._state = journal, reader, writer, state
        self._room, self._progress, self._limits = room, progress, limits
        self._archive = ArchiveWriter(archive)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal-keeper", daemon=True)
        self.room = Room.ENOUGH
        self.trouble: GreenmineError | None = None
        self.words = ""
        self._alarm = LocalAlarm(writer, is_alarmed, DISK_FULL, DISK_HAS_ROOM)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End after the step under way."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def segments(self) -> list[Segment]:
        """What the archive holds."""
        return self._archive.reader.segments()

    def look(self) -> Room:
        """See how much room there is; without any, nothing more is taken from devices until there is some again."""
        before, self.room = self.room, self._room.look(self._journal.size_bytes())
        self.words = self._room.words()
        if self.room is not before:
            say = log.error if self.room >= Room.SHORT else log.info
            say("journal: room on the disk", room=self.room.name.lower(), detail=self.words)
        self._writer.hold(self.room is Room.NONE)
        self._alarm.say(self.room is Room.NONE, self.words)
        return self.room

    def archive(self) -> Segment | None:
        """Do the next step: a snapshot when a segment's time is over, a segment when it may go; the latter.

        Raises:
            StoreUnavailable: no room, or the folder cannot be written.
        """
        cursor, clock_ns = self._progress()
        archived = self._archive.reader.last_no()
        pending = [one for one in self._snapshots() if one.cursor > archived]
        begun_ns = pending[-1].clock_ns if pending else self._begun_ns(archived)
        short = self.room >= Room.SHORT
        newest = pending[-1].cursor if pending else archived
        # Where room is short, one more snapshot makes none as long as the one before it waits for the store.
        length_ns = self._limits.short_segment_ns if short and not pending else self._limits.segment_ns
        if begun_ns is not None and cursor > newest and clock_ns - begun_ns >= length_ns:
            pending.append(self._take_snapshot())
        added = None
        if pending and self._may_go(pending[0], clock_ns, short):
            added = self._archive.add(self._reader, archived + 1, pending[0].cursor, self._snapshot_at(archived))
            log.info("journal: archived", segment=added.name, batches=added.last_no - added.first_no + 1)
        if done := self._archive.reader.last_no():
            self._writer.forget_up_to(done)
        self._expire(clock_ns)
        return added

    def _may_go(self, snapshot: StateSnapshot, clock_ns: int, short: bool) -> bool:
        if not short and clock_ns - snapshot.clock_ns < self._limits.keep_ns:
            return False
        with self._state.reading() as connection:
            oldest, aside = outbox.first_id(connection), aside_of(connection)
        if aside and aside[0].first_no <= snapshot.cursor:
            return False  # what was set aside is still to be judged, and is read faster from the file
        return oldest is None or oldest > snapshot.outbox_id

    def _begun_ns(self, archived: int) -> int | None:
        found = self._reader.batches(archived, 1)
        return found[0].clock_ns if found else None

    def _take_snapshot(self) -> StateSnapshot:
        assert self._state.path is not None
        taken = take_snapshot(self._state.path, self._archive.folder)
        beside = self._archive.folder / f"{taken.name}.json"
        beside.write_text(json.dumps(taken._asdict()), encoding="utf-8")
        return taken

    def _snapshots(self) -> list[StateSnapshot]:
        found = []
        for path in self._archive.folder.glob("state-*.db.gz.json"):
            try:
                found.append(StateSnapshot(**json.loads(path.read_text(encoding="utf-8"))))
            except (ValueError, TypeError):
                path.unlink()  # a crash cut it off; the snapshot is taken again
        return sorted(found, key=lambda one: one.cursor)

    def _snapshot_at(self, cursor: int) -> Snapshot:
        for one in self._snapshots():
            if one.cursor == cursor:
                return Snapshot(one.name, one.sha256)
        return Snapshot()

    def _expire(self, clock_ns: int) -> None:
        if not self._limits.archive_ns:
            return
        for segment in self._archive.reader.segments()[:-1]:
            if segment.last_clock_ns >= clock_ns - self._limits.archive_ns:
                break
            self._archive.remove_oldest(segment, clock_ns, "older than the retention of readings")
            if segment.snapshot:
                (self._archive.folder / f"{segment.snapshot}.json").unlink(missing_ok=True)

    def _run(self) -> None:
        looks = 0
        while not self._stopping.wait(LOOK_EVERY_S):
            looks += 1
            try:
                room = self.look()
                if looks % ARCHIVE_EVERY_LOOKS == 0 or room >= Room.SHORT:
                    self._journal.sync_mark()
                    self.archive()
                self.trouble = None
            except GreenmineError as error:
                self._failed(error)
            except (OSError, ValueError) as error:
                self._failed(StoreUnavailable(f"the journal's keeper failed: {error}", needs_operator=True))

    def _failed(self, error: GreenmineError) -> None:
        if self.trouble is None:
            log.error("journal: the archive does not go on", error=str(error))
        self.trouble = error
