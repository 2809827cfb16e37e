"""The live stream: from the pipeline's thread to a client, coalesced, bounded, and honest about what was dropped."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from greenmine.core.latest import Change, Latest
from greenmine.core.reading import Series
from greenmine.web import stream
from greenmine.web.stream import Feed, LiveHub
from tests.web_fakes import NOW_NS, RunningSite, World, make_world, open_pit_policy, quarry_policy, running

ROAD = Series("demo-pit", "dust-road", "pm10")
GATE = Series("demo-quarry", "dust-gate", "pm10")
V1 = "/api/v1"
Event = tuple[str, Any]


def _latest(series: Series, value: float) -> Change:
    return Change("latest", Latest(series, NOW_NS, value, 0, NOW_NS))


def _message(number: int, mine: str = "demo-pit") -> Change:
    return Change("message", {"mine": mine, "number": number})


@pytest.fixture
def world() -> World:
    return make_world("rest")


@pytest.fixture
def site(world: World) -> Iterator[RunningSite]:
    with running(world, heartbeat_s=0.3) as found:
        yield found


@contextmanager
def listening(site: RunningSite, query: str = "", name: str = "li") -> Iterator[Iterator[Event]]:
    with site.logged_in(name) as client, client.stream("GET", f"{V1}/stream{query}") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield _events(answer)


def _events(answer: httpx.Response) -> Iterator[Event]:
    name = ""
    for line in answer.iter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])


def _next(events: Iterator[Event], *names: str) -> Event:
    return next(event for event in events if event[0] in names)


def test_a_client_is_told_of_values_alerts_and_transitions_as_they_happen(site: RunningSite, world: World) -> None:
    with listening(site) as events:
        name, hello = next(events)
        assert (name, hello["now"]) == ("hello", "2026-11-22T08:00:00Z")
        assert set(hello["versions"]) == {"demo-pit", "demo-quarry"}
        world.desk.set_value(ROAD, 463.0)
        (value,) = _next(events, "latest")[1]
        assert value | {"mine": "demo-pit", "device": "dust-road", "metric": "pm10", "value": 463.0} == value
        assert value["key"] == "demo-pit.dust-road.pm10..inst.0"
        assert value["shown"] == {"number": "463", "unit": "µg/m³", "time": "16:00:00", "over": "critical"}
        alert = world.desk.raise_alert(open_pit_policy(), "pm10-critical", ROAD, 463.0)
        told = _next(events, "alert")[1]
        assert (told["id"], told["severity"], told["handling"]) == (alert.id, "critical", "none")
        step = _next(events, "transition")[1]
        assert (step["alert"], step["reason"]) == (alert.id, "over_limit")
        assert step["text"]["zh"] == "读数 463 µg/m³ 高于限值 420 µg/m³"


def test_heartbeats_tell_when_a_sensor_fell_silent(site: RunningSite, world: World) -> None:
    with listening(site) as events:
        before = _next(events, "hello")[1]["versions"]
        assert _next(events, "heartbeat")[1]["versions"] == before
        world.clock.advance(600_000_000_000)
        while True:
            beat = _next(events, "heartbeat")[1]
            if beat["versions"] != before:
                break
        assert beat["now"] == "2026-11-22T08:10:00Z"


def test_a_client_may_watch_one_mine_alone(site: RunningSite, world: World) -> None:
    with listening(site, "?mine=demo-pit") as events:
        next(events)
        world.desk.raise_alert(quarry_policy(), "pm10-warning", GATE, 263.0)
        world.desk.set_value(GATE, 263.0)
        world.desk.set_value(ROAD, 99.0)
        seen = []
        while not seen or seen[-1][0] != "latest":
            seen.append(_next(events, "alert", "transition", "latest"))
        assert [(name, [v["mine"] for v in data]) for name, data in seen] == [("latest", ["demo-pit"])]


def test_raw_messages_are_only_for_who_asks_and_policies_for_all(site: RunningSite, world: World) -> None:
    with listening(site) as plain, listening(site, "?raw=1") as raw:
        next(plain)
        next(raw)
        world.desk.tell(_message(1), Change("policy", "demo-pit"))
        assert _next(raw, "message", "policy") == ("message", {"mine": "demo-pit", "number": 1})
        assert _next(raw, "message", "policy") == ("policy", {"mine": "demo-pit"})
        assert _next(plain, "message", "policy") == ("policy", {"mine": "demo-pit"})


def test_an_overflow_is_told_as_resync(site: RunningSite, world: World) -> None:
    with listening(site, "?raw=1") as events:
        next(events)
        world.desk.tell(*(_message(number) for number in range(stream.MOST_EVENTS + 5)))
        assert _next(events, "resync", "message")[0] == "resync"


def test_a_stream_ends_with_its_session(site: RunningSite, world: World) -> None:
    with listening(site) as events:
        next(events)
        world.logins.log_out(next(token for token, name in world.logins.sessions.items() if name == "li"))
        assert [name for name, _ in events if name != "heartbeat"] == []


def test_stopping_the_service_ends_its_streams(world: World) -> None:
    ended = threading.Event()
    begun = threading.Event()

    def watch(site: RunningSite) -> None:
        with listening(site) as events:
            next(events)
            begun.set()
            for _ in events:
                pass
        ended.set()

    with running(world, heartbeat_s=30) as site:
        watcher = threading.Thread(target=watch, args=(site,))
        watcher.start()
        assert begun.wait(20)
    assert ended.wait(20)
    watcher.join()


def test_a_client_that_leaves_is_forgotten(world: World) -> None:
    with running(world, heartbeat_s=0.1) as site:
        with listening(site) as events:
            next(events)
            assert site.hub.watchers == 1
        with listening(site, "?mine=demo-quarry") as events:
            while site.hub.watchers != 1:
                _next(events, "heartbeat")


def test_a_stream_of_a_mine_that_is_no_identifier_is_refused(site: RunningSite) -> None:
    with site.logged_in() as client:
        assert client.get(f"{V1}/stream?mine=../x").status_code == 422


def test_newest_values_are_coalesced_by_series() -> None:
    feed = Feed(None, raw=False)
    for value in range(5000):
        feed.put(_latest(ROAD, float(value)), "demo-pit")
    feed.put(_latest(GATE, 1.0), "demo-quarry")
    latest, events, lost = feed.take()
    assert [item.value for item in latest] == [4999.0, 1.0]
    assert (events, lost) == ([], False)
    assert feed.take() == ([], [], False)


def test_a_feed_never_holds_more_than_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MOST_SERIES", 10)
    feed = Feed(None, raw=True)
    for number in range(25):
        feed.put(_latest(Series("m", f"d{number}", "pm10"), 1.0), "m")
    latest, _, lost = feed.take()
    assert lost
    assert len(latest) <= 10
    for number in range(stream.MOST_EVENTS + 1):
        feed.put(_message(number), "demo-pit")
    assert feed.take()[1:] == ([], True)


def test_the_listener_never_blocks_and_keeps_order_from_another_thread() -> None:
    async def main() -> list[int]:
        hub = LiveHub()
        hub.start()
        feed = Feed(None, raw=True)
        hub.attach(feed)
        pipeline = threading.Thread(target=lambda: [hub.on_changes([_message(n)]) for n in range(200)])
        pipeline.start()
        seen: list[int] = []
        while len(seen) < 200:
            assert await feed.wait(20)
            seen += [change.what["number"] for change in feed.take()[1]]
        pipeline.join()
        return seen

    assert asyncio.run(main()) == list(range(200))


def test_a_loop_that_is_held_up_loses_events_but_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MOST_HANDED_OVER", 50)

    async def main() -> tuple[list[Latest], list[Change], bool]:
        hub = LiveHub()
        hub.start()
        feed = Feed(None, raw=True)
        hub.attach(feed)
        for number in range(60):  # the loop does not turn meanwhile
            hub.on_changes([_message(number)])
        assert await feed.wait(20)
        return feed.take()

    _, events, lost = asyncio.run(main())
    assert lost
    assert len(events) < 50


def test_changes_after_the_loop_has_ended_are_ignored() -> None:
    hub = LiveHub()

    async def main() -> None:
        hub.start()
        hub.attach(Feed(None, raw=False))

    asyncio.run(main())
    hub.on_changes([_latest(ROAD, 1.0)])
    hub.close()
    assert hub.closed
