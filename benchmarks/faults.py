"""What is left of the account after faults: kills, a store that is away, hostile, doubled and late messages.

A mosquitto that stays up, the service as it runs in production, a store that refuses, answers 503 (with and without
Retry-After), hangs and comes back, and `--kills` times `kill -9` in mid-stream. One message in ten is hostile, one in
twenty is sent twice, and neighbours come in disorder. At the end the account has to add up, and every good reading has
to be in the store: what is there is compared with what was published, reading by reading.

    python benchmarks/faults.py [--messages 20000] [--kills 5] [--rate 500] [--seed 1]

The issue's size is `--messages 200000 --kills 50`. Prints one JSON object; exit 1 where anything is lost.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
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
from paho.mqtt.enums import CallbackAPIVersion
from whole_path import GATEWAYS, MINE, SENSORS, answer, mosquitto, policy_text, requests_of

HOSTILE = [
    b"",
    b"{",
    b"null",
    b"[" * 5000,
    b'{"ts":1767225600000,"values":{"pm10":NaN}}',
    b'{"ts":1767225600000,"values":{"pm10":1e999}}',
    b'{"ts":"yesterday","values":{"pm10":1}}',
    b'{"ts":1767225600000,"values":{"pm10":1,"pm10":2}}',
    b'{"ts":1767225600000,"device":"../../etc","values":{"pm10":1}}',
    b"\xff\xfe\x00garbage",
    b'{"ts":1767225600000,"values":' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}",
]
WAYS = ("ok", "503", "ok", "503 later", "hang", "refuse", "ok")
"""What the store does, one after the other, over the time of the load."""


def serve_store(control: Any) -> None:
    """A store whose way can be told, and that knows each reading it was given; runs in a process of its own."""
    server = socket.create_server(("127.0.0.1", 0), backlog=64)
    port = server.getsockname()[1]
    control.send(port)
    way, there = ["ok"], set()
    doubled = [0]

    def take(body: bytes) -> None:
        for line in gzip.decompress(body).decode().splitlines():
            head, fields, time_ns = line.split(" ")
            for field in fields.split(","):
                if field.partition("=")[0].endswith("_q"):
                    continue  # the quality of a late one
                reading = f"{head} {field} {time_ns}"
                doubled[0] += reading in there
                there.add(reading)

    def serve(peer: socket.socket) -> None:
        with suppress(ConnectionError):  # the service was killed
            for line, body in requests_of(peer):
                now = way[0]
                if now == "refuse":
                    return
                if now == "hang":
                    threading.Event().wait(30)
                    return
                if now.startswith("503"):
                    later = b"Retry-After: 1\r\n" if now == "503 later" else b""
                    peer.sendall(b"HTTP/1.1 503 Unavailable\r\n" + later + b"Content-Length: 0\r\n\r\n")
                    continue
                if line.startswith(b"POST /api/v2/write"):
                    take(body)
                answer(peer, line)

    def accept() -> None:
        while True:
            peer, _ = server.accept()
            threading.Thread(target=serve, args=(peer,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    while True:
        asked = control.recv()
        if asked == "readings":
            control.send((there, doubled[0]))
        else:
            way[0] = asked


def plan(messages: int, seed: int) -> tuple[list[tuple[str, bytes]], set[str]]:
    """What is published, in its order, and the readings that have to be in the store in the end."""
    chance = random.Random(seed)
    sent: list[tuple[float, str, bytes]] = []
    wanted: set[str] = set()
    now_ms = int(time.time() * 1000) - messages
    for number in range(messages):
        gateway = number % GATEWAYS
        device = f"d-{(number * 7 % (SENSORS // GATEWAYS)) * GATEWAYS + gateway}"
        time_ms = now_ms + number
        value = 60 + number % 40 + 0.5
        topic = f"mines/{MINE}/gw-{gateway}/up"
        body = json.dumps({"ts": time_ms, "device": device, "values": {"pm10": value}}).encode()
        wanted.add(f"dust,device={device},mine={MINE} pm10={value!r} {time_ms * 1_000_000}")
        place = number + chance.uniform(0, 200)
        sent.append((place, topic, body))
        if number % 20 == 0:
            sent.append((place + chance.uniform(0, 500), topic, body))
        if number % 10 == 0:
            sent.append((place, topic, chance.choice(HOSTILE)))
    sent.sort(key=lambda one: one[0])
    return [(topic, body) for _, topic, body in sent], wanted


class Victim:
    """The service, started again whenever it is dead."""

    def __init__(self, folder: Path, port: int, store_port: int) -> None:
        self.folder = folder
        (folder / "policy.yaml").write_text(policy_text(), encoding="utf-8")
        (folder / "secrets").mkdir()
        for name in ("mqtt-ingest", "influxdb-token"):
            (folder / "secrets" / name).write_text("bench\n")
        (folder / "settings.yaml").write_text(
            "home: home\npolicies: [policy.yaml]\nsecrets_dirs: [secrets]\nlog_level: error\n"
            f"mqtt: {{mode: external, url: 'mqtt://127.0.0.1:{port}'}}\n"
            f"store: {{kind: influxdb, url: 'http://127.0.0.1:{store_port}'}}\nweb: {{port: 0}}\n"
        )
        self.process = self._start()
        self.starts_that_ended = 0

    def _start(self) -> subprocess.Popen[bytes]:
        output = (self.folder / "output.txt").open("ab")
        command = [sys.executable, "-m", "greenmine", "run", "--config", str(self.folder / "settings.yaml")]
        return subprocess.Popen(command, stdout=output, stderr=output, cwd=self.folder)

    def kill(self) -> None:
        """`kill -9`, and a new start."""
        if self.process.poll() is not None:
            self.starts_that_ended += 1
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = self._start()

    def account(self) -> dict[str, int]:
        """The account as the state has it now."""
        from greenmine.core.errors import StoreUnavailable
        from greenmine.store.state import StateDb

        try:
            state = StateDb(self.folder / "home" / "state.db", read_only=True)
        except StoreUnavailable:
            return {"pending": -1}  # it was killed before it had made one
        try:
            return state.account()._asdict()
        finally:
            state.close()

    def end(self) -> None:
        """As by an operator."""
        self.process.terminate()
        self.process.wait(60)


@contextmanager
def store() -> Iterator[tuple[int, Any]]:
    """A running store; its port and its control."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve_store, args=(there,), daemon=True)
    process.start()
    try:
        yield here.recv(), here
    finally:
        process.terminate()
        process.join()


def subscribe_first(port: int) -> None:
    """Make the service's session before it ever starts, so that the broker keeps what is published meanwhile."""
    done = threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="greenmine-ingest", clean_session=False)
    client.on_connect = lambda *_: client.subscribe("mines/#", qos=1)
    client.on_subscribe = lambda *_: done.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    if not done.wait(10):
        raise SystemExit("the broker does not answer")
    client.disconnect()
    client.loop_stop()


def run(chosen: argparse.Namespace, folder: Path, port: int, store_port: int, control: Any) -> dict[str, Any]:
    """The load with its faults; what is left."""
    messages, wanted = plan(chosen.messages, chosen.seed)
    subscribe_first(port)
    victim = Victim(folder, port, store_port)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"load-{os.getpid()}", protocol=mqtt.MQTTv311)
    client.max_inflight_messages_set(500)
    client.connect("127.0.0.1", port)
    client.loop_start()
    waiting = threading.Event()
    for _ in range(300):
        if (folder / "home" / "service.json").exists():
            break
        waiting.wait(0.1)
    else:
        raise SystemExit(f"the service does not start: {(folder / 'output.txt').read_text()[-2000:]}")
    kill_at = {int((n + 0.5) * len(messages) / max(1, chosen.kills)) for n in range(chosen.kills)}
    turn_at = {int(n * len(messages) / len(WAYS)): way for n, way in enumerate(WAYS)}
    started = time.time()
    infos = []
    for number, (topic, body) in enumerate(messages):
        if number in turn_at:
            control.send(turn_at[number])
        if number in kill_at:
            victim.kill()
        wait_s = started + number / chosen.rate - time.time()
        if wait_s > 0.002:
            waiting.wait(wait_s)
        infos.append(client.publish(topic, body, qos=1))
    for info in infos:
        info.wait_for_publish(60)
    client.disconnect()
    client.loop_stop()
    control.send("ok")
    account: dict[str, int] = {}
    quiet = 0
    for _ in range(chosen.drain * 2):
        waiting.wait(0.5)
        if victim.process.poll() is not None:
            victim.kill()
        before, account = account, victim.account()
        quiet = quiet + 1 if account == before and account["pending"] == 0 else 0
        if quiet >= 10:
            break
    victim.end()
    control.send("readings")
    there, doubled = control.recv()
    parts = sum(account[name] for name in ("stored", "pending", "quarantined", "duplicate", "conflict", "dead"))
    return {
        "published": len(messages),
        "good_readings": len(wanted),
        "hostile": sum(body in HOSTILE for _, body in messages),
        "kills": chosen.kills,
        "starts_that_ended_by_themselves": victim.starts_that_ended,
        "store_did": list(WAYS),
        "account": account,
        "account_adds_up": account["received"] == parts,
        "lost": len(wanted - there),
        "in_the_store_that_nobody_sent": len(there - wanted),
        "written_again_to_the_store": doubled,
        "seconds": round(time.time() - started, 1),
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--rate", type=float, default=500.0, help="messages a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--drain", type=int, default=180, help="seconds that the end may take")
    chosen = parser.parse_args()
    if shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin") is None:
        raise SystemExit("needs mosquitto")
    with tempfile.TemporaryDirectory(prefix="greenmine-faults-") as name, ExitStack() as stack:
        folder = Path(name)
        port = stack.enter_context(mosquitto(folder))
        store_port, control = stack.enter_context(store())
        found = run(chosen, folder, port, store_port, control)
    command = f"python benchmarks/faults.py --messages {chosen.messages} --kills {chosen.kills} --rate {chosen.rate:g}"
    print(json.dumps({"command": command, **found}, indent=1))
    if found["lost"] or found["in_the_store_that_nobody_sent"] or not found["account_adds_up"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
