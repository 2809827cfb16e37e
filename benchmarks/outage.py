"""An hour's readings while the store is away for most of it: what is lost, how alarms and live readings fare, how fast
what waited is written.

The service runs as in production behind mosquitto, 1,000 sensors with five rules each. Its InfluxDB is well for a
twentieth of the time, answers 503, 503 with Retry-After, closes each connection, takes them and never answers, and is
well again for the last quarter. The load goes on all the while, twice a second with a reading over a limit.

    python benchmarks/outage.py [--rate 5000] [--for 360]

That is 1,800,000 readings, an hour's at 500/s. Prints one JSON object; exit 1 where a reading is not stored. Lag is
from a reading's own time to its arrival at the store, counted from the first write after the store's return. `catch_up`
is how fast what had waited was written, as a multiple of the load's rate, which went on beside it. Needs mosquitto.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
from publish_to_alert import percentile, publish, watch_alerts, without_holds
from whole_path import SENSORS, answer, greenmine, mosquitto, requests_of, stored_readings

PER_MESSAGE = 10
ALARM_EVERY_S = 0.5
WAYS = (("ok", 0.05), ("503", 0.2), ("503 later", 0.2), ("close", 0.15), ("hang", 0.15), ("ok", 0.25))
"""What the store does, and for which share of the time."""
RETRY_AFTER = b"Retry-After: 10\r\n"
DRAIN_S = 120.0


class Store:
    """What the store has seen. A reading is known by its sensor and the turn of the load that it belongs to."""

    def __init__(self, start_ms: int, turn_ms: float, turns: int) -> None:
        self.start_ms, self.turn_ms = start_ms, turn_ms
        self.turns = turns
        self.there = bytearray(SENSORS * turns)
        self.stored = self.doubled = 0
        self.way, self.well_at, self.back_at = "ok", 0.0, 0.0
        """When the store was well again, and when it was first asked then: catching up begins there."""
        self.requests: Counter[str] = Counter()
        self.lags_s: list[float] = []
        self.backlog = 0
        """Of the readings that waited for the store's return, those that came since."""
        self.backlog_until = 0.0
        self.lock = threading.Lock()

    def take(self, body: bytes) -> None:
        """The lines of a write."""
        now = time.time()
        with self.lock:
            if self.well_at and not self.back_at:
                self.back_at = now
            for line in gzip.decompress(body).decode().splitlines():
                head, _, time_ns = line.split(" ")
                time_s = int(time_ns) / 1e9
                turn = round((time_s * 1000 - self.start_ms) / self.turn_ms)
                device = int(head.partition("device=d-")[2].partition(",")[0])
                place = device * self.turns + turn
                if self.there[place]:
                    self.doubled += 1
                    continue
                self.there[place] = 1
                self.stored += 1
                if self.back_at and time_s < self.back_at:
                    self.backlog += 1
                    self.backlog_until = now
                elif self.back_at:
                    self.lags_s.append(now - time_s)

    def told(self, way: str) -> None:
        """From now on it is so."""
        with self.lock:
            if way == "ok" and self.way != "ok":
                self.well_at = time.time()
            self.way = way

    def found(self) -> dict[str, Any]:
        """What is to be told in the end."""
        with self.lock:
            lags_s = sorted(self.lags_s)
            took_s = self.backlog_until - self.back_at
            return {
                "stored": self.stored,
                "written_twice": self.doubled,
                "requests": dict(self.requests),
                "asked_again_after_s": round(self.back_at - self.well_at, 2),
                "backlog": self.backlog,
                "backlog_s": round(took_s, 2),
                "backlog_per_s": round(self.backlog / took_s) if took_s > 0 else None,
                "live_lag_s": {"p50": percentile(lags_s, 0.5), "p95": percentile(lags_s, 0.95)},
                "live_lag_most_s": round(lags_s[-1], 2) if lags_s else None,
            }


def serve_store(control: Any, start_ms: int, turn_ms: float, turns: int) -> None:
    """The store, in a process of its own; says its port, then does as told, and tells what it has seen."""
    server = socket.create_server(("127.0.0.1", 0), backlog=64)
    control.send(server.getsockname()[1])
    store = Store(start_ms, turn_ms, turns)

    def serve(peer: socket.socket) -> None:
        with suppress(ConnectionError):  # the service has given the request up
            for line, body in requests_of(peer):
                store.requests[store.way] += 1
                if store.way == "close":
                    return
                if store.way == "hang":
                    threading.Event().wait(60)
                    return
                if store.way.startswith("503"):
                    later = RETRY_AFTER if store.way == "503 later" else b""
                    peer.sendall(b"HTTP/1.1 503 Unavailable\r\n" + later + b"Content-Length: 0\r\n\r\n")
                    continue
                if line.startswith(b"POST /api/v2/write"):
                    store.take(body)
                answer(peer, line)

    def accept() -> None:
        while True:
            peer, _ = server.accept()
            threading.Thread(target=serve, args=(peer,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    while True:
        asked = control.recv()
        if asked == "found":
            control.send(store.found())
        else:
            store.told(asked)


def drive(control: Any, process: psutil.Process, seconds: float, start_at: float, memory_mb: list[float]) -> None:
    """Tell the store its ways in their time, and look at our memory every second."""
    waiting = threading.Event()
    until = start_at
    for way, share in WAYS:
        control.send(way)
        until += share * seconds
        while (left_s := until - time.time()) > 0:
            waiting.wait(min(1.0, left_s))
            memory_mb.append(process.memory_info().rss / 1e6)


def measured(rate: float, seconds: float) -> dict[str, Any]:
    """One run."""
    turn_ms = SENSORS / rate * 1000
    count = int(rate * seconds / PER_MESSAGE) * PER_MESSAGE
    with tempfile.TemporaryDirectory(prefix="greenmine-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        port = stack.enter_context(mosquitto(folder))
        start_at = float(int(time.time() + 12.0))
        here, there = multiprocessing.Pipe()
        store = multiprocessing.Process(
            target=serve_store,
            args=(there, int(start_at * 1000), turn_ms, int(rate * seconds / SENSORS) + 2),
            daemon=True,
        )
        store.start()
        stack.callback(store.terminate)
        process = stack.enter_context(greenmine(folder, port, here.recv(), policy=without_holds()))
        sent_to, state = folder / "sent.json", folder / "home" / "state.db"
        load = multiprocessing.Process(
            target=publish, args=(port, PER_MESSAGE, rate, seconds, start_at, sent_to, ALARM_EVERY_S)
        )
        load.start()
        memory_mb: list[float] = [process.memory_info().rss / 1e6]
        driver = threading.Thread(target=drive, args=(here, process, seconds, start_at, memory_mb), daemon=True)
        driver.start()
        seen = watch_alerts(state, start_at, load)
        driver.join()
        waiting, deadline = threading.Event(), time.time() + DRAIN_S
        while stored_readings(folder) != count and time.time() < deadline:
            waiting.wait(0.5)
        here.send("found")
        found = here.recv()
        stored = stored_readings(folder)
        due_at = json.loads(sent_to.read_text())
    late_ms = sorted((seen[device] - due) * 1000 for device, due in due_at.items() if device in seen)
    per_s = found["backlog_per_s"]
    return {
        "command": " ".join(["python", *sys.argv]),
        "sensors": SENSORS,
        "rate_per_s": rate,
        "published": count,
        "stored_by_the_account": stored,
        "lost": count - found["stored"],
        **found,
        "requests_per_s_away": {
            way: round(number / (seconds * dict(WAYS)[way]), 2)
            for way, number in found["requests"].items()
            if way != "ok"
        },
        "catch_up": round(per_s / rate, 1) if per_s else None,
        "alarms": len(due_at),
        "alert_rows": len(late_ms),
        "publish_to_alert_ms": {name: percentile(late_ms, share) for name, share in (("p50", 0.5), ("p99", 0.99))},
        "publish_to_alert_most_ms": round(late_ms[-1], 1) if late_ms else None,
        "rss_mb": {"before": round(memory_mb[0]), "most": round(max(memory_mb))},
    }


def main() -> None:
    """Run once and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=5000.0, help="readings a second")
    parser.add_argument("--for", dest="seconds", type=float, default=360.0)
    chosen = parser.parse_args()
    found = measured(chosen.rate, chosen.seconds)
    print(json.dumps(found, indent=1))
    if found["lost"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
