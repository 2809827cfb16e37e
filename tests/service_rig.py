"""A mine, a home and the ways to them: what tests of the wired service and of its command line share."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3

from greenmine.core.clock import NS_PER_S, SystemClock, to_rfc3339
from greenmine.home import Home
from greenmine.policy.model import Policy
from greenmine.service import Service, load_policies
from greenmine.settings import (
    ChannelSettings,
    JournalSettings,
    MqttSettings,
    Settings,
    StoreSettings,
    WebhookSettings,
    WebSettings,
)
from greenmine.simulator.message import TimedMessage
from greenmine.simulator.publish import MqttPublisher

MINE = "shifan-7"
DEVICE = "dust-1"
WAIT_S = 30.0
POLICY = """\
schema: 1
mine:
  id: {mine}
  name: {{zh: 示范七号矿, en: Demo No. 7 mine}}
  enterprise: {{zh: 示范公司, en: Demo Ltd}}
  region: "150622"
  timezone: Asia/Shanghai
  location: [110.2, 39.7]
  noise_class: 3
  air_grade: 2
valid_from: 2026-01-01
devices:
  - id: dust-1
    sensors:
      - {{kind: dust, principle: light_scattering, metrics: {{pm10: {{unit: ug/m3, interval: 60s}}}}}}
  - id: dust-2
    sensors:
      - {{kind: dust, principle: light_scattering, metrics: {{pm10: {{unit: ug/m3, interval: 60s}}}}}}
rules:
  - {{id: dusty, kind: threshold, severity: warning, metric: pm10, raise: 150, clear: 130}}
contacts:
  - id: office
    name: {{zh: 环保科, en: Office}}
    channels: [{channel}]
"""


def write_policy(folder: Path, channel: str = "{kind: console}", mine: str = MINE) -> Path:
    """A mine with two dust instruments and one limit, without hold times, in a file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{mine}.yaml"
    path.write_text(POLICY.format(mine=mine, channel=channel), encoding="utf-8")
    return path


def settings_of(allow: tuple[str, ...] = (), **changes: Any) -> Settings:
    """Everything on ports that the system chooses, with a journal that does not linger."""
    given: dict[str, Any] = {
        "mqtt": MqttSettings(port=0),
        "web": WebSettings(port=0),
        "journal": JournalSettings(linger_ms=0, tick_ms=50),
        "store": StoreSettings(flush_ms=0),
        "channels": ChannelSettings(webhook=WebhookSettings(allow=list(allow), timeout_s=10)),
    }
    return Settings(**{**given, **changes})


@contextmanager
def running(
    home: Path, policies: Path | Mapping[str, Policy], settings: Settings | None = None, **start: bool
) -> Iterator[Service]:
    """A service while the block lasts."""
    found = load_policies([policies]) if isinstance(policies, Path) else policies
    service = Service(Home(home), settings or settings_of(), found)
    try:
        service.start(**start)
        yield service
    finally:
        service.stop()


@contextmanager
def publisher_of(service: Service, device: str = DEVICE) -> Iterator[MqttPublisher]:
    """A connection of this device, with an account made for it."""
    made = service.administration.provision(MINE, device, "service:test")
    assert service.broker is not None
    url = f"mqtt://{service.broker.host}:{service.broker.port}"
    with MqttPublisher(url, {made["account"]: made["password"]}.get) as publisher:
        yield publisher


def send(publisher: MqttPublisher, pm10: float, seconds_ago: int, device: str = DEVICE) -> None:
    """Publish a value and wait until it is acknowledged, and so on disk."""
    time_ns = SystemClock().wall_ns() // NS_PER_S * NS_PER_S - seconds_ago * NS_PER_S
    payload = json.dumps({"ts": to_rfc3339(time_ns), "values": {"pm10": pm10}}).encode()
    topic, account = f"mines/{MINE}/{device}/up", f"{MINE}.{device}"
    publisher.publish(TimedMessage(time_ns, MINE, device, topic, payload, account))
    assert publisher.drain(WAIT_S)


def until(holds: Callable[[], Any], timeout_s: float = WAIT_S) -> Any:
    """What the call gives as soon as it is true; looked at again and again, for a bounded time."""
    never = threading.Event()
    for _ in range(int(timeout_s / 0.02)):
        found = holds()
        if found:
            return found
        never.wait(0.02)
    raise AssertionError("this did not come about in time")


class Api:
    """The HTTP API as a person uses it."""

    def __init__(self, url: str, token: str) -> None:
        self._url = f"{url}/api/v1"
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._pool = urllib3.PoolManager(retries=False, timeout=WAIT_S)

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of the answer."""
        sent = None if body is None else json.dumps(body).encode()
        response = self._pool.request(method, self._url + path, body=sent, headers=self._headers)
        return response.status, json.loads(response.data)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()
