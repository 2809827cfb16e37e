"""`greenmine gaps` and `greenmine ingest`: what devices numbered and never sent; what came of what they sent."""

from __future__ import annotations

from typing import Annotated

import typer

from greenmine.terminal import HomeOption, JsonOption, listing, reported, short_time, the_home

gaps = typer.Typer(no_args_is_help=True, help="Gaps in what devices send / 缺数")
ingest = typer.Typer(no_args_is_help=True, help="What came of what devices sent / 接收账目")

MineOption = Annotated[str | None, typer.Option(help="Only of this mine / 矿")]
DeviceOption = Annotated[str | None, typer.Option(help="Only of this device / 设备")]


@gaps.command("list")
@reported
def list_gaps(
    mine: MineOption = None,
    device: DeviceOption = None,
    open_only: Annotated[bool, typer.Option("--open", help="Only open ones / 未补齐")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The newest n / 最近 n 条")] = 500,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List numbers that devices passed over, and whether they came later. 列出缺失的报文序号及补传情况。"""
    from greenmine.office import state_of
    from greenmine.store import gaps as gap_table
    from greenmine.web.api_ingest import gap_out

    with state_of(the_home(home)) as connection:
        found = gap_table.listed(connection, mine, device, open_only, limit)
    rows = [gap_out(gap).model_dump(by_alias=True) for gap in found]
    if not as_json:
        rows = [
            {
                **row,
                "found": short_time(row["found"]),
                "where": f"{row['mine']}/{row['device']}",
                "numbers": f"{row['first_seq']}-{row['last_seq']}",
            }
            for row in rows
        ]
    columns = [
        ("found", "found / 发现"),
        ("where", "where / 位置"),
        ("stream", "stream / 序列"),
        ("numbers", "numbers / 序号"),
        ("missing", "missing / 缺"),
        ("filled", "filled / 已补"),
        ("asked", "asked / 已请求"),
        ("reason", "state / 状态"),
    ]
    listing(rows, columns, as_json, "no gaps / 没有缺数")


@ingest.command()
@reported
def account(
    mine: MineOption = None,
    device: DeviceOption = None,
    start: Annotated[str | None, typer.Option("--from", help="RFC 3339; 24 h back if left out / 起")] = None,
    end: Annotated[str | None, typer.Option("--to", help="RFC 3339; now if left out / 止")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what was expected of each device in each hour, and what came of what it sent. 逐设备逐小时的接收账目。"""
    from greenmine.device_hours import DeviceHours
    from greenmine.office import state_of
    from greenmine.web.api_ingest import device_hour_out
    from greenmine.web.times import query_span

    span = query_span(start, end)
    with state_of(the_home(home)) as connection:
        found = DeviceHours().listed(connection, mine, device, span.start_ns, span.end_ns)
    rows = [device_hour_out(one).model_dump() for one in found]
    if not as_json:
        rows = [
            {**row, "hour": short_time(row["hour"]), "where": f"{row['mine'] or '?'}/{row['device'] or '?'}"}
            for row in rows
        ]
    columns = [
        ("hour", "hour / 小时"),
        ("where", "where / 位置"),
        ("expected", "expected / 应到"),
        ("received", "received / 收到"),
        ("stored", "stored / 入库"),
        ("pending", "pending / 待写"),
        ("quarantined", "quarantined / 隔离"),
        ("duplicate", "duplicate / 重复"),
        ("conflict", "conflict / 冲突"),
        ("dead", "dead / 死信"),
        ("missing", "missing / 缺失"),
    ]
    listing(rows, columns, as_json, "nothing expected and nothing received / 无应到数据，也未收到数据")


@ingest.command()
@reported
def reasons(
    mine: MineOption = None, device: DeviceOption = None, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Count why readings were refused, quarantined or flagged, by device. 拒收、隔离与标记的原因及次数。"""
    from greenmine.office import state_of
    from greenmine.store import hours
    from greenmine.web.api_ingest import reasons_out

    with state_of(the_home(home)) as connection:
        found = hours.reasons(connection, mine, device)
    rows = [one.model_dump() for one in reasons_out(found)]
    if not as_json:
        rows = [{**row, "where": f"{row['mine'] or '?'}/{row['device'] or '?'}"} for row in rows]
        rows = [{**row, "meaning": f"{row['meaning_en']} / {row['meaning_zh']}"} for row in rows]
    columns = [
        ("where", "where / 位置"),
        ("kind", "what / 处置"),
        ("word", "reason / 原因"),
        ("count", "count / 次数"),
        ("meaning", "meaning / 含义"),
    ]
    listing(rows, columns, as_json, "nothing refused, quarantined or flagged / 无拒收、隔离或标记")


@ingest.command()
@reported
def activity(
    mine: Annotated[str, typer.Option(help="The mine / 矿")],
    start: Annotated[str | None, typer.Option("--from", help="RFC 3339; 24 h back if left out / 起")] = None,
    end: Annotated[str | None, typer.Option("--to", help="RFC 3339; 24 h ahead if left out / 止")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a mine was doing or plans: blasts, watering, haulage, stops, weather warnings. 矿山活动。"""
    from greenmine.office import state_of
    from greenmine.store import activities
    from greenmine.store.state import JOURNAL_CLOCK, get_meta
    from greenmine.web.api_ingest import USUAL_SPAN_NS, activity_out
    from greenmine.web.times import query_span

    span = query_span(start, end)
    with state_of(the_home(home)) as connection:
        now_ns = int(get_meta(connection, JOURNAL_CLOCK) or 0)
        start_ns = now_ns - USUAL_SPAN_NS if span.start_ns is None else span.start_ns
        end_ns = now_ns + USUAL_SPAN_NS if span.end_ns is None else span.end_ns
        found = activities.listed(connection, mine, start_ns, end_ns)
    rows = [activity_out(one).model_dump() for one in found]
    if not as_json:
        rows = [{**row, "start": short_time(row["start"]), "end": short_time(row["end"])} for row in rows]
    columns = [
        ("start", "start / 开始"),
        ("end", "end / 结束"),
        ("kind", "kind / 类别"),
        ("zone", "zone / 区域"),
        ("device", "device / 设备"),
        ("ended_by", "ended by / 结束方式"),
    ]
    listing(rows, columns, as_json, "nothing reported / 没有上报的活动")
