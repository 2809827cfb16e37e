"""`greenmine dead-letters`: what was refused and why, its bytes, and reading it again."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Annotated

import typer
from rich.markup import escape

from greenmine.core.act import Act, ActKind
from greenmine.core.dead_letter import DeadReason
from greenmine.core.errors import NotFound, Refused
from greenmine.terminal import HomeOption, JsonOption, listing, out, print_json, reported, the_home

app = typer.Typer(no_args_is_help=True, help="Refused messages / 死信")
ReasonOption = Annotated[DeadReason | None, typer.Option("--reason", help="Only of this reason / 原因")]
MOST_READ = 10_000
MOST_AT_ONCE = 200
"""Letters that one act replays; between two acts the judging takes what is live."""

TALLY = {
    "messages": "messages 报文",
    "stored": "stored 入库",
    "quarantined": "quarantined 隔离",
    "still_dead": "still dead 仍拒收",
    "already_known": "already known 已有",
    "activities": "activities 活动",
    "returned": "given to the store again 重新交给数据库",
}
"""What became of what was read again, as people read it."""
STILL_DEAD = (
    "What is dead for another reason now has a new id in `greenmine dead-letters list`. A changed policy file counts "
    "from the service's next start: restart it, then replay.\n"
    "原因有变的有新编号，见 greenmine dead-letters list；策略文件改动后须先重启服务再重放。"
)


@app.command("list")
@reported
def list_dead_letters(
    reason: ReasonOption = None,
    mine: Annotated[str | None, typer.Option(help="Only of this mine / 矿")] = None,
    device: Annotated[str | None, typer.Option(help="Only of this device / 设备")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The newest n / 最近 n 条")] = 200,
    everything: Annotated[bool, typer.Option("--all", help="Also those replayed / 含已重放")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List refused messages and items with their reasons. 列出死信。"""
    from greenmine.office import state_of
    from greenmine.store import dead_letters
    from greenmine.web.api_dead_letters import dead_letter_out

    word = None if reason is None else reason.value
    with state_of(the_home(home)) as connection:
        found = dead_letters.listed(connection, limit, not everything, word, mine, device)
    rows = [dead_letter_out(row).model_dump() for row in found]
    columns = [
        ("id", "id / 编号"),
        ("at", "at / 时间"),
        ("word", "reason / 原因"),
        ("field", "place / 位置"),
        ("topic", "topic / 主题"),
        ("client", "client / 账号"),
        ("detail", "detail / 说明"),
    ]
    listing(rows, columns, as_json, "no dead letters / 没有死信")


@app.command()
@reported
def show(
    number: Annotated[int, typer.Argument(metavar="ID", help="As `dead-letters list` shows it / 编号")],
    raw: Annotated[bool, typer.Option("--raw", help="Only the bytes, as they came / 仅输出原始字节")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one dead letter with its bytes. 查看死信原文。"""
    from greenmine.intakes import payload_of
    from greenmine.office import state_of
    from greenmine.store import dead_letters
    from greenmine.web.api_dead_letters import dead_letter_out

    target = the_home(home)
    with state_of(target) as connection:
        row = dead_letters.get(connection, number)
    payload = payload_of(row, target.journal)
    if raw:
        if payload is None:
            raise NotFound(f"dead letter {number} is a reading that the store refused; it has no message")
        sys.stdout.buffer.write(payload)
        return
    shown = {
        **dead_letter_out(row).model_dump(),
        "size": None if payload is None else len(payload),
        "text": None if payload is None else payload.decode("utf-8", "backslashreplace"),
        "hex": None if payload is None else payload.hex(),
    }
    if as_json:
        print_json(shown)
        return
    for name, value in shown.items():
        if value not in (None, "") and name != "hex":
            out.print(f"[bold]{name:<12}[/bold] {escape(str(value))}", highlight=False)


@app.command()
@reported
def replay(
    ids: Annotated[list[int] | None, typer.Argument(help="Ids as `dead-letters list` shows them / 编号")] = None,
    reason: ReasonOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decode dead letters again by today's rules; nothing is stored twice, and nobody is paged. 重放死信。"""
    from greenmine.office import PRINCIPAL, office, state_of
    from greenmine.store import dead_letters

    target = the_home(home)
    if bool(ids) == (reason is not None):
        raise Refused("ids", "name dead letters by their ids, or give --reason")
    if reason is not None:
        with state_of(target) as connection:
            ids = [row.id for row in dead_letters.listed(connection, MOST_READ, word=reason.value)]
        if not ids:
            raise NotFound(f"there are no dead letters of reason {reason.value}")
    asked = ids or []
    tally: Counter[str] = Counter()
    unread: NotFound | None = None
    with office(target) as desk:
        for at in range(0, len(asked), MOST_AT_ONCE):
            body = {"ids": asked[at : at + MOST_AT_ONCE]}
            try:
                tally.update(desk.act(Act(ActKind.REPLAY_DEAD_LETTERS, PRINCIPAL, body=body)))
            except NotFound as error:  # of this slice; its messages may have been read again with those before
                unread = error
    if unread is not None and not tally:
        raise unread
    if as_json:
        print_json(tally)
    else:
        out.print(", ".join(f"{TALLY.get(name, name)} {count}" for name, count in tally.items()))
        if tally.get("still_dead"):
            out.print(STILL_DEAD, highlight=False)
