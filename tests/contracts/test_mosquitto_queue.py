"""What an external mosquitto keeps for us, and what it says of what it did not."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from greenmine.ingest.gathering_client import Publish
from greenmine.ingest.subscriber import DROPPED_TOPIC, BrokerUrl, Subscriber
from tests.contracts.test_broker import ACCOUNTS, D1, PASSWORD, MosquittoRig, up
from tests.journal_rig import JournalRig
from tests.mosquitto_server import StartMosquitto, mosquitto
from tests.mqtt_client import WAIT_S, Client

__all__ = ["mosquitto"]


def _flood(port: int, messages: int) -> None:
    """QoS 1, all of them acknowledged."""
    with Client(port, D1.name, PASSWORD) as client:
        sent = [client.mqtt.publish(up(D1), b"%d" % number, qos=1) for number in range(messages)]
        for one in sent:
            one.wait_for_publish(WAIT_S)
            assert one.is_published()


@pytest.mark.mosquitto
def test_what_a_broker_with_too_short_a_queue_drops_is_told(tmp_path: Path, mosquitto: StartMosquitto) -> None:
    """reliability P9: mosquitto's own defaults, and a consumer that does not come on."""
    rig = MosquittoRig(tmp_path, mosquitto(ACCOUNTS, "sys_interval 1"))
    told: list[tuple[int, int]] = []
    dropped = threading.Event()
    rig.subscriber._on_dropped = lambda more, total: (told.append((more, total)), dropped.set())[1]
    try:
        rig.journal.journal.hold()
        _flood(rig.port, 2_000)
        assert dropped.wait(WAIT_S)
        rig.journal.journal.released.set()
        rig.journal.wait_for(lambda messages: len(messages) >= 1_000)
        assert told[-1][1] == sum(more for more, _ in told) == rig.subscriber.dropped_by_broker
        rig.journal.wait_for(lambda messages: len(messages) == 2_000 - rig.subscriber.dropped_by_broker)
    finally:
        rig.close()


@pytest.mark.mosquitto
def test_with_the_queue_of_our_settings_nothing_is_dropped(tmp_path: Path, mosquitto: StartMosquitto) -> None:
    shipped = (Path(__file__).parents[2] / "deploy" / "mosquitto" / "mosquitto.conf").read_text("utf-8").splitlines()
    queue = [line for line in shipped if line.startswith(("max_queued_", "max_inflight_"))]
    assert len(queue) == 3
    rig = MosquittoRig(tmp_path, mosquitto(ACCOUNTS, "sys_interval 1", *queue))
    try:
        rig.journal.journal.hold()
        _flood(rig.port, 6_000)
        rig.journal.journal.released.set()
        found = rig.journal.wait_for(lambda messages: len(messages) >= 6_000)
        assert sorted(int(record.payload) for record in found) == list(range(6_000))
        assert rig.subscriber.dropped_by_broker == 0
    finally:
        rig.close()


@pytest.mark.parametrize(
    ("payloads", "told"),
    [
        ([b"0"], []),
        ([b"0", b"5", b"5", b"7"], [(5, 5), (2, 7)]),
        ([b"7"], [(7, 7)]),
        ([b"7", b"2"], [(7, 7), (2, 2)]),
        ([b"", b"-1", b"1e3", b"\xff", b"9" * 5000], []),
    ],
    ids=["none", "more", "before us", "it started anew", "nonsense"],
)
def test_how_many_a_broker_drops_is_understood(
    tmp_path: Path, payloads: list[bytes], told: list[tuple[int, int]]
) -> None:
    journal, found = JournalRig(tmp_path / "journal.db"), []
    url = BrokerUrl.parse("mqtt://127.0.0.1:1")
    one = Subscriber(url, "u", "p", journal.writer, lambda up: None, on_dropped=lambda *drops: found.append(drops))
    try:
        one._publishes([Publish(1, 0, DROPPED_TOPIC.encode(), payload) for payload in payloads])
        assert found == told
        assert one.received == 0
    finally:
        journal.close()
