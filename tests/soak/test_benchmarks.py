"""Each benchmark still runs, at a size at which its numbers mean nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mosquitto_server import find_mosquitto

pytestmark = pytest.mark.soak
FOLDER = Path(__file__).parents[2] / "benchmarks"
SMALL = {
    "backlog.py": "--readings 30000",
    "duckdb_write.py": "--rows 10000 --batches 3",
    "faults.py": "--messages 500 --kills 1 --rate 200",
    "hj212_tcp.py": "--connections 20 --rate 50 --for 2",
    "outage.py": "--for 20",
    "publish_to_alert.py": "--for 3",
    "whole_path.py": "--alone --rate 1000 --for 2 --rounds 1",
}
NEED_MOSQUITTO = {"faults.py", "outage.py", "publish_to_alert.py", "whole_path.py"}


def test_none_is_left_out() -> None:
    assert set(SMALL) == {path.name for path in FOLDER.glob("*.py")}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", sorted(SMALL))
def test_it_runs(name: str) -> None:
    if name in NEED_MOSQUITTO and find_mosquitto() is None:
        pytest.skip("no mosquitto: set GREENMINE_MOSQUITTO to the program, or put mosquitto on PATH")
    command = [sys.executable, str(FOLDER / name), *SMALL[name].split()]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout
