"""A process that writes a journal until the disk fails: `python -m tests.disk_victim JOURNAL FIRST LAST`.

It prints the number of each message once that is acknowledged, and ends with 3 when the writer has failed.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from greenmine.core.clock import SystemClock
from greenmine.core.errors import StoreUnavailable
from greenmine.ingest.journal_recovery import open_journal
from greenmine.ingest.journal_writer import JournalWriter, Submission, WriterLimits
from greenmine.ingest.record import Record, RecordKind

DISK_FAILED = 3


class Printed:
    """An acknowledgement that is on standard output before the next message is sent."""

    def __init__(self) -> None:
        self.room = threading.Semaphore(0)

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        for number in tokens:
            print(number, flush=True)
            self.room.release()


def main(path: Path, first: int, last: int) -> int:
    failed = threading.Event()
    sink = Printed()

    def fail(_: StoreUnavailable) -> None:
        failed.set()
        sink.room.release()

    try:
        journal, _ = open_journal(path, path.parent / "archive", 0)
        writer = JournalWriter(journal, SystemClock(), lambda: None, fail, WriterLimits(linger_s=0.0, tick_s=60.0))
        writer.start()
        for number in range(first, last + 1):
            writer.offer(Submission(Record(RecordKind.MESSAGE, "mines/m/d/up", b"%d" % number), sink, number))
            sink.room.acquire()
            if failed.is_set():
                return DISK_FAILED
        writer.stop()
        journal.close()
    except StoreUnavailable:
        return DISK_FAILED
    return DISK_FAILED if failed.is_set() else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
