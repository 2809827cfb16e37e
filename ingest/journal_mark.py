"""The journal's high-water mark: a small file beside it that says how far it had been written.

A journal can lose its newest batches without any error (one bit in the write-ahead file is enough), so its own end
proves nothing. The mark is written after each commit, into the page cache, and flushed to the disk now and then and at
a clean stop: after the end of the process it is exact or one commit behind, after a power cut it is a lower bound. It
lies on the same disk, so it cannot show the loss of the whole disk; the state's cursor is the other witness.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

from greenmine.core.errors import StoreUnavailable

_SLOT = struct.Struct(">4s8sQQqI")
_MAGIC = b"GMM1"
_SLOT_BYTES = 512
"""Two slots in sectors of their own, written in turn: a torn write costs the newer one only."""


class Mark(NamedTuple):
    """How far a journal was written: its identity, its newest batch and record, clock and checksum of that batch."""

    journal: bytes
    no: int
    record_id: int
    clock_ns: int
    crc: int


class JournalMark:
    """The file, held open by whoever writes the journal.

    Raises:
        StoreUnavailable: it cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.found = read_mark(path)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            # With its full size from the start, so that a full disk never keeps it from being written.
            if os.fstat(self._handle).st_size < 2 * _SLOT_BYTES:
                os.pwrite(self._handle, bytes(2 * _SLOT_BYTES), 0)
        except OSError as error:
            words = f"the journal's mark {path} cannot be opened: {error}"
            raise StoreUnavailable(words, needs_operator=True) from error
        self._turn = 0

    def write(self, mark: Mark) -> None:
        """Note a commit; costs one write to the page cache."""
        packed = _SLOT.pack(_MAGIC, *mark)
        self._turn ^= 1
        try:
            os.pwrite(self._handle, packed + zlib.crc32(packed).to_bytes(4, "big"), self._turn * _SLOT_BYTES)
        except OSError as error:
            raise StoreUnavailable(f"the journal's mark cannot be written: {error}", needs_operator=True) from error

    def sync(self) -> None:
        """Flush it to the disk."""
        try:
            os.fsync(self._handle)
        except OSError as error:
            raise StoreUnavailable(f"the journal's mark cannot be flushed: {error}", needs_operator=True) from error

    def close(self) -> None:
        """Flush and close."""
        self.sync()
        os.close(self._handle)


def read_mark(path: Path) -> Mark | None:
    """The newer mark that fits its checksum; None where there is none."""
    try:
        with path.open("rb") as file:
            raw = file.read(2 * _SLOT_BYTES)
    except FileNotFoundError:
        return None
    found = []
    for offset in (0, _SLOT_BYTES):
        packed = raw[offset : offset + _SLOT.size]
        crc = raw[offset + _SLOT.size : offset + _SLOT.size + 4]
        if len(packed) == _SLOT.size and zlib.crc32(packed).to_bytes(4, "big") == crc:
            magic, *values = _SLOT.unpack(packed)
            if magic == _MAGIC:
                found.append(Mark(*values))
    return max(found, key=lambda mark: mark.no, default=None)
