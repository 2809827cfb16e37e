"""Room on the disk of the journal: marks at which something is done, and the ballast that a full disk is survived by.

A full disk refuses even the deletion of rows. The ballast is a file of known size that is given up then, so that alarms
about the full disk, the outboxes and the state can still be written, and the archive can make room.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

MEGABYTE = 1024 * 1024
DISK_FULL, DISK_HAS_ROOM = "disk_full", "disk_room"
"""Events of the service in the journal: nothing is taken from devices any more, and it is again."""


class Room(IntEnum):
    """How much room there is, and what follows."""

    ENOUGH = 0
    WARN = 1
    """Said in the checks."""
    SHORT = 2
    """What is stored goes to the archive at once, whatever its age."""
    NONE = 3
    """Nothing more is taken from devices, and so nothing is acknowledged."""


class Mark(NamedTuple):
    """A mark is reached when the disk is used to this part and less than this is free: a part alone would stop a large
    disk with much room left."""

    used: float
    free_bytes: int


MARKS = {
    Room.WARN: Mark(0.80, 20_000 * MEGABYTE),
    Room.SHORT: Mark(0.90, 5_000 * MEGABYTE),
    Room.NONE: Mark(0.95, 1_000 * MEGABYTE),
}


class DiskUsage(NamedTuple):
    """Bytes of a file system."""

    total: int
    used: int
    free: int


def disk_usage(folder: Path) -> DiskUsage:
    """Of the file system that a folder is on."""
    return DiskUsage(*shutil.disk_usage(folder))


class Ballast:
    """A file that only takes room. `size_bytes` 0: none is kept."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        self.size_bytes = size_bytes

    @property
    def there(self) -> bool:
        """Whether it takes the room that it should."""
        try:
            return self.path.stat().st_size == self.size_bytes
        except OSError:
            return self.size_bytes == 0

    def make(self) -> bool:
        """Allocate it; whether there was room."""
        if self.there:
            return True
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.posix_fallocate(handle, 0, self.size_bytes)
            finally:
                os.close(handle)
        except OSError:
            self.path.unlink(missing_ok=True)
            return False
        return True

    def release(self) -> bool:
        """Give its room to the others; whether there was any to give."""
        there = self.size_bytes > 0 and self.path.exists()
        self.path.unlink(missing_ok=True)
        return there


class DiskRoom:
    """Judges the room by the disk's marks and by the journal's quota (0: none)."""

    def __init__(
        self,
        folder: Path,
        ballast: Ballast,
        quota_bytes: int = 0,
        usage: Callable[[Path], DiskUsage] = disk_usage,
    ) -> None:
        self.folder = folder
        self.ballast = ballast
        self.quota_bytes = quota_bytes
        self._usage = usage
        self.last = Room.ENOUGH

    def look(self, journal_bytes: int) -> Room:
        """How much room there is now. With the ballast given up there is none until it can be made again, beside as
        much for the others."""
        usage = self._usage(self.folder)
        used = 1 - usage.free / usage.total
        found = max(
            (room for room, mark in MARKS.items() if used >= mark.used and usage.free < mark.free_bytes),
            default=Room.ENOUGH,
        )
        if self.quota_bytes:
            part = journal_bytes / self.quota_bytes
            found = max(
                found, Room.NONE if part >= 1 else Room.SHORT if part >= MARKS[Room.SHORT].used else Room.ENOUGH
            )
        if not self.ballast.there and (usage.free < 2 * self.ballast.size_bytes or not self.ballast.make()):
            found = Room.NONE
        self.last = found
        return found

    def words(self) -> str:
        """The room as a person reads it."""
        usage = self._usage(self.folder)
        ballast = "" if self.ballast.there else "; the ballast is given up"
        return f"{usage.free / 1e9:.1f} GB ({usage.free / usage.total:.0%}) free at {self.folder}{ballast}"
