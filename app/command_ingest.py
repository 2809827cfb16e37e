"""`greenmine gaps`: what devices numbered and never sent."""

from __future__ import annotations

from typing import Annotated

import typer

from greenmine.terminal import HomeOption, JsonOption, listing, reported, short_time, the_home

gaps = typer.Typer(no_args_is_help=True, help="Gaps in what devices send / 缺数")

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
