"""Publish to alert row, open loop: how long after a device sent a reading over the limit its alert is committed.

A load of readings within the limit runs at a fixed rate through the embedded broker (or an external one with --broker),
and one reading in a thousand is over a limit. Latency is measured from the time at which the schedule wanted the
reading sent (open loop: a late sender counts against the system) to the pipeline's commit of the alert row.

    python benchmarks/publish_to_alert.py [--rate 1000] [--for 20] [--linger-ms 10]

Prints one JSON object with the commit interval (linger) beside the percentiles, and the time of a bare commit of one
row to SQLite on the same disk in the same run as the reference.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from greenmine.core import sqlite_library
from greenmine.core.alert import Alert
from greenmine.core.clock import NS_PER_S, SystemClock, to_rfc3339
from greenmine.core.latest import Change
from greenmine.home import Home
from greenmine.policy.model import Policy
from greenmine.service import Service
from greenmine.settings import JournalSettings, MqttSettings, Settings
from greenmine.simulator.message import TimedMessage
from greenmine.simulator.publish import MqttPublisher, run_live

DEVICES = 20
ALARM_EVERY = 1000
LIMIT = 250.0


def policy() -> Policy:
    """Twenty dust devices of 50 sensors each, one rule."""
    sensors = [
        {
            "kind": "dust",
            "principle": "simulated",
            "channel": f"s{n}",
            "metrics": {"pm10": {"unit": "ug/m3", "interval": "1s"}},
        }
        for n in range(50)
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
                {
                    "id": "high",
                    "kind": "threshold",
                    "severity": "warning",
                    "metric": "pm10",
                    "raise": LIMIT,
                    "clear": 200.0,
                }
            ],
        }
    )


def messages(rate: float, seconds: float, start_ns: int, sent_ns: dict[tuple[str, str], int]) -> Iterator[TimedMessage]:
    """One reading a message on a fixed schedule; each alarm goes to a series of its own."""
    alarms = 0
    for number in range(int(rate * seconds)):
        time_ns = start_ns + int(number * NS_PER_S / rate)
        device = f"d{number % DEVICES}"
        if number % ALARM_EVERY == ALARM_EVERY - 1:
            channel, value = f"s{alarms % 50}", 400.0 + alarms
            sent_ns[device, channel] = time_ns
            alarms += 1
        else:
            channel, value = f"s{(number // DEVICES) % 50}", 20.0
            if (device, channel) in sent_ns:
                continue  # this series has had its alarm and keeps it
        payload = {"ts": to_rfc3339(time_ns), "values": {f"pm10@{channel}": value}}
        yield TimedMessage(
            time_ns, "bench", device, f"mines/bench/{device}/up", json.dumps(payload).encode(), f"bench.{device}"
        )


def bare_commit_ms(folder: Path, count: int = 200) -> list[float]:
    """The reference: one row a commit, WAL, synchronous=FULL, on the same disk."""
    connection = sqlite_library.library.connect(str(folder / "reference.db"), isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE t(x)")
    found = []
    for number in range(count):
        begin = time.perf_counter()
        connection.execute("INSERT INTO t VALUES (?)", (number,))
        found.append((time.perf_counter() - begin) * 1000)
    connection.close()
    return sorted(found)


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The value below which this share of the values lies; None without values."""
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2) if ordered else None


def main() -> None:
    """Run once and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=1000.0, help="readings a second")
    parser.add_argument("--for", dest="seconds", type=float, default=20.0)
    parser.add_argument("--linger-ms", type=int, default=10, help="commit interval")
    chosen = parser.parse_args()
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="greenmine-bench-") as folder:
        reference = bare_commit_ms(Path(folder))
        home = Home(Path(folder) / "home")
        settings = Settings(mqtt=MqttSettings(port=0), journal=JournalSettings(linger_ms=chosen.linger_ms))
        service = Service(home, settings, {"bench": policy()})
        service.start(with_web=False)
        sent_ns: dict[tuple[str, str], int] = {}
        raised_ns: dict[tuple[str, str], int] = {}

        def on_changes(changes: Sequence[Change]) -> None:
            now_ns = clock.wall_ns()
            for change in changes:
                if isinstance(change.what, Alert):
                    raised_ns.setdefault((change.what.key.device, change.what.key.channel), now_ns)

        service.subscribe(on_changes)
        passwords: dict[str, str] = {}
        for number in range(DEVICES):
            made = service.administration.provision("bench", f"d{number}", "service:bench")
            passwords[made["account"]] = made["password"]
        assert service.broker is not None
        with MqttPublisher(f"mqtt://127.0.0.1:{service.broker.port}", passwords.get) as publisher:
            start_ns = clock.wall_ns() + 2 * NS_PER_S
            sent = run_live(
                messages(chosen.rate, chosen.seconds, start_ns, sent_ns), publisher, clock, threading.Event()
            )
            publisher.drain(60)
        service.drain(60)
        account = service.state.account()
        service.stop()
    latencies = sorted((raised_ns[key] - sent_ns[key]) / 1e6 for key in sent_ns if key in raised_ns)
    print(
        json.dumps(
            {
                "rate_per_s": chosen.rate,
                "commit_interval_ms": chosen.linger_ms,
                "sent": sent,
                "stored": account.stored,
                "alarms_sent": len(sent_ns),
                "alert_rows": len(latencies),
                "publish_to_alert_ms": {
                    name: percentile(latencies, share) for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
                },
                "max_ms": round(latencies[-1], 2) if latencies else None,
                "reference_bare_commit_ms": {"p50": percentile(reference, 0.5), "p99": percentile(reference, 0.99)},
            }
        )
    )


if __name__ == "__main__":
    main()
