"""The account of each device's hour: it adds up at every moment, and says what is missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmine.core.account import HOUR_NS, LOOKED_UP_NS, Account, DeviceHour, HourKey
from greenmine.core.act import Act, ActKind, ActResult
from greenmine.core.clock import ManualClock
from greenmine.core.errors import NotFound, Refused
from greenmine.core.reading import Reading
from greenmine.core.reading_store import InMemoryReadingStore, Rejected, Selection, WriteReport
from greenmine.device_hours import DeviceHours
from greenmine.ingest.record import RecordFlag
from greenmine.pipeline.ordinary import Ordinary
from greenmine.replaying import replay
from greenmine.store import audit, hours
from greenmine.store.hours import ReasonKey
from greenmine.store.writer import StoreWriter
from tests.pipeline_scenes import (
    DAY_NS,
    DUSTY,
    MINE,
    NS,
    SPARE,
    START_NS,
    Scene,
    activation,
    device,
    entry,
    imported,
    message,
    policy,
    scene,
)


def accounts(on: Scene) -> dict[HourKey, Account]:
    with on.state.reading() as connection:
        found = hours.accounts(connection)
    assert sum(found.values(), Account()) == on.account, "the hours are the account"
    assert all(account.balanced and min(account) >= 0 for account in found.values())
    return {key: account for key, account in found.items() if any(account)}


def the_hours(on: Scene, **asked: Any) -> list[DeviceHour]:
    with on.state.reading() as connection:
        return DeviceHours().listed(connection, **asked)


def reasons(on: Scene) -> dict[ReasonKey, int]:
    with on.state.reading() as connection:
        return hours.reasons(connection)


def carried(on: Scene, store: InMemoryReadingStore | None = None) -> StoreWriter:
    writer = StoreWriter(on.state, store or InMemoryReadingStore(), ManualClock(on.now_ns))
    writer.run_available()
    return writer


def dust(start_ns: int) -> HourKey:
    return HourKey(MINE, "dust-1", start_ns)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("ordinary", [False, True])
def test_readings_count_in_the_hour_of_their_source_time(
    monkeypatch: pytest.MonkeyPatch, ordinary: bool, restarted: bool
) -> None:
    if not ordinary:
        monkeypatch.setattr(Ordinary, "take", lambda *_: None)
    with scene(policy([DUSTY])) as on:
        on.say(1, 2).wait(3595)
        on.say(3, 4, every_s=1)
        on.batch(message([entry(START_NS - n * NS, {"pm10": n}) for n in (1, 2, 3)]))
        for _ in range(4):  # rounds come and go
            if restarted:
                on.restart()
            found = accounts(on)
            assert {key: account.received for key, account in found.items()} == {
                dust(START_NS - HOUR_NS): 3,
                dust(START_NS): 2,
                dust(START_NS + HOUR_NS): 2,
            }
            on.tick(61)
        carried(on)
        assert accounts(on)[dust(START_NS)] == Account(received=2, stored=2)


def test_what_is_no_reading_has_its_place_and_its_reason() -> None:
    with scene(policy([DUSTY], quality={"sentinels": [-9999]})) as on:
        on.wait(2 * 3600).say(5, 6)
        t = on.now_ns
        on.batch(
            message(entry(t, {"pm10": 6})),  # twice
            message(entry(t, {"pm10": 7})),  # another value
            message(entry(t + NS, {"pm10": None})),
            message(entry(t + 2 * NS, {"pm10": -9999})),
            message(entry(t + 3 * NS, {"pm10": -3})),
            message(entry(t + DAY_NS, {"pm10": 1})),  # its clock says nothing of the hour
            message(entry(t - 7200 * NS, {"pm10": "x", "nonsense": 1})),
            message(b"{", "stranger"),
            message(entry(t, {"pm10": 1}), "stranger"),
            message(entry(t, {"pm10": 1}), mine="nowhere"),
            message(entry(t, {"pm10": 1}), flags=RecordFlag.DENIED),
        )
        now = START_NS + 2 * HOUR_NS
        assert accounts(on) == {
            dust(now): Account(received=10, pending=3, quarantined=3, duplicate=1, conflict=1, dead=2),
            HourKey(MINE, "", now): Account(received=2, dead=1, quarantined=1),
            HourKey("", "", now): Account(received=2, quarantined=1, dead=1),
        }
        assert reasons(on) == {
            ReasonKey("", "", "quarantined", "unregistered"): 1,
            ReasonKey("", "", "refused", "denied"): 1,
            ReasonKey(MINE, "", "quarantined", "unregistered"): 1,
            ReasonKey(MINE, "", "refused", "json"): 1,
            ReasonKey(MINE, "dust-1", "flagged", "negative"): 1,
            ReasonKey(MINE, "dust-1", "flagged", "range"): 1,
            ReasonKey(MINE, "dust-1", "quarantined", "clock_ahead"): 1,
            ReasonKey(MINE, "dust-1", "quarantined", "missing"): 1,
            ReasonKey(MINE, "dust-1", "quarantined", "sentinel"): 1,
            ReasonKey(MINE, "dust-1", "refused", "type"): 1,
            ReasonKey(MINE, "dust-1", "refused", "unknown_field"): 1,
        }


def test_what_a_replay_refuses_again_is_counted_once() -> None:
    with scene(policy([DUSTY])) as on:
        on.wait(3600).say(1)
        later = on.now_ns + NS
        on.batch(message([entry(START_NS, {"pm10": 3}), entry(later, {"ph": 7, "pm10": 4, "x": 1})], "dust-2"))
        assert accounts(on)[HourKey(MINE, "", START_NS + HOUR_NS)] == Account(received=3, quarantined=2, dead=1)
        on.wait(3600)
        on.batch(message(b"[]", "dust-1"))
        stranger, now = HourKey(MINE, "", START_NS + HOUR_NS), HourKey(MINE, "", START_NS + 2 * HOUR_NS)
        before = accounts(on)
        ids = sorted({row["record_id"] for row in on.rows("dead_letter")})
        for _ in range(2):
            on.act(ActKind.REPLAY_DEAD_LETTERS, body={"record_ids": ids})
            assert accounts(on) == {
                **before,
                stranger: Account(received=2, quarantined=2),
                now: Account(received=1, dead=1),
            }, "what is refused again is dead from now on, what was quarantined stays"


def test_a_dead_letter_that_is_read_at_last_counts_in_the_hour_of_its_readings() -> None:
    with scene(policy([DUSTY], devices=[device("gw-1"), device("dust-1", pm10="ug/m3")])) as on:
        on.batch(message(entry(START_NS - HOUR_NS, {"pm10": 3}, device="dust-1"), "gw-1"))
        assert accounts(on) == {HourKey(MINE, "gw-1", START_NS): Account(received=1, dead=1)}
        devices = [device("gw-1"), {**device("dust-1", pm10="ug/m3"), "gateway": "gw-1"}]
        on.wait(2 * 3600).batch(activation(policy([DUSTY], devices=devices)))
        (row,) = on.rows("dead_letter")
        assert (row["mine"], row["device"]) == (MINE, "gw-1")
        on.act(ActKind.REPLAY_DEAD_LETTERS, body={"record_ids": [row["record_id"]]})
        assert accounts(on) == {dust(START_NS - HOUR_NS): Account(received=1, pending=1)}


def test_old_readings_move_when_the_store_has_answered() -> None:
    store = InMemoryReadingStore()
    with scene(policy([DUSTY])) as on:
        first = START_NS - 100 * DAY_NS
        old = [(MINE, "dust-1", "pm10", "", "inst", 0, first + n * NS, 5.0, None, 0) for n in range(3)]
        on.batch(imported(old))
        carried(on, store)
        hour = dust(first)
        assert accounts(on) == {hour: Account(received=3, stored=3)}
        on.batch(imported([old[0], [*old[1][:7], 6.0, None, 0]]))
        assert accounts(on)[hour] == Account(received=5, stored=3, pending=2)
        carried(on, store)
        assert accounts(on)[hour] == Account(received=5, stored=3, duplicate=1, conflict=1)


def test_what_the_store_refused_moves_there_and_back_again() -> None:
    with scene(policy([DUSTY])) as on:
        on.say(5, 6)
        hour, store = dust(START_NS), Fussy()
        store.fault = "field type conflict"
        carried(on, store)
        assert accounts(on) == {hour: Account(received=2, dead=2)}
        first, second = (row["id"] for row in on.rows("dead_letter"))
        act = Act(ActKind.REPLAY_DEAD_LETTERS, "person:li", body={"ids": [first, second]})
        store.fault = ""
        assert replay(on.state, act, on.now_ns, _nothing_journalled).detail == {"returned": 2}
        assert accounts(on) == {hour: Account(received=2, pending=2)}
        carried(on, store)
        assert accounts(on) == {hour: Account(received=2, stored=2)}
        assert store.count(Selection()) == 2
        with pytest.raises(NotFound):
            replay(on.state, act, on.now_ns, _nothing_journalled)
        with on.state.reading() as connection:
            (said,) = [row for row in audit.rows(connection) if row.action == "dead_letters.return"]
        assert (said.principal, json.loads(said.body)["readings"]) == ("person:li", 2)


class Fussy(InMemoryReadingStore):
    """Refuses everything for good while it has a fault."""

    fault = ""

    def write(self, readings: Sequence[Reading]) -> WriteReport:
        if self.fault:
            return WriteReport(0, [Rejected(one, self.fault) for one in readings])
        return super().write(readings)


def _nothing_journalled(_: Act) -> ActResult:
    pytest.fail("the journal has no part in it")


def test_what_is_older_than_can_be_looked_up_is_one_sum() -> None:
    with scene(policy([DUSTY])) as on:
        ancient = START_NS - LOOKED_UP_NS - 5 * HOUR_NS
        rows = [(MINE, "dust-1", "pm10", "", "inst", 0, ancient + n * HOUR_NS, 5.0, None, 0) for n in range(10)]
        on.batch(imported(rows))
        carried(on)
        assert accounts(on)[dust(0)] == Account(received=5, stored=5)
        on.tick(4 * 3600)
        assert accounts(on)[dust(0)] == Account(received=9, stored=9)


class TestExpected:
    def test_is_one_reading_of_each_series_each_interval(self) -> None:
        with scene(policy([DUSTY])) as on:
            for _ in range(60):
                on.say(1, 2, 3)
            on.tick(3600)
            first, second = the_hours(on)
            assert (first.start_ns, first.expected, first.missing) == (START_NS, 720, 540)
            assert first.account == Account(received=180, pending=180)
            assert (second.start_ns, second.expected, second.missing) == (START_NS + HOUR_NS, 360, 360)

    def test_follows_the_policies(self) -> None:
        slow = policy([DUSTY], devices=[device("dust-1", interval="60s", pm10="ug/m3")])
        with scene(policy([DUSTY])) as on:
            on.tick(1800).batch(activation(slow)).tick(1800)
            on.batch(activation(None)).tick(3600)
            assert [(one.start_ns, one.expected) for one in the_hours(on)] == [(START_NS, 2 * 180 + 30)]

    def test_a_silent_device_is_listed_and_a_span_is_kept_to(self) -> None:
        with scene(policy([DUSTY], devices=[device("quiet", pm10="ug/m3")])) as on:
            on.tick(5 * 3600)
            assert len(the_hours(on)) == 5
            found = the_hours(on, from_ns=START_NS + HOUR_NS, to_ns=START_NS + 3 * HOUR_NS)
            assert [(one.device, one.start_ns, one.missing) for one in found] == [
                ("quiet", START_NS + HOUR_NS, 360),
                ("quiet", START_NS + 2 * HOUR_NS, 360),
            ]
            assert the_hours(on, device="other") == the_hours(on, mine="other") == []

    @pytest.mark.parametrize("span", [(0, 0), (5, 10), (0, 40 * DAY_NS)])
    def test_a_span_without_an_hour_or_too_long_is_refused(self, span: tuple[int, int]) -> None:
        with scene(policy([DUSTY])) as on, pytest.raises(Refused):
            the_hours(on, from_ns=span[0], to_ns=span[1])


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["say", "late", "old", "twice", "null", "garbage", "stranger", "replay", "carry", "restart"]),
        st.sampled_from([1, 30, 70, 4000]),
        st.integers(0, 5),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_the_hours_add_up_whatever_happens(steps: list[tuple[str, int, int]]) -> None:
    store = InMemoryReadingStore()
    with SPARE.state() as state:
        on = Scene(state).begin(policy([DUSTY]))
        for what, pause_s, n in steps:
            on.wait(pause_s)
            if what in ("say", "twice"):
                one = message([entry(on.now_ns + k * NS, {"pm10": n, "pm25": k}) for k in range(n + 1)])
                on.batch(*[one] * (2 if what == "twice" else 1))
            elif what in ("late", "old"):
                back_ns = n * HOUR_NS if what == "late" else 80 * HOUR_NS
                on.batch(message(entry(on.now_ns - back_ns, {"pm10": 10.0 + n})))
            elif what in ("null", "garbage", "stranger"):
                body = {"null": entry(on.now_ns, {"pm10": None, "x": 1}), "stranger": entry(on.now_ns, {"pm10": 1})}
                on.batch(message(body.get(what, b"{"), "dust-9" if what == "stranger" else "dust-1"))
            elif what == "replay":
                ids = [row["record_id"] for row in on.rows("dead_letter") if row["record_id"]][-3:]
                if ids:
                    on.act(ActKind.REPLAY_DEAD_LETTERS, body={"record_ids": ids})
            elif what == "carry":
                carried(on, store)
            else:
                on.restart()
            accounts(on)
