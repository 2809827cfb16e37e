from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = re.findall(r"(?m)^([a-z]+):", MAKEFILE)

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


def make(*arguments: str) -> str:
    # `make test` runs this under a make of its own, whose flags and level are not ours.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, env=clean)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_is_a_target_for_all_that_is_promised() -> None:
    promised = {"help", "setup", "demo", "test", "check", "soak", "bench", "lock", "screenshot", "clean"}
    assert set(TARGETS) == promised
    assert set(re.findall(r"[a-z]+", re.findall(r"(?m)^\.PHONY: (.+)$", MAKEFILE)[0])) == promised


def test_help_is_what_one_gets_without_a_target_and_names_each() -> None:
    shown = make()
    assert [name for name in TARGETS if f"make {name} " not in shown] == []


@pytest.mark.parametrize("target", ["demo", "test", "check", "soak", "bench", "screenshot"])
def test_what_needs_the_environment_makes_it_first(target: str) -> None:
    lines = make("-n", target, "PYTHON=some-python").splitlines()
    assert lines[0] == "some-python tools/bootstrap.py"
    assert len(lines) > 1


def test_test_leaves_the_long_runs_to_soak() -> None:
    assert '-m "not soak" -k journal' in make("-n", "test", "PYTEST_ARGS=-k journal")
    assert "-m soak" in make("-n", "soak")


def test_arguments_reach_the_demo() -> None:
    assert "greenmine demo --for 60s" in make("-n", "demo", "ARGS=--for 60s")
