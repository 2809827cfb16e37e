"""The board in a real browser: live, without reload, in both languages, under the strict CSP, also without scripts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from greenmine.core.act import Act, ActKind
from greenmine.core.reading import Series
from tests.web_fakes import PASSWORD, RunningSite, World, make_world, open_pit_policy, running
from tests.web_intake_scenes import add_activity, add_losses, add_strangers

playwright_api = pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")
Browser, Page, expect = playwright_api.Browser, playwright_api.Page, playwright_api.expect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.chromium,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium program on PATH"),
]
SWITCHES = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
ROAD = Series("demo-pit", "dust-road", "pm10")
RECORD_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with playwright_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield started
        started.close()


@pytest.fixture
def world() -> World:
    return make_world("rest", hours=6)


@pytest.fixture
def site(world: World) -> Iterator[RunningSite]:
    with running(world, heartbeat_s=0.5) as found:
        yield found


class Visitor:
    """A person at a browser of his own, and what his console said."""

    def __init__(self, browser: Browser, site: RunningSite, **context: object) -> None:
        self.base = site.base
        self.complaints: list[str] = []
        self._context = browser.new_context(**{"locale": "zh-CN", **context})
        self.page: Page = self._context.new_page()
        self.page.add_init_script(RECORD_VIOLATIONS)
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, message: object) -> None:
        if message.type in ("error", "warning", "trace"):  # type: ignore[attr-defined]
            self.complaints.append(message.text)  # type: ignore[attr-defined]

    def log_in(self, name: str = "li") -> Page:
        self.page.goto(f"{self.base}/login")
        self.page.fill("[name=name]", name)
        self.page.fill("[name=password]", PASSWORD)
        self.page.click("form button.primary")
        return self.page

    def open(self, path: str) -> Page:
        self.page.goto(self.base + path)
        return self.page

    def leave(self) -> None:
        """Close the browser; the console must have been silent and the policy obeyed."""
        if not self.page.is_closed() and self.complaints == []:
            self.complaints += self.page.evaluate("window.violations ?? []")
        self._context.close()
        assert self.complaints == []


@pytest.fixture
def visitor(browser: Browser, site: RunningSite) -> Iterator[Visitor]:
    found = Visitor(browser, site)
    yield found
    found.leave()


def test_an_alert_appears_without_reload_and_is_acknowledged_in_place(
    visitor: Visitor, site: RunningSite, world: World
) -> None:
    page = visitor.log_in()
    expect(page.locator("#connection.on")).to_contain_text("实时")
    expect(page.locator(".side .alert")).to_have_count(0)
    page.evaluate("window.sameDocument = true")

    world.desk.set_value(ROAD, 463.0)
    alert = world.desk.raise_alert(open_pit_policy(), "pm10-critical", ROAD, 463.0)

    card = page.locator(f".alert[data-alert='{alert.id}']")
    expect(card).to_contain_text("PM10 严重超标", timeout=2000)
    expect(card).to_contain_text("463 µg/m³")
    expect(card).to_contain_text("未确认")
    expect(page.locator(".card.s-critical h2")).to_have_text("示范露天煤矿")
    expect(page.locator(".for-wide .spot.s-critical")).not_to_have_count(0)
    expect(page).to_have_title("(1) 矿山总览 · 绿色矿山环境监测")

    card.locator("input[name=note]").fill("雾炮已开")
    card.get_by_role("button", name="确认告警").click()
    expect(page.locator("#said")).to_have_text("已确认。")
    expect(card.locator(".t-acknowledged")).to_have_text("已确认")
    expect(card).to_contain_text("li")
    expect(card.get_by_role("button", name="确认告警")).to_have_count(0)
    assert page.evaluate("window.sameDocument") is True
    assert [(act.kind, act.principal, act.note) for act in world.desk.acts] == [
        (ActKind.ACKNOWLEDGE, "person:li", "雾炮已开")
    ]

    visitor.open(f"/alerts/{alert.id}?lang=en")
    history = page.locator(".history")
    expect(history).to_contain_text("The reading 463 µg/m³ is over the limit 420 µg/m³")
    expect(history).to_contain_text("雾炮已开")
    expect(page.get_by_role("button", name="Resolve and close")).to_have_count(0)
    world.desk.clear(world.board.known[alert.id], 310.0)
    page.fill(f"#resolve-{alert.id}", "路面已洒水")
    page.get_by_role("button", name="Resolve and close").click()
    expect(page.locator("#said")).to_have_text("The alert is closed.")
    expect(history).to_contain_text("Resolved and closed by a person")


def test_values_change_in_place_with_their_sign(visitor: Visitor, world: World) -> None:
    page = visitor.log_in()
    visitor.open("/mines/demo-pit")
    cell = page.locator("[data-series='demo-pit.dust-road.pm10..inst.0']")
    expect(page.locator("#connection.on")).to_be_visible()
    world.clock.advance(60_000_000_000)
    world.desk.set_value(ROAD, 261.0)
    expect(cell.locator(".number")).to_have_text("261")
    expect(cell).to_have_attribute("data-over", "warning")
    expect(page.locator("[data-time-of='demo-pit.dust-road.pm10..inst.0'] time")).to_have_text("16:01:00")
    expect(page.locator("[data-age-of='demo-pit.dust-road.pm10..inst.0']")).to_have_text("0 秒前")


def test_a_refresh_that_was_overtaken_does_not_bring_old_values_back(visitor: Visitor, world: World) -> None:
    page = visitor.log_in()
    visitor.open("/mines/demo-pit")
    expect(page.locator("#connection.on")).to_be_visible()
    number = page.locator("[data-series='demo-pit.dust-road.pm10..inst.0'] .number")
    expect(number).to_have_text("129")

    def overtaken(route: object) -> None:
        answer = route.fetch()  # type: ignore[attr-defined]
        world.desk.set_value(ROAD, 261.0)
        expect(number).to_have_text("261")
        route.fulfill(response=answer)  # type: ignore[attr-defined]

    page.route("**/mines/demo-pit?part=live", overtaken, times=1)
    alert = world.desk.raise_alert(open_pit_policy(), "pm10-notice", Series("demo-pit", "dust-n1", "pm10"), 163.0)
    expect(page.locator(f".alert[data-alert='{alert.id}']")).to_be_visible()
    expect(number).to_have_text("261")


def test_a_sensor_that_falls_silent_is_shown_late_without_reload(visitor: Visitor, world: World) -> None:
    page = visitor.log_in()
    visitor.open("/mines/demo-quarry")
    expect(page.locator("#connection.on")).to_be_visible()
    expect(page.locator(".values tr.s-ok")).not_to_have_count(0)
    world.clock.advance(600_000_000_000)
    expect(page.locator(".values tr.s-late .station").first).to_be_visible()
    expect(page.locator(".quiet")).to_contain_text("但有数据缺口")


def test_charts_draw_series_limits_and_gaps_under_the_strict_policy(visitor: Visitor, world: World) -> None:
    silent = Series("demo-pit", "dust-s1", "pm10")
    world.readings.change(silent, lambda reading, age: None if 95 < age <= 150 else reading)
    page = visitor.log_in()
    visitor.open("/mines/demo-pit/devices/dust-s1?range=6h")
    page.locator(".plot").last.scroll_into_view_if_needed()
    expect(page.locator(".plot[data-drawn]")).to_have_count(3, timeout=20_000)
    pm10 = page.locator("[id='chart.pm10.inst.0']")
    expect(pm10.locator(".chart-note")).to_have_text("共 305 个读数")
    expect(pm10.locator(".scatterlayer path.js-line"), "the line breaks once, at the gap").to_have_count(2)
    expect(pm10.locator(".annotation-text")).to_contain_text(["提示 > 150 µg/m³"])
    pm10.locator(".nsewdrag").hover()
    expect(pm10.locator(".hoverlayer .hovertext").first).to_be_visible()


def test_a_note_being_written_survives_the_refresh(visitor: Visitor, world: World) -> None:
    alert = world.desk.raise_alert(open_pit_policy(), "pm10-warning", ROAD, 263.0)
    page = visitor.log_in()
    visitor.open("/mines/demo-pit")
    expect(page.locator("#connection.on")).to_be_visible()
    note = page.locator(f"#acknowledge-{alert.id}")
    note.fill("正在")
    other = world.desk.raise_alert(open_pit_policy(), "pm10-critical", ROAD, 463.0)
    expect(page.locator(f".alert[data-alert='{other.id}']")).to_be_visible()
    expect(note).to_have_value("正在")
    expect(note).to_be_focused()
    page.keyboard.type("联系")
    expect(note).to_have_value("正在联系")


def test_what_the_desk_refuses_is_said_at_the_form(browser: Browser, site: RunningSite, world: World) -> None:
    alert = world.desk.raise_alert(open_pit_policy(), "pm10-warning", ROAD, 263.0)
    visitor = Visitor(browser, site)
    page = visitor.log_in()
    visitor.open("/alerts")
    expect(page.locator("#connection.on")).to_be_visible()
    page.route("**/acknowledge", lambda route: route.abort())
    page.get_by_role("button", name="确认告警").click()
    error = page.locator(f".alert[data-alert='{alert.id}'] .act-error")
    expect(error).to_have_text("没有送达服务器，请重试。")
    page.unroute("**/acknowledge")
    page.get_by_role("button", name="确认告警").click()
    expect(page.locator("#said")).to_have_text("已确认。")
    assert len(world.desk.acts) == 1
    visitor.complaints = [c for c in visitor.complaints if "ERR_FAILED" not in c]
    visitor.leave()


def test_a_lost_connection_is_said_and_mended(browser: Browser, world: World) -> None:
    with running(world, heartbeat_s=0.5) as site:
        port = int(site.base.rsplit(":", 1)[1])
        visitor = Visitor(browser, site)
        page = visitor.log_in()
        expect(page.locator("#connection.on")).to_be_visible()
    expect(page.locator("#connection.lost")).to_contain_text("连接中断，16:00 之后的数值可能已过时")
    alert = world.desk.raise_alert(open_pit_policy(), "pm10-warning", ROAD, 263.0)
    with running(world, heartbeat_s=0.5, port=port):
        expect(page.locator("#connection.on")).to_be_visible(timeout=20_000)
        expect(page.locator(f".alert[data-alert='{alert.id}']")).to_be_visible()
        visitor.complaints = [c for c in visitor.complaints if "ERR_" not in c]
        visitor.leave()


def test_a_session_that_ended_is_said(browser: Browser, site: RunningSite, world: World) -> None:
    visitor = Visitor(browser, site)
    page = visitor.log_in()
    expect(page.locator("#connection.on")).to_be_visible()
    for token in [t for t, name in world.logins.sessions.items() if name == "li"]:
        world.logins.log_out(token)
    expect(page.locator("#connection.ended")).to_contain_text("登录已失效")
    page.locator("#connection a").click()
    expect(page.get_by_role("heading", name="登录")).to_be_visible()
    visitor.complaints = [c for c in visitor.complaints if "401" not in c]
    visitor.leave()


def test_everything_works_without_scripts(browser: Browser, site: RunningSite, world: World) -> None:
    alert = world.desk.raise_alert(open_pit_policy(), "pm10-warning", ROAD, 263.0)
    visitor = Visitor(browser, site, java_script_enabled=False, locale="en-US")
    page = visitor.log_in()
    visitor.open("/mines/demo-pit")
    expect(page.locator("noscript .banner")).to_contain_text("reload")
    page.fill(f"#acknowledge-{alert.id}", "on it")
    page.get_by_role("button", name="Acknowledge").click()
    assert page.url.endswith("/mines/demo-pit?said=acknowledge")
    expect(page.locator("#said")).to_have_text("Acknowledged.")
    expect(page.locator(".alert .t-acknowledged")).to_have_text("acknowledged")
    visitor.open(f"/alerts/{alert.id}")
    page.fill(f"#note-{alert.id}", "fog cannon runs")
    page.get_by_role("button", name="Add a note").click()
    expect(page.locator(".history")).to_contain_text("fog cannon runs")
    world.desk.clear(world.board.known[alert.id], 180.0)
    visitor.open(f"/alerts/{alert.id}")
    page.fill(f"#resolve-{alert.id}", "road watered")
    page.get_by_role("button", name="Resolve and close").click()
    expect(page.locator(".history")).to_contain_text("Resolved and closed by a person")
    visitor.leave()


@pytest.mark.parametrize("width", [390, 1920])
@pytest.mark.parametrize("path", ["/", "/mines/demo-pit", "/mines/demo-pit/devices/dust-n1", "/alerts", "/login"])
def test_no_page_is_wider_than_the_screen(
    browser: Browser, site: RunningSite, world: World, path: str, width: int
) -> None:
    alert = world.desk.raise_alert(open_pit_policy(), "pm10-warning", ROAD, 263.0)
    world.desk.submit(Act(ActKind.ACKNOWLEDGE, "person:li", alert.id, "字" * 300))
    visitor = Visitor(browser, site, viewport={"width": width, "height": 844}, locale="en-US")
    page = visitor.log_in()
    visitor.open(path)
    expect(page.locator("main")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    visitor.leave()


def test_an_installer_sees_each_message_as_it_comes(visitor: Visitor, world: World) -> None:
    page = visitor.log_in()
    visitor.open("/mines/demo-pit/commissioning?lang=en")
    expect(page.locator("#connection.on")).to_be_visible()
    look = page.locator("#look-dust-new")
    expect(look).to_contain_text("the next message is shown here raw")
    world.desk.hear("dust-new", {"pm10": 0.081}, ago_s=0)
    expect(look.locator(".raw")).to_contain_text('"pm10": 0.081')
    expect(look).to_contain_text("the numbers look like mg/m3")
    world.desk.hear("dust-x7", {"pm10": 64.0}, ago_s=0)
    expect(page.locator("#look-dust-x7")).to_contain_text("not registered")


def test_a_stranger_is_approved_and_what_was_chosen_survives_a_refresh(visitor: Visitor, world: World) -> None:
    add_strangers(world.devices, world.clock.wall_ns())
    page = visitor.log_in()
    visitor.open("/waiting?lang=en")
    expect(page.locator("#connection.on")).to_be_visible()
    card = page.locator("#wait-dev_eui-a84041ffff1c2d3e")
    card.locator("select").select_option("demo-pit/soil-p1")
    card.locator("input[type=checkbox]").uncheck()
    with page.expect_response("**/waiting?part=live"):
        pass
    expect(card.locator("select")).to_have_value("demo-pit/soil-p1")
    expect(card.locator("input[type=checkbox]")).not_to_be_checked()
    card.get_by_role("button", name="Approve").click()
    expect(page.locator("#said")).to_have_text("Approved.")
    expect(card).to_have_count(0)
    assert [(act.kind, act.principal, act.body["device"], act.body["replay"]) for act in world.desk.acts] == [
        (ActKind.APPROVE_DEVICE, "person:li", "soil-p1", False)
    ]


def test_what_a_mine_did_stands_under_its_charts(visitor: Visitor, world: World) -> None:
    add_activity(world.board.intervals, world.clock.wall_ns())
    page = visitor.log_in()
    visitor.open("/mines/demo-pit/devices/dust-n1?range=6h&lang=en")
    bands = page.locator(".chart").first.locator(".bands li")
    expect(bands).to_have_text(["haulage × 1 (ramp)", "watering × 2 (ramp, yard)", "blast × 2 (north)"], timeout=20_000)


def test_the_data_page_obeys_the_policy(visitor: Visitor, world: World) -> None:
    add_losses(world.intakes, open_pit_policy(), world.clock.wall_ns())
    page = visitor.log_in()
    visitor.open("/mines/demo-pit/data?device=dust-s1&lang=en")
    expect(page.locator(".strip .c-little")).not_to_have_count(0)
    page.get_by_role("button", name="Read again by today's rules").first.click()
    expect(page.locator(".banner[role=status]")).to_contain_text("3 readings stored, 1 still dead")
