"""P1 and P2: what was acknowledged to a publisher survives kill -9 of the service, twenty times in mid-stream.

The check is against the publisher's own log of acknowledgements. `test_acknowledging_early_turns_it_red` runs the same
check on a service that acknowledges before its commit, and expects it to find losses.
"""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from greenmine.core.clock import NS_PER_S, SystemClock, to_rfc3339
from greenmine.core.reading_store import Selection
from greenmine.ingest.gate import Account, hash_password, new_password
from greenmine.ingest.journal import JournalReader
from greenmine.ingest.record import RecordKind
from greenmine.simulator.message import TimedMessage
from greenmine.simulator.publish import MqttPublisher
from greenmine.store.duckdb_store import DuckDbReadingStore
from greenmine.store.state import StateDb
from tests.mosquitto_server import StartMosquitto, mosquitto

__all__ = ["mosquitto"]

DEVICES = 4
MESSAGES = 20_000
KILLS = 20
ACKED_BEFORE_KILL = 100
POLICY = """
schema: 1
mine:
  id: kill
  name: {zh: 示范矿, en: Demo mine}
  enterprise: {zh: 示范企业, en: Demo enterprise}
  region: "150622"
  timezone: Asia/Shanghai
  location: [110.2, 39.7]
  noise_class: 3
  air_grade: 2
valid_from: 2020-01-01
devices:
"""
DEVICE = """  - id: d{0}
    sensors: [{{kind: dust, principle: light_scattering, metrics: {{pm10: {{unit: ug/m3, interval: 1s}}}}}}]
"""


class Victim:
    """The service as a process that is killed and started again."""

    def __init__(self, folder: Path, mode: str, where: str, early: bool = False, password: str = "") -> None:
        self.home = folder / "home"
        policy = folder / "kill.yaml"
        policy.write_text(POLICY + "".join(DEVICE.format(n) for n in range(DEVICES)), encoding="utf-8")
        script = Path(__file__).with_name("victim.py")
        self._command = [sys.executable, str(script), str(self.home), str(policy), mode, where]
        self._command += ["early"] if early else []
        self._password = password
        self._process: subprocess.Popen[str] | None = None
        self.kills = 0

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            text=True,
            env={"PATH": "/usr/bin:/bin", "VICTIM_PASSWORD": self._password},
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", "the service did not start"

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._ended()
        self.kills += 1

    def finish(self) -> None:
        """Let it drain; says whether all was judged and stored."""
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.terminate()
        assert self._process.stdout.readline() == "drained\n"
        assert self._ended() == 0

    def abandon(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._ended()

    def _ended(self) -> int:
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.stdout.close()
        return self._process.wait(30)

    def passwords(self) -> dict[str, str]:
        return dict(json.loads((self.home / "passwords.json").read_text(encoding="utf-8")))


def message(number: int, start_ns: int, client: str | None = None) -> TimedMessage:
    device, seq = f"d{number % DEVICES}", number // DEVICES
    payload = {"ts": to_rfc3339(start_ns + seq * NS_PER_S // 100), "values": {"pm10": seq % 1000}, "seq": seq}
    account = client or f"kill.{device}"
    return TimedMessage(
        0, "kill", device, f"mines/kill/{device}/up", json.dumps(payload).encode(), account, ((device, seq),), 1
    )


class Stream(threading.Thread):
    """Publishes all messages, over every restart; the pace leaves work for each kill."""

    def __init__(self, publisher: MqttPublisher, count: int, start_ns: int, client: str | None = None) -> None:
        super().__init__(daemon=True)
        self._publisher, self._count, self._start_ns, self._client = publisher, count, start_ns, client
        self.allowed = threading.Semaphore(0)
        self.done = threading.Event()
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            for number in range(self._count):
                self.allowed.acquire()
                self._publisher.publish(message(number, self._start_ns, self._client))
        except Exception as error:  # noqa: BLE001 - raised by the test
            self.error = error
        self.done.set()


def acknowledged_in(log: Path) -> set[tuple[str, int]]:
    found: set[tuple[str, int]] = set()
    for line in log.read_text(encoding="utf-8").splitlines():
        found |= {(device, seq) for device, seq in json.loads(line)["sequence"]}
    return found


def journalled_in(home: Path) -> list[tuple[str, int]]:
    reader = JournalReader(home / "journal.db")
    try:
        records = [r for batch in reader.all_batches() for r in batch.records if r.record.kind is RecordKind.MESSAGE]
    finally:
        reader.close()
    assert all(r.intact for r in records)
    return [(r.record.source.split("/")[2], json.loads(r.record.payload)["seq"]) for r in records]


def journal_size(home: Path) -> int:
    reader = JournalReader(home / "journal.db")
    try:
        return reader.last_record_id()
    finally:
        reader.close()


def wait_until(condition: object, timeout_s: float, what: str) -> None:
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        pause.wait(0.002)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def everything_is_stored(home: Path, count: int) -> None:
    """The account balances, nothing is pending, and the store has every reading once."""
    state = StateDb(home / "state.db", read_only=True)
    account = state.account()
    state.close()
    assert account.balanced
    assert account.pending == account.quarantined == account.conflict == account.dead == 0
    assert account.stored == count
    store = DuckDbReadingStore(home / "readings.duckdb")
    assert store.count(Selection(mine="kill")) == count
    store.close()


def run_embedded(folder: Path, kills: int, count: int, early: bool) -> tuple[set[tuple[str, int]], Victim]:
    """Publish to the embedded broker and kill it in mid-stream; returns what the publisher was told is safe."""
    port, chance = free_port(), random.Random(20261122)
    victim = Victim(folder, "embedded", str(port), early)
    victim.start()
    log, start_ns = folder / "acks.jsonl", SystemClock().wall_ns() - 3600 * NS_PER_S
    try:
        with MqttPublisher(
            f"mqtt://127.0.0.1:{port}", victim.passwords().get, in_flight=100, ack_log=log, connect_timeout_s=30
        ) as publisher:
            stream = Stream(publisher, count, start_ns)
            stream.start()
            for _ in range(kills):
                before = publisher.acknowledged
                stream.allowed.release(count // (kills + 1))
                wanted = before + ACKED_BEFORE_KILL + chance.randrange(200)
                wait_until(
                    lambda wanted=wanted: publisher.acknowledged >= wanted and publisher.unacknowledged > 0,
                    60,
                    "acknowledgements with messages in flight",
                )
                victim.kill()
                victim.start()
            stream.allowed.release(count)
            assert stream.done.wait(600), "the publisher did not come to its end"
            assert stream.error is None
            if not early:
                assert publisher.drain(120), "not everything was acknowledged in the end"
        victim.finish()
    finally:
        victim.abandon()
    assert victim.kills == kills
    return acknowledged_in(log), victim


@pytest.mark.timeout(300)
def test_embedded_broker_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    acknowledged, victim = run_embedded(tmp_path, KILLS, MESSAGES, early=False)
    journalled = journalled_in(victim.home)
    assert len(acknowledged) == MESSAGES
    assert acknowledged - set(journalled) == set()
    everything_is_stored(victim.home, MESSAGES)


@pytest.mark.timeout(120)
def test_acknowledging_early_turns_it_red(tmp_path: Path) -> None:
    acknowledged, victim = run_embedded(tmp_path, 5, 4_000, early=True)
    assert acknowledged - set(journalled_in(victim.home)) != set(), "a broken service passed the check"


@pytest.mark.mosquitto
@pytest.mark.timeout(300)
def test_external_broker_gives_back_what_was_not_committed(tmp_path: Path, mosquitto: StartMosquitto) -> None:
    """mosquitto stays up; the service is killed. How far it has come is the growth of its journal."""
    passwords = {"greenmine-ingest": new_password(), "publisher": new_password()}
    accounts = [Account(name, "", "", hash_password(password)) for name, password in passwords.items()]
    server = mosquitto(accounts, "max_inflight_messages 200", "max_queued_messages 0", "max_queued_bytes 0")
    url = f"mqtt://127.0.0.1:{server.port}"
    victim = Victim(tmp_path, "external", url, password=passwords["greenmine-ingest"])
    victim.start()
    chance, log, start_ns = random.Random(20261122), tmp_path / "acks.jsonl", SystemClock().wall_ns() - 3600 * NS_PER_S
    try:
        with MqttPublisher(url, passwords.get, in_flight=1000, ack_log=log) as publisher:
            stream = Stream(publisher, MESSAGES, start_ns, client="publisher")
            stream.start()
            for _ in range(KILLS):
                before = journal_size(victim.home)
                stream.allowed.release(MESSAGES // (KILLS + 1))
                wanted = before + ACKED_BEFORE_KILL + chance.randrange(200)
                wait_until(lambda wanted=wanted: journal_size(victim.home) >= wanted, 60, "commits")
                victim.kill()
                victim.start()
            stream.allowed.release(MESSAGES)
            assert stream.done.wait(600)
            assert stream.error is None
            assert publisher.drain(60)
        wait_until(lambda: journal_size(victim.home) >= MESSAGES, 60, "the rest of the queue")
        wait_until(lambda: len(set(journalled_in(victim.home))) >= MESSAGES, 60, "every message once")
        victim.finish()
    finally:
        victim.abandon()
    acknowledged = acknowledged_in(log)
    assert len(acknowledged) == MESSAGES
    assert acknowledged - set(journalled_in(victim.home)) == set()
    everything_is_stored(victim.home, MESSAGES)
