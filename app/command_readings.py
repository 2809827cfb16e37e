"""`greenmine readings`: import, export and count."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.progress import Progress

from greenmine.core.account import Account
from greenmine.core.clock import to_rfc3339
from greenmine.core.errors import DecodeRefused, Refused, UserError
from greenmine.core.metric import METRICS
from greenmine.core.quality import flag_names, from_names
from greenmine.core.reading import Reading
from greenmine.core.reading_store import Selection
from greenmine.import_rows import import_record
from greenmine.ingest.timestamp import from_rfc3339
from greenmine.terminal import HomeOption, JsonOption, err, out, print_json, reported, the_home

app = typer.Typer(no_args_is_help=True, help="Readings / 监测数据")
COLUMNS = ("time", "mine", "device", "metric", "value", "channel", "stat", "period_s", "unit", "quality", "calibrated")
NEEDED = ("time", "mine", "device", "metric", "value")
CHUNK_ROWS = 1_000

Mine = Annotated[str | None, typer.Option(help="Mine / 矿")]
Device = Annotated[str | None, typer.Option(help="Device / 设备")]
Metric = Annotated[str | None, typer.Option(help="Metric / 指标")]
Since = Annotated[str | None, typer.Option("--from", help="RFC 3339, inclusive / 起")]
Until = Annotated[str | None, typer.Option("--to", help="RFC 3339, exclusive / 止")]


@app.command("import")
@reported
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV or Parquet: time,mine,device,metric,value[,...] / 数据文件")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import readings. They are admitted like any other, but raise no alerts. 导入数据。"""
    from greenmine.office import office

    rows = _parquet_rows(file) if file.suffix == ".parquet" else _csv_rows(file)
    total = Account()
    with office(the_home(home)) as desk, Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("import / 导入", total=None)
        try:
            for chunk in _chunks(_checked(file, rows)):
                total = total + Account(**desk.administer("readings.import", {"rows": chunk}))
                progress.update(task, completed=total.received)
        except UserError as error:
            if not total.received:
                raise
            raise UserError(
                f"{error}; {total.received} rows were imported, which does no harm when repeated"
            ) from error
    # What waits for the store has been taken; a store that has such old readings already may still find duplicates.
    found = {name: count for name, count in total._asdict().items() if name != "stored"}
    if as_json:
        print_json(found)
    else:
        out.print(", ".join(f"{name} {count}" for name, count in found.items()), highlight=False)
    if total.pending:
        err.print("pending: on their way to the store; what it has already becomes duplicate there / 待写入")
    if total.quarantined:
        err.print(
            "quarantined: not stored and not judged: no active policy registers the device and metric, the value is "
            "missing, or the time is ahead or before 2000 / 已隔离"
        )


@app.command()
@reported
def export(
    mine: Mine = None,
    device: Device = None,
    metric: Metric = None,
    since: Since = None,
    until: Until = None,
    format_: Annotated[str, typer.Option("--format", help="csv or parquet")] = "csv",
    output: Annotated[
        Path | None, typer.Option("--out", "-o", help="File; CSV goes to standard output / 输出文件")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Export stored readings in canonical units. 导出数据。"""
    from greenmine.office import office

    if format_ not in ("csv", "parquet"):
        raise UserError(f"--format {format_!r} is not known; known are csv and parquet")
    if format_ == "parquet" and output is None:
        raise UserError("Parquet needs a file: add --out FILE")
    selection = _selection(mine, device, metric, since, until)
    with office(the_home(home)) as desk:
        readings = desk.readings(selection)
        if format_ == "parquet":
            from greenmine.store.parquet import write_parquet

            assert output is not None
            count = write_parquet(output, ((r.time_ns, *_cells(r)[1:]) for r in readings))
        elif output is None:
            count = _write_csv(sys.stdout, readings)
        else:
            try:
                with output.open("w", encoding="utf-8", newline="") as stream:
                    count = _write_csv(stream, readings)
            except OSError as error:
                raise UserError(f"{output}: cannot be written: {error.strerror}") from error
    err.print(f"{count} readings / 条数据")


@app.command()
@reported
def count(
    mine: Mine = None,
    device: Device = None,
    metric: Metric = None,
    since: Since = None,
    until: Until = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count stored readings. 统计数据条数。"""
    from greenmine.office import office

    with office(the_home(home)) as desk:
        found = desk.count(_selection(mine, device, metric, since, until))
    if as_json:
        print_json({"count": found})
    else:
        out.print(str(found))


def _selection(
    mine: str | None, device: str | None, metric: str | None, since: str | None, until: str | None
) -> Selection:
    if metric is not None and metric not in METRICS:
        raise UserError(f"--metric {metric!r} is not known; known are {', '.join(METRICS)}")
    start_ns = None if since is None else _time("--from", since)
    end_ns = None if until is None else _time("--to", until)
    return Selection(mine, device, metric, start_ns=start_ns, end_ns=end_ns)


def _time(where: str, text: str) -> int:
    try:
        return from_rfc3339(text)
    except DecodeRefused as refused:
        raise UserError(f"{where}: {text!r}: {refused.detail}") from refused


def _checked(file: Path, rows: Iterator[tuple[int, list[Any]]]) -> Iterator[list[Any]]:
    for where, row in rows:
        try:
            import_record([row], "")
        except Refused as refused:
            raise UserError(f"{file}:{where}: {refused.detail.removeprefix('row 1: ')}") from refused
        yield row


def _chunks(rows: Iterator[list[Any]]) -> Iterator[list[list[Any]]]:
    while chunk := list(islice(rows, CHUNK_ROWS)):
        yield chunk


def _csv_rows(file: Path) -> Iterator[tuple[int, list[Any]]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            _check_columns(file, reader.fieldnames or [])
            for cells in reader:
                if None in cells:  # a decimal comma, most often
                    raise UserError(f"{file}:{reader.line_num}: has more fields than the first line has columns")
                yield reader.line_num, _row(file, reader.line_num, cells)
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: is not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except csv.Error as error:
        raise UserError(f"{file}: is not CSV: {error}") from error


def _parquet_rows(file: Path) -> Iterator[tuple[int, list[Any]]]:
    from greenmine.store.parquet import read_parquet

    if not file.is_file():
        raise UserError(f"{file}: there is no such file")
    for number, cells in enumerate(read_parquet(file), 1):
        if number == 1:
            _check_columns(file, ["time" if name == "time_ns" else name for name in cells])
        yield number, _row(file, number, cells)


def _check_columns(file: Path, names: Any) -> None:
    missing = [name for name in NEEDED if name not in names]
    unknown = [name for name in names if name not in COLUMNS]
    if missing or unknown:
        raise UserError(
            f"{file}:1: columns are {','.join(COLUMNS)} (the first five needed); "
            f"missing: {', '.join(missing) or '-'}; unknown: {', '.join(map(str, unknown)) or '-'}"
        )


def _row(file: Path, line: int, cells: dict[str, Any]) -> list[Any]:
    where = f"{file}:{line}"
    time_ns = cells["time_ns"] if "time_ns" in cells else _time(f"{where}: time", str(cells["time"]))
    names = cells.get("quality") or ""
    flags = names if isinstance(names, list) else str(names).replace("|", " ").split()
    try:
        quality = int(from_names(flags))
        value = None if cells["value"] in (None, "") else float(cells["value"])
        period_s = int(cells.get("period_s") or 0)
    except KeyError as error:
        raise UserError(f"{where}: quality: {error} is not a flag") from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {error}") from error
    return [
        cells["mine"],
        cells["device"],
        cells["metric"],
        cells.get("channel") or "",
        cells.get("stat") or "inst",
        period_s,
        time_ns,
        value,
        cells.get("unit") or None,
        quality,
    ]


def _cells(reading: Reading) -> tuple[Any, ...]:
    series = reading.series
    return (
        to_rfc3339(reading.time_ns),
        series.mine,
        series.device,
        series.metric,
        reading.value,
        series.channel,
        series.stat,
        series.period_s,
        METRICS[series.metric].unit,
        " ".join(flag_names(reading.quality)),
        reading.calibrated,
    )


def _write_csv(stream: TextIO, readings: Iterator[Reading]) -> int:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    total = 0
    for reading in readings:
        writer.writerow(_cells(reading))
        total += 1
    return total
