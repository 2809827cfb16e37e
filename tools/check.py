"""Everything that is checked before a change goes in: `python tools/check.py [--no-tests]`, or `make check`.

Static tools cannot follow an editable install, so the wheel is built and installed into a folder of its own; mypy
and import-linter look at that from outside the repository: what is checked is what users get.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from build_wheel import ROOT, BuildFailed, build_wheel

BIN = Path(sys.executable).parent


class Checks:
    """Runs steps, shows one line each and the whole output of those that fail."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def step(self, name: str, command: Sequence[str | Path], cwd: Path = ROOT, show: bool = False) -> bool:
        started = time.monotonic()
        pipe = None if show else subprocess.PIPE
        try:
            done = subprocess.run(
                [str(part) for part in command], cwd=cwd, stdout=pipe, stderr=subprocess.STDOUT, text=True, check=False
            )
        except OSError as error:
            return self.report(name, started, False, f"{command[0]}: {error.strerror}; run make setup")
        return self.report(name, started, done.returncode == 0, done.stdout or "")

    def report(self, name: str, started: float, good: bool, output: str) -> bool:
        print(f"{'ok    ' if good else 'FAILED'}  {name}  ({time.monotonic() - started:.1f} s)", flush=True)
        if not good:
            self.failed.append(name)
            print(output.rstrip(), flush=True)
        return good


def check_wheel(checks: Checks, folder: Path) -> None:
    """Build, unpack and look at the package as it is installed."""
    started = time.monotonic()
    try:
        wheel = build_wheel(folder / "wheel")
    except BuildFailed as error:
        checks.report("build the wheel", started, False, str(error))
        return
    checks.report(f"build {wheel.name}", started, True, "")
    site = folder / "site"
    install = [sys.executable, "-I", "-m", "pip", "install", "--no-deps", "--no-index", "--target", site, wheel]
    if not checks.step("install it alone", install):
        return
    where = "import greenmine, sys; sys.exit(not greenmine.__file__.startswith(sys.argv[1]))"
    checks.step("it is what is imported", [sys.executable, "-c", where, str(site)], cwd=site)
    cache = ["--config-file", ROOT / "pyproject.toml", "--cache-dir", ROOT / ".mypy_cache"]
    checks.step("mypy --strict", [BIN / "mypy", "--strict", *cache, "-p", "greenmine"], cwd=site)
    checks.step("import-linter", [BIN / "lint-imports", "--config", ROOT / ".importlinter", "--no-cache"], cwd=site)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-tests", action="store_true", help="leave out pytest")
    options = parser.parse_args()
    checks = Checks()
    checks.step("ruff format --check", [BIN / "ruff", "format", "--check", "."])
    checks.step("ruff check", [BIN / "ruff", "check", "."])
    with tempfile.TemporaryDirectory(prefix="greenmine-check-") as folder:
        check_wheel(checks, Path(folder))
    if not options.no_tests:
        checks.step("pytest", [sys.executable, "-m", "pytest", "-q", "-m", "not soak"], show=True)
    if checks.failed:
        print(f"\nfailed: {', '.join(checks.failed)}", file=sys.stderr)
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
