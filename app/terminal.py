"""What all commands share: options, tables or JSON, and errors as words with an exit code."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from greenmine.core.errors import GreenmineError, NotFound, Refused, UserError
from greenmine.home import Home

if TYPE_CHECKING:
    from greenmine.settings import Settings

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
UNBOUNDED_COLUMNS = 400

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="Folder where state lives / 数据目录 (default: GREENMINE_HOME or ~/.greenmine)"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output / 输出 JSON")]

_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Terminal(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to `reported`: rich would end the program with a failure."""
        raise BrokenPipeError


out = _Terminal(soft_wrap=True)
err = _Terminal(stderr=True, soft_wrap=True)


def reported(command: _Command) -> _Command:
    """Errors that are meant for people become their words and an exit code, never a stack trace."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except (UserError, Refused, NotFound) as error:
            err.print(f"[red]greenmine:[/red] {escape(str(error))}", highlight=False)
            raise typer.Exit(BAD_INPUT) from error
        except GreenmineError as error:
            err.print(f"[red]greenmine:[/red] {escape(str(error))}", highlight=False)
            raise typer.Exit(FAILED) from error
        except BrokenPipeError:
            # The reader (`head`) has had enough.
            discard_output()
            raise typer.Exit(0) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            err.print(f"[red]greenmine:[/red] {escape(where + (error.strerror or str(error)))}", highlight=False)
            raise typer.Exit(FAILED) from error
        except KeyboardInterrupt:
            err.print("interrupted / 已中断")
            raise typer.Exit(INTERRUPTED) from None

    return run  # type: ignore[return-value]


def discard_output() -> None:
    """Send what is still to be written nowhere: standard output cannot be written to, and Python would complain of that
    once more when it ends."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def the_home(option: Path | None, settings: Settings | None = None) -> Home:
    """The home that a command works on."""
    from greenmine.settings import home_of

    return Home(home_of(option, settings))


def print_json(document: Any) -> None:
    """One document, readable, on standard output."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2, default=str) + "\n")


def print_line(document: Any) -> None:
    """One document on one line of standard output."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, separators=(", ", ": "), default=str) + "\n")


HEADINGS = {
    "id": "编号",
    "name": "名称",
    "role": "角色",
    "created_at": "创建于",
    "must_change_password": "须改密码",
    "at": "时间",
    "reason": "原因",
    "condition": "状况",
    "handling": "处置",
    "principal": "操作者",
    "value": "数值",
    "note": "备注",
    "kind": "类别",
    "contact": "联系人",
    "channel": "渠道",
    "state": "状态",
    "attempts": "次数",
    "detail": "说明",
    "mine": "矿",
    "subject": "对象",
    "valid_from": "生效",
    "valid_to": "失效",
    "recorded_at": "记录于",
    "by": "操作者",
    "account": "账号",
    "device": "设备",
    "bridge": "网桥",
    "revoked_at": "撤销于",
    "certificate": "证书",
    "certificate_until": "证书到期",
    "serial": "出厂编号",
    "position": "位置",
    "calibrated": "已校准",
}
"""What keys of JSON are called in Chinese at the head of a table."""


def headed(*names: str) -> list[tuple[str, str]]:
    """Columns for `listing`, headed by their keys in both languages."""
    return [(name, f"{name.replace('_', ' ')} / {HEADINGS[name]}") for name in names]


def listing(rows: Sequence[dict[str, Any]], columns: Iterable[tuple[str, str]], as_json: bool, empty: str) -> None:
    """Rows as one JSON array, or as a table with (key, heading) columns, or a word where there are none."""
    if as_json:
        print_json(list(rows))
        return
    if not rows:
        out.print(empty)
        return
    chosen = list(columns)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for _, heading in chosen:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(escape("" if row.get(key) is None else str(row.get(key))) for key, _ in chosen))
    # Without a terminal there is no width to fit; lines are then as long as they have to be.
    (out if out.is_terminal else _Terminal(width=UNBOUNDED_COLUMNS)).print(table)


def short_time(rfc3339: str | None) -> str:
    """A time for a table: UTC to the second."""
    return "" if rfc3339 is None else rfc3339[:19].replace("T", " ") + "Z"
