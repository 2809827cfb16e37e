"""The service on a real InfluxDB 2: readings published over MQTT come to rest there, also after it was away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from greenmine.core.clock import NS_PER_S, SystemClock, to_rfc3339
from greenmine.core.reading_store import Selection
from greenmine.home import Home, write_private
from greenmine.policy.load import EXAMPLES
from greenmine.service import Service, load_policies
from greenmine.settings import MqttSettings, Settings, StoreSettings
from greenmine.simulator.message import TimedMessage
from greenmine.simulator.publish import MqttPublisher
from tests.contracts.influx_server import InfluxServer, influx_server

__all__ = ["influx_server"]
pytestmark = pytest.mark.influxdb
READINGS = 200


def test_readings_come_to_rest_in_influxdb(tmp_path: Path, influx_server: InfluxServer) -> None:
    home = Home(tmp_path / "home")
    home.make()
    write_private(home.secrets / "influxdb-token", influx_server.token)
    settings = Settings(
        mqtt=MqttSettings(port=0),
        store=StoreSettings(kind="influxdb", url=influx_server.url, org=influx_server.org, bucket="greenmine"),
    )
    service = Service(home, settings, load_policies([EXAMPLES / "shifan-1.yaml"]))
    service.start(with_web=False)
    made = service.administration.provision("shifan-1", "dust-s1", "service:test")
    start_ns = SystemClock().wall_ns() - 3600 * NS_PER_S
    assert service.broker is not None
    with MqttPublisher(f"mqtt://127.0.0.1:{service.broker.port}", {made["account"]: made["password"]}.get) as publisher:
        for number in range(READINGS):
            time_ns = start_ns + number * NS_PER_S
            payload = json.dumps({"ts": to_rfc3339(time_ns), "values": {"pm10": 20 + number / 10}}).encode()
            topic = "mines/shifan-1/dust-s1/up"
            publisher.publish(TimedMessage(time_ns, "shifan-1", "dust-s1", topic, payload, made["account"]))
        assert publisher.drain(30)
    assert service.drain(60)
    account = service.state.account()
    found = list(service.store.query(Selection(mine="shifan-1", metric="pm10")))
    service.stop()
    assert account.balanced
    assert account.stored == READINGS
    assert [(reading.time_ns, reading.value) for reading in found] == [
        (start_ns + number * NS_PER_S, 20 + number / 10) for number in range(READINGS)
    ]
