"""The JSON API over real HTTP: its shapes, its refusals, its acts."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from greenmine.core.account import Account, DeviceHour
from greenmine.core.act import ActKind
from greenmine.core.activity import ActivityInterval, ActivityKind, EndedBy
from greenmine.core.alert import Alert
from greenmine.core.clock import NS_PER_S, to_rfc3339
from greenmine.core.errors import Corrupt, Refused, StoreUnavailable, UserError
from greenmine.core.gap import Gap, GapReason, Stream, all_of
from greenmine.core.quality import Quality
from greenmine.core.reading import Reading, Series
from greenmine.dashboards.panel import Dashboard
from greenmine.ingest.reason_words import QUARANTINED
from greenmine.store.dead_letters import DeadLetterRow
from greenmine.store.hours import ReasonKey
from greenmine.web.export import text_cell
from tests.web_fakes import NOW_NS, RunningSite, World, make_world, open_pit_policy, running

ROAD = Series("demo-pit", "dust-road", "pm10")
V1 = "/api/v1"


@pytest.fixture(scope="module")
def reader() -> Iterator[httpx.Client]:
    """A viewer of a world that no test changes."""
    with running(make_world("rest", hours=1)) as site, site.logged_in("viewer") as client:
        yield client


@pytest.fixture
def world() -> World:
    return make_world("rest", hours=1)


@pytest.fixture
def site(world: World) -> Iterator[RunningSite]:
    with running(world) as found:
        yield found


@pytest.fixture
def li(site: RunningSite) -> Iterator[httpx.Client]:
    with site.logged_in("li") as client:
        yield client


@pytest.fixture
def alert(world: World) -> Alert:
    return world.desk.raise_alert(open_pit_policy(), "pm10-warning", ROAD, 263.0)


def test_mines_are_listed_with_their_state(li: httpx.Client, alert: Alert) -> None:
    pit, quarry = li.get(f"{V1}/mines").json()
    assert (pit["id"], pit["state"], pit["open_alerts"], pit["devices"]) == ("demo-pit", "warning", 1, 9)
    assert (quarry["id"], quarry["state"]) == ("demo-quarry", "ok")
    assert quarry["name"] == {"zh": "示范石灰石矿", "en": "Demo Quarry"}


def test_newest_values_are_in_canonical_units_with_flags_as_words(li: httpx.Client, world: World) -> None:
    tsp = Series("demo-pit", "dust-road", "tsp")
    world.desk.set_value(tsp, 1420.0, int(Quality.RANGE | Quality.LATE))
    found = {(v["device"], v["metric"], v["channel"]): v for v in li.get(f"{V1}/mines/demo-pit/latest").json()}
    assert len(found) == len(open_pit_policy().series())
    value = found[("dust-road", "tsp", "")]
    assert (value["value"], value["unit"], value["quality"]) == (1420.0, "ug/m3", ["range", "late"])
    assert value["time"] == "2026-11-22T08:00:00Z"


def test_the_panel_model_is_what_grafana_will_be_given(reader: httpx.Client) -> None:
    board = Dashboard.model_validate(reader.get(f"{V1}/mines/demo-pit/dashboard").json())
    assert board.id == "mine-demo-pit"
    assert Dashboard.model_validate(reader.get(f"{V1}/mines/demo-pit/dashboard?device=soil-p1").json()).id.endswith(
        "soil-p1"
    )


def test_an_alert_has_the_shape_that_others_rely_on(li: httpx.Client, alert: Alert) -> None:
    (found,) = li.get(f"{V1}/alerts?open=1").json()
    first = [
        "id",
        "mine",
        "rule",
        "device",
        "channel",
        "kind",
        "severity",
        "condition",
        "handling",
        "raised_at",
        "cleared_at",
    ]
    assert list(found)[: len(first)] == first
    assert found | {"id": alert.id, "mine": "demo-pit", "rule": "pm10-warning", "device": "dust-road"} == found
    assert (found["raised_at"], found["cleared_at"], found["open"]) == ("2026-11-22T08:00:00Z", None, True)
    assert (found["value"], found["limit"], found["unit"]) == (263.0, 250.0, "ug/m3")
    assert li.get(f"{V1}/alerts?mine=demo-quarry").json() == []
    one = li.get(f"{V1}/alerts/{alert.id}").json()
    assert [step["reason"] for step in one["history"]] == ["over_limit"]
    assert one["history"][0]["text"]["en"] == "The reading 263 µg/m³ is over the limit 250 µg/m³"


def test_alerts_are_limited_to_what_was_asked(li: httpx.Client, world: World) -> None:
    for back in range(3):
        world.desk.raise_alert(open_pit_policy(), "pm10-warning", ROAD, 263.0, ago_ns=back * NS_PER_S)
    found = li.get(f"{V1}/alerts?limit=2").json()
    assert [alert["raised_at"] for alert in found] == ["2026-11-22T08:00:00Z", "2026-11-22T07:59:59Z"]


def test_acknowledge_twice_is_one_act_and_the_same_answer(li: httpx.Client, world: World, alert: Alert) -> None:
    path = f"{V1}/alerts/{alert.id}/acknowledge"
    first = li.post(path, json={"note": " 已派人 "})
    second = li.post(path, json={"note": ""})
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == second.json()
    assert first.json()["alert"]["handling"] == "acknowledged"
    assert first.json()["alert"]["acknowledged_at"] == "2026-11-22T08:00:00Z"
    steps = world.board.steps[alert.id]
    assert [(step.reason, step.principal, step.note) for step in steps[1:]] == [
        ("acknowledged_by_person", "person:li", "已派人")
    ]


def test_an_act_on_no_alert_or_on_one_that_is_over(li: httpx.Client, world: World, alert: Alert) -> None:
    assert li.post(f"{V1}/alerts/anone/acknowledge", json={}).status_code == 404
    li.post(f"{V1}/alerts/{alert.id}/acknowledge", json={})
    held = li.post(f"{V1}/alerts/{alert.id}/resolve", json={"note": "fertig"})
    assert (held.status_code, held.json()["type"]) == (409, "urn:greenmine:problem:conflict")
    world.desk.clear(world.board.known[alert.id], 100.0)
    assert li.post(f"{V1}/alerts/{alert.id}/resolve", json={"note": "watered"}).json()["alert"]["open"] is False
    assert li.post(f"{V1}/alerts/{alert.id}/acknowledge", json={}).status_code == 409
    assert li.post(f"{V1}/alerts/{alert.id}/note", json={"note": "later"}).status_code == 200


def test_an_idempotency_key_makes_a_retry_safe_and_cannot_be_used_for_another_act(
    li: httpx.Client, world: World, alert: Alert
) -> None:
    path, key = f"{V1}/alerts/{alert.id}/note", {"Idempotency-Key": "k-1"}
    assert li.post(path, json={"note": "a"}, headers=key).status_code == 200
    assert li.post(path, json={"note": "a"}, headers=key).status_code == 200
    assert len(world.desk.acts) == 1
    other = li.post(path, json={"note": "b"}, headers=key)
    assert (other.status_code, other.json()["type"]) == (422, "urn:greenmine:problem:idempotency_key")
    assert li.post(path, json={"note": "c"}, headers={"Idempotency-Key": "x" * 200}).status_code == 422


@pytest.mark.parametrize(
    "body",
    [{"note": ""}, {"note": "a\x00b"}, {"note": "x" * 2001}, {"note": 7}, {"note": "a", "extra": 1}, [], "note", None],
)
def test_notes_that_are_no_notes_are_refused(li: httpx.Client, world: World, alert: Alert, body: Any) -> None:
    answer = li.post(f"{V1}/alerts/{alert.id}/note", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert world.desk.acts == []


def test_facts_and_dead_letters_are_acts(li: httpx.Client, world: World) -> None:
    fact = {
        "mine": "demo-pit", "kind": "maintenance", "subject": "dust-road", "valid_from": "2026-11-22T08:00:00+08:00",
        "valid_to": "2026-11-22T09:00:00+08:00", "reason": "清洗采样头", "body": {"work_order": 7},
    }  # fmt: skip
    assert li.post(f"{V1}/facts", json=fact).status_code == 200
    assert li.post(f"{V1}/dead-letters/replay", json={"ids": [3, 4]}).json()["detail"]["messages"] == 2
    recorded, replayed = world.desk.acts
    assert recorded.kind is ActKind.FACT
    assert recorded.body["valid_to_ns"] - recorded.body["valid_from_ns"] == 3600 * NS_PER_S
    assert set(recorded.body) == {"mine", "kind", "subject", "valid_from_ns", "valid_to_ns", "reason", "body"}
    assert (replayed.kind, replayed.body) == (ActKind.REPLAY_DEAD_LETTERS, {"ids": [3, 4]})


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"mine": "demo-none"}, 404),
        ({"mine": "../etc"}, 422),
        ({"kind": "wish"}, 422),
        ({"valid_from": "yesterday"}, 422),
        ({"valid_to": "2026-11-22T08:00:00+08:00"}, 422),
        ({"reason": ""}, 422),
        ({"body": [1]}, 422),
    ],
)
def test_facts_that_make_no_sense_are_refused(
    li: httpx.Client, world: World, change: dict[str, Any], status: int
) -> None:
    whole = {"mine": "demo-pit", "kind": "maintenance", "subject": "dust-road", "reason": "r"}
    fact = {**whole, "valid_from": "2026-11-22T08:00:00+08:00", "valid_to": None}
    assert li.post(f"{V1}/facts", json={**fact, **change}).status_code == status
    assert world.desk.acts == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StoreUnavailable("not judged in time", retry_after_s=2.4), 503),
        (Refused("word", "detail"), 422),
        (UserError("what to do"), 422),
    ],
)
def test_what_the_desk_raises_becomes_a_problem(
    li: httpx.Client, world: World, alert: Alert, error: Exception, status: int
) -> None:
    world.desk.fail = error
    answer = li.post(f"{V1}/alerts/{alert.id}/acknowledge", json={})
    assert answer.status_code == status
    assert {"type", "title", "title_zh", "status", "detail"} <= set(answer.json())
    assert answer.headers.get("retry-after") == ("2" if status == 503 else None)


def test_corruption_is_for_the_operator_and_told_by_an_id_only(
    li: httpx.Client, world: World, alert: Alert, capsys: pytest.CaptureFixture[str]
) -> None:
    world.desk.fail = Corrupt("audit chain broken at row 7")
    answer = li.post(f"{V1}/alerts/{alert.id}/acknowledge", json={})
    assert answer.status_code == 500
    assert "row 7" not in answer.text
    error_id = answer.json()["instance"].rsplit(":", 1)[1]
    assert error_id in "".join(capsys.readouterr()), (
        "on either stream: tests before this one may have configured the log"
    )


def test_administration_is_for_admins_and_carries_their_name(site: RunningSite, li: httpx.Client, world: World) -> None:
    assert li.post(f"{V1}/admin/users.list", json={}).status_code == 403
    with site.logged_in("admin") as admin:
        assert admin.post(f"{V1}/admin/users.list", json={"a": 1}).json() == {"done": "users.list"}
        assert admin.post(f"{V1}/admin/nothing", json={}).status_code == 404
        assert admin.post(f"{V1}/admin/..%2fetc", json={}).status_code in (404, 422)
        assert admin.post(f"{V1}/admin/users.list", json=[1]).status_code == 422
        twin = admin.post(f"{V1}/admin/users.add", json={"name": "Admin "})
        assert twin.status_code == 409
    assert world.operations.administered == [("users.list", {"a": 1}, "person:admin")]


def test_the_account_says_whether_it_balances(reader: httpx.Client) -> None:
    found = reader.get(f"{V1}/account").json()
    assert (found["received"], found["stored"], found["balanced"]) == (10, 7, True)


def test_readings_are_selected_counted_and_given_as_records(reader: httpx.Client) -> None:
    query = "mine=demo-pit&device=dust-road&metric=pm10&from=2026-11-22T07:30:00Z&to=2026-11-22T08:00:00Z"
    found = reader.get(f"{V1}/readings?{query}").json()
    assert (len(found["readings"]), found["truncated"], found["next_to"]) == (30, False, None)
    assert list(found["readings"][0]) == [
        "time", "mine", "device", "metric", "channel", "stat", "period_s", "value", "unit", "quality", "calibrated",
    ]  # fmt: skip
    assert found["readings"][0]["time"] == "2026-11-22T07:30:53Z"
    assert reader.get(f"{V1}/readings/count?{query}").json() == {"count": 30}


def test_more_readings_than_the_limit_are_told_in_pages_without_loss(reader: httpx.Client) -> None:
    query = "mine=demo-pit&metric=pm10&limit=100"
    total = reader.get(f"{V1}/readings/count?mine=demo-pit&metric=pm10").json()["count"]
    seen: list[tuple[str, str]] = []
    path = f"{V1}/readings?{query}"
    while True:
        answer = reader.get(path)
        seen += [(record["device"], record["time"]) for record in answer.json()["readings"]]
        if not answer.json()["truncated"]:
            assert "link" not in answer.headers
            break
        path = answer.headers["link"].split(">")[0].lstrip("<")
    assert len(seen) == len(set(seen)) == total


def test_a_single_instant_wider_than_the_limit_is_given_whole(reader: httpx.Client) -> None:
    found = reader.get(f"{V1}/readings?mine=demo-pit&limit=2").json()
    assert len(found["readings"]) > 2
    assert len({record["time"] for record in found["readings"]}) == 1
    assert found["next_to"] == found["readings"][0]["time"]


def test_csv_has_a_header_flags_and_no_formulas(li: httpx.Client, world: World) -> None:
    cold = Series("demo-pit", "met-1", "air_temp")
    world.readings.write([Reading(cold, NOW_NS, -12.5, int(Quality.LATE | Quality.MANUAL))])
    answer = li.get(f"{V1}/readings?mine=demo-pit&device=met-1&metric=air_temp&limit=1&format=csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    header, row = answer.text.splitlines()
    assert header == "time,mine,device,metric,value,channel,stat,period_s,unit,quality,calibrated"
    assert row == "2026-11-22T08:00:00Z,demo-pit,met-1,air_temp,-12.5,,inst,0,Cel,manual late,"


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1", "@a", "\t=1", "\r=1"])
def test_no_text_cell_is_a_formula(text: str) -> None:
    assert text_cell(text) == f"'{text}"
    assert text_cell("dust-n1") == "dust-n1"


@pytest.mark.parametrize(
    "query",
    [
        "from=2026-11-22T09:00:00Z&to=2026-11-22T08:00:00Z", "from=-1e99", "from=1926-01-01T00:00:00Z",
        "from=2000-01-01T00:00:00Z&to=2099-01-01T00:00:00Z", "limit=0", "limit=100001", "limit=x", "stat=median",
        "metric=pm10%22)%20%7C%3E%20drop()", 'mine=x") |> drop()', "mine=a%00b", "device=../x", "channel=%2A",
        "period_s=-1", "format=xml",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["readings", "readings/count"])
def test_selections_that_make_no_sense_are_refused(reader: httpx.Client, path: str, query: str) -> None:
    if path.endswith("count") and query.startswith(("limit", "format")):
        assert reader.get(f"{V1}/{path}?{query}").status_code == 200
        return
    answer = reader.get(f"{V1}/{path}?{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_a_store_that_is_down_is_said_before_the_answer_begins(li: httpx.Client, world: World) -> None:
    world.readings.down = StoreUnavailable("no connection")
    for path in ("readings", "readings?format=csv", "readings/count", "mines/demo-pit/chart?panel=chart.pm10.inst.0"):
        assert li.get(f"{V1}/{path}").status_code == 503


def test_a_chart_is_drawn_from_the_panel_model(reader: httpx.Client) -> None:
    found = reader.get(f"{V1}/mines/demo-pit/chart?panel=chart.tsp.inst.0&device=dust-road&range=1h").json()
    assert (found["unit"], found["series"][0]["readings"]) == ("mg/m³", 60)
    assert [line["value"] for line in found["limits"]] == [1.0, 0.8]
    span = "from=2026-11-22T15:50&to=2026-11-22T16:00"
    local = reader.get(f"{V1}/mines/demo-pit/chart?panel=chart.tsp.inst.0&{span}").json()
    assert local["from"] == "2026-11-22 15:50:00.000"
    assert {series["readings"] for series in local["series"]} == {10}


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("panel=map", 404),
        ("panel=none", 404),
        ("panel=chart.tsp.inst.0&device=none", 404),
        ("", 422),
        ("panel=chart.tsp.inst.0&range=9y", 422),
        ("panel=chart.tsp.inst.0&width=9999999", 422),
        ("panel=chart.tsp.inst.0&from=2027-11-22T15:50", 422),
    ],
)
def test_charts_that_are_not_there_are_refused(reader: httpx.Client, query: str, status: int) -> None:
    assert reader.get(f"{V1}/mines/demo-pit/chart?{query}").status_code == status


@pytest.mark.parametrize("path", ["latest", "dashboard", "chart?panel=map"])
def test_a_mine_that_is_not_watched_is_not_found(reader: httpx.Client, path: str) -> None:
    assert reader.get(f"{V1}/mines/no-mine/{path}").status_code == 404
    assert reader.get(f"{V1}/mines/NO_MINE/{path}").status_code == 422


def test_the_api_describes_itself(site: RunningSite) -> None:
    with site.client() as stranger:
        document = stranger.get(f"{V1}/openapi.json").json()
    assert {path.split("/")[3] for path in document["paths"]} == {
        "mines", "alerts", "readings", "account", "gaps", "facts", "dead-letters", "devices", "admin", "stream",
    }  # fmt: skip
    assert all(path.startswith(V1) for path in document["paths"])
    assert document["info"]["title"] == "Greenmine"


def test_a_bearer_is_resolved_like_a_session_and_needs_no_forgery_token(site: RunningSite, alert: Alert) -> None:
    with site.client(headers={"Authorization": "Bearer service-token"}) as service:
        assert service.get(f"{V1}/account").status_code == 200
        assert service.post(f"{V1}/alerts/{alert.id}/acknowledge", json={}).status_code == 200
    with site.client(headers={"Authorization": "Bearer wrong"}) as wrong:
        assert wrong.get(f"{V1}/account").status_code == 401
    with site.logged_in("li", headers={}) as both:
        assert both.get(f"{V1}/account", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert both.get(f"{V1}/account", headers={"Authorization": "Basic bGk6eA=="}).status_code == 401


def test_activity_is_listed_with_its_span(li: httpx.Client, world: World) -> None:
    hour_ns = 3600 * NS_PER_S
    place = ("demo-pit", "dust-road", ActivityKind.BLAST, "north", 39.7, 110.2)
    old = ActivityInterval(1, *place, NOW_NS - 48 * hour_ns, NOW_NS - 47 * hour_ns, NOW_NS, EndedBy.END)
    going_on = ActivityInterval(2, *place, NOW_NS - hour_ns, None, NOW_NS + hour_ns, None)
    world.board.intervals += [old, going_on]
    (found,) = li.get(f"{V1}/mines/demo-pit/activity").json()
    assert (found["kind"], found["zone"], found["end"], found["ended_by"]) == ("blast", "north", None, None)
    span = {"from": to_rfc3339(NOW_NS - 72 * hour_ns), "to": to_rfc3339(NOW_NS)}
    both = li.get(f"{V1}/mines/demo-pit/activity", params=span).json()
    assert [(one["id"], one["ended_by"]) for one in both] == [(1, "end"), (2, None)]
    backwards = {"from": span["to"], "to": span["from"]}
    assert li.get(f"{V1}/mines/demo-pit/activity", params=backwards).status_code == 422
    assert li.get(f"{V1}/mines/no-such-mine/activity").status_code == 404


def test_gaps_are_listed(li: httpx.Client, world: World) -> None:
    stream = Stream("demo-pit", "dust-road", "seq")
    gap = Gap("g1", stream, "a1", 3, 5, 1, 2, 3, 4, 1, all_of(3, 4), 2, 9, None, GapReason.OPEN)
    world.intakes.known_gaps += [gap, gap._replace(id="g2", closed_ns=5, reason=GapReason.FILLED, left=0)]
    first, second = li.get(f"{V1}/gaps").json()
    assert (first["missing"], first["filled"], first["asked"], first["reason"]) == (2, 1, 2, "open")
    assert "from" in first
    assert second["closed"] is not None
    assert [one["id"] for one in li.get(f"{V1}/gaps", params={"open": True}).json()] == ["g1"]
    assert li.get(f"{V1}/gaps", params={"device": "other"}).json() == []


def test_the_account_is_given_by_device_and_hour(li: httpx.Client, world: World) -> None:
    hour_ns = 3600 * NS_PER_S
    account = Account(received=8, stored=5, pending=1, duplicate=2)
    world.intakes.known_hours += [
        DeviceHour("demo-pit", "dust-road", NOW_NS - NOW_NS % hour_ns, 10, account),
        DeviceHour("demo-pit", "", NOW_NS - NOW_NS % hour_ns, 0, Account(received=1, dead=1)),
    ]
    first, second = li.get(f"{V1}/account/hours", params={"mine": "demo-pit"}).json()
    assert (first["device"], first["expected"], first["missing"]) == ("dust-road", 10, 4)
    assert first["received"] == sum(first[name] for name in Account._fields[1:]) == 8
    assert (second["device"], second["dead"], second["missing"]) == ("", 1, 0)
    span = {"from": to_rfc3339(NOW_NS - 9 * hour_ns), "to": to_rfc3339(NOW_NS - 8 * hour_ns)}
    assert li.get(f"{V1}/account/hours", params=span).json() == []


def test_reasons_are_counted(li: httpx.Client, world: World) -> None:
    world.intakes.known_reasons[ReasonKey("demo-pit", "dust-road", "quarantined", "clock_ahead")] = 3
    found = li.get(f"{V1}/account/reasons").json()
    (one,) = found
    assert (one.pop("meaning_zh"), one.pop("meaning_en")) == QUARANTINED["clock_ahead"]
    assert one == {"mine": "demo-pit", "device": "dust-road", "kind": "quarantined", "word": "clock_ahead", "count": 3}
    assert li.get(f"{V1}/account/reasons", params={"device": "other"}).json() == []


def test_dead_letters_are_listed_by_reason_and_shown_with_their_bytes(li: httpx.Client, world: World) -> None:
    row = DeadLetterRow(7, 5, 9, "t", "c", "json", "", "bad", None, "demo-pit", "dust-road", 2)
    of_store = row._replace(id=8, record_id=0, word="store_rejected")
    world.intakes.known_letters += [(row, b"\xff{"), (of_store, None)]
    (found,) = li.get(f"{V1}/dead-letters", params={"reason": "json"}).json()
    assert (found["id"], found["word"], found["record"], found["topic"]) == (7, "json", 9, "t")
    assert li.get(f"{V1}/dead-letters", params={"reason": "no such reason"}).status_code == 422
    assert base64.b64decode(li.get(f"{V1}/dead-letters/7").json()["payload_base64"]) == b"\xff{"
    shown = li.get(f"{V1}/dead-letters/8").json()
    assert (shown["record"], shown["payload_base64"]) == (None, None)
    assert li.get(f"{V1}/dead-letters/9").status_code == 404
