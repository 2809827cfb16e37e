"""`greenmine journal`: what the journal and its archive hold, and whether they are as they were written."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import typer

from greenmine.core.clock import to_rfc3339
from greenmine.core.errors import Corrupt
from greenmine.home import Home
from greenmine.terminal import FAILED, HomeOption, JsonOption, listing, out, print_json, reported, short_time, the_home

app = typer.Typer(no_args_is_help=True, help="Journal and archive / 日志与归档")


@app.command()
@reported
def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show what the file and the archive hold, and what is known to be lost. 查看日志、归档与已知缺失。"""
    from greenmine.ingest.journal import JournalReader
    from greenmine.ingest.journal_mark import read_mark
    from greenmine.ingest.journal_recovery import MARK

    place = the_home(home)
    place.must_exist()
    with closing(JournalReader(place.journal, place.archive)) as reader:
        mark, segments, lost = read_mark(place.journal.with_name(MARK)), reader.archive.segments(), reader.lost()
        found: dict[str, Any] = {
            "first_batch": reader.first_no(),
            "last_batch": reader.last_no(),
            "last_record": reader.last_record_id(),
            "marked_batch": None if mark is None else mark.no,
            "bytes": _size(place),
            "archive_segments": len(segments),
            "archive_bytes": sum(one.bytes for one in segments),
            "snapshot_bytes": sum(path.stat().st_size for path in place.archive.glob("state-*.db.gz")),
            "archived_to_batch": reader.archive.last_no(),
            "lost_batches": [list(span) for span in lost],
            "set_aside": sorted(path.name for path in place.path.glob("journal.db.damaged-[0-9]*[0-9]")),
        }
    if as_json:
        print_json(found)
        return
    words = {
        "first_batch": "oldest batch in the file / 文件中最早批次",
        "last_batch": "newest batch / 最新批次",
        "last_record": "newest record / 最新记录",
        "marked_batch": "mark beside the file / 高水位标记",
        "bytes": "bytes of the file / 文件字节",
        "archive_segments": "segments in the archive / 归档分段",
        "archive_bytes": "bytes of the archive / 归档字节",
        "snapshot_bytes": "bytes of its snapshots of the state / 状态快照字节",
        "archived_to_batch": "archived up to batch / 已归档至批次",
        "lost_batches": "lost batches / 缺失批次",
        "set_aside": "damaged files kept / 保留的损坏文件",
    }
    for key, value in found.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        out.print(f"{words[key]}: {'-' if shown in ('', None) else shown}", markup=False, highlight=False)


@app.command()
@reported
def segments(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the segments of the archive. 列出归档分段。"""
    from greenmine.ingest.archive import ArchiveReader

    place = the_home(home)
    place.must_exist()
    rows = [
        {**one._asdict(), "from": to_rfc3339(one.first_clock_ns), "to": to_rfc3339(one.last_clock_ns)}
        for one in ArchiveReader(place.archive).segments()
    ]
    if not as_json:
        rows = [{**row, "from": short_time(row["from"]), "to": short_time(row["to"])} for row in rows]
    columns = [
        ("name", "segment / 分段"),
        ("from", "from / 起"),
        ("to", "to / 止"),
        ("first_no", "batch / 批次"),
        ("last_no", "to / 至"),
        ("bytes", "bytes / 字节"),
        ("sha256", "SHA-256"),
    ]
    listing(rows, columns, as_json, "nothing is archived yet / 尚无归档")


@app.command()
@reported
def verify(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Read everything and compare it with its checksums; exit 1 where anything does not fit. 校验日志与归档。"""
    from greenmine.ingest.journal import JournalReader

    place = the_home(home)
    place.must_exist()
    problems: list[str] = []
    batches = records = 0
    with closing(JournalReader(place.journal, place.archive)) as reader:
        problems += reader.archive.verify()
        problems += [f"batches {first} to {last} are lost" for first, last in reader.lost()]
        try:
            if not reader.sound():
                problems.append("the file is damaged, says SQLite's own check")
            for batch in reader.all_batches():
                batches += 1
                records += len(batch.records)
                problems += [f"record {one.id} does not fit its checksum" for one in batch.records if not one.intact]
        except Corrupt as error:
            problems.append(str(error))
    if as_json:
        print_json({"batches": batches, "records": records, "problems": problems})
    else:
        for words in problems:
            out.print(words, markup=False, highlight=False)
        done = f"{batches} batches, {records} records read / 已读批次与记录; {len(problems)} problems / 问题"
        out.print(done, markup=False, highlight=False)
    if problems:
        raise typer.Exit(FAILED)


def _size(place: Home) -> int:
    files = (place.journal, place.journal.with_name(f"{place.journal.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
