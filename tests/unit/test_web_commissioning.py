"""The installers' page: what came last of each device, what looks wrong, and who may see it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from greenmine.core.latest import NO_MESSAGES, Change, Wants
from greenmine.core.waiting import Network
from greenmine.web.onlooker import LOOK_S, Onlooker
from tests.web_fakes import NOW_NS, RunningSite, make_world, running, say_all

PATH = "/mines/demo-pit/commissioning"


@pytest.fixture(scope="module")
def site() -> Iterator[RunningSite]:
    with running(make_world("rest")) as running_site:
        with running_site.logged_in("li") as first:
            first.get(PATH)  # nobody listens to raw messages until somebody looks
        say_all(running_site.world)
        yield running_site


@pytest.fixture(scope="module")
def installer(site: RunningSite) -> Iterator[httpx.Client]:
    with site.logged_in("li") as client:
        client.cookies.set("greenmine_lang", "en")
        yield client


def card(html: str, device: str) -> str:
    """The part of the page that is of one device."""
    return html.split(f'id="look-{device}"', 1)[1].split("</article>", 1)[0]


def test_each_device_shows_what_came_and_what_is_wrong(installer: httpx.Client) -> None:
    html = installer.get(f"{PATH}?lang=en").text
    assert "the last 6 values are all 0" in card(html, "dust-s1")
    assert "looks like mg/m3" in card(html, "dust-n1")
    assert "off by just -8 h" in card(html, "noise-w1")
    assert "The radio signal is weak" in card(html, "soil-p1")
    assert "3.2 V, 14 %" in card(html, "soil-p1")
    assert "refused (ts_zone" in card(html, "dust-road")
    assert "Nothing has ever come from it" in card(html, "dust-new")
    assert "300 s / 300 s registered" in card(html, "water-out")
    assert "1.4 s later" in card(html, "met-1")
    assert 'class="findings"' not in card(html, "met-1")
    assert "demo-quarry" not in html.split('id="live"', 1)[1]


def test_a_payload_is_text_and_bounded(installer: httpx.Client) -> None:
    stranger = card(installer.get(PATH).text, "dust-x9")
    assert "<script>" not in stranger
    assert "&lt;script&gt;" in stranger
    assert stranger.count("alert(1)") < 40
    assert "…" in stranger


def test_one_device_alone_and_one_that_nobody_knows(installer: httpx.Client) -> None:
    html = installer.get(f"{PATH}?device=dust-s1&part=live").text
    assert html.count("<article") == 1
    assert installer.get(f"{PATH}?device=dust-77").status_code == 404
    assert installer.get("/mines/nowhere/commissioning").status_code == 404


def test_in_chinese_too(installer: httpx.Client) -> None:
    html = installer.get(f"{PATH}?lang=zh").text
    assert "最近 6 个值全是 0" in html
    assert "时区很可能设错了" in html


def test_before_anything_came(site: RunningSite) -> None:
    with running(make_world("bare")) as quiet, quiet.logged_in("li") as client:
        html = client.get(f"{PATH}?lang=en").text
        assert "8 never heard" in html
        assert "No message yet" in card(html, "gw-1")


def test_who_only_looks_does_not_see_raw_messages(site: RunningSite) -> None:
    with site.logged_in("viewer") as client:
        assert client.get(PATH).status_code == 403
        assert "commissioning" not in client.get("/mines/demo-pit").text
        assert client.get("/api/v1/mines/demo-pit/registered").status_code == 403
        assert client.get("/api/v1/stream?mine=demo-pit&raw=1").status_code == 403
    with site.client() as stranger:
        assert stranger.get(PATH).status_code == 303


def test_the_mine_s_page_leads_there(installer: httpx.Client) -> None:
    assert f'href="{PATH}"' in installer.get("/mines/demo-pit").text
    assert f'href="{PATH}?device=dust-n1"' in installer.get("/mines/demo-pit/devices/dust-n1").text


def test_programs_are_told_what_is_registered(installer: httpx.Client) -> None:
    rows = installer.get("/api/v1/mines/demo-pit/registered?device=dust-n1").json()
    assert {row["metric"]: (row["unit"], row["interval_s"]) for row in rows} == {
        "pm10": ("ug/m3", 60), "pm25": ("ug/m3", 60), "tsp": ("ug/m3", 60),
    }  # fmt: skip


def test_what_is_known_is_shown_before_the_first_message_comes(site: RunningSite) -> None:
    world = make_world("rest")
    world.devices.add(Network.MQTT, "demo-pit/dust-x9", "demo-pit", sample='{"ts":"2026"}')
    world.devices.add(Network.MQTT, "demo-quarry/dust-q9", "demo-quarry", sample="{}")
    with running(world) as quiet, quiet.logged_in("li") as client:
        html = client.get(f"{PATH}?lang=en").text
        assert "Nothing has ever come" not in html
        assert "the next message is shown here raw" in card(html, "met-1")
        stranger = card(html, "dust-x9")
        assert "{&#34;ts&#34;:&#34;2026&#34;}" in stranger
        assert 'href="/waiting#wait-mqtt-demo-pit-dust-x9"' in stranger
        assert "dust-q9" not in html


def test_raw_messages_are_wanted_only_while_somebody_looks() -> None:
    now_s = [1000.0]
    onlooker = Onlooker(lambda: now_s[0])
    told = Change("message", {
        "received_ns": NOW_NS, "mine": "m", "device": "d", "topic": "mines/m/d/up", "payload": "{}", "readings": [],
        "refused": [],
    })  # fmt: skip
    onlooker.on_changes([told])
    assert onlooker.wants() == Wants(latest=False, messages=NO_MESSAGES)
    assert onlooker.look("m") == {}
    assert onlooker.wants() == Wants(latest=False, messages=frozenset({("m", "")}))
    onlooker.on_changes([told, Change("message", {**told.what, "mine": "other"})])
    now_s[0] += LOOK_S - 1
    assert set(onlooker.look("m")) == {"d"}, "and a look makes it go on"
    now_s[0] += LOOK_S - 1
    assert onlooker.wants().messages
    now_s[0] += 2
    assert not onlooker.wants().messages
    onlooker.on_changes([told])
    assert onlooker.look("other") == {}, "of a mine that nobody looked at"
    assert onlooker.wants().messages == {("other", "")}
    assert onlooker.look("m") == {}, "what nobody listened to since is not taken for the newest"
