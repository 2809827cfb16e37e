"""Builds the wheel from a copy of the source: `python tools/build_wheel.py OUT` prints the wheel's path.

A copy, because setuptools keeps `build/` and a deleted module would stay in the wheel, and because two builds in one
folder disturb each other. Needs the packages of requirements.lock; asks the network for nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "dist", "home", "tests", "*.db*", "*.duckdb*"
)


class BuildFailed(Exception):
    """The build backend's whole output."""


def build_wheel(out: Path) -> Path:
    """Build into `out` and return the wheel. Raises BuildFailed."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="greenmine-wheel-") as folder:
        source = Path(folder) / "source"
        shutil.copytree(ROOT, source, ignore=LEFT_OUT)
        fresh = Path(folder) / "out"
        done = subprocess.run(
            [sys.executable, "-I", "-m", "build", "--wheel", "--no-isolation", "--outdir", str(fresh), str(source)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise BuildFailed(done.stdout)
        (wheel,) = fresh.glob("*.whl")
        return Path(shutil.copy2(wheel, out / wheel.name))


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        print(build_wheel(Path(sys.argv[1])))
    except BuildFailed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
