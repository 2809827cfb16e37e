"""Numbers that never came: found within a minute, asked for, filled by a backfill, given up in the end."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from greenmine.core.gap import Gap, GapReason, Stream
from greenmine.ingest.decoded import Decoded, Item
from greenmine.ingest.hj212_frame import build_frame
from greenmine.ingest.hj212_requests import stamp_of
from greenmine.ingest.registry import Registry
from greenmine.ingest.topic import TopicKind
from greenmine.pipeline import gaps as gaps_module
from greenmine.pipeline.effects import Effects
from greenmine.pipeline.formats import Understood
from greenmine.pipeline.gaps import Gaps
from greenmine.pipeline.state import JudgeState
from greenmine.store import gaps
from tests.pipeline_scenes import (
    DUST,
    DUSTY,
    HOUR_NS,
    MINE,
    NS,
    SPARE,
    START_NS,
    Scene,
    device,
    entry,
    everything,
    message,
    policy,
    scene,
)

GATEWAY = [device("gw-1"), {**DUST, "gateway": "gw-1"}]


def station(*periods: str) -> list[dict[str, Any]]:
    """A station of HJ 212 that reports means of pm10 over these periods."""
    one = {**device("station", pm10="ug/m3"), "address": {"mn": "88888880000001"}}
    for period in periods:
        (mean,) = device("station", pm10="ug/m3", interval=period)["sensors"]
        mean["metrics"]["pm10"] |= {"stat": "avg", "period": period}
        one["sensors"].append(mean)
    return [one]


def numbered(on: Scene, *numbers: int, boot: str | None = "a1", at_ns: int | None = None, **more: Any) -> Scene:
    """The device sends a message of each number, a second apart; their source time is now, or `at_ns`."""
    for seq in numbers:
        on.wait(1)
        time_ns = on.now_ns if at_ns is None else at_ns + seq * NS
        on.batch(message(entry(time_ns, {"pm10": float(seq % 97)}, seq=seq, boot=boot, **more)))
    return on


def listed(on: Scene, open_only: bool = False) -> list[Gap]:
    with on.state.reading() as connection:
        return gaps.listed(connection, open_only=open_only)


def the_gap(on: Scene) -> Gap:
    (found,) = listed(on)
    return found


def requests(on: Scene) -> list[dict[str, Any]]:
    rows = sorted(on.rows("downlink"), key=lambda row: row["created_ns"])
    return [{"target": row["target"], "kind": row["kind"], **json.loads(row["payload"])} for row in rows]


def test_a_gap_is_found_within_a_minute_and_asked_for() -> None:
    with scene(policy([DUSTY])) as on:
        numbered(on, 1, 2, 6)
        assert listed(on) == []
        on.tick(31)
        gap = the_gap(on)
        assert (gap.first_seq, gap.last_seq, gap.missing, gap.reason) == (3, 5, 3, GapReason.OPEN)
        assert (gap.from_ns, gap.to_ns) == (START_NS + 2 * NS, START_NS + 3 * NS)
        assert gap.found_ns is not None
        assert gap.found_ns - gap.opened_ns < 60 * NS
        assert requests(on) == [
            {
                "target": f"mines/{MINE}/dust-1/down",
                "kind": "backfill",
                "request": "backfill",
                "device": "dust-1",
                "boot": "a1",
                "first_seq": 3,
                "last_seq": 5,
                "from": "2026-11-22T08:00:02Z",
                "to": "2026-11-22T08:00:03Z",
            }
        ]


def test_messages_that_overtake_each_other_are_no_gap() -> None:
    with scene(policy([DUSTY])) as on:
        numbered(on, 1, 3, 2, 6, 5, 4)
        on.tick(120, step_s=10)
        assert on.rows("gap") == []
        assert requests(on) == []


def test_a_gap_is_filled_by_late_readings_which_page_nobody() -> None:
    with scene(policy([DUSTY])) as on:
        numbered(on, 1, 5)
        on.tick(31)
        on.batch(message(entry(START_NS + NS // 2, {"pm10": 900.0}, seq=3, boot="a1")))
        assert (the_gap(on).filled, the_gap(on).remaining) == (1, ((2, 2), (4, 4)))
        numbered(on, 2, 4, at_ns=START_NS - 100 * NS)
        gap = the_gap(on)
        assert (gap.reason, gap.filled, gap.remaining, gap.closed_ns) == (GapReason.FILLED, 3, (), on.now_ns)
        assert on.alerts() == []
        assert listed(on, open_only=True) == []


def test_one_number_twice_is_one_duplicate_and_no_gap() -> None:
    with scene(policy([DUSTY])) as on:
        same = message(entry(START_NS, {"pm10": 5.0}, seq=5, boot="a1"))
        on.batch(same, same)
        numbered(on, 6)
        on.tick(60)
        assert on.account.duplicate == 1
        assert on.rows("gap") == []


def test_a_new_boot_begins_anew_and_the_old_one_can_still_be_filled() -> None:
    with scene(policy([DUSTY])) as on:
        numbered(on, 4_294_967_290, 4_294_967_295, boot="a1")
        numbered(on, 0, 1, boot="a2")
        on.tick(31)
        assert [(gap.boot, gap.first_seq, gap.reason) for gap in listed(on)] == [("a1", 4_294_967_291, GapReason.OPEN)]
        numbered(on, *range(4_294_967_291, 4_294_967_295), boot="a1", at_ns=START_NS - 2**33 * NS)
        assert the_gap(on).reason is GapReason.FILLED
        numbered(on, 2, boot="a2")
        on.tick(31)
        assert len(listed(on)) == 1, "late data of the boot before did not take the place of the new one"


def test_numbers_that_step_back_without_a_new_boot_are_noted_and_followed() -> None:
    with scene(policy([DUSTY])) as on:
        numbered(on, 4_294_967_295, 0, 1, 2, 0, 1)
        assert [(gap.reason, gap.first_seq, gap.last_seq) for gap in listed(on)] == [
            (GapReason.RESET, 4_294_967_295, 0)
        ], "noted once an hour"
        numbered(on, 5)
        on.tick(31)
        assert [gap.missing for gap in listed(on, open_only=True)] == [3]


def test_a_leap_says_more_of_the_counter_than_of_messages() -> None:
    with scene(policy([DUSTY])) as on:
        numbered(on, 1, 10_000_000)
        assert the_gap(on).reason is GapReason.RESET
        numbered(on, 10_000_001)
        on.tick(31)
        assert listed(on, open_only=True) == []


def test_requests_are_repeated_with_growing_pauses_and_then_only_waited_for() -> None:
    with scene(policy([DUSTY])) as on:
        numbered(on, 1, 3)
        begun_ns = on.now_ns
        on.tick(3 * 3600, step_s=10)
        asked = [(row["created_ns"] - begun_ns) // NS for row in on.rows("downlink")]
        asked.sort()
        assert len(asked) == 4
        assert asked[0] <= 60
        pauses = [b - a for a, b in itertools.pairwise(asked)]
        assert pauses == [120, 480, 1800]
        on.tick(73 * 3600, step_s=3600)
        assert the_gap(on).reason is GapReason.EXPIRED
        assert len(on.rows("downlink")) == 4


def test_a_device_behind_a_gateway_is_asked_through_it() -> None:
    with scene(policy([DUSTY], devices=GATEWAY)) as on:
        for seq in (1, 3):
            on.batch(message(entry(on.wait(1).now_ns, {"pm10": 1.0}, seq=seq, device="dust-1"), "gw-1"))
        on.tick(31)
        assert the_gap(on).stream == Stream(MINE, "dust-1", "seq")
        (asked,) = requests(on)
        assert (asked["target"], asked["device"], asked["boot"]) == (f"mines/{MINE}/gw-1/down", "dust-1", None)


def test_numbers_of_strangers_are_not_followed() -> None:
    with scene(policy([DUSTY])) as on:
        for seq in (1, 9):
            on.batch(message(entry(on.wait(1).now_ns, {"pm10": 1.0}, seq=seq), "stranger"))
            on.batch(message(entry(on.now_ns, {"pm10": 1.0}, seq=seq, device="dust-1"), "stranger"))
        on.tick(31)
        assert on.rows("sequence") == on.rows("gap") == []


def test_an_array_counts_each_object_once() -> None:
    with scene(policy([DUSTY])) as on:
        body = [entry(on.now_ns + n * NS, {"pm10": 1.0, "pm25": 1.0}, seq=n, boot="x") for n in (1, 2, 4)]
        on.batch(message(body))
        on.tick(31)
        assert (the_gap(on).first_seq, the_gap(on).last_seq) == (3, 3)


def test_open_gaps_of_a_stream_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaps_module, "MOST_GAPS", 3)
    with scene(policy([DUSTY])) as on:
        numbered(on, *range(1, 21, 2))
        on.tick(31)
        assert len(listed(on, open_only=True)) == 3
        assert [gap.first_seq for gap in listed(on, open_only=True)] != []
        assert min(gap.first_seq for gap in listed(on, open_only=True)) == 14, "the oldest are given up"
        assert {gap.reason for gap in listed(on)} == {GapReason.OPEN, GapReason.EXPIRED}


def test_minutes_of_a_station_number_themselves_and_its_history_is_asked_for() -> None:
    state = JudgeState()
    one = policy([DUSTY], devices=station("1m", "1h"))
    state.policies, state.registry = {MINE: one}, Registry.of([one])
    watched, minute = Gaps(state), 60 * NS

    def statistic(period_s: int, n: int) -> Understood:
        """A frame with two statistics of one period, and an instant, which is no part of any."""
        like = Item("station", "pm10", "", "avg", period_s, START_NS + n * period_s * NS, 1.0, None, 0)
        items = [like, like._replace(metric="pm25"), like._replace(stat="inst", period_s=0)]
        return Understood(MINE, "station", Decoded(items=items))

    def minutes(n: int) -> Understood:
        return statistic(60, n)

    fx = Effects(0)
    for n in (0, 1, 1, 5):
        watched.of_message(TopicKind.HJ212, minutes(n), START_NS + n * minute, START_NS + n * minute, fx)
    watched.on_clock(START_NS + 6 * minute, fx)
    (asked,) = fx.downlinks
    assert (asked.kind.value, asked.target) == ("history", "hj212:88888880000001")
    assert json.loads(asked.payload) == {
        "request": "history",
        "cn": "2051",
        "from": "2026-11-22T08:02:00Z",
        "to": "2026-11-22T08:04:00Z",
    }
    for n in (2, 3, 4):
        watched.of_message(
            TopicKind.HJ212, minutes(n), START_NS + 7 * minute, START_NS + 7 * minute, fx, replayed=n == 3
        )
    assert [gap.reason for gap in fx.gaps.values() if gap is not None] == [GapReason.FILLED]
    hours = Effects(0)
    for n in (0, 3):
        watched.of_message(
            TopicKind.HJ212_TCP, statistic(3600, n), START_NS + n * HOUR_NS, START_NS + n * HOUR_NS, hours
        )
    watched.on_clock(START_NS + 4 * HOUR_NS, hours)
    assert [json.loads(one.payload)["cn"] for one in hours.downlinks] == ["2061"]


def test_a_station_whose_clock_was_once_far_ahead_is_followed_all_the_same() -> None:
    """A clock without battery says 2099 once. The reading is set apart; what is missing later must still be found."""

    def says(at_ns: int) -> None:
        on.tick(60)
        stamp = stamp_of(at_ns)
        head = f"QN={stamp}001;ST=22;CN=2051;PW=123456;MN=88888880000001;Flag=4"
        said = f"CP=&&DataTime={stamp};a34002-Avg=31,a34002-Flag=N&&"
        on.batch(message(build_frame(f"{head};{said}".encode()), "station", kind="up/hj212"))

    with scene(policy([], devices=station("1m"))) as on:
        for at_ns in (0, 60, 4_070_908_800, 60, 120, 300, 360):
            says(at_ns * NS if at_ns > HOUR_NS // NS else START_NS + at_ns * NS)
        on.tick(60)
        (gap,) = listed(on)
        assert (gap.reason, gap.missing) == (GapReason.OPEN, 2)
        assert [one["from"] for one in requests(on)] == ["2026-11-22T08:03:00Z"]


def test_statistics_that_are_not_registered_number_nothing() -> None:
    """A station that sends ten minutes' Avg, Min and Max, of which the policy registers Avg: the others are taken for
    minutes, and nine of ten would seem to be missing."""
    with scene(policy([], devices=station("10m"))) as on:
        for _ in range(3):
            on.tick(600)
            stamp = stamp_of(on.now_ns - on.now_ns % (600 * NS))
            said = f"DataTime={stamp};a34002-Avg=31,a34002-Min=20,a34002-Max=44,a34002-Flag=N"
            head = f"QN={stamp}001;ST=22;CN=2051;PW=123456;MN=88888880000001;Flag=4"
            on.batch(message(build_frame(f"{head};CP=&&{said}&&".encode()), "station", kind="up/hj212"))
        on.tick(600)
        assert [row["name"] for row in on.rows("sequence")] == ["period-600"]
        assert on.rows("gap") == []


def test_numbers_that_begin_again_at_a_modulus_go_on() -> None:
    state, fx = JudgeState(), Effects(0)
    watched, stream = Gaps(state), Stream(MINE, "edge", "sparkplug")
    for n in range(250, 450):
        if n != 400:
            watched.observe(stream, n % 256, "bd1", START_NS + n, START_NS, fx, modulus=256)
    (gap,) = (one for one in fx.gaps.values() if one is not None)
    assert (gap.first_seq, gap.missing) == (400, 1)
    watched.observe(stream, 400 % 256, "bd1", START_NS + 400, START_NS, fx, modulus=256)
    assert state.gapped == set()


def test_a_restart_at_any_moment_and_a_replay_come_to_the_same() -> None:
    with SPARE.state() as one_state, SPARE.state() as other_state, SPARE.state() as third_state:
        on, other = Scene(one_state), Scene(other_state)
        for each in (on, other):
            each.begin(policy([DUSTY], devices=GATEWAY))
        for seq, boot in [(1, "a"), (4, "a"), (3, "a"), (9, "a"), (2, "b"), (6, "b"), (5, "b"), (7, "a"), (0, "b")]:
            for each in (on, other):
                numbered(each, seq, boot=boot)
                each.tick(13)
            on.restart()
        for each in (on, other):
            each.tick(200, step_s=5)
            each.tick(80 * 3600, step_s=3600)
        again = Scene(third_state)
        again.journal.append((b.received_ns, b.clock_ns, [r.record for r in b.records]) for b in on.reader.batches(0))
        again.pipeline.run_available()
        assert len(listed(on)) > 2
        assert everything(on.state) == everything(other.state) == everything(again.state)
        assert on.restart().judge.state.sequences == other.pipeline.judge.state.sequences
