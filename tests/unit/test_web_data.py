"""The page of a mine's data: losses by device and hour, gaps, dead letters, and reading them again."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from greenmine.core.account import HOUR_NS, Account, DeviceHour
from greenmine.core.act import ActKind
from greenmine.core.errors import NotFound
from greenmine.web.data_account import device_days, letter_groups, level
from tests.web_fakes import NOW_NS, RunningSite, World, make_world, open_pit_policy, running
from tests.web_intake_scenes import add_losses

PATH = "/mines/demo-pit/data"
HOUR = NOW_NS - NOW_NS % HOUR_NS


@pytest.fixture
def world() -> World:
    made = make_world("rest")
    add_losses(made.intakes, open_pit_policy(), NOW_NS)
    return made


@pytest.fixture
def site(world: World) -> Iterator[RunningSite]:
    with running(world) as found:
        yield found


@pytest.fixture
def officer(site: RunningSite) -> Iterator[httpx.Client]:
    with site.logged_in("li") as client:
        client.cookies.set("greenmine_lang", "en")
        client.get(f"{PATH}?lang=en")
        yield client


def form(client: httpx.Client, **fields: str) -> httpx.Response:
    return client.post(f"{PATH}/replay", data={"csrf": client.headers["x-csrf-token"], **fields})


@pytest.mark.parametrize(
    ("expected", "missing", "word"),
    [(0, 0, "none"), (60, 0, "full"), (60, 6, "most"), (60, 7, "some"), (60, 30, "some"), (60, 31, "little")],
)
def test_how_complete(expected: int, missing: int, word: str) -> None:
    assert level(expected, missing) == word


def test_a_device_s_day_is_the_sum_of_its_hours_in_its_place() -> None:
    hours = [
        DeviceHour("demo-pit", "stranger", HOUR, 0, Account(3, quarantined=3)),
        DeviceHour("demo-pit", "dust-s1", HOUR - HOUR_NS, 180, Account(170, 169, dead=1)),
        DeviceHour("demo-pit", "dust-s1", HOUR, 180, Account(180, 170, 10)),
        DeviceHour("demo-pit", "dust-n1", HOUR, 180, Account(180, 180)),
        DeviceHour("demo-pit", "", HOUR, 0, Account(2, dead=2)),
    ]
    days = device_days(open_pit_policy(), hours, NOW_NS)
    assert [day.device for day in days] == ["dust-n1", "dust-s1", "", "stranger"]
    south = days[1]
    assert (south.expected, south.missing, south.came) == (360, 11, 349 / 360)
    assert south.account == Account(350, 339, 10, dead=1)
    assert len(south.cells) == 24
    assert [cell.level for cell in south.cells[-3:]] == ["none", "most", "full"]
    assert south.cells[-1].start_ns == HOUR
    assert days[2].title is None
    assert days[2].came is None


def test_letters_by_reason_most_first_and_strangers_last(world: World) -> None:
    letters = [row for row, _ in world.intakes.known_letters]
    groups = letter_groups([row for row in letters if row.mine], [row for row in letters if not row.mine])
    assert [(one.word, one.count, one.of_nobody) for one in groups] == [
        ("ts_zone", 6, False), ("not_finite", 2, False), ("store_rejected", 1, False), ("unknown_address", 7, True),
    ]  # fmt: skip
    assert groups[0].newest.id == 1


def test_the_page_shows_losses_gaps_and_letters(officer: httpx.Client) -> None:
    html = officer.get(PATH).text
    assert "Dust south" in html
    assert html.count('class="strip"') == 8
    assert "180 expected, 180 missing" in html
    assert "senders not registered" in html
    assert "seq 1042–1160" in html
    assert "not filled yet" in html
    assert "no policy maps it to a device" in html
    assert "Give the time in RFC 3339" in html
    assert html.count("/data/replay") == 4
    assert 'id="of-one"' not in html
    odd = html.split('id="odd"', 1)[1].split("</section>", 1)[0]
    assert odd.index("sentinel") < odd.index("missing") < odd.index("late") < odd.index("range")
    assert "ts_zone" not in odd, "what was refused is shown by its letters"
    assert "A number by which this sensor says that it has no value." in odd
    assert "dust-n1, soil-p1" in odd
    assert ">42<" in odd


def test_one_device_hour_by_hour(officer: httpx.Client) -> None:
    html = officer.get(f"{PATH}?device=dust-s1").text
    rows = html.split('id="of-one"', 1)[1].split("</section>", 1)[0]
    assert rows.count("<tr>") == 1 + 24
    assert 'id="of-one"' not in officer.get(f"{PATH}?device=nobody").text


def test_reading_letters_of_a_reason_again(officer: httpx.Client, world: World) -> None:
    answer = form(officer, word="ts_zone")
    assert answer.headers["location"] == f"{PATH}?said=replay&stored=3&still_dead=1&returned=0"
    act = world.desk.acts[-1]
    assert (act.kind, act.principal) == (ActKind.REPLAY_DEAD_LETTERS, "person:li")
    assert act.body == {"ids": [1, 2, 3, 4, 5, 6]}
    assert "3 readings stored, 1 still dead" in officer.get(answer.headers["location"]).text


def test_reading_those_of_strangers_again(officer: httpx.Client, world: World) -> None:
    assert form(officer, word="unknown_address", of_nobody="yes").status_code == 303
    assert world.desk.acts[-1].body == {"ids": list(range(9, 16))}


def test_what_the_desk_refuses_is_said_on_the_page(officer: httpx.Client, world: World) -> None:
    world.desk.fail = NotFound("none of these dead letters can be read again")
    answer = form(officer, word="ts_zone")
    assert answer.status_code == 404
    assert "none of these dead letters can be read again" in answer.text
    assert "Dust south" in answer.text


def test_who_may_not(site: RunningSite, officer: httpx.Client, world: World) -> None:
    assert officer.post(f"{PATH}/replay", data={"word": "ts_zone", "csrf": "wrong"}).status_code == 403
    assert form(officer, word="no such reason").status_code == 422
    assert officer.get("/mines/nowhere/data").status_code == 404
    with site.logged_in("viewer") as viewer:
        html = viewer.get(f"{PATH}?lang=en").text
        assert "Dust south" in html
        assert "/data/replay" not in html
        assert form(viewer, word="ts_zone").status_code == 403
        assert f'href="{PATH}"' in viewer.get("/mines/demo-pit").text
    with site.client() as stranger:
        assert stranger.get(PATH).status_code == 303
    assert world.desk.acts == []


def test_before_anything_came_in_both_languages() -> None:
    with running(make_world("bare")) as quiet, quiet.logged_in("li") as client:
        html = client.get(f"{PATH}?lang=en").text
        assert "Nothing was expected and nothing came." in html
        assert "No gap was found." in html
        assert "Nothing was refused." in html
        assert "没有拒收的报文" in client.get(f"{PATH}?lang=zh").text
