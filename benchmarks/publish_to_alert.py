"""Publish to alert row, open loop: how long after a reading over the limit was due its alert is committed.

The service runs as in production, in a process of its own, behind mosquitto, with 1,000 sensors and five rules each;
its InfluxDB answers, refuses connections, or takes them and never answers (--store up, down, hanging). The load has a
process of its own; ten times a second one of its readings is over a limit, each time of another sensor. Latency is
measured from the time at which the schedule wanted the message sent (a late sender counts against the system) to the
time at which another process sees the alert's row in the state database; it looks every 2 ms.

    python benchmarks/publish_to_alert.py [--rate 5000] [--per-message 10] [--linger-ms 20] [--store up] [--for 20]

Prints one JSON object with the commit interval (linger) beside the percentiles, and the time of a bare commit of one
row to SQLite on the same disk in the same run as the reference. Needs mosquitto.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import socket
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from whole_path import GATEWAYS, MINE, SENSORS, greenmine, mosquitto, payloads, policy_text, sink

from greenmine.core import sqlite_library

ALARM_EVERY_S = 0.1
OVER = 160.0
"""Over the level of one of the rules."""


def without_holds() -> str:
    """The benchmark's policy, but an alert is raised by the first value."""
    return policy_text().replace(", hold: 30s", "")


def publish(
    port: int,
    per_message: int,
    rate: float,
    seconds: float,
    start_at: float,
    sent_to: Path,
    alarm_every_s: float = ALARM_EVERY_S,
) -> None:
    """The load; writes when each alarm was due, by device."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="load", protocol=mqtt.MQTTv311)
    client.max_inflight_messages_set(2_000)
    client.connect("127.0.0.1", port)
    client.loop_start()
    waiting = threading.Event()
    step_s, cycle = per_message / rate, SENSORS // per_message
    every = max(1, round(alarm_every_s / step_s))
    due_at: dict[str, float] = {}
    for number in range(int(rate * seconds / per_message)):
        due = start_at + number * step_s
        wait_s = due - time.time()
        if wait_s > 0.001:
            waiting.wait(wait_s)
        topic, body = payloads(
            number, per_message, int(start_at * 1000) + int((number // cycle) * cycle * step_s * 1000)
        )
        if number >= cycle and number % every == number // cycle % every:  # of other sensors in each cycle
            objects = json.loads(body)
            one = objects[0] if per_message > 1 else objects
            if one["device"] not in due_at:
                one["values"]["pm10"] = OVER
                due_at[one["device"]] = due
                body = json.dumps(objects, separators=(",", ":")).encode()
        client.publish(topic, body, qos=1)
    deadline = time.time() + 60
    while client._out_messages and time.time() < deadline:
        waiting.wait(0.05)
    client.disconnect()
    client.loop_stop()
    sent_to.write_text(json.dumps(due_at))


def watch_alerts(state: Path, until: float, load: multiprocessing.Process) -> dict[str, float]:
    """When the first alert of each device was seen; looks until the load has ended and nothing new comes."""
    connection = sqlite3.connect(f"{state.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
    waiting = threading.Event()
    seen: dict[str, float] = {}
    newest = 0
    while load.is_alive() or time.time() < until:
        rows = connection.execute("SELECT rowid, device FROM alert WHERE rowid > ?", (newest,)).fetchall()
        for number, device in rows:
            seen.setdefault(device, time.time())
            newest = max(newest, number)
        waiting.wait(0.002)
        if load.is_alive():
            until = time.time() + 2.0
    connection.close()
    return seen


def serve_nothing(connection: multiprocessing.connection.Connection) -> None:
    """An InfluxDB that takes connections and never answers."""
    server = socket.create_server(("127.0.0.1", 0), backlog=256)
    connection.send(server.getsockname()[1])
    kept = []
    while True:
        kept.append(server.accept()[0])


@contextmanager
def hanging() -> Iterator[int]:
    """Such a server in a process of its own; its port."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve_nothing, args=(there,), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()


@contextmanager
def refusing() -> Iterator[int]:
    """A port on which nobody listens, and that nobody else can take."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


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


def measured(chosen: argparse.Namespace) -> dict[str, object]:
    """One run."""
    stores = {"up": sink, "down": refusing, "hanging": hanging}
    with tempfile.TemporaryDirectory(prefix="greenmine-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        reference = bare_commit_ms(folder)
        port, store_port = stack.enter_context(mosquitto(folder)), stack.enter_context(stores[chosen.store]())
        stack.enter_context(greenmine(folder, port, store_port, policy=without_holds(), linger_ms=chosen.linger_ms))
        start_at, sent_to = time.time() + 1.0, folder / "sent.json"
        load = multiprocessing.Process(
            target=publish, args=(port, chosen.per_message, chosen.rate, chosen.seconds, start_at, sent_to)
        )
        load.start()
        seen = watch_alerts(folder / "home" / "state.db", start_at, load)
        due_at = json.loads(sent_to.read_text())
    latencies = sorted((seen[device] - due) * 1000 for device, due in due_at.items() if device in seen)
    return {
        "command": " ".join(["python", *sys.argv]),
        "mine": MINE,
        "gateways": GATEWAYS,
        "sensors": SENSORS,
        "store": chosen.store,
        "rate_per_s": chosen.rate,
        "per_message": chosen.per_message,
        "commit_interval_ms": chosen.linger_ms,
        "alarms_sent": len(due_at),
        "alert_rows": len(latencies),
        "publish_to_alert_ms": {
            name: percentile(latencies, share) for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
        },
        "max_ms": round(latencies[-1], 2) if latencies else None,
        "reference_bare_commit_ms": {"p50": percentile(reference, 0.5), "p99": percentile(reference, 0.99)},
    }


def main() -> None:
    """Run once and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=5000.0, help="readings a second")
    parser.add_argument("--per-message", type=int, default=10)
    parser.add_argument("--for", dest="seconds", type=float, default=20.0)
    parser.add_argument("--linger-ms", type=int, default=20, help="commit interval")
    parser.add_argument("--store", choices=["up", "down", "hanging"], default="up")
    chosen = parser.parse_args()
    if SENSORS // GATEWAYS % chosen.per_message:
        parser.error(f"--per-message has to divide {SENSORS // GATEWAYS}")
    print(json.dumps(measured(chosen), indent=1))


if __name__ == "__main__":
    main()
