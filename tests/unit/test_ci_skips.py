from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

TESTS = """
import pytest


@pytest.mark.mosquitto
def test_ran(): pass

@pytest.mark.mosquitto
@pytest.mark.skipif({skip_mosquitto}, reason="no mosquitto")
def test_may_skip(): pass

@pytest.mark.chromium
@pytest.mark.skipif({skip_chromium}, reason="no chromium")
def test_page(): pass

@pytest.mark.skip(reason="no network")
def test_other(): pass
"""


def verdict(tmp_path: Path, skip_mosquitto: bool, skip_chromium: bool, *programs: str) -> tuple[int, str]:
    """What ci_skips says of a real report of a real run with the project's conftest."""
    (tmp_path / "conftest.py").write_bytes((ROOT / "tests" / "conftest.py").read_bytes())
    tests = TESTS.format(skip_mosquitto=skip_mosquitto, skip_chromium=skip_chromium)
    (tmp_path / "test_it.py").write_text(tests)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  mosquitto\n  chromium\n")
    report = tmp_path / "junit.xml"
    run = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", "-p", "no:cacheprovider", "."]
    assert subprocess.run(run, cwd=tmp_path, capture_output=True, timeout=60).returncode == 0
    command = [sys.executable, str(ROOT / "tools" / "ci_skips.py"), str(report), *programs]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout


def test_all_ran(tmp_path: Path) -> None:
    assert verdict(tmp_path, False, False, "mosquitto", "chromium") == (0, "tests with mosquitto, chromium did run\n")


def test_a_skip_is_named_with_its_reason(tmp_path: Path) -> None:
    code, said = verdict(tmp_path, True, False, "mosquitto", "chromium")
    assert code == 1
    assert said.strip() == "mosquitto is installed, yet test_it::test_may_skip was skipped: no mosquitto"


def test_a_program_that_no_test_used_is_named(tmp_path: Path) -> None:
    code, said = verdict(tmp_path, False, True, "mosquitto", "chromium", "victoria")
    assert code == 1
    assert "chromium is installed, yet no test that needs it ran" in said
    assert "victoria is installed, yet no test that needs it ran" in said


@pytest.mark.parametrize("programs", [["mosquitto"], ["mosquitto", "mosquitto"]])
def test_skips_for_programs_that_are_not_there_are_fine(tmp_path: Path, programs: list[str]) -> None:
    assert verdict(tmp_path, False, True, *programs)[0] == 0
