"""`greenmine policy`: check files, print the schema, list what limits apply, compare two policies."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from greenmine.core.errors import NotFound, PolicyError, Problem, Refused
from greenmine.limit_table import print_limits
from greenmine.terminal import BAD_INPUT, HomeOption, JsonOption, err, listing, out, print_json, reported, the_home

if TYPE_CHECKING:
    from greenmine.policy.model import Policy

SHOWN_AT_MOST = 60
"""Characters of a setting in the table of differences."""

app = typer.Typer(no_args_is_help=True, help="Check policies / 检查策略文件")


@app.command()
@reported
def check(
    files: Annotated[
        list[Path], typer.Argument(help="Policy files of mines or regions, or folders of them / 策略文件或其文件夹")
    ],
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Check policy files; every problem is named with file, line and field. 检查策略文件。"""
    from greenmine.policy.load import check_file

    errors, warnings = [], []
    for folder in [file for file in files if file.is_dir()]:
        within = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
        if not within:
            errors.append(Problem(str(folder), None, "", "is a folder without YAML files; name policy files"))
        place = files.index(folder)
        files[place : place + 1] = within
    for file in files:
        try:
            warnings += check_file(file)
        except PolicyError as error:
            errors += error.problems
    if as_json:
        found = [("error", p) for p in errors] + [("warning", p) for p in warnings]
        print_json(
            [
                {"level": level, "file": p.file, "line": p.line, "field": p.field, "message": p.message}
                for level, p in found
            ]
        )
    else:
        for problem in errors:
            err.print(str(problem), style="red", markup=False, highlight=False)
        for problem in warnings:
            err.print(f"warning: {problem}", style="yellow", markup=False, highlight=False)
        if not errors:
            out.print(f"{len(files)} good / 通过", style="green")
    if errors:
        raise typer.Exit(BAD_INPUT)


@app.command()
@reported
def schema() -> None:
    """Print the JSON Schema of a policy. 输出 JSON Schema。"""
    from greenmine.policy.schema import json_schema

    print_json(json_schema())


@app.command()
@reported
def limits(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Policy files or folders; those in force at the home if left out / 策略文件"),
    ] = None,
    mine: Annotated[str | None, typer.Option(help="Mine / 矿")] = None,
    on: Annotated[str | None, typer.Option("--date", help="Day, e.g. 2026-11-27; today if left out / 日期")] = None,
    language: Annotated[str, typer.Option("--language", help="zh | en")] = "zh",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the limits that apply to a mine on a day, and why. 列出某日适用的限值及依据。"""
    from greenmine.policy.library import shipped_library
    from greenmine.policy.limit_listing import limit_rows

    if language not in ("zh", "en"):
        raise Refused("language", f"--language {language!r}: write zh or en")
    found = _policies(files, mine, home)
    rows = []
    for policy in found:
        day = _day(on) if on is not None else datetime.now(policy.mine.zone).date()
        rows += limit_rows(policy, day, shipped_library())
    if as_json:
        print_json(rows)
        return
    print_limits(rows, language)


@app.command()
@reported
def diff(
    before: Annotated[Path, typer.Argument(help="Policy file before / 修改前")],
    after: Annotated[Path, typer.Argument(help="Policy file after / 修改后")],
    as_json: JsonOption = False,
) -> None:
    """Show what changes between two policies, regions merged in. 比较两份策略。"""
    from greenmine.policy.difference import differences
    from greenmine.policy.load import load_policy

    found = [one._asdict() for one in differences(load_policy(before).policy, load_policy(after).policy)]
    if not as_json:
        found = [{**row, "before": _short(row["before"]), "after": _short(row["after"])} for row in found]
    columns = [
        ("field", "setting / 设置"),
        ("change", "change / 变化"),
        ("before", "before / 原值"),
        ("after", "after / 新值"),
    ]
    listing(found, columns, as_json, "no difference / 没有差别")


def _short(value: object) -> str:
    """A whole device is not shown in a table: `--json` has it."""
    text = "" if value is None else str(value)
    return text if len(text) <= SHOWN_AT_MOST else text[: SHOWN_AT_MOST - 1] + "…"


def _policies(files: list[Path] | None, mine: str | None, home: Path | None) -> list[Policy]:
    if files:
        from greenmine.service import load_policies

        by_mine = load_policies(files)
    else:
        from greenmine.office import active_policies

        by_mine = active_policies(the_home(home))
    if mine is not None and mine not in by_mine:
        raise NotFound(f"there is no mine {mine!r} here; known are {', '.join(sorted(by_mine)) or 'none'}")
    return [by_mine[one] for one in sorted(by_mine) if mine in (None, one)]


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise Refused("date", f"--date {text!r} is not a day; write it as 2026-11-27") from error
