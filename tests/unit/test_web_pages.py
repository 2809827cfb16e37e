"""The pages as a person gets them without scripts: what stands on them, in both languages and in every state."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape

import httpx
import pytest

from greenmine.core.act import ActKind
from greenmine.core.alert import Alert, AlertKey
from greenmine.core.errors import StoreUnavailable
from greenmine.core.reading import Series
from greenmine.web.pages import MOST_BOARD_ALERTS
from tests.web_fakes import RunningSite, World, make_world, open_pit_policy, running

ROAD = Series("demo-pit", "dust-road", "pm10")


def _text(html: str) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)))


@pytest.fixture(scope="module")
def alarm() -> Iterator[httpx.Client]:
    """A viewer in a world where everything is wrong; nothing is changed."""
    with running(make_world("alarm")) as site, site.logged_in("viewer") as client:
        yield client


@pytest.fixture
def world() -> World:
    return make_world("rest")


@pytest.fixture
def site(world: World) -> Iterator[RunningSite]:
    with running(world) as found:
        yield found


@pytest.fixture
def alert(world: World) -> Alert:
    return world.desk.raise_alert(open_pit_policy(), "pm10-warning", ROAD, 263.0)


def test_the_county_shows_every_mine_worst_first_with_counts_and_nearest_values(alarm: httpx.Client) -> None:
    html = alarm.get("/?lang=en").text
    assert re.findall(r'<h2><a href="/mines/([\w-]+)">', html) == ["demo-pit", "demo-quarry"]
    text = _text(html)
    for words in ("Demo Open Pit", "1 critical", "1 no data", "1 late", "1 suspect value", "463 µg/m³", "1.42 mg/m³"):
        assert words in text
    assert "15.20" not in html, "a suspect value is not shown as the nearest to a limit"
    assert "Times are in Asia/Shanghai (UTC+08:00)" in text


def test_a_sensor_s_state_is_never_told_by_colour_alone(alarm: httpx.Client) -> None:
    html = alarm.get("/mines/demo-pit?lang=en").text
    spots = re.findall(r'<a class="spot s-(\w+)"[^>]*aria-label="([^"]+)"', html)
    states = {label.split(": ")[0]: (state, label.split(": ")[1]) for state, label in spots}
    assert states["Haul road"] == ("critical", "critical")
    assert states["Dust north"] == ("notice", "notice")
    assert states["Dust south"] == ("late", "late")
    assert states["Mine water outlet"] == ("suspect", "suspect value")
    assert states["Gateway 1"] == ("unwatched", "not watched")
    shapes = {state: re.search(rf'class="spot s-{state}".*?class="shape" ([^/]+)/>', html, re.S) for state, _ in spots}
    drawn = {match[1] for state, match in shapes.items() if match and state in ("critical", "notice", "ok")}
    assert len(drawn) == 3, "grave states have outlines of their own"


def test_a_mine_s_table_has_limits_units_age_and_quality(alarm: httpx.Client) -> None:
    rows = re.findall(r'<tr class="s-\w+">(.*?)</tr>', alarm.get("/mines/demo-pit?lang=zh").text, re.S)
    texts = [_text(one) for one in rows]
    assert len(texts) == len(open_pit_policy().series())
    road = next(t for t in texts if "运煤路口" in t and "PM10" in t)
    for words in (
        "463",
        "µg/m³",
        "严重 > 420 µg/m³",
        "预警 > 250 µg/m³",
        "提示 > 150 µg/m³",
        "严重告警",
        "16:00:00",
        "0 秒前",
    ):
        assert words in road
    assert "超出物理范围" in next(t for t in texts if "pH" in t)
    assert "从未收到数据" in next(t for t in texts if "新装扬尘仪" in t)
    assert "8 分钟前" in next(t for t in texts if "南界扬尘" in t)


def test_alerts_are_listed_active_and_unanswered_first(alarm: httpx.Client) -> None:
    order = re.findall(r'<article class="alert s-(\w+ h-\w+)"', alarm.get("/alerts").text)
    expected = ["critical h-none", "warning h-none", "notice h-none", "warning h-acknowledged", "over h-acknowledged"]
    assert order == expected
    assert len(re.findall("<article", alarm.get("/alerts?show=all").text)) == 6
    assert len(re.findall("<article", alarm.get("/alerts?show=all&mine=demo-quarry").text)) == 2
    assert "最近解除" in alarm.get("/mines/demo-pit").text


def test_an_alert_of_the_service_itself_is_of_no_device(world: World, alert: Alert, site: RunningSite) -> None:
    full = replace(alert, id="a00000000000000f", key=AlertKey("demo-pit", "disk-room", "disk", ""))
    world.board.known[full.id], world.board.steps[full.id] = full, []
    with site.logged_in("viewer") as client:
        for path in ("/alerts", f"/alerts/{full.id}", "/mines/demo-pit"):
            html = client.get(path).text
            assert "磁盘已满，停止接收数据" in html
            assert "/devices/disk" not in html, "there is no such page"


def test_how_a_sensor_measures_is_said_in_words(alarm: httpx.Client) -> None:
    for language, words in (("en", "light scattering"), ("zh", "光散射")):
        page = alarm.get(f"/mines/demo-pit/devices/dust-road?lang={language}")
        assert f"<dd>{words}</dd>" in page.text


def test_the_sensor_page_offers_ranges_charts_and_its_alerts(alarm: httpx.Client) -> None:
    html = alarm.get("/mines/demo-pit/devices/dust-road?range=7d").text
    assert 'aria-current="true">7 天' in html
    assert html.count('class="plot"') == 3
    assert "panel=chart.pm10.inst.0&amp;device=dust-road&amp;range=7d" in html
    assert html.count("<article") == 2
    span = alarm.get("/mines/demo-pit/devices/dust-road?from=2026-11-22T08:00&to=2026-11-22T09:30").text
    assert 'name="from" value="2026-11-22T08:00"' in span
    assert "from=2026-11-22T08%3A00&amp;to=2026-11-22T09%3A30" in span
    assert alarm.get("/mines/demo-pit/devices/dust-road?from=x").status_code == 422
    assert alarm.get("/mines/demo-pit/devices/dust-road?from=2026-11-22T09:00&to=2026-11-22T08:00").status_code == 422


def test_live_parts_are_the_same_as_on_the_page_without_its_frame(alarm: httpx.Client) -> None:
    for path in ("/", "/mines/demo-pit", "/mines/demo-pit/devices/dust-road", "/alerts"):
        part = alarm.get(f"{path}?part=live").text
        assert "<html" not in part
        assert part.strip() in alarm.get(path).text


def test_one_mine_alone_is_shown_at_once_and_none_says_how_to_begin() -> None:
    with running(make_world("one")) as site, site.logged_in() as client:
        assert client.get("/").headers["location"] == "/mines/demo-pit"
    with running(make_world("empty")) as site, site.logged_in() as client:
        page = client.get("/?lang=en")
        assert page.status_code == 200
        assert "No mine yet" in page.text
        assert "greenmine policy check FILE" in page.text
        assert "No alerts" in client.get("/alerts?lang=en").text


def test_silence_is_not_shown_as_good_news() -> None:
    with running(make_world("bare")) as site, site.logged_in() as client:
        for path in ("/?lang=en", "/mines/demo-pit?lang=en"):
            html = client.get(path).text
            assert "No open alerts, but not all is known" in html
            assert "Everything that is watched is within its limits" not in html


def test_a_calm_mine_says_so(site: RunningSite) -> None:
    with site.logged_in() as client:
        assert "Everything that is watched is within its limits" in client.get("/?lang=en").text


def test_the_language_is_chosen_remembered_and_kept_in_links(site: RunningSite) -> None:
    with site.logged_in(headers={"accept-language": "en-GB"}) as client:
        assert '<html lang="en">' in client.get("/").text
        chinese = client.get("/alerts?show=all&lang=zh")
        assert '<html lang="zh-CN">' in chinese.text
        assert 'href="/alerts?show=all&amp;lang=en"' in chinese.text
        assert '<html lang="zh-CN">' in client.get("/").text, "the cookie outlives the link"
    with site.client() as stranger:
        assert '<html lang="zh-CN">' in stranger.get("/login").text


def test_the_forms_of_an_alert_work_by_plain_post(site: RunningSite, world: World, alert: Alert) -> None:
    with site.logged_in() as client:
        page = client.get("/mines/demo-pit").text
        assert f'action="/alerts/{alert.id}/acknowledge"' in page
        assert 'name="next" value="/mines/demo-pit"' in page
        form = {"csrf": client.headers["x-csrf-token"], "note": "在路上", "next": "/mines/demo-pit"}
        done = client.post(f"/alerts/{alert.id}/acknowledge", data=form)
        assert (done.status_code, done.headers["location"]) == (303, "/mines/demo-pit?said=acknowledge")
        after = client.get(done.headers["location"]).text
        assert "已确认。" in after
        assert f'action="/alerts/{alert.id}/acknowledge"' not in after
        evil = client.post(f"/alerts/{alert.id}/note", data={**form, "next": "//evil.example"})
        assert evil.headers["location"] == "/?said=note"
        history = _text(client.get(f"/alerts/{alert.id}").text)
        assert "读数 263 µg/m³ 高于限值 250 µg/m³" in history
        assert "在路上" in history
    assert [act.kind for act in world.desk.acts] == [ActKind.ACKNOWLEDGE, ActKind.NOTE]


def test_a_refused_form_shows_the_alert_why_and_keeps_what_was_written(
    site: RunningSite, world: World, alert: Alert
) -> None:
    with site.logged_in() as client:
        form = {"csrf": client.headers["x-csrf-token"], "note": "erledigt"}
        held = client.post(f"/alerts/{alert.id}/resolve", data=form)
        assert held.status_code == 409
        assert "与当前状态不符" in held.text
        assert client.post(f"/alerts/{alert.id}/note", data={**form, "note": " "}).status_code == 422
        assert client.post(f"/alerts/{alert.id}/note", data={**form, "note": "x" * 3000}).status_code == 422
        assert client.post(f"/alerts/{alert.id}/dance", data=form).status_code == 404
        assert client.post("/alerts/anone/note", data=form).status_code == 404
        world.desk.fail = StoreUnavailable("not judged in time", retry_after_s=3)
        late = client.post(f"/alerts/{alert.id}/note", data=form)
        assert (late.status_code, late.headers["retry-after"]) == (503, "3")
        assert "erledigt" in late.text


def test_a_full_board_shows_the_first_alerts_and_where_the_rest_are(site: RunningSite, world: World) -> None:
    for back in range(MOST_BOARD_ALERTS + 3):
        world.desk.raise_alert(open_pit_policy(), "pm10-warning", ROAD, 263.0, ago_ns=back)
    with site.logged_in() as client:
        html = client.get("/?lang=en").text
    assert html.count('<article class="alert') == MOST_BOARD_ALERTS
    assert f"See all {MOST_BOARD_ALERTS + 3} alerts" in html


@pytest.mark.parametrize(
    "path", ["/mines/none", "/mines/demo-pit/devices/none", "/alerts/none", "/nowhere", "/mines/%00"]
)
def test_what_is_not_there_has_a_page_that_says_so(alarm: httpx.Client, path: str) -> None:
    page = alarm.get(f"{path}?lang=en")
    assert page.status_code == 404
    assert "There is no such thing here" in page.text
    assert "Back to the overview" in page.text


def test_an_alert_of_a_mine_that_is_no_longer_watched_can_still_be_read(site: RunningSite, world: World) -> None:
    alert = world.desk.raise_alert(open_pit_policy(), "pm10-warning", ROAD, 263.0)
    del world.board._policies["demo-pit"]
    with site.logged_in() as client:
        assert "pm10-warning" in client.get(f"/alerts/{alert.id}").text
        assert "demo-pit" in client.get("/alerts").text
