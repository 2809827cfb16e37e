"""The waiting list as a page: who is shown, who may decide, and what a decision records."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from greenmine.core.act import ActKind
from greenmine.core.errors import Conflict
from greenmine.core.waiting import Network
from tests.web_fakes import NOW_NS, RunningSite, World, make_world, running
from tests.web_intake_scenes import add_strangers

EUI = "a84041ffff1c2d3e"


@pytest.fixture
def world() -> World:
    made = make_world("rest")
    add_strangers(made.devices, NOW_NS)
    return made


@pytest.fixture
def site(world: World) -> Iterator[RunningSite]:
    with running(world) as found:
        yield found


@pytest.fixture
def officer(site: RunningSite) -> Iterator[httpx.Client]:
    with site.logged_in("li") as client:
        client.cookies.set("greenmine_lang", "en")
        yield client


def card(html: str, key: str) -> str:
    return html.split(f'id="wait-{key}"', 1)[1].split("</article>", 1)[0]


def form(client: httpx.Client, act: str, **fields: str) -> httpx.Response:
    return client.post(f"/waiting/{act}", data={"csrf": client.headers["x-csrf-token"], **fields})


def test_each_stranger_shows_what_it_sent_and_how_to_register_it(officer: httpx.Client) -> None:
    html = officer.get("/waiting?lang=en").text
    assert "4 waiting" in html
    own = card(html, "mqtt-demo-pit-dust-x9")
    assert "- id: dust-x9" in own
    assert "/waiting/approve" not in own, "an own topic names its device itself"
    assert "/waiting/reject" in own
    lora = card(html, f"dev_eui-{EUI}")
    assert "LoRaWAN DevEUI" in lora
    assert "18.4" in lora
    assert '<option value="demo-pit/soil-p1">' in lora
    assert "hex: 08 c4" in card(html, "edge-north-gw-7")


def test_approving_names_the_person_the_device_and_whether_to_replay(officer: httpx.Client, world: World) -> None:
    answer = form(
        officer, "approve", network="dev_eui", address=EUI, target="demo-pit/soil-p1", replay="yes", note=" probe 3 "
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/waiting?said=approve")
    act = world.desk.acts[-1]
    assert (act.kind, act.principal, act.note) == (ActKind.APPROVE_DEVICE, "person:li", "probe 3")
    assert act.body == {
        "network": "dev_eui", "address": EUI, "mine": "demo-pit", "device": "soil-p1", "replay": True,
    }  # fmt: skip
    html = officer.get("/waiting?said=approve").text
    assert "Approved." in html
    assert EUI not in html


def test_without_the_tick_nothing_is_replayed(officer: httpx.Client, world: World) -> None:
    form(officer, "approve", network="mn", address="A110000_0001", target="demo-pit/dust-n1")
    assert world.desk.acts[-1].body["replay"] is False


def test_rejecting(officer: httpx.Client, world: World) -> None:
    answer = form(officer, "reject", network="mqtt", address="demo-pit/dust-x9", note="a test")
    assert answer.headers["location"] == "/waiting?said=reject"
    act = world.desk.acts[-1]
    assert (act.kind, act.principal) == (ActKind.REJECT_DEVICE, "person:li")
    assert act.body == {"network": "mqtt", "address": "demo-pit/dust-x9"}


@pytest.mark.parametrize("target", ["", "demo-pit", "demo-pit/nobody", "nowhere/soil-p1"])
def test_approving_as_nobody_is_refused_and_the_list_stays(officer: httpx.Client, world: World, target: str) -> None:
    answer = form(officer, "approve", network="dev_eui", address=EUI, target=target)
    assert answer.status_code == 422
    assert "choose a registered device" in answer.text
    assert EUI in answer.text
    assert world.desk.acts == []


def test_what_the_desk_refuses_is_said_on_the_page(officer: httpx.Client, world: World) -> None:
    world.desk.fail = Conflict("a policy says whose address it is")
    answer = form(officer, "approve", network="dev_eui", address=EUI, target="demo-pit/soil-p1")
    assert answer.status_code == 409
    assert "a policy says whose address it is" in answer.text


def test_who_may_not(site: RunningSite, officer: httpx.Client, world: World) -> None:
    fields = {"network": "dev_eui", "address": EUI, "target": "demo-pit/soil-p1"}
    assert officer.post("/waiting/approve", data=fields | {"csrf": "wrong"}).status_code == 403
    assert form(officer, "adopt", **fields).status_code == 404
    with site.logged_in("viewer") as viewer:
        assert viewer.get("/waiting").status_code == 403
        assert "/waiting" not in viewer.get("/alerts").text
        assert form(viewer, "approve", **fields).status_code == 403
    with site.client() as stranger:
        assert stranger.get("/waiting").status_code == 303
    assert world.desk.acts == []


def test_a_stranger_s_words_are_only_text(officer: httpx.Client, world: World) -> None:
    evil = "<script>alert(1)</script>"
    world.devices.add(Network.MN, evil, values=[(evil, 1.0, evil)], sample=evil)
    html = officer.get("/waiting").text
    assert evil not in html
    assert "&lt;script&gt;" in html


def test_nobody_waits_in_both_languages(site: RunningSite) -> None:
    with running(make_world("rest")) as quiet, quiet.logged_in("li") as client:
        assert "Nobody waits" in client.get("/waiting?lang=en").text
        assert "没有待登记设备" in client.get("/waiting?lang=zh").text
