"""CPU of the whole judged path for a reading, beside a plain copy of the same messages, through one mosquitto.

Our side is the service as it runs in production: stock paho, durable journal, decode, admission, five rules a sensor,
line protocol, gzip, HTTP. The other side is Telegraf (`--telegraf PROGRAM`: mqtt_consumer to influxdb_v2, as its
documentation tunes it), which has no journal and no rules; without it, a bare reader that only takes and acknowledges
the messages. Both read the same messages, at the same rate, one after the other, from the same broker, and write to
the same sink, which unpacks nothing and answers 204. CPU is user and system time of the reading process alone, over
the time of the load, so that starting and importing are not in it. Where py-spy is installed, the share of each of our
threads is told too.

    python benchmarks/whole_path.py [--telegraf telegraf] [--per-message 10] [--rate 10000] [--for 20] [--rounds 3]

Prints one JSON object with the medians. Needs mosquitto; bounded in count and time.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import psutil
from paho.mqtt.enums import CallbackAPIVersion

SENSORS = 1_000
GATEWAYS = 20
RULES = 5
LEAST_SHOWN_US = 0.05
"""Threads that take less of a reading are not told."""
MINE = "bench"
BUCKETS = json.dumps(
    {
        "links": {"self": "/api/v2/buckets"},
        "buckets": [
            {
                "id": f"{number:016x}",
                "name": f"greenmine{suffix}",
                "orgID": "0000000000000001",
                "retentionRules": [{"type": "expire", "everySeconds": 0 if suffix else 400 * 86_400}],
            }
            for number, suffix in enumerate(("", "_1m", "_1h", "_events"), 1)
        ],
    }
).encode()
"""What the sink says when it is asked for its buckets: all are there."""


def mine_name(number: int) -> str:
    """The mine of this number; the first is the only one unless more are asked for."""
    return f"{MINE}-{number}" if number else MINE


def policy_text(mine: str = MINE) -> str:
    """Twenty gateways with the devices behind them, one sensor each, and five rules that see every reading."""
    lines = [
        "schema: 1",
        "valid_from: 2020-01-01",
        f"mine: {{id: {mine}, name: {{zh: 示范矿, en: Bench}}, enterprise: {{zh: 示范, en: Bench}}, region: '150622',",
        "       timezone: Asia/Shanghai, location: [110.0, 39.0], noise_class: 3, air_grade: 2}",
        "devices:",
        *(f"  - {{id: gw-{number}}}" for number in range(GATEWAYS)),
    ]
    for number in range(SENSORS):
        lines.append(
            f"  - {{id: d-{number}, gateway: gw-{number % GATEWAYS}, sensors: [{{kind: dust, "
            "principle: light_scattering, metrics: {pm10: {unit: ug/m3, interval: 1s}}}]}"
        )
    lines.append("rules:")
    levels = ((150, 130), (250, 200), (420, 350), (600, 500))
    for number, (high, low) in enumerate(levels):
        lines.append(
            f"  - {{id: r{number}, kind: threshold, severity: warning, metric: pm10, raise: {high}, clear: {low}, "
            "hold: 30s}"
        )
    lines.append("  - {id: silent, kind: absence, severity: warning, after: 10m}")
    return "\n".join(lines) + "\n"


def payloads(number: int, per_message: int, time_ms: int, mines: int = 1) -> tuple[str, bytes]:
    """Topic and payload of message `number`: `per_message` devices behind one gateway, one reading each."""
    mine, number = mine_name(number % mines), number // mines
    gateway = number % GATEWAYS
    first = (number // GATEWAYS) * per_message
    behind = SENSORS // GATEWAYS
    objects = [
        {
            "ts": time_ms,
            "device": f"d-{((first + place) % behind) * GATEWAYS + gateway}",
            "values": {"pm10": 60 + (number * 7 + place * 3) % 50 + 0.5},
        }
        for place in range(per_message)
    ]
    body = objects if per_message > 1 else objects[0]
    return f"mines/{mine}/gw-{gateway}/up", json.dumps(body, separators=(",", ":")).encode()


def publish(port: int, per_message: int, rate: float, seconds: float, start_at: float, mines: int = 1) -> None:
    """The load, in a process of its own: open loop, QoS 1, the schedule fixed in advance."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"load-{os.getpid()}", protocol=mqtt.MQTTv311)
    client.max_inflight_messages_set(2_000)
    client.connect("127.0.0.1", port)
    client.loop_start()
    count, step_s = int(rate * seconds / per_message), per_message / rate
    cycle = mines * SENSORS // per_message  # each sensor reports once in a cycle, with a time of its own
    waiting = threading.Event()
    base_ms = int(start_at * 1000)
    for number in range(count):
        due = start_at + number * step_s
        wait_s = due - time.time()
        if wait_s > 0.002:
            waiting.wait(wait_s)
        time_ms = base_ms + int((number // cycle) * cycle * step_s * 1000)
        topic, body = payloads(number, per_message, time_ms, mines)
        client.publish(topic, body, qos=1)
    deadline = time.time() + 60
    while client._out_messages and time.time() < deadline:
        waiting.wait(0.05)
    client.disconnect()
    client.loop_stop()


def requests_of(peer: socket.socket) -> Iterator[tuple[bytes, bytes]]:
    """Request line and body of each HTTP request that comes by a connection, until it ends."""
    with peer, peer.makefile("rb") as lines:
        while line := lines.readline():
            length = 0
            while (header := lines.readline()) not in (b"\r\n", b""):
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            yield line, lines.read(length)


def answer(peer: socket.socket, line: bytes) -> None:
    """What InfluxDB says to a write or to the question for its buckets."""
    if line.startswith(b"POST /api/v2/write"):
        peer.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
    else:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        peer.sendall(head % len(BUCKETS) + BUCKETS)


def serve_sink(connection: Any) -> None:
    """The sink, in a process of its own: takes POSTs and answers 204; says its port, then counts bodies and bytes."""
    server = socket.create_server(("127.0.0.1", 0), backlog=64)
    connection.send(server.getsockname()[1])

    def serve(peer: socket.socket) -> None:
        with suppress(ConnectionError):  # whoever wrote has ended
            for line, _ in requests_of(peer):
                answer(peer, line)

    while True:
        peer, _ = server.accept()
        threading.Thread(target=serve, args=(peer,), daemon=True).start()


@contextmanager
def sink() -> Iterator[int]:
    """A running sink; its port."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve_sink, args=(there,), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()


@contextmanager
def mosquitto(folder: Path) -> Iterator[int]:
    """A running broker without accounts on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\n"
        "max_inflight_messages 1000\nlog_type error\nset_tcp_nodelay true\n"
    )
    program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin") or "mosquitto"
    process = subprocess.Popen([program, "-c", str(config)])
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def greenmine(
    folder: Path, port: int, sink_port: int, mines: int = 1, policy: str | None = None, linger_ms: int = 20
) -> Iterator[psutil.Process]:
    """Our service against that broker and that sink; `policy` takes the place of the one mine's."""
    (folder / "policies").mkdir()
    for number in range(mines):
        name = mine_name(number)
        (folder / "policies" / f"{name}.yaml").write_text(policy or policy_text(name), encoding="utf-8")
    (folder / "secrets").mkdir()
    for name in ("mqtt-ingest", "influxdb-token"):
        (folder / "secrets" / name).write_text("bench\n")
    (folder / "settings.yaml").write_text(
        f"home: home\npolicies: [policies]\nsecrets_dirs: [secrets]\nlog_level: error\n"
        f"mqtt: {{mode: external, url: 'mqtt://127.0.0.1:{port}'}}\n"
        f"store: {{kind: influxdb, url: 'http://127.0.0.1:{sink_port}'}}\n"
        f"web: {{port: 0}}\njournal: {{linger_ms: {linger_ms}}}\n"
    )
    command = [sys.executable, "-m", "greenmine", "run", "--config", str(folder / "settings.yaml")]
    with running(command, folder, 5.0 + mines) as process:
        yield process


@contextmanager
def telegraf(program: str, folder: Path, port: int, sink_port: int) -> Iterator[psutil.Process]:
    """Telegraf as its documentation tunes it for throughput."""
    (folder / "telegraf.conf").write_text(f"""
[agent]
  interval = "1s"
  flush_interval = "1s"
  metric_batch_size = 5000
  metric_buffer_limit = 200000
  omit_hostname = true
  quiet = true
[[inputs.mqtt_consumer]]
  servers = ["tcp://127.0.0.1:{port}"]
  topics = ["mines/#"]
  qos = 1
  client_id = "telegraf-bench"
  persistent_session = true
  max_undelivered_messages = 50000
  data_format = "json"
  json_time_key = "ts"
  json_time_format = "unix_ms"
  tag_keys = ["device"]
  topic_tag = ""
  [[inputs.mqtt_consumer.topic_parsing]]
    topic = "mines/+/+/up"
    tags = "_/mine/gateway/_"
[[outputs.influxdb_v2]]
  urls = ["http://127.0.0.1:{sink_port}"]
  token = "bench"
  organization = "greenmine"
  bucket = "greenmine"
  content_encoding = "gzip"
""")
    with running([program, "--config", str(folder / "telegraf.conf")], folder, 3.0) as process:
        yield process


def read_bare(port: int) -> None:
    """The reference without Telegraf: takes and acknowledges, and nothing else."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="bare-bench", clean_session=False)
    client.connect("127.0.0.1", port)
    client.subscribe("mines/#", qos=1)
    client.loop_forever()


@contextmanager
def bare(port: int) -> Iterator[psutil.Process]:
    """A running bare reader."""
    process = multiprocessing.Process(target=read_bare, args=(port,), daemon=True)
    process.start()
    time.sleep(2.0)
    try:
        assert process.pid is not None
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.join()


@contextmanager
def running(command: list[str], folder: Path, settle_s: float) -> Iterator[psutil.Process]:
    """A program, given time to start."""
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder)
        try:
            time.sleep(settle_s)
            if process.poll() is not None:
                raise SystemExit(f"{command[0]} ended: {(folder / 'output.txt').read_text()[-2000:]}")
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(60)


def measure(process: psutil.Process, port: int, chosen: argparse.Namespace) -> dict[str, float]:
    """Run the load; CPU of the process for each reading, and its memory."""
    before, begun = process.cpu_times(), time.time()
    load = multiprocessing.Process(
        target=publish,
        args=(port, chosen.per_message, chosen.rate, chosen.seconds, time.time() + 1.0, chosen.mines),
    )
    load.start()
    memory = [process.memory_info().rss / 1e6]
    while load.is_alive():
        load.join(1.0)
        memory.append(process.memory_info().rss / 1e6)
    took_s = time.time() - begun
    time.sleep(chosen.settle)
    after = process.cpu_times()
    readings = int(chosen.rate * chosen.seconds / chosen.per_message) * chosen.per_message
    cpu_s = after.user + after.system - before.user - before.system
    return {
        "us_a_reading": cpu_s * 1e6 / readings,
        "user_s": after.user - before.user,
        "system_s": after.system - before.system,
        "readings_per_s": readings / (took_s - 1.0),
        "rss_mb": process.memory_info().rss / 1e6,
        "rss_most_mb": max(memory),
        "rss_after_a_third_mb": memory[len(memory) // 3],
    }


def thread_names(process: psutil.Process) -> dict[int, str]:
    """Our threads' names by their ids of the system, as py-spy tells them; empty without it."""
    program = shutil.which("py-spy")
    if program is None:
        return {}
    dumped = subprocess.run(
        [program, "dump", "--nonblocking", "--json", "--pid", str(process.pid)], capture_output=True, check=True
    )
    return {one["os_thread_id"]: one["thread_name"] or "?" for one in json.loads(dumped.stdout)}


def thread_seconds(process: psutil.Process) -> dict[int, float]:
    """CPU seconds of each thread so far, user and system."""
    return {one.id: one.user_time + one.system_time for one in process.threads()}


def stored_readings(folder: Path) -> int | None:
    """What our service's account says was stored."""
    from greenmine.store.state import StateDb

    state = StateDb(folder / "home" / "state.db", read_only=True)
    try:
        return state.account().stored
    finally:
        state.close()


def sides(chosen: argparse.Namespace) -> tuple[str, ...]:
    """What is run: the reference first."""
    if chosen.alone:
        return ("greenmine",)
    return ("telegraf", "greenmine") if chosen.telegraf else ("bare", "greenmine")


def one_round(chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Each side once, each with a broker and a sink of its own."""
    found: dict[str, dict[str, float]] = {}
    for side in sides(chosen):
        with tempfile.TemporaryDirectory(prefix="greenmine-bench-") as name, ExitStack() as stack:
            folder = Path(name)
            port, sink_port = stack.enter_context(mosquitto(folder)), stack.enter_context(sink())
            if side == "greenmine":
                with greenmine(folder, port, sink_port, chosen.mines) as process:
                    before = thread_seconds(process)
                    found[side] = measure(process, port, chosen)
                    names, readings = thread_names(process), chosen.rate * chosen.seconds
                    for thread, seconds in thread_seconds(process).items():
                        took_us = (seconds - before.get(thread, 0.0)) * 1e6 / readings
                        if thread in names and took_us >= LEAST_SHOWN_US:
                            found[side][f"us_of_{names[thread]}"] = took_us
                found[side]["stored"] = stored_readings(folder) or 0
            elif side == "telegraf":
                with telegraf(chosen.telegraf, folder, port, sink_port) as process:
                    found[side] = measure(process, port, chosen)
            else:
                with bare(port) as process:
                    found[side] = measure(process, port, chosen)
    return found


def main() -> None:
    """Run the rounds and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--telegraf", default=shutil.which("telegraf"), help="the program; without it, a bare reader")
    parser.add_argument("--alone", action="store_true", help="without a reference, for long runs")
    parser.add_argument("--mines", type=int, default=1, help=f"of {SENSORS} sensors each")
    parser.add_argument("--per-message", type=int, default=10)
    parser.add_argument("--rate", type=float, default=10_000.0, help="readings a second")
    parser.add_argument("--for", dest="seconds", type=float, default=20.0)
    parser.add_argument("--settle", type=float, default=3.0, help="seconds after the load that still count")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    if SENSORS // GATEWAYS % chosen.per_message:
        parser.error(f"--per-message has to divide {SENSORS // GATEWAYS}")
    rounds = [one_round(chosen) for _ in range(chosen.rounds)]
    medians = {
        side: {
            name: round(statistics.median(r[side].get(name, 0.0) for r in rounds), 2)
            for name in dict.fromkeys(name for r in rounds for name in r[side])
        }
        for side in rounds[0]
    }
    reference = "telegraf" if chosen.telegraf else "bare"
    shown = {
        "command": " ".join(["python", *sys.argv]),
        "per_message": chosen.per_message,
        "rate_per_s": chosen.rate,
        "seconds": chosen.seconds,
        "sensors": chosen.mines * SENSORS,
        "rules_a_sensor": RULES,
        **medians,
    }
    if not chosen.alone:
        ratios = [r["greenmine"]["us_a_reading"] / r[reference]["us_a_reading"] for r in rounds]
        shown["reference"] = reference
        shown["ratio"] = {"median": round(statistics.median(ratios), 2), "all": [round(one, 2) for one in ratios]}
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    main()
