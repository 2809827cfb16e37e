"""A backlog behind the cursor: how long a live reading over the limit waits for its alert, with and without lanes.

A journal is filled with the messages of 72 hours that nobody has judged. Then a pipeline starts on it, and messages go
on through the journal's writer: one in fifty is over a limit, each of a series of its own. The delay is from the offer
to the commit of the alert row. Without lanes only the first is waited for: it has the whole backlog before it.

    python benchmarks/backlog.py [--readings 200000] [--a-message 10] [--live-rate 100] [--lanes both|with|without]

Prints one JSON object a run. `journal_s` is the filling of the journal and is part of no number.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from greenmine.core.alert import Alert
from greenmine.core.clock import NS_PER_MS, NS_PER_S, SystemClock
from greenmine.core.latest import Change
from greenmine.ingest.journal import Journal, JournalReader
from greenmine.ingest.journal_writer import JournalWriter, Submission
from greenmine.ingest.record import Record, RecordKind
from greenmine.pipeline.pipeline import Pipeline
from greenmine.pipeline.thread import PipelineThread, ServiceEntry
from greenmine.policy.canonical import to_canonical_json
from greenmine.policy.model import Policy
from greenmine.store.state import StateDb

SPAN_NS = 72 * 3600 * NS_PER_S
DEVICES = 100
BATCH_MESSAGES = 20
ALARM_EVERY = 50
MOST_ALARMS = 500
WAIT_S = 3600.0


def policy(channels: int) -> Policy:
    """A hundred dust devices, one rule."""
    metrics = {"pm10": {"unit": "ug/m3", "interval": "60s"}}
    sensors = [
        {"kind": "dust", "principle": "simulated", "channel": f"s{n}", "metrics": metrics} for n in range(channels)
    ]
    return Policy.model_validate(
        {
            "schema": 1,
            "mine": {
                "id": "bench",
                "name": {"zh": "基准矿", "en": "Bench mine"},
                "enterprise": {"zh": "基准", "en": "Bench"},
                "region": "150622",
                "timezone": "Asia/Shanghai",
                "location": (110.0, 39.0),
                "noise_class": 3,
                "air_grade": 2,
            },
            "valid_from": "2020-01-01",
            "devices": [{"id": f"d{n}", "sensors": sensors} for n in range(DEVICES)],
            "rules": [
                {"id": "high", "kind": "threshold", "severity": "warning", "metric": "pm10", "raise": 250, "clear": 200}
            ],
        }
    )


def message(device: int, time_ns: int, values: dict[str, float]) -> Record:
    """A message of own JSON."""
    body = {"ts": time_ns // NS_PER_MS, "values": values}
    return Record(RecordKind.MESSAGE, f"mines/bench/d{device}/up", json.dumps(body).encode(), f"bench.d{device}")


def fill(folder: Path, messages: int, channels: int) -> float:
    """A state that knows the policy, and a journal that is 72 hours ahead of it; seconds it took."""
    begun = time.perf_counter()
    start_ns = SystemClock().wall_ns() - SPAN_NS
    journal, state = Journal(folder / "journal.db"), StateDb(folder / "state.db")
    payload = {"mine": "bench", "canonical": to_canonical_json(policy(channels))}
    activation = Record(RecordKind.POLICY, "service:bench", json.dumps(payload, ensure_ascii=False).encode())
    first = [message(n, start_ns, {f"pm10@s{c}": 20.0 for c in range(channels)}) for n in range(DEVICES)]
    journal.append([(start_ns, start_ns, [activation]), (start_ns, start_ns, first)])
    reader = JournalReader(folder / "journal.db")
    Pipeline(reader, state).run_available()
    reader.close()
    stamped: list[tuple[int, int, list[Record]]] = []
    for at in range(0, messages, BATCH_MESSAGES):
        time_ns = start_ns + (1 + at) * (SPAN_NS // (messages + 2))
        values = {f"pm10@s{c}": 20.0 + at % 7 for c in range(channels)}
        records = [message((at + n) % DEVICES, time_ns + n * NS_PER_MS, values) for n in range(BATCH_MESSAGES)]
        stamped.append((time_ns, time_ns, records))
        if len(stamped) == 500 or at + BATCH_MESSAGES >= messages:
            journal.append(stamped)
            stamped.clear()
    journal.close()
    state.close()
    return time.perf_counter() - begun


class Run:
    """A pipeline on its thread over such a journal, and the live messages beside it."""

    def __init__(self, folder: Path, lanes: bool) -> None:
        self.clock = SystemClock()
        self.journal = Journal(folder / "journal.db")
        self.backlog_no = self.journal.last_no
        self.reader, self.state = JournalReader(folder / "journal.db"), StateDb(folder / "state.db")
        self.writer = JournalWriter(self.journal, self.clock, lambda: self.thread.wake(), self._fail)
        enter = ServiceEntry(self.writer) if lanes else None
        self.pipeline = Pipeline(self.reader, self.state, enter=enter)
        self.thread = PipelineThread(self.pipeline, self._fail)
        self.sent_ns: dict[tuple[str, str], int] = {}
        self.raised_ns: dict[tuple[str, str], int] = {}
        self.changed = threading.Condition()
        self.failures: list[Exception] = []
        self.pipeline.subscribe(self._on_changes)

    def measure(self, rate: float, channels: int, lanes: bool) -> dict[str, Any]:
        """Live messages until the backlog is judged (without lanes: until the first alert)."""
        begun_ns = self.clock.monotonic_ns()
        self.writer.start()
        self.thread.start()
        sent = alarms = 0
        drained_ns = None
        while not self.failures and (self.clock.monotonic_ns() - begun_ns) / NS_PER_S < WAIT_S:
            if sent % ALARM_EVERY == 0 and alarms < MOST_ALARMS and (lanes or not alarms):
                self._live(alarms % DEVICES, f"s{alarms // DEVICES % channels}", 400.0)
                alarms += 1
            else:
                self._live(DEVICES - 1, f"s{channels - 1}", 20.0)
            sent += 1
            judged = self.pipeline.cursor > self.backlog_no and not self.pipeline.aside
            if judged and drained_ns is None:
                drained_ns = self.clock.monotonic_ns() - begun_ns
            if drained_ns is not None and len(self.raised_ns) == len(self.sent_ns):
                break
            self._pause(1 / rate)
        self.writer.stop()
        self.thread.stop()
        account = self.state.account()
        delays = sorted((self.raised_ns[key] - self.sent_ns[key]) / 1e6 for key in self.raised_ns)
        first = next(iter(self.sent_ns))
        judged_s = (drained_ns or 0) / NS_PER_S
        return {
            "first_alarm_ms": round((self.raised_ns[first] - self.sent_ns[first]) / 1e6, 1),
            "alarms": len(delays),
            "median_ms": round(delays[len(delays) // 2], 1),
            "worst_ms": round(delays[-1], 1),
            "backlog_judged_s": round(judged_s, 1),
            "backlog_readings_per_s": round((account.received - sent) / judged_s),
            "balanced": account.balanced,
            "received": account.received,
            "failed": [str(error) for error in self.failures],
        }

    def close(self) -> None:
        """Let go of the files."""
        self.reader.close()
        self.journal.close()
        self.state.close()

    def _live(self, device: int, channel: str, value: float) -> None:
        now_ns = self.clock.wall_ns()
        if value > 250:
            self.sent_ns[f"d{device}", channel] = now_ns
        self.writer.offer(Submission(message(device, now_ns, {f"pm10@{channel}": value})))

    def _pause(self, seconds: float) -> None:
        with self.changed:
            self.changed.wait(seconds)

    def _on_changes(self, changes: Sequence[Change]) -> None:
        now_ns = self.clock.wall_ns()
        for change in changes:
            if isinstance(change.what, Alert):
                self.raised_ns.setdefault((change.what.key.device, change.what.key.channel), now_ns)

    def _fail(self, error: Exception) -> None:
        self.failures.append(error)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readings", type=int, default=200_000, help="readings behind the cursor")
    parser.add_argument("--a-message", type=int, default=10, help="readings a message")
    parser.add_argument("--live-rate", type=float, default=100.0, help="live messages a second")
    parser.add_argument("--lanes", choices=("both", "with", "without"), default="both")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="greenmine-bench-") as name:
        filled = Path(name) / "filled"
        filled.mkdir()
        journal_s = fill(filled, chosen.readings // chosen.a_message, chosen.a_message)
        for lanes in (True, False):
            if chosen.lanes not in ("both", "with" if lanes else "without"):
                continue
            folder = Path(name) / f"lanes-{lanes}"
            shutil.copytree(filled, folder)
            run = Run(folder, lanes)
            found = run.measure(chosen.live_rate, chosen.a_message, lanes)
            run.close()
            shutil.rmtree(folder)
            print(json.dumps({"lanes": lanes, "readings": chosen.readings, "journal_s": round(journal_s, 1), **found}))


if __name__ == "__main__":
    main()
