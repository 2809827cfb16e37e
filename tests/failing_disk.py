"""A journal on a disk that fails now and then (reliability P7): strace gives the process EIO for a flush."""

from __future__ import annotations

import random
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from greenmine.ingest.journal import JournalReader
from greenmine.ingest.journal_recovery import open_journal
from tests.disk_victim import DISK_FAILED

ROOT = Path(__file__).parents[1]
LONGEST_S = 60


def fail_now_and_then(folder: Path, commits: int) -> None:
    """`commits` messages, about a tenth of the flushes failing: what was acknowledged stands in the journal, of what
    was not at most the one whose flush failed, the process ends at once, and each start goes on."""
    path, chance = folder / "journal.db", random.Random(7)
    acknowledged: list[int] = []
    failures = 0
    while len(acknowledged) < commits:
        first = acknowledged[-1] + 1 if acknowledged else 1
        before = rows(path)
        said, code = run(path, first, commits, chance.randrange(8, 14), folder / "calls")
        acknowledged += said
        assert said == list(range(first, first + len(said)))
        written = rows(path)[len(before) :]
        assert written[: len(said)] == said
        assert written[len(said) :] in ([], [first + len(said)]), "nothing after the flush that failed"
        assert code == (0 if acknowledged[-1:] == [commits] else DISK_FAILED)
        failures += code == DISK_FAILED
    assert failures >= commits // 20
    journal, loss = open_journal(path, folder / "archive", 0)
    journal.close()
    assert loss is None


def run(path: Path, first: int, last: int, failing_flush: int, calls: Path) -> tuple[list[int], int]:
    """What a process acknowledged whose `failing_flush`-th flush fails, and how it ended."""
    fails = ["-e", "trace=fsync,fdatasync", "-e", f"inject=fsync,fdatasync:error=EIO:when={failing_flush}"]
    command = [sys.executable, "-m", "tests.disk_victim", str(path), str(first), str(last)]
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", str(calls), *fails, *command],
        cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S, check=False,
    )  # fmt: skip
    if "ptrace" in done.stderr:
        pytest.skip(f"strace may not run a process here: {done.stderr.splitlines()[0]}")
    assert "Traceback" not in done.stderr, done.stderr
    return [int(line) for line in done.stdout.split()], done.returncode


def rows(path: Path) -> list[int]:
    """Numbers of the messages that stand in the journal, in order."""
    if not path.exists() or path.stat().st_size == 0:
        return []
    with closing(JournalReader(path)) as reader:
        return [int(stored.record.payload) for batch in reader.all_batches() for stored in batch.records]
