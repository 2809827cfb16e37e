"""`greenmine policy`: check files, print the schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenmine.core.errors import PolicyError, Problem
from greenmine.terminal import BAD_INPUT, err, out, print_json, reported

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
