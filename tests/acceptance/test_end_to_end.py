"""From a sensor's publish to a person's acknowledgement: broker, journal, pipeline, store, board, and a browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenmine.core.alert import Condition, Handling
from greenmine.core.clock import NS_PER_S, SystemClock, to_rfc3339
from greenmine.core.user import Role
from greenmine.home import Home
from greenmine.policy.load import EXAMPLES
from greenmine.policy.model import Policy
from greenmine.service import Service, load_policies
from greenmine.settings import MqttSettings, Settings, WebSettings
from greenmine.simulator.message import TimedMessage
from greenmine.simulator.publish import MqttPublisher

playwright_api = pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")
expect = playwright_api.expect

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.chromium,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium program on PATH"),
]
PASSWORD = "Riesling-Spaet-44"
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
WAIT_MS = 15_000


def at_once(policy: Policy) -> Policy:
    """The example's policy with only its PM10 limit, without hold time: what is shown here is the way to the page."""
    rules = [rule.model_copy(update={"hold": 0}) for rule in policy.rules if rule.id == "pm10-high"]
    return policy.model_copy(update={"rules": rules})


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    settings = Settings(mqtt=MqttSettings(port=0), web=WebSettings(port=0))
    policies = load_policies([EXAMPLES / "shifan-1.yaml"])
    found = Service(Home(tmp_path / "home"), settings, {mine: at_once(policy) for mine, policy in policies.items()})
    found.start()
    found.logins.add_user("li", Role.OPERATOR, "service:test")
    found.logins.set_password("li", PASSWORD, False, "service:test")
    yield found
    found.stop()
    assert found.failure is None


@pytest.fixture
def publisher(service: Service) -> Iterator[MqttPublisher]:
    made = service.administration.provision("shifan-1", "dust-s1", "service:test")
    assert service.broker is not None
    with MqttPublisher(f"mqtt://127.0.0.1:{service.broker.port}", {made["account"]: made["password"]}.get) as found:
        yield found


def send(publisher: MqttPublisher, pm10: float, seconds_ago: int) -> None:
    time_ns = SystemClock().wall_ns() - seconds_ago * NS_PER_S
    payload = json.dumps({"ts": to_rfc3339(time_ns), "values": {"pm10": pm10}}).encode()
    topic, account = "mines/shifan-1/dust-s1/up", "shifan-1.dust-s1"
    publisher.publish(TimedMessage(time_ns, "shifan-1", "dust-s1", topic, payload, account))
    assert publisher.drain(30)


def test_an_alarm_is_seen_and_acknowledged_without_a_reload(
    service: Service, publisher: MqttPublisher, request: pytest.FixtureRequest
) -> None:
    assert service.web is not None
    send(publisher, 40.0, 120)
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        page = browser.new_page(locale="en-GB")
        page.goto(f"{service.web.url}/login?lang=en")
        page.fill("[name=name]", "li")
        page.fill("[name=password]", PASSWORD)
        page.press("[name=password]", "Enter")
        page.wait_for_url(lambda url: "/login" not in url)
        page.goto(f"{service.web.url}/mines/shifan-1")
        expect(page.locator("article[data-alert]")).to_have_count(0)
        page.evaluate("window.neverReloaded = true")
        begin_ns = SystemClock().monotonic_ns()
        send(publisher, 900.0, 60)
        alert = page.locator("article[data-alert]")
        expect(alert).to_have_count(1, timeout=WAIT_MS)
        waited_ms = (SystemClock().monotonic_ns() - begin_ns) // 1_000_000
        request.node.user_properties.append(("publish_to_page_ms", waited_ms))
        [found] = service.board.alerts("shifan-1", open_only=True)
        assert found.condition is Condition.FIRING
        alert.locator("input[name=note]").first.fill("water truck sent")
        alert.get_by_role("button", name="Acknowledge").click()
        expect(alert.locator(".tag.t-acknowledged")).to_be_visible(timeout=WAIT_MS)
        expect(alert).to_contain_text("li", timeout=WAIT_MS)
        assert page.evaluate("window.neverReloaded") is True
        send(publisher, 40.0, 0)
        expect(alert.locator("[data-act=resolve] button, details")).not_to_have_count(0, timeout=WAIT_MS)
        browser.close()
    after, history = service.board.history(found.id)
    assert after.handling is Handling.ACKNOWLEDGED
    assert after.acknowledged_by == "person:li"
    assert any(step.note == "water truck sent" for step in history)
