"""The archive: segments of the journal, compressed, each with its checksum, chained from one to the next.

A segment is a file of blocks, each a zlib stream of whole batches, with an index at its end. `manifest.jsonl` has a
line for each segment and for each removal; every line carries the hash of the one before, so a changed, removed or
exchanged segment is seen. Cutting off the newest lines is not (the journal then lacks batches, which is seen there).
"""

from __future__ import annotations

import hashlib
import json
import struct
import threading
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from greenmine.core.errors import Corrupt, StoreUnavailable
from greenmine.ingest.journal_format import record_crc, stored_record
from greenmine.ingest.record import Batch, StoredRecord

MANIFEST = "manifest.jsonl"
GENESIS = "0" * 64
_MAGIC = b"GMSEG1\r\n"
_BATCH = struct.Struct(">QqqQI")
_RECORD = struct.Struct(">BBIIIIB")
_TRAILER = struct.Struct(">II4s")
BLOCK_BYTES = 512 * 1024
"""Uncompressed size at which a block ends."""


class Block(NamedTuple):
    """Where a block lies in its segment and what it holds."""

    offset: int
    length: int
    crc: int
    first_no: int
    last_no: int
    first_record: int
    last_record: int


class Segment(NamedTuple):
    """A line of the manifest. Batches `first_no` to `last_no`; records `first_record` to `last_record` (the last is one
    less where it has none). `damaged` are records that did not fit their checksum when they came here; `lost` batches
    that are missing inside. `snapshot` is the state as of the batch before, empty for the journal's beginning."""

    name: str
    first_no: int
    last_no: int
    first_record: int
    last_record: int
    first_clock_ns: int
    last_clock_ns: int
    bytes: int
    raw_bytes: int
    sha256: str
    damaged: list[int]
    lost: list[tuple[int, int]]
    snapshot: str
    snapshot_sha256: str


class SegmentFile:
    """Writes one segment; the caller renames it and enters it into the manifest."""

    def __init__(self, path: Path, level: int = 6) -> None:
        self._file = path.open("xb")
        self._level = level
        self._sha = hashlib.sha256()
        self._offset = 0
        self._blocks: list[Block] = []
        self._raw: list[bytes] = []
        self._raw_size = 0
        self._range: list[int] = []
        self.raw_bytes = 0
        self.damaged: list[int] = []
        self._write(_MAGIC)

    def add(self, batch: Batch, first_record: int) -> None:
        """Append a batch; `first_record` is the id that its first record has or would have."""
        parts = [_BATCH.pack(batch.no, batch.received_ns, batch.clock_ns, first_record, len(batch.records))]
        for stored in batch.records:
            record = stored.record
            source = record.source.encode("utf-8", "surrogatepass")
            client = record.client.encode("utf-8", "surrogatepass")
            if not stored.intact:
                self.damaged.append(stored.id)
            sizes = (len(source), len(client), len(record.payload), record_crc(record, None), stored.intact)
            parts += (_RECORD.pack(record.kind, record.flags, *sizes), source, client, record.payload)
        raw = b"".join(parts)
        end = first_record + len(batch.records) - 1
        first = (self._range[0], self._range[2]) if self._range else (batch.no, first_record)
        self._range = [first[0], batch.no, first[1], end]
        self._raw.append(raw)
        self._raw_size += len(raw)
        if self._raw_size >= BLOCK_BYTES:
            self._end_block()

    def finish(self, sync: Any) -> tuple[int, str]:
        """Write the index and flush with `sync(fileno)`; size and SHA-256 of the file."""
        if self._raw:
            self._end_block()
        index = zlib.compress(json.dumps(self._blocks).encode())
        self._write(index)
        self._write(_TRAILER.pack(len(index), zlib.crc32(index), b"GMSE"))
        self._file.flush()
        sync(self._file.fileno())
        self._file.close()
        return self._offset, self._sha.hexdigest()

    def abandon(self) -> None:
        """Close what will not be used."""
        self._file.close()

    def _end_block(self) -> None:
        packed = zlib.compress(b"".join(self._raw), self._level)
        first_no, last_no, first_record, last_record = self._range
        self._blocks.append(
            Block(self._offset, len(packed), zlib.crc32(packed), first_no, last_no, first_record, last_record)
        )
        self._write(packed)
        self.raw_bytes += self._raw_size
        self._raw, self._raw_size, self._range = [], 0, []

    def _write(self, raw: bytes) -> None:
        self._file.write(raw)
        self._sha.update(raw)
        self._offset += len(raw)


class ArchiveReader:
    """Reads the archive; any number, in any process. A folder that is not there is an empty archive."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._segments: list[Segment] = []
        self._lost: list[tuple[int, int]] = []
        self.blocks = lru_cache(maxsize=8)(self._read_blocks)
        self.unpacked = lru_cache(maxsize=2)(self._unpack)

    def segments(self) -> list[Segment]:
        """Segments that are there, oldest first; read again when the manifest has grown."""
        with self._lock:
            try:
                stat = (self.folder / MANIFEST).stat()
            except OSError:
                return []
            if (stat.st_size, stat.st_mtime_ns) != self._seen:
                everything = list(manifest_lines(self.folder))
                removed = {line["removed"] for line in everything if "removed" in line}
                found = [segment_of(line) for line in everything if "name" in line]
                self._segments = [one for one in found if one.name not in removed]
                self._lost = [lost for one in found for lost in one.lost]
                self._seen = (stat.st_size, stat.st_mtime_ns)
            return self._segments

    def lost(self) -> list[tuple[int, int]]:
        """Batches known to be gone when their segment was written."""
        self.segments()
        return self._lost

    def batches(self, after: int, most_records: int = 5000) -> list[Batch]:
        """Batches numbered above `after` up to the end of a block; none where the archive has none.

        Raises:
            Corrupt: a segment is missing or a block of it does not fit its checksum.
        """
        for segment in self.segments():
            if segment.last_no <= after:
                continue
            for block in self.blocks(segment.name):
                if block.last_no > after:
                    return _cut([one for one in self.unpacked(segment.name, block) if one.no > after], most_records)
        return []

    def record(self, record_id: int) -> StoredRecord | None:
        """One record by its id, None where no segment that is there has it.

        Raises:
            Corrupt: as `batches`.
        """
        for segment in self.segments():
            if segment.first_record <= record_id <= segment.last_record:
                blocks = self.blocks(segment.name)
                at = bisect_right([block.first_record for block in blocks], record_id) - 1
                for block in reversed(blocks[: at + 1]):
                    if block.first_record <= record_id <= block.last_record:
                        found = (r for batch in self.unpacked(segment.name, block) for r in batch.records)
                        return next((one for one in found if one.id == record_id), None)
        return None

    def last_no(self) -> int:
        """Number of the newest batch in the archive, 0 where it is empty."""
        segments = self.segments()
        return segments[-1].last_no if segments else 0

    def last_record_id(self) -> int:
        """Id of the newest record in the archive, 0 where it is empty."""
        segments = self.segments()
        return segments[-1].last_record if segments else 0

    def verify(self) -> Iterator[str]:
        """What is wrong, in words that name segment, batch and record; nothing where everything fits."""
        yield from _broken_chain(self.folder)
        for segment in self.segments():
            path = self.folder / segment.name
            try:
                if file_sha256(path) == segment.sha256:
                    yield from (f"{segment.name}: record {n} was damaged when it was archived" for n in segment.damaged)
                    continue
                yield f"{segment.name}: the file is not the one that was written (SHA-256)"
                for block in self.blocks(segment.name):
                    try:
                        self._unpack(segment.name, block)
                    except Corrupt as error:
                        yield str(error)
            except (Corrupt, OSError) as error:
                yield f"{segment.name}: {error}"
        for segment in self.segments():
            if segment.snapshot:
                try:
                    if file_sha256(self.folder / segment.snapshot) != segment.snapshot_sha256:
                        yield f"{segment.snapshot}: the snapshot is not the one that was written (SHA-256)"
                except OSError as error:
                    yield f"{segment.snapshot}: {error}"

    def _read_blocks(self, name: str) -> list[Block]:
        try:
            with (self.folder / name).open("rb") as file:
                file.seek(-_TRAILER.size, 2)
                end = file.tell()
                length, crc, magic = _TRAILER.unpack(file.read(_TRAILER.size))
                file.seek(max(0, end - length))
                index = file.read(length)
        except OSError as error:
            raise Corrupt(f"the archive's segment {name} cannot be read: {error.strerror}") from error
        if magic != b"GMSE" or zlib.crc32(index) != crc:
            raise Corrupt(f"the archive's segment {name} has no index that fits its checksum")
        return [Block(*one) for one in json.loads(zlib.decompress(index))]

    def _unpack(self, name: str, block: Block) -> list[Batch]:
        with (self.folder / name).open("rb") as file:
            file.seek(block.offset)
            packed = file.read(block.length)
        if zlib.crc32(packed) != block.crc:
            numbers = (
                f"batches {block.first_no} to {block.last_no}, records {block.first_record} to {block.last_record}"
            )
            raise Corrupt(f"the archive's segment {name} is damaged in {numbers}")
        return list(_batches(zlib.decompress(packed)))


def raw_size(batch: Batch) -> int:
    """Bytes that a batch takes in a block before that is compressed."""
    texts = sum(
        len(text.encode("utf-8", "surrogatepass"))
        for stored in batch.records
        for text in (stored.record.source, stored.record.client)
    )
    payloads = sum(len(stored.record.payload) for stored in batch.records)
    return _BATCH.size + _RECORD.size * len(batch.records) + texts + payloads


def manifest_lines(folder: Path) -> Iterator[dict[str, Any]]:
    """Lines of the manifest as they stand; a last line that was cut off by a crash is left out.

    Raises:
        Corrupt: a line before the last cannot be read.
        StoreUnavailable: the file cannot be read now.
    """
    try:
        raw = (folder / MANIFEST).read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreUnavailable(f"the archive's manifest cannot be read: {error}") from error
    for number, line in enumerate(raw[:-1], 1):
        try:
            found = json.loads(line)
        except ValueError as error:
            raise Corrupt(f"line {number} of the archive's manifest cannot be read") from error
        yield found


def line_hash(line: dict[str, Any]) -> str:
    """Hash of a manifest's line over everything but itself."""
    body = {name: value for name, value in line.items() if name != "hash"}
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def segment_of(line: dict[str, Any]) -> Segment:
    """A segment from its line."""
    values = {name: line[name] for name in Segment._fields}
    return Segment(**{**values, "lost": [(first, last) for first, last in line["lost"]]})


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _broken_chain(folder: Path) -> Iterator[str]:
    previous, next_no = GENESIS, 0
    try:
        for number, line in enumerate(manifest_lines(folder), 1):
            if line.get("previous") != previous:
                yield f"line {number} of the manifest does not follow the line before it"
            if line_hash(line) != line.get("hash"):
                yield f"line {number} of the manifest was changed after it was written"
            if "name" in line and next_no and line["first_no"] != next_no:
                yield f"{line['name']} begins at batch {line['first_no']}, not {next_no}"
            if "name" in line:
                next_no = line["last_no"] + 1
            previous = line.get("hash", "")
    except Corrupt as error:
        yield str(error)


def _cut(batches: list[Batch], most_records: int) -> list[Batch]:
    total = 0
    for count, batch in enumerate(batches, 1):
        if count > 1 and batch.no != batches[count - 2].no + 1:
            return batches[: count - 1]
        total += len(batch.records)
        if total >= most_records:
            return batches[:count]
    return batches


def _batches(raw: bytes) -> Iterator[Batch]:
    at = 0
    while at < len(raw):
        no, received_ns, clock_ns, first_record, count = _BATCH.unpack_from(raw, at)
        at += _BATCH.size
        records = []
        for record_id in range(first_record, first_record + count):
            kind, flags, source_size, client_size, size, crc, intact = _RECORD.unpack_from(raw, at)
            at += _RECORD.size
            source = raw[at : at + source_size].decode("utf-8", "surrogatepass")
            client = raw[at + source_size : at + source_size + client_size].decode("utf-8", "surrogatepass")
            at += source_size + client_size
            stored = stored_record(record_id, kind, source, client, flags, raw[at : at + size], crc, binds_id=False)
            records.append(stored if intact else stored._replace(intact=False))
            at += size
        yield Batch(no, received_ns, clock_ns, tuple(records))
