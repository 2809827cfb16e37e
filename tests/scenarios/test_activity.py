"""What mines do: taken from devices, made into intervals, and asked by rules; the same after a restart or a replay."""

from __future__ import annotations

from typing import Any

import pytest

from greenmine.board import StateBoard
from greenmine.core.account import Account
from greenmine.core.activity import ActivityInterval
from greenmine.core.latest import Change
from greenmine.ingest.calibration import Calibrations
from greenmine.ingest.record import Record, RecordFlag
from greenmine.pipeline import activities as activities_module
from tests.pipeline_scenes import (
    DAY_NS,
    DUST,
    DUSTY,
    HOUR_NS,
    MINE,
    MINUTE_NS,
    NS,
    SPARE,
    START_NS,
    Scene,
    device,
    entry,
    everything,
    mean,
    message,
    policy,
    scene,
)

GATE = device("gate")
DEVICES = [DUST, GATE]


def report(kind: str, state: str, time_ns: int, zone: str = "", device_id: str = "gate", **more: Any) -> Record:
    body = {"ts": time_ns // 1_000_000, "kind": kind, "state": state, "zone": zone, **more}
    return message(body, device_id, kind="activity")


def intervals(on: Scene, first_ns: int = 0, last_ns: int = 2 * START_NS) -> list[ActivityInterval]:
    return StateBoard(on.state, dict, dict, lambda: Calibrations.of([])).activities(MINE, first_ns, last_ns)


def spans(on: Scene) -> list[tuple[str, int, int | None, str | None]]:
    """Kind, seconds since the scene's beginning, and why it ended."""
    return [
        (
            one.kind.value,
            (one.start_ns - START_NS) // NS,
            None if one.end_ns is None else (one.end_ns - START_NS) // NS,
            one.ended_by and one.ended_by.value,
        )
        for one in intervals(on)
    ]


def later(seconds: float) -> int:
    return START_NS + int(seconds * NS)


class TestTaking:
    def test_it_is_stored_with_its_times_and_counted_nowhere(self) -> None:
        with scene(policy([DUSTY], devices=DEVICES)) as on:
            on.wait(60).batch(report("blast", "start", later(50), "北帮", lat=39.7, lon=110.2))
            (row,) = on.rows("activity")
            assert (row["kind"], row["state"], row["zone"], row["lat"], row["lon"]) == (
                "blast", "start", "北帮", 39.7, 110.2,
            )  # fmt: skip
            assert (row["time_ns"], row["at_ns"]) == (later(50), later(60))
            assert on.account == Account()

    def test_the_same_report_twice_is_taken_once_in_one_commit_and_across_a_restart(self) -> None:
        with scene(policy([DUSTY], devices=DEVICES)) as on:
            start = report("haul", "start", later(0))
            on.batch(start, start)
            on.restart()
            on.batch(start)
            assert len(on.rows("activity")) == len(intervals(on)) == 1

    @pytest.mark.parametrize(
        ("record", "word"),
        [
            (report("blast", "start", START_NS, device_id="stranger"), "unregistered"),
            (message(b"the last", "gate", kind="activity"), "json"),
            (report("blast", "start", START_NS + HOUR_NS), "clock_ahead"),
            (report("blast", "planned", START_NS + 40 * DAY_NS), "clock_ahead"),
            (report("blast", "start", 1_000_000), "clock_unset"),
            (report("blast", "start", START_NS)._replace(flags=int(RecordFlag.DENIED)), "denied"),
        ],
    )
    def test_what_cannot_be_taken_is_one_dead_letter(self, record: Record, word: str) -> None:
        with scene(policy([DUSTY], devices=DEVICES)) as on:
            on.batch(record)
            assert [row["word"] for row in on.rows("dead_letter")] == [word]
            assert on.account == Account(received=1, dead=1)
            assert on.rows("activity") == []

    def test_live_views_are_told(self) -> None:
        told: list[Change] = []
        with scene(policy([DUSTY], devices=DEVICES)) as on:
            on.pipeline.subscribe(told.extend)
            on.batch(report("blast", "start", later(0)))
            on.wait(60).batch(report("blast", "end", later(60)))
            changes = [change.what for change in told if change.kind == "activity"]
            assert [one.end_ns for one in changes] == [None, later(60)]


class TestIntervals:
    def test_a_start_and_its_end_are_one_interval(self) -> None:
        with scene(policy([DUSTY], devices=DEVICES)) as on:
            on.wait(100).batch(report("blast", "start", later(10)), report("blast", "end", later(90)))
            assert spans(on) == [("blast", 10, 90, "end")]

    def test_kinds_zones_and_devices_are_apart(self) -> None:
        with scene(policy([DUSTY], devices=[*DEVICES, device("tower")])) as on:
            on.wait(100).batch(
                report("haul", "start", later(1), "a"),
                report("haul", "start", later(2), "b"),
                report("haul", "start", later(3), "b", "tower"),
                report("crusher", "start", later(4), "b"),
                report("haul", "end", later(9), "b"),
            )
            assert spans(on) == [
                ("haul", 1, None, None),
                ("haul", 2, 9, "end"),
                ("haul", 3, None, None),
                ("crusher", 4, None, None),
            ]

    def test_a_repeated_start_goes_on_and_an_earlier_one_moves_the_beginning(self) -> None:
        with scene(policy([DUSTY], devices=DEVICES)) as on:
            on.wait(100).batch(*(report("haul", "start", later(s)) for s in (20, 30, 10)))
            assert spans(on) == [("haul", 10, None, None)]

    def test_an_end_of_nothing_is_kept_and_changes_nothing(self) -> None:
        with scene(policy([DUSTY], devices=DEVICES)) as on:
            on.wait(100).batch(report("haul", "end", later(5)))
            on.batch(report("haul", "start", later(20)), report("haul", "end", later(10)))
            assert spans(on) == [("haul", 20, None, None)]
            assert len(on.rows("activity")) == 3

    def test_a_stop_ends_the_work_of_its_zone_or_of_the_whole_mine_but_not_the_weather(self) -> None:
        with scene(policy([DUSTY], devices=[*DEVICES, device("tower")])) as on:
            on.wait(100).batch(
                report("haul", "start", later(1), "a"),
                report("crusher", "start", later(2), "b"),
                report("weather_warning", "start", later(3)),
                report("stop", "start", later(10), "a", "tower"),
            )
            assert spans(on)[:3] == [
                ("haul", 1, 10, "stop"), ("crusher", 2, None, None), ("weather_warning", 3, None, None),
            ]  # fmt: skip
            on.batch(report("stop", "start", later(20), "", "tower"))
            assert spans(on)[1:3] == [("crusher", 2, 20, "stop"), ("weather_warning", 3, None, None)]

    def test_what_nobody_ends_is_over_after_its_longest_time(self) -> None:
        limits = {"longest": {"crusher": "10m"}}
        with scene(policy([DUSTY], devices=DEVICES, activity=limits)) as on:
            on.batch(report("crusher", "start", later(0)), report("blast", "start", later(0)))
            on.tick(599)
            assert spans(on)[0] == ("crusher", 0, None, None)
            on.tick(1)
            assert spans(on) == [("crusher", 0, 600, "length"), ("blast", 0, None, None)]
            on.tick(3000)
            assert spans(on)[1] == ("blast", 0, 3600, "length")

    def test_a_planned_moment_has_no_length(self) -> None:
        with scene(policy([DUSTY], devices=DEVICES)) as on:
            on.batch(report("blast", "planned", later(86_400)))
            assert spans(on) == [("blast", 86_400, 86_400, "planned")]

    def test_only_what_touches_the_span_is_listed(self) -> None:
        with scene(policy([DUSTY], devices=DEVICES)) as on:
            on.wait(300).batch(report("haul", "start", later(100)), report("haul", "end", later(200)))
            asked = ((0, 100), (0, 101), (200, 300), (201, 300))
            assert [len(intervals(on, later(a), later(b))) for a, b in asked] == [0, 1, 1, 0]

    def test_a_device_cannot_fill_the_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(activities_module, "MOST_A_DEVICE", 3)
        with scene(policy([DUSTY], devices=DEVICES)) as on:
            on.wait(100).batch(*(report("haul", "start", later(n), f"zone {n}") for n in range(10)))
            assert len(on.pipeline.judge.state.activities[MINE]) == 3
            on.tick(3 * 86_400).tick(3 * 86_400)
            assert on.pipeline.judge.state.activities[MINE] == {}
            assert len(intervals(on)) == 10, "what rules look at no more is still shown"


NOT_DURING = {**DUSTY, "not_during": ["blast"], "activity_margin": "1m"}


class TestRules:
    def test_a_rule_passes_over_readings_during_an_activity_and_its_margin(self) -> None:
        with scene(policy([NOT_DURING], devices=DEVICES)) as on:
            on.batch(report("blast", "start", on.now_ns))
            on.wait(10).batch(report("blast", "end", on.now_ns))
            on.say(500, every_s=60)
            assert on.alerts() == [], "60 s after the end is still within the margin"
            on.say(500, every_s=1)
            assert on.the_alert().condition.value == "firing"

    def test_a_reading_that_is_passed_over_never_clears(self) -> None:
        with scene(policy([NOT_DURING], devices=DEVICES)) as on:
            on.say(500)
            on.batch(report("blast", "start", on.now_ns))
            on.say(10, 10, 10)
            assert on.the_alert().condition.value == "firing"
            on.batch(report("blast", "end", on.now_ns))
            on.say(10, every_s=120)
            assert on.the_alert().condition.value == "cleared"

    def test_a_rule_for_an_activity_judges_only_during_it(self) -> None:
        with scene(policy([{**DUSTY, "during": ["haul", "crusher"]}], devices=DEVICES)) as on:
            on.say(500)
            assert on.alerts() == []
            on.batch(report("haul", "start", on.now_ns))
            on.say(500)
            assert on.the_alert().condition.value == "firing"

    def test_a_declared_moment_counts_with_its_margin(self) -> None:
        with scene(policy([NOT_DURING], devices=DEVICES)) as on:
            on.batch(report("blast", "planned", on.now_ns + 100 * NS))
            on.say(500, every_s=45)
            assert on.alerts() == []
            on.say(500, every_s=120)
            assert on.the_alert().condition.value == "firing"

    def test_what_is_known_on_arrival_decides(self) -> None:
        """A start that is reported late takes back no alert."""
        with scene(policy([NOT_DURING], devices=DEVICES)) as on:
            on.say(500)
            raised = on.the_alert()
            on.batch(report("blast", "start", on.now_ns - 20 * NS))
            on.say(500)
            assert on.the_alert().raised_at_ns == raised.raised_at_ns
            assert on.the_alert().condition.value == "firing"

    def test_a_mean_is_judged_only_where_its_whole_window_is_free(self) -> None:
        rule = mean(window="60s", not_during=["blast"])
        with scene(policy([rule], devices=DEVICES)) as on:
            on.batch(report("blast", "start", on.now_ns))
            on.say(500, 500, 500)
            on.batch(report("blast", "end", on.now_ns))
            on.say(500, 500, 500, 500, 500)
            assert on.alerts() == [], "the window still reaches into the blast"
            on.say(500, 500)
            assert on.the_alert().condition.value == "firing"

    def test_other_mines_and_other_kinds_do_not_matter(self) -> None:
        other = policy([DUSTY], "other-mine", devices=DEVICES)
        with scene(policy([NOT_DURING], devices=DEVICES), other) as on:
            blast = report("blast", "start", on.now_ns)
            on.batch(report("haul", "start", on.now_ns), blast._replace(source="mines/other-mine/gate/activity"))
            on.say(500)
            assert on.the_alert().condition.value == "firing"

    @pytest.mark.parametrize(
        "wrong",
        [
            {"during": ["blast"], "not_during": ["blast"]},
            {"activity_margin": "5m"},
            {"during": ["party"]},
            {"not_during": []},
            {"during": ["blast"], "activity_margin": "25h"},
        ],
    )
    def test_policies_that_make_no_sense_are_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="rules"):
            policy([{**DUSTY, **wrong}])


def test_a_restart_at_any_moment_and_a_replay_come_to_the_same() -> None:
    rules = [NOT_DURING, mean(window="60s", during=["haul"], activity_margin="30s")]
    script = [
        report("haul", "start", later(0)),
        report("blast", "planned", later(300)),
        report("blast", "start", later(20), "n"),
        report("stop", "start", later(100)),
        report("blast", "end", later(60), "n"),
        report("weather_warning", "start", later(30)),
    ]
    with SPARE.state() as one_state, SPARE.state() as other_state, SPARE.state() as third_state:
        on, other = Scene(one_state), Scene(other_state)
        for each in (on, other):
            each.begin(policy(rules, devices=DEVICES, activity={"longest": {"weather_warning": "10m"}}))
        for number, record in enumerate(script):
            for each in (on, other):
                each.wait(30).batch(record, message(entry(each.now_ns, {"pm10": 400.0 - number})))
                each.tick(5)
            on.restart()
        for each in (on, other):
            each.say(*[200.0] * 10)
            each.tick(3 * MINUTE_NS / NS * 10)
            each.tick(60 * 3600, step_s=12 * 3600)
        again = Scene(third_state)
        again.journal.append((b.received_ns, b.clock_ns, [r.record for r in b.records]) for b in on.reader.batches(0))
        again.pipeline.run_available()
        assert len(on.rows("activity_interval")) == 5
        for table in ("activity", "activity_interval"):
            assert on.rows(table) == other.rows(table) == again.rows(table)
        assert everything(on.state) == everything(other.state) == everything(again.state)
        assert on.restart().judge.state.activities == other.pipeline.judge.state.activities


def test_a_dead_activity_is_replayed_once_its_device_is_registered() -> None:
    from greenmine.core.act import ActKind

    with scene(policy([DUSTY], devices=[DUST])) as on:
        on.batch(report("blast", "start", on.now_ns))
        on.begin(policy([DUSTY], devices=DEVICES))
        (letter,) = on.rows("dead_letter")
        tally = on.act(ActKind.REPLAY_DEAD_LETTERS, body={"record_ids": [letter["record_id"]]}).detail
        assert (tally["messages"], tally["activities"], tally["still_dead"]) == (1, 1, 0)
        assert on.account == Account()
        assert len(on.rows("activity")) == 1
