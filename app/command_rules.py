"""`greenmine rules`: run rule tests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenmine.core.errors import UserError
from greenmine.terminal import FAILED, JsonOption, err, out, print_json, reported

app = typer.Typer(no_args_is_help=True, help="Test rules and limits / 测试规则与限值")


@app.callback()
def _group() -> None:
    """Test rules and limits. 测试规则与限值。"""


@app.command("test")
@reported
def run_tests(
    files: Annotated[list[Path], typer.Argument(help="Files of rule tests, or folders of them / 规则测试文件或文件夹")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Where folders of real files lie / 真实数据所在文件夹")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run rule tests: series in, verdicts and alerts out; exit 1 where one fails. 运行规则测试。"""
    from greenmine.replay.rule_test import run_file

    results = [result for file in _files(files) for result in run_file(file, data)]
    failed = [result for result in results if not result.passed]
    if as_json:
        print_json([{"file": r.file, "test": r.name, "passed": r.passed, "failures": r.failures} for r in results])
    else:
        for result in failed:
            err.print(f"{result.file}: {result.name}", style="red", markup=False, highlight=False)
            for failure in result.failures:
                err.print(f"    {failure}", markup=False, highlight=False)
        style = "red" if failed else "green"
        out.print(f"{len(results) - len(failed)} passed / 通过, {len(failed)} failed / 未通过", style=style)
    if failed:
        raise typer.Exit(FAILED)


def _files(given: list[Path]) -> list[Path]:
    found: list[Path] = []
    for path in given:
        within = sorted(path.rglob("*.yaml")) if path.is_dir() else [path]
        if not within:
            raise UserError(f"{path} is a folder without rule tests (no file *.yaml)")
        found += within
    return found
