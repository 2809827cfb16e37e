from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "tools" / "runtime_lock.py"


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("runtime_lock_under_test", FILE)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def run(*names: str) -> str:
    done = subprocess.run([sys.executable, str(FILE), *names], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_that_a_kept_package_needs_is_left_out(module: ModuleType) -> None:
    """Against what the installed packages say themselves, not against the comments the tool reads."""
    kept = set(module.blocks_of(run()))
    for name in kept:
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform
        needed = [Requirement(r) for r in requirements]
        for need in needed:
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                assert module.normal(need.name) in kept, f"{name} needs {need.name}"


def test_what_the_project_itself_depends_on_is_kept(module: ModuleType) -> None:
    kept = set(module.blocks_of(run()))
    for requirement in importlib.metadata.requires("greenmine") or []:
        need = Requirement(requirement)
        if need.marker is None or "extra" not in str(need.marker):
            assert module.normal(need.name) in kept


@pytest.mark.parametrize(
    "name", ["pytest", "mypy", "ruff", "hypothesis", "playwright", "weasyprint", "quixstreams", "apprise"]
)
def test_tools_and_extras_are_left_out(module: ModuleType, name: str) -> None:
    assert name not in module.blocks_of(run())


def test_each_line_is_the_locks_own() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert [line for line in run().splitlines() if line not in lock] == []
    assert len(re.findall("--hash=sha256:", run())) > 100


def test_named_packages_with_what_they_need(module: ModuleType) -> None:
    lock = (
        "a==1 \\\n    --hash=sha256:1\n    # via greenmine (pyproject.toml)\n"
        "b==1 ; python_version < '4' \\\n    --hash=sha256:2\n    # via\n    #   A\n    #   d\n"
        "c-x==1 \\\n    --hash=sha256:3\n    # via b\n"
        "d==1 \\\n    --hash=sha256:4\n    # via greenmine (pyproject.toml)\n"
    )
    assert list(module.blocks_of(module.subset(lock, ["a"]))) == ["a", "b", "c-x"]
    assert list(module.blocks_of(module.subset(lock, ["C_x"]))) == ["c-x"]
    with pytest.raises(KeyError):
        module.subset(lock, ["absent"])
