"""Bridges through the whole service: from the account of another network on the broker to the store, and back again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from greenmine.core.clock import NS_PER_S, SystemClock
from greenmine.core.reading_store import Selection
from greenmine.ingest.decode_sparkplug import decode_sparkplug
from greenmine.policy.load import EXAMPLES, load_policy
from greenmine.service import Service
from greenmine.simulator.encode_chirpstack import chirpstack_topic, chirpstack_uplink
from greenmine.simulator.encode_sparkplug import EdgeSession
from greenmine.simulator.encode_tts import tts_topic, tts_uplink
from tests.mqtt_client import Client
from tests.service_rig import running, until

EUI, SECOND = "a84041b2c1841f3d", "a84041b2c1841f3e"
MINE = "shifan-3"
FRAME = bytes.fromhex("0d120107085c0500006410")
NOW_NS = SystemClock().wall_ns() // NS_PER_S * NS_PER_S - 60 * NS_PER_S


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    policy = load_policy(EXAMPLES / "networks" / "shifan-3.yaml").policy
    with running(tmp_path / "home", {MINE: policy}, with_web=False) as one:
        yield one


def bridge(service: Service, network: str) -> Client:
    """A connection with the account of a network's bridge."""
    made = service.administration.provision_bridge(network, f"{network}-1", "service:test")
    assert service.broker is not None
    return Client(service.broker.port, made["account"], made["password"])


def stored(service: Service) -> dict[tuple[str, str, str], float]:
    assert service.drain(30)
    found = service.store.query(Selection(MINE))
    return {(one.series.device, one.series.metric, one.series.channel): round(one.value or 0, 6) for one in found}


def test_uplinks_of_both_lorawan_networks_are_stored(service: Service) -> None:
    fields = {"water_SOIL": "21.40", "temp_SOIL": "12.80", "conduct_SOIL": 100, "Bat": 3.346}
    with bridge(service, "chirpstack") as chirpstack, bridge(service, "tts") as tts:
        for _ in range(2):  # at least once
            chirpstack.publish(chirpstack_topic("1", EUI), chirpstack_uplink(EUI, NOW_NS, fields=fields, counter=4))
        tts.publish(tts_topic("app", "s2"), tts_uplink("s2", SECOND, NOW_NS, frame=FRAME, counter=4))
        until(lambda: service.state.account().received == 9)
    assert stored(service) == {
        (soil, *series): value
        for soil in ("soil-1", "soil-2")
        for *series, value in (("soil_moisture", "d20", 21.4), ("soil_temp", "d20", 12.8), ("ec", "d20", 0.1))
    }
    account = service.state.account()
    assert (account.stored, account.duplicate, account.dead) == (6, 3, 0)


def test_a_bridge_speaks_for_its_network_alone(service: Service) -> None:
    """What it may not write, the broker keeps from the mine's topics; that it tried is a dead letter."""
    with bridge(service, "chirpstack") as chirpstack:
        chirpstack.publish(f"mines/{MINE}/weather-1/up", b'{"ts":1,"values":{"wind_speed":1}}')
        chirpstack.publish(tts_topic("app", "s1"), tts_uplink("s1", EUI, NOW_NS, fields={"water_SOIL": 1}))
        chirpstack.publish(
            chirpstack_topic("1", "00" * 8), chirpstack_uplink("00" * 8, NOW_NS, fields={"water_SOIL": 1})
        )
        until(lambda: service.state.account().dead == 3)
    assert stored(service) == {}
    with service.state.reading() as connection:
        words = connection.exec_driver_sql("SELECT word FROM dead_letter ORDER BY id").scalars().all()
    assert sorted(words) == ["denied", "denied", "unknown_address"]


def test_a_node_whose_birth_was_missed_is_asked_for_it_and_then_understood(service: Service) -> None:
    session = EdgeSession(MINE, "gw-01")
    with bridge(service, "sparkplug") as gateway:
        gateway.subscribe(f"spBv1.0/{MINE}/NCMD/gw-01")
        session.node_birth({}, NOW_NS)
        session.device_birth("pump-1", {"Process/Flow": 360.0}, NOW_NS)
        gateway.publish(*session.data("pump-1", {"Process/Flow": 396.0}, NOW_NS), qos=0)
        asked = gateway.next()
        assert asked.topic == f"spBv1.0/{MINE}/NCMD/gw-01"
        assert decode_sparkplug(asked.payload, "", {}).decoded.items == []
        assert b"Node Control/Rebirth" in asked.payload
        gateway.publish(*session.node_birth({}, NOW_NS + NS_PER_S), qos=0)
        gateway.publish(*session.device_birth("pump-1", {"Process/Flow": 360.0}, NOW_NS + NS_PER_S), qos=0)
        gateway.publish(*session.data("pump-1", {"Process/Flow": 396.0}, NOW_NS + 2 * NS_PER_S), qos=0)
        until(lambda: service.state.account().received == 3)
    assert stored(service) == {("pump-1", "flow", ""): 110.0}
    account = service.state.account()
    assert (account.stored, account.dead) == (2, 1)
    until(lambda: service.state.account().balanced)
