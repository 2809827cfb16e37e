"""docs/performance.md shows every benchmark, in both languages, with commands that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
BENCHMARKS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.py")}
COMMANDS = re.findall(r"`((?:python )?benchmarks/(\w+\.py)([^`]*))`", TEXT)
ENGLISH, CHINESE = TEXT.split("## 中文")


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_every_benchmark_is_shown(name: str) -> None:
    assert f"benchmarks/{name}" in ENGLISH
    assert f"benchmarks/{name}" in CHINESE


@pytest.mark.parametrize(("command", "name", "options"), COMMANDS)
def test_every_command_exists(command: str, name: str, options: str) -> None:
    for option in re.findall(r"--[\w-]+", options):
        assert f'"{option}"' in BENCHMARKS[name], command


def test_every_row_has_its_day() -> None:
    rows = [line for line in TEXT.splitlines() if "benchmarks/" in line and line.startswith("|")]
    assert len(rows) >= 2 * len(BENCHMARKS)
    assert all(re.search(r"\| 20\d\d-\d\d-\d\d \|$", line) for line in rows)
