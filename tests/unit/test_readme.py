"""The READMEs are what a stranger follows: their links lead somewhere, their commands exist, the quick ones are run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from greenmine.cli import app

ROOT = Path(__file__).resolve().parents[2]
READMES = ("README.md", "README.zh.md")
TARGETS = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
QUICK = ("greenmine policy check ", "greenmine simulate list", "echo ")
OTHERS_PROGRAMS = {"mosquitto_pub", "docker", ".", "echo"}


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def commands(name: str) -> list[str]:
    """The lines of the blocks that are marked as shell."""
    blocks = re.findall(r"(?ms)^ *```sh\n(.*?)^ *```$", text_of(name))
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def check_greenmine(words: list[str]) -> None:
    """Every command, option and file of one call of greenmine is there."""
    command: Any = typer.main.get_command(app)
    rest = words[1:]
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"there is no `greenmine {rest[0]}`"
        command = command.commands[rest.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert [word for word in rest if word.startswith("--") and word not in known] == []
    assert [word for word in rest if word.startswith("examples/") and not (ROOT / word).exists()] == []


@pytest.mark.parametrize("name", READMES)
def test_a_stranger_learns_how_to_run_and_test_it(name: str) -> None:
    assert "make demo" in commands(name)
    assert "make test" in commands(name)
    assert re.search(r"!\[[^]]+\]\(docs/images/[^)]+\.png\)", text_of(name)), "no picture of what one gets"


@pytest.mark.parametrize("name", READMES)
def test_every_link_and_picture_is_there(name: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)", text_of(name))
    assert len(targets) > 5
    assert [target for target in targets if "://" not in target and not (ROOT / target).exists()] == []


@pytest.mark.parametrize(("name", "line"), [(name, line) for name in READMES for line in commands(name)])
def test_every_command_exists(name: str, line: str) -> None:
    for part in line.split(" | "):
        words = shlex.split(part)
        if words[0] == "greenmine":
            check_greenmine(words)
        elif words[0] == "make":
            assert words[1] in TARGETS
        elif words[0] == "python3":
            assert (ROOT / words[1]).exists()
        else:
            assert words[0] in OTHERS_PROGRAMS, f"{name} uses a program this test does not know: {words[0]}"


@pytest.mark.parametrize("name", READMES)
def test_commands_named_in_the_text_exist(name: str) -> None:
    for call in re.findall(r"`(greenmine [^`]+)`", text_of(name)):
        check_greenmine(shlex.split(call))
    for target in re.findall(r"`make ([a-z]+)`", text_of(name)):
        assert target in TARGETS


@pytest.mark.skipif(not shutil.which("sh"), reason="no shell")
def test_the_quick_commands_do_what_they_should() -> None:
    quick = [line for line in dict.fromkeys(commands("README.md")) if line.startswith(QUICK)]
    assert len(quick) == len(QUICK)
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for line in quick:
        done = subprocess.run(
            ["sh", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=60, env={**os.environ, "PATH": paths}
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
        assert done.stdout.strip() or done.stderr.strip(), f"{line} says nothing"
