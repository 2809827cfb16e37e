"""reliability P2: an external broker that is killed loses what it acknowledged; all of it is seen, and filled again."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from greenmine.core.account import Account
from greenmine.core.clock import NS_PER_MS, NS_PER_S, SystemClock
from greenmine.core.gap import Gap, GapReason
from greenmine.ingest import subscriber as subscriber_module
from greenmine.ingest.gate import Account as DeviceAccount
from greenmine.ingest.gate import hash_password
from greenmine.ingest.journal import JournalReader
from greenmine.ingest.journal_writer import Submission
from greenmine.ingest.subscriber import BrokerUrl, Subscriber
from greenmine.pipeline.pipeline import Pipeline
from greenmine.store import gaps
from greenmine.store.state import StateDb
from tests.journal_rig import JournalRig
from tests.mosquitto_server import StartMosquitto, mosquitto
from tests.mqtt_client import WAIT_S, Client
from tests.pipeline_scenes import DUSTY, MINE, activation, policy

__all__ = ["mosquitto"]
PASSWORD = "a password"
DUST, INGEST = (
    DeviceAccount(f"{MINE}.dust-1", MINE, "dust-1", hash_password(PASSWORD)),
    DeviceAccount("greenmine-ingest", "", "", hash_password(PASSWORD)),
)
BEFORE, ON_THE_WAY, AFTER = 10, 60, 5


class Ahead(SystemClock):
    """The time, and then some."""

    ahead_ns = 0

    def wall_ns(self) -> int:
        return super().wall_ns() + self.ahead_ns

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() + self.ahead_ns


class Device:
    """Sends numbered readings of the last minutes, and can send any of them again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._start_ms = (SystemClock().wall_ns() - 300 * NS_PER_S) // NS_PER_MS

    def send(self, *numbers: int) -> None:
        """All of these are acknowledged by the broker."""
        with Client(self._port, DUST.name, PASSWORD) as client:
            for seq in numbers:
                body = {"ts": self._start_ms + seq * 1000, "values": {"pm10": 20.0 + seq % 5}, "seq": seq, "boot": "a"}
                client.publish(f"mines/{MINE}/dust-1/up", json.dumps(body).encode())


@pytest.mark.mosquitto
def test_what_a_killed_broker_lost_is_found_and_filled(
    tmp_path: Path, mosquitto: StartMosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber_module, "RECONNECT_FIRST_S", 0.02)
    monkeypatch.setattr(subscriber_module, "RECONNECT_LONGEST_S", 0.1)
    clock = Ahead()
    server, rig = mosquitto([DUST, INGEST]), JournalRig(tmp_path / "journal.db", clock=clock)
    assert rig.writer.put(Submission(activation(policy([DUSTY]))), WAIT_S)
    linked = threading.Semaphore(0)
    url = BrokerUrl.parse(f"mqtt://127.0.0.1:{server.port}")
    taker = Subscriber(url, INGEST.name, PASSWORD, rig.writer, lambda up: linked.release() if up else None)
    taker.start()
    assert linked.acquire(timeout=WAIT_S)
    device, reader, state = Device(server.port), JournalReader(tmp_path / "journal.db"), StateDb(tmp_path / "state.db")
    pipeline = Pipeline(reader, state)

    device.send(*range(BEFORE))
    rig.wait_for(lambda messages: len(messages) == BEFORE)
    rig.journal.hold()
    device.send(*range(BEFORE, BEFORE + ON_THE_WAY))
    server.kill()
    rig.journal.released.set()
    server.start()
    assert linked.acquire(timeout=WAIT_S)
    last = BEFORE + ON_THE_WAY + AFTER
    device.send(*range(BEFORE + ON_THE_WAY, last))
    messages = rig.wait_for(lambda messages: json.loads(messages[-1].payload)["seq"] == last - 1)
    missing = set(range(last)) - {json.loads(record.payload)["seq"] for record in messages}
    assert missing, "mosquitto was killed before it had delivered all that it acknowledged"

    def judged_a_minute_later() -> list[Gap]:
        clock.ahead_ns += 60 * NS_PER_S
        ticked = threading.Semaphore(0)
        rig.on_commit = ticked.release
        for _ in range(2):
            assert ticked.acquire(timeout=WAIT_S)
        pipeline.run_available()
        with state.reading() as connection:
            return gaps.listed(connection)

    found = judged_a_minute_later()
    assert {one.reason for one in found} == {GapReason.OPEN}
    assert {seq for one in found for seq in range(one.first_seq, one.last_seq + 1)} == missing
    device.send(*sorted(missing))
    rig.wait_for(lambda messages: len({record.payload for record in messages}) == last)
    assert {one.reason for one in judged_a_minute_later()} == {GapReason.FILLED}
    account = state.account()
    assert account == Account(received=account.received, pending=last, duplicate=account.received - last)
    taker.stop()
    rig.close()
    reader.close()
    state.close()
