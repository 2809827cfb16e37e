"""Mending an archive's manifest: a flipped bit in this index of old evidence must not stop the service at every start.

Lines that fit their own hash stay; a segment that no such line names is read again and gets a new one; the damaged
manifest is kept under another name, and a line says so. Nothing is deleted.
"""

from __future__ import annotations

import json
import os
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

from greenmine.core.errors import Corrupt
from greenmine.ingest.archive import (
    GENESIS,
    MANIFEST,
    ArchiveReader,
    Segment,
    file_sha256,
    line_hash,
    raw_size,
    segment_of,
)
from greenmine.ingest.journal_format import sync_directory

_SEGMENT = re.compile(r"segment-[0-9]{12}\.gms")
GONE = "its file was not there when the manifest was mended"


def mend_manifest(folder: Path) -> str:
    """Make the manifest whole again where it is not; the name under which the damaged one is kept, '' where it only
    lacked the line of a segment, or nothing.

    Raises:
        OSError: no room, or the folder cannot be read or written.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        return ""
    raw = path.read_bytes() if path.exists() else b""
    lines, is_sound = _fitting(raw)
    named = {line["name"] for line in lines if "name" in line}
    unnamed = sorted(one.name for one in folder.iterdir() if _SEGMENT.fullmatch(one.name) and one.name not in named)
    if is_sound and not unnamed:
        return ""
    aside = "" if is_sound else _set_aside(folder, raw)
    for name in unnamed:
        _insert(lines, _read_again(folder, name))
    removed = {line["removed"] for line in lines if "removed" in line}
    for name in sorted(named - removed):
        if not (folder / name).exists():
            lines.append({"removed": name, "at_ns": 0, "reason": GONE})
    if aside:
        lines.append({"mended": aside, "sha256": sha256(raw).hexdigest()})
    _replace(path, lines)
    return aside


def _fitting(raw: bytes) -> tuple[list[dict[str, Any]], bool]:
    """The lines that fit their own hash, and whether those are all and follow each other. A last line without an end
    is what a crash left, and no damage."""
    lines: list[dict[str, Any]] = []
    is_sound, previous = True, GENESIS
    for one in raw.split(b"\n")[:-1]:
        try:
            line = json.loads(one)
            if line["hash"] != line_hash(line):
                raise ValueError("changed after it was written")
            if "name" in line:
                segment_of(line)
        except (ValueError, KeyError, TypeError, RecursionError):
            is_sound = False
            continue
        is_sound = is_sound and line["previous"] == previous
        previous = line["hash"]
        lines.append(line)
    return lines, is_sound


def _read_again(folder: Path, name: str) -> dict[str, Any] | None:
    """The line of a segment, from its own file; None where that has no index."""
    path, reader = folder / name, ArchiveReader(folder)
    try:
        blocks = reader.blocks(name)
    except Corrupt:
        blocks = []
    if not blocks:
        path.rename(path.with_name(f"{name}.unreadable"))
        return None
    digest, raw_bytes, at = file_sha256(path), 0, blocks[0].first_no
    clocks: list[int] = []
    damaged: list[int] = []
    lost: list[tuple[int, int]] = []
    for block in blocks:
        try:
            batches = reader.unpacked(name, block)
        except Corrupt:
            digest, at = "", block.last_no + 1  # a check of the archive then names what cannot be read
            continue
        for batch in batches:
            lost += [(at, batch.no - 1)] if batch.no > at else []
            at = batch.no + 1
            damaged += [stored.id for stored in batch.records if not stored.intact]
            clocks = [clocks[0] if clocks else batch.clock_ns, batch.clock_ns]
            raw_bytes += raw_size(batch)
    first_no = int(name[8:20])
    if blocks[0].first_no > first_no:
        lost.insert(0, (first_no, blocks[0].first_no - 1))
    snapshot = folder / f"state-{first_no - 1:012d}.db.gz"
    return Segment(
        name=name,
        first_no=first_no,
        last_no=blocks[-1].last_no,
        first_record=blocks[0].first_record,
        last_record=blocks[-1].last_record,
        first_clock_ns=clocks[0] if clocks else 0,
        last_clock_ns=clocks[-1] if clocks else 0,
        bytes=path.stat().st_size,
        raw_bytes=raw_bytes,
        sha256=digest,
        damaged=damaged,
        lost=lost,
        snapshot=snapshot.name if snapshot.exists() else "",
        snapshot_sha256=file_sha256(snapshot) if snapshot.exists() else "",
    )._asdict()


def _insert(lines: list[dict[str, Any]], line: dict[str, Any] | None) -> None:
    """Put a segment's line where it belongs: segments stand in order."""
    if line is None:
        return
    after = (place for place, one in enumerate(lines) if "name" in one and one["first_no"] > line["first_no"])
    lines.insert(next(after, len(lines)), line)


def _set_aside(folder: Path, raw: bytes) -> str:
    number = 1 + len(list(folder.glob(f"{MANIFEST}.damaged-[0-9]*[0-9]")))
    name = f"{MANIFEST}.damaged-{number:03d}"
    _write(folder / name, raw)
    return name


def _replace(path: Path, lines: list[dict[str, Any]]) -> None:
    previous, rows = GENESIS, []
    for one in lines:
        line = {**{key: value for key, value in one.items() if key != "hash"}, "previous": previous}
        previous = line["hash"] = line_hash(line)
        rows.append(json.dumps(line, sort_keys=True).encode() + b"\n")
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    _write(fresh, b"".join(rows))
    fresh.replace(path)
    sync_directory(path.parent)


def _write(path: Path, raw: bytes) -> None:
    with path.open("xb") as file:
        path.chmod(0o600)
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
