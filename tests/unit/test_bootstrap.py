from __future__ import annotations

import ast
import fcntl
import importlib.util
import json
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FILE = Path(__file__).resolve().parents[2] / "tools" / "bootstrap.py"


@pytest.fixture
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap_under_test", FILE)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


class Checkout:
    """A small checkout, and a `run` that makes what the real commands make and can be told to fail."""

    def __init__(self, root: Path, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.module = root, module
        self.ran: list[str] = []
        self.fail_on = ""
        (root / "tools").mkdir(parents=True)
        (root / "tools" / "bootstrap.py").write_bytes(FILE.read_bytes())
        (root / "requirements.lock").write_text("a==1 --hash=sha256:0\n")
        (root / "pyproject.toml").write_text("[project]\n")
        self.python = (3, 12)
        monkeypatch.setattr(module, "find_python", lambda: ("/usr/bin/python3.12", self.python))
        monkeypatch.setattr(module, "run", self.run)

    def run(self, command: list[Any], log: object = None, on_line: object = None) -> None:
        words = [str(part) for part in command]
        name = "venv" if "venv" in words else "packages" if "--require-hashes" in words else "project"
        self.ran.append(name)
        if name == "venv":
            bin_folder = self.root / ".venv" / "bin"
            bin_folder.mkdir(parents=True, exist_ok=True)
            (bin_folder / "python").write_text("")
            (self.root / ".venv" / "pyvenv.cfg").write_text("")
        if name == self.fail_on:
            raise self.module.SetupError("told to")

    def bootstrap(self) -> list[str]:
        self.ran.clear()
        self.module.bootstrap(self.root)
        return list(self.ran)

    @property
    def stamp(self) -> Path:
        return self.root / ".venv" / "bootstrap.json"


@pytest.fixture
def checkout(tmp_path: Path, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    return Checkout(tmp_path / "greenmine", module, monkeypatch)


ALL = ["venv", "packages", "project"]


def test_the_first_run_does_all_and_the_second_nothing(checkout: Checkout) -> None:
    assert checkout.bootstrap() == ALL
    assert checkout.bootstrap() == []


def test_another_lock_makes_the_environment_anew(checkout: Checkout) -> None:
    checkout.bootstrap()
    (checkout.root / "requirements.lock").write_text("a==2 --hash=sha256:1\n")
    assert checkout.bootstrap() == ALL
    assert checkout.bootstrap() == []


def test_another_pyproject_installs_only_the_project(checkout: Checkout) -> None:
    checkout.bootstrap()
    (checkout.root / "pyproject.toml").write_text("[project]\nname='x'\n")
    assert checkout.bootstrap() == ["project"]
    assert checkout.bootstrap() == []


def test_another_python_makes_the_environment_anew(checkout: Checkout) -> None:
    checkout.bootstrap()
    checkout.python = (3, 13)
    assert checkout.bootstrap() == ALL


def test_a_checkout_that_was_moved_is_set_up_anew(checkout: Checkout) -> None:
    checkout.bootstrap()
    checkout.root = checkout.root.rename(checkout.root.parent / "elsewhere")
    assert checkout.bootstrap() == ALL


@pytest.mark.parametrize("step", ALL)
def test_a_run_that_broke_off_leaves_no_stamp_and_is_done_again(checkout: Checkout, step: str) -> None:
    checkout.bootstrap()
    (checkout.root / "requirements.lock").write_text("b==1 --hash=sha256:2\n")
    checkout.fail_on = step
    with pytest.raises(checkout.module.SetupError):
        checkout.bootstrap()
    assert not checkout.stamp.exists()
    checkout.fail_on = ""
    assert checkout.bootstrap() == ALL


@pytest.mark.parametrize("content", ["", "{", "[]", '{"packages": {}}', "null"])
def test_a_stamp_that_cannot_be_read_counts_as_none(checkout: Checkout, content: str) -> None:
    checkout.bootstrap()
    checkout.stamp.write_text(content)
    assert checkout.bootstrap() == ALL
    assert json.loads(checkout.stamp.read_text())["packages"]


def test_an_environment_whose_python_is_gone_is_made_anew(checkout: Checkout) -> None:
    checkout.bootstrap()
    python = checkout.root / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(checkout.root / "gone")
    assert checkout.bootstrap() == ALL


def test_a_folder_that_is_no_environment_is_not_overwritten(checkout: Checkout) -> None:
    (checkout.root / ".venv").mkdir()
    (checkout.root / ".venv" / "mine.txt").write_text("keep")
    with pytest.raises(checkout.module.SetupError, match="move it away"):
        checkout.bootstrap()
    assert (checkout.root / ".venv" / "mine.txt").read_text() == "keep"


def test_a_checkout_without_its_lock_says_so(checkout: Checkout) -> None:
    (checkout.root / "requirements.lock").unlink()
    with pytest.raises(checkout.module.SetupError, match="whole checkout"):
        checkout.bootstrap()


def test_a_second_run_waits_and_finds_the_work_done(checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    waiting = threading.Event()
    checkout.module.print = lambda *words, **_: waiting.set() if "waiting" in words[0] else None  # type: ignore[attr-defined]
    with open(checkout.root / "tools" / "bootstrap.py", "rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        second = threading.Thread(target=checkout.bootstrap)
        second.start()
        assert waiting.wait(10)
        assert checkout.ran == []
        (checkout.root / ".venv" / "bin").mkdir(parents=True)
        (checkout.root / ".venv" / "bin" / "python").write_text("")
        checkout.stamp.write_text(json.dumps(checkout.module.wanted_stamp(checkout.root, checkout.python)))
    second.join(10)
    assert not second.is_alive()
    assert checkout.ran == []


@pytest.mark.parametrize(
    ("running", "on_path", "expected"),
    [
        ((3, 11), {}, (3, 11)),
        ((3, 13), {"python3.12": (3, 12)}, (3, 13)),
        ((3, 8), {"python3.11": (3, 11), "python3.12": (3, 12)}, (3, 12)),
        ((3, 10), {"python3.13": None, "python3": (3, 11)}, (3, 11)),
        ((3, 14), {"python3.12": (3, 12)}, (3, 12)),
        ((3, 14), {}, (3, 14)),
        ((3, 8), {"python3": (3, 9)}, None),
        ((3, 6), {}, None),
    ],
)
def test_a_fitting_python_is_found(
    module: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    running: tuple[int, int],
    on_path: dict[str, tuple[int, int] | None],
    expected: tuple[int, int] | None,
) -> None:
    monkeypatch.setattr(module.sys, "version_info", (*running, 0, "final", 0))
    monkeypatch.setattr(module.shutil, "which", lambda name: name if name in on_path else None)
    monkeypatch.setattr(module, "ask_version", lambda path: on_path[path])
    if expected is None:
        with pytest.raises(
            module.SetupError, match=rf"this is Python {running[0]}\.{running[1]}.*needs 3\.11 to 3\.13"
        ):
            module.find_python()
    else:
        assert module.find_python()[1] == expected


def test_an_interpreter_is_asked_for_its_version(module: ModuleType, tmp_path: Path) -> None:
    assert module.ask_version(sys.executable) == sys.version_info[:2]
    broken = tmp_path / "python3.13"
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    assert module.ask_version(str(broken)) is None
    assert module.ask_version(str(tmp_path / "absent")) is None


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM", "not the one that requirements.lock names"),
        ("Failed to establish a new connection: Temporary failure in name resolution", "PIP_INDEX_URL"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("ensurepip is not available", "python3-venv"),
    ],
)
def test_a_failed_step_shows_its_output_and_says_what_to_do(module: ModuleType, output: str, advice: str) -> None:
    script = f"print({output!r}); raise SystemExit(3)"
    with pytest.raises(module.SetupError) as error:
        module.run([sys.executable, "-c", script])
    assert "code 3" in str(error.value)
    assert output in str(error.value)
    assert advice in str(error.value)


def test_pip_is_shielded_from_what_would_send_it_elsewhere(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONPATH", "PIP_TARGET", "PIP_USER", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, "x")
    kept = module.environment()
    assert not {"PYTHONPATH", "PIP_TARGET", "PIP_USER"} & set(kept)
    assert kept["PIP_INDEX_URL"] == "x"


def test_an_old_python_can_read_it_and_only_the_standard_library_is_used() -> None:
    source = FILE.read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 6))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= set(sys.stdlib_module_names)
    assert "__future__" not in imported  # `annotations` came with 3.7


def test_a_mistake_ends_with_a_message_and_not_with_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "bootstrap.py").write_bytes(FILE.read_bytes())
    done = subprocess.run(
        [sys.executable, str(tmp_path / "tools" / "bootstrap.py")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "setup failed: cannot read" in done.stderr
    assert "Traceback" not in done.stderr
