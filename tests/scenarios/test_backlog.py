"""A backlog behind the cursor is set aside, live readings go first, and what waited is judged beside them; a replay and
a restart at any point come to the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from greenmine.core.act import Act, ActKind
from greenmine.core.quality import Quality
from greenmine.ingest.archive_writer import ArchiveWriter, Snapshot
from greenmine.ingest.backlog import DRAIN, SET_ASIDE, read_at_once
from greenmine.ingest.hj212_frame import build_frame
from greenmine.ingest.journal import Journal, JournalReader
from greenmine.ingest.record import Batch, Record, RecordKind
from greenmine.pipeline.pipeline import Pipeline
from greenmine.policy.model import Policy
from greenmine.replay.journal import compare
from greenmine.simulator.encode_sparkplug import EdgeSession
from greenmine.store.state import StateDb
from tests.pipeline_scenes import (
    DUSTY,
    LI,
    MINE,
    MINUTE_NS,
    NS,
    SILENT_PM10,
    SPARE,
    HeldJournal,
    Scene,
    act_record,
    activation,
    commits_of,
    device,
    entry,
    everything,
    identities,
    limit,
    message,
    policy,
    restored,
    service,
)

MOST_BEHIND = 400
LIVE = MOST_BEHIND // 2
"""How many of the newest records are live all the same."""
WAITING = 1500
PUMP_CODEC = {"pump": {"fields": {"Flow": {"metric": "flow", "unit": "L/s"}}, "ignore": ["Level"]}}
DEVICES = [device("dust-1", pm10="ug/m3"), device("dust-2", pm10="ug/m3")]


class Lived(Scene):
    """A scene whose pipeline has a way into the journal. What it enters without waiting for it stands in the writer's
    queue until `commit_queue`; a crash loses that."""

    def __init__(self, state: StateDb, path: Path | None = None) -> None:
        self.queue: list[Record] = []
        self.entered: list[str] = []
        self.after_entering: Callable[[], None] = lambda: None
        super().__init__(state, path)

    def restart(self) -> Pipeline:
        self.queue.clear()
        self.pipeline = Pipeline(self.reader, self.state, enter=self._enter, most_behind=MOST_BEHIND)
        self.pipeline.on_results(self.answers.update)
        return self.pipeline

    def _enter(self, payload: bytes, durable: bool) -> bool:
        record = Record(RecordKind.SERVICE, "service:greenmine", payload)
        self.entered.append(json.loads(payload)["event"])
        if durable:
            self.journal.append([(self.now_ns, self.now_ns, [record])])
            self.after_entering()
        else:
            self.queue.append(record)
        return True

    def journalled(self, *records: Record) -> None:
        """Into the journal, while judging stands still."""
        self.journal.append([(self.now_ns, self.now_ns, list(records))])

    def commit_queue(self) -> bool:
        """The writer comes to what the pipeline has entered, and it is judged; whether there was any."""
        records, self.queue = self.queue, []
        if records:
            self.wait(0.02).batch(*records)
        return bool(records)

    def drain(self) -> int:
        """Until nothing waits; the number of slices."""
        slices = 0
        while self.pipeline.aside:
            self.pipeline.run_available()
            slices += self.commit_queue()
        return slices

    def received(self) -> int:
        return self.account.received


@contextmanager
def lived(*policies: Policy, path: Path | None = None) -> Iterator[Lived]:
    with SPARE.state() as state:
        here = Lived(state, path)
        here.begin(*policies)
        yield here
        here.close()


def stands_still(
    s: Lived,
    messages: int = WAITING,
    every_s: float = 10,
    value: float = 20,
    device_id: str = "dust-1",
    **more: Any,
) -> None:
    """A device speaks while nothing is judged."""
    for n in range(messages):
        s.wait(every_s)
        s.journalled(message(entry(s.now_ns, {"pm10": value + n % 7}, **more), device_id))


def everything_happens(s: Lived, between: Callable[[Lived], None] = lambda s: None) -> None:
    """A stand-still with a good deal in the journal, and what follows. `between` is called at every stage."""
    s.say(20, 21, 200)
    between(s)
    s.journalled(service("link_down"))
    for n in range(WAITING):
        s.wait(7)
        records = [message(entry(s.now_ns, {"pm10": 20 + n % 9}, seq=n))]
        if n % 50 == 0:
            records += [message(b"{"), message(entry(s.now_ns, {"pm10": 1.0}), f"stranger-{n // 50 % 4}")]
        if n % 300 == 0:
            body = {"ts": s.now_ns // 10**6, "kind": "blast", "state": "start"}
            records.append(message(body, kind="activity"))
        if n == 700:
            records.append(activation(policy([limit("dusty", "pm10", 100, 90), SILENT_PM10], devices=DEVICES)))
        s.journalled(*records)
    s.wait(2).journalled(message(entry(s.now_ns, {"pm10": 120.0}, seq=WAITING + 5)))
    between(s)
    s.pipeline.run_available()
    between(s)
    for n in range(12):
        s.wait(5).batch(message(entry(s.now_ns, {"pm10": 30.0 + n}, seq=WAITING + 6 + n)))
        between(s)
        s.commit_queue()
        between(s)
        if n == 3:
            s.batch(message(entry(s.now_ns, {"pm10": 1.0}), "stranger-2"))
    while s.pipeline.aside:
        s.pipeline.run_available()
        s.commit_queue()
        between(s)
    assert list(s.pipeline.judge.state.waiting) == list(restored(s.state).waiting)
    s.tick(120, step_s=10)


def of_two(rules: list[dict[str, Any]]) -> Policy:
    return policy(rules, devices=DEVICES)


class TestLiveFirst:
    def test_an_alarm_of_now_is_raised_before_the_backlog_is_judged(self) -> None:
        with lived(of_two([DUSTY])) as s:
            s.say(20)
            stands_still(s)
            s.say(200)
            assert s.the_alert().value == 200
            assert s.history()[0].at_ns == s.now_ns
            assert s.received() == LIVE + 1
            assert sum(one.records for one in s.pipeline.aside) == WAITING + 1 - LIVE
            assert s.entered == [SET_ASIDE, DRAIN]

    def test_an_alarm_waits_for_one_slice_at_most(self) -> None:
        with lived(of_two([DUSTY])) as s:
            stands_still(s)
            s.say(20)
            while s.pipeline.aside:
                before = s.received()
                s.commit_queue()
                assert s.received() - before <= 500
                assert len(s.queue) <= 1
            assert s.received() == WAITING + 1

    def test_what_waited_is_all_there_in_the_end(self) -> None:
        with lived(of_two([DUSTY])) as s, SPARE.state() as ordered:
            s.say(20)
            stands_still(s)
            s.say(20)
            assert s.drain() == 3
            assert s.account.balanced
            assert s.account.received == s.account.pending == WAITING + 2
            without = [one for one in _held(s) if not _is_lane(one)]
            Pipeline(_Held(without), ordered).run_available()
            assert _values(s.state) == _values(ordered)
            assert len([q for q in _qualities(s.state) if q & Quality.LATE]) == WAITING + 1 - LIVE

    def test_its_time_of_receipt_stays(self) -> None:
        with lived(of_two([DUSTY])) as s:
            stands_still(s)
            heard_ns = s.now_ns
            # Another device goes on: of this one, nothing is newer than what waited.
            stands_still(s, LIVE + 1, device_id="dust-2")
            s.say(20, device_id="dust-2")
            s.drain()
            newest = s.pipeline.judge.state.series
            (one,) = [state for series, state in newest.items() if series.device == "dust-1"]
            assert (one.newest_ns, one.received_ns) == (heard_ns, heard_ns)
            assert one.usable_clock_ns is not None
            assert one.usable_clock_ns > s.now_ns - MINUTE_NS

    def test_a_second_backlog_waits_behind_the_first(self) -> None:
        with lived(of_two([DUSTY])) as s:
            stands_still(s)
            s.say(20)
            stands_still(s)
            s.say(200)
            assert s.the_alert().value == 200
            assert len(s.pipeline.aside) == 2
            s.drain()
            assert s.account.received == s.account.pending == 2 * WAITING + 2

    def test_large_messages_are_a_backlog_sooner(self) -> None:
        """A gateway that sends a hundred objects a message: of the same number of messages a hundred times the work."""
        with lived(of_two([DUSTY])) as s:
            for _ in range(MOST_BEHIND - 1):
                s.wait(10)
                many = [entry(s.now_ns - n * NS // 20, {"pm10": 20.0}) for n in range(100)]
                s.journalled(message(many))
            s.say(200)
            assert s.entered == [SET_ASIDE, DRAIN]
            assert s.the_alert().value == 200
            assert s.received() < 100 * MOST_BEHIND / 5
            s.drain()
            assert s.received() == 100 * (MOST_BEHIND - 1) + 1

    @pytest.mark.parametrize(("messages", "every_s"), [(MOST_BEHIND - 2, 100), (WAITING, 0.001)])
    def test_a_small_or_a_young_one_is_judged_in_order(self, messages: int, every_s: float) -> None:
        with lived(of_two([DUSTY])) as s:
            stands_still(s, messages, every_s)
            s.say(20, every_s=0.1)
            assert s.entered == []
            assert s.account.received == messages + 1

    def test_hours_of_idle_batches_are_passed_at_once(self) -> None:
        with lived(of_two([DUSTY])) as s:
            s.journal.append([(s.now_ns + n * NS, s.now_ns + n * NS, []) for n in range(WAITING)])
            s.wait(WAITING).say(200)
            assert s.the_alert().value == 200
            s.drain()
            assert s.entered == [SET_ASIDE, DRAIN]

    def test_without_a_way_into_the_journal_all_is_judged_in_order(self) -> None:
        with lived(of_two([DUSTY])) as s:
            stands_still(s)
            Pipeline(s.reader, s.state).run_available()
            assert s.received() == WAITING


@pytest.fixture(scope="module")
def told() -> tuple[list[Batch], dict[str, Any]]:
    """The journal of a stand-still and of what followed, and the state that it came to."""
    with lived(of_two([DUSTY, SILENT_PM10])) as s:
        everything_happens(s)
        assert s.account.balanced
        return _held(s), everything(s.state)


class TestTheSameAgain:
    def test_something_of_everything_happened(self, told: tuple[list[Batch], dict[str, Any]]) -> None:
        _, held = told
        assert held["account"][0]["dead"] == held["account"][0]["duplicate"] + 30
        assert len(held["waiting_device"]) == 4
        assert held["activity"]
        assert held["transition"]

    @pytest.mark.parametrize("records", [1, 7, 5000])
    def test_a_replay(self, told: tuple[list[Batch], dict[str, Any]], records: int) -> None:
        batches, held = told
        with SPARE.state() as state, commits_of(records):
            Pipeline(_Held(batches), state).run_available()
            assert everything(state) == held

    def test_a_restart_at_every_stage(self, told: tuple[list[Batch], dict[str, Any]]) -> None:
        def kill(s: Lived) -> None:
            s.restart()
            s.pipeline.run_available()

        with lived(of_two([DUSTY, SILENT_PM10])) as s:
            everything_happens(s, kill)
            batches = _held(s)
            held = everything(s.state)
        with SPARE.state() as state:
            Pipeline(_Held(batches), state).run_available()
            assert everything(state) == held
        assert _values_of(held) == _values_of(told[1])

    def test_a_kill_before_the_first_commit_after_the_decision(self) -> None:
        class Killed(Exception):
            pass

        def kill() -> None:
            raise Killed

        with lived(of_two([DUSTY])) as s:
            s.say(20)
            stands_still(s)
            s.wait(1).journalled(message(entry(s.now_ns, {"pm10": 200.0})))
            s.after_entering = kill
            with pytest.raises(Killed):
                s.pipeline.run_available()
            cursor = s.pipeline.cursor
            s.restart()
            assert s.pipeline.cursor == cursor
            with commits_of(1):
                s.pipeline.run_available()
            assert s.entered.count(SET_ASIDE) == 1
            assert s.the_alert().value == 200
            assert s.received() == LIVE + 1

    def test_every_commit_can_be_the_last(self, told: tuple[list[Batch], dict[str, Any]]) -> None:
        batches, held = told
        decided = next(n for n, one in enumerate(batches) if SET_ASIDE in _events(one))
        for stop in range(1, 40, 3):
            with SPARE.state() as state, commits_of(3):
                pipeline = Pipeline(_Held(batches[: decided + 1]), state)
                lanes = pipeline._lanes
                for _ in range(stop):
                    for batch in lanes.next_batches(pipeline.cursor, pipeline.clock_ns, 3):
                        pipeline._judge_group([batch])
                Pipeline(_Held(batches), state).run_available()
                assert everything(state) == held

    def test_a_journal_on_disk_its_archive_and_a_comparison(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.db"
        with lived(of_two([DUSTY, SILENT_PM10]), path=path) as s:
            everything_happens(s)
            held = everything(s.state)
            assert compare(path, s.state).difference is None
            writer = ArchiveWriter(tmp_path / "archive")
            assert isinstance(s.journal, Journal)
            last = s.journal.last_no - 3
            writer.add(s.reader, 1, last, Snapshot())
            while s.journal.forget(last, 10_000):
                pass
            assert s.reader.first_no() > last
            with SPARE.state() as state:
                Pipeline(s.reader, state).run_available()
                assert everything(state) == held
            assert compare(path, s.state).difference is None

    def test_a_comparison_in_the_middle_of_a_range(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.db"
        with lived(of_two([DUSTY]), path=path) as s, commits_of(1):
            s.say(200, 20)
            for n in range(WAITING):
                s.wait(9).journalled(message(entry(s.now_ns, {"pm10": 20.0})))
                if n % 500 == 100:
                    s.journalled(act_record(Act(ActKind.NOTE, LI, s.the_alert().id, f"note {n}")))
            s.wait(1)
            lanes = s.pipeline._lanes
            batches: list[Batch] = []
            while not s.entered:
                batches = lanes.next_batches(s.pipeline.cursor, s.pipeline.clock_ns, 5000)
            s.pipeline._judge_group(batches[:2])
            assert [row[-1] for row in s.transitions()][-2:] == ["note 100", "note 600"]
            assert compare(path, s.state).difference is None


class TestWhatIsJudgedInItsPlace:
    def test_a_policy_and_a_note(self) -> None:
        with lived(of_two([DUSTY])) as s:
            s.say(200)
            alert = s.the_alert()
            stands_still(s)
            s.journalled(activation(of_two([limit("dusty", "pm10", 500, 400)])))
            s.journalled(act_record(Act(ActKind.ACKNOWLEDGE, LI, alert.id, "seen")))
            stands_still(s, LIVE + 1)
            s.say(300)
            assert s.alerts()[0].acknowledged_by == LI
            assert s.alerts(open_only=True) == s.alerts()
            assert s.answers["ticket"]
            assert [row[5] for row in s.transitions()].count("over_limit") == 1
            s.drain()
            assert s.account.balanced

    def test_a_blast_that_began_in_it(self) -> None:
        rule = limit("quiet", "pm10", 150, 130, not_during=["blast"])
        with lived(of_two([rule])) as s:
            stands_still(s)
            body = {"ts": s.now_ns // 10**6, "kind": "blast", "state": "start"}
            s.journalled(message(body, kind="activity"))
            s.say(900)
            assert len(s.rows("activity")) == 1
            assert s.alerts() == []

    def test_the_session_of_a_sparkplug_node(self) -> None:
        """Its births, and what it says by their aliases: a message is read by the birth before it."""
        pump = {**device("pump-1", "water", flow="L/s"), "address": {"edge": "mine-a/gw01/pump"}}
        with lived(policy([DUSTY], devices=[DEVICES[0], {**pump, "codec": "pump"}], codecs=PUMP_CODEC)) as s:
            session = EdgeSession("mine-a", "gw01")
            s.batch(edge(*session.node_birth({}, s.now_ns)), edge(*session.device_birth("pump", {"Flow": 1}, s.now_ns)))
            stands_still(s, WAITING // 2)
            s.wait(1).journalled(edge(*session.data("pump", {"Flow": 2}, s.now_ns)))
            session = EdgeSession("mine-a", "gw01", bd_seq=1)
            names = {"Level": 5.0, "Flow": 3.0}
            s.wait(1).journalled(
                edge(*session.node_birth({}, s.now_ns)), edge(*session.device_birth("pump", names, s.now_ns))
            )
            stands_still(s, WAITING // 2)
            s.wait(1).batch(edge(*session.data("pump", {"Flow": 4}, s.now_ns)))
            assert s.pipeline.aside
            flows = [state for series, state in s.pipeline.judge.state.series.items() if series.metric == "flow"]
            assert [one.value for one in flows] == [4]
            assert len([one for one in identities(s.state) if one[0] == flows[0].id]) == 4
            s.drain()
            assert s.rows("downlink") == []
            assert s.rows("dead_letter") == []

    def test_packets_of_which_some_wait(self) -> None:
        metrics = {"pm10": {"unit": "ug/m3", "interval": "60s"}}
        logger = {"id": "logger", "address": {"mn": "STATION_1"}}
        logger["sensors"] = [{"kind": "dust", "principle": "beta", "metrics": metrics}]  # type: ignore[assignment]
        with lived(policy([DUSTY], devices=[*DEVICES, logger])) as s:
            s.batch(packet("a34002-R", 1))
            s.journalled(packet("td=81", 2))
            stands_still(s)
            s.say(20)
            s.tick(700, step_s=100)
            s.batch(packet(".3", 3))
            s.drain()
            assert s.rows("dead_letter") == []
            assert [
                state.value for series, state in s.pipeline.judge.state.series.items() if series.device == "logger"
            ] == [81.3]

    def test_reads_the_same_with_and_without_the_index(self, tmp_path: Path) -> None:
        with lived(of_two([DUSTY]), path=tmp_path / "journal.db") as s:
            everything_happens(s)
            last = s.reader.last_no()
            for most in (1, 2, 3, 7, 5000):
                for after, upto in ((0, last), (5, last - 5), (last - 20, last)):
                    assert _all(s.reader.at_once, after, upto, most) == _all(_slowly(s.reader), after, upto, most)
            found = s.reader.set_asides(0)
            assert len(found) == 1
            assert s.reader.set_asides(found[0].last_no - 1) == found
            assert s.reader.set_asides(last) == []


class TestTimersAndGaps:
    def test_no_storm_of_silences_and_silence_is_still_noticed(self) -> None:
        with lived(of_two([SILENT_PM10])) as s:
            for n in range(WAITING):
                s.wait(60).journalled(message(entry(s.now_ns, {"pm10": 20.0}), f"dust-{1 + n % 2}"))
                if n == 500:
                    s.journalled(service("link_up"))
            s.tick(200, step_s=20)
            assert s.alerts() == []
            s.drain()
            assert s.alerts() == []
            s.tick(400, step_s=20)
            assert {(one.key.device, one.condition.value) for one in s.alerts()} == {
                ("dust-1", "firing"),
                ("dust-2", "firing"),
            }

    def test_a_lost_connection_before_it_is_no_alarm_of_today(self) -> None:
        with lived(of_two([DUSTY])) as s:
            s.batch(service("link_down"))
            stands_still(s)
            s.journal.append([(s.now_ns + n * NS // 10, s.now_ns + n * NS // 10, []) for n in range(LIVE + 50)])
            s.wait(LIVE / 10 + 5).tick(10, step_s=1)
            assert s.pipeline.aside
            assert s.alerts() == []
            s.tick(70, step_s=10)
            assert [one.key.rule for one in s.alerts()] == ["broker-link"]

    @pytest.mark.parametrize(("now", "raised"), [(20, False), (200, True)])
    def test_no_hold_runs_through_it(self, now: float, raised: bool) -> None:
        with lived(of_two([limit("held", "pm10", 150, 130, hold="60s")])) as s:
            s.say(200)
            stands_still(s, value=20)
            stands_still(s, LIVE + 1, every_s=0.01, device_id="dust-2")
            s.tick(10, step_s=2)
            assert s.pipeline.aside
            assert s.alerts() == []
            s.say(now)
            s.tick(70, step_s=5)
            assert bool(s.alerts()) is raised

    def test_what_stands_in_the_backlog_is_not_asked_for(self) -> None:
        with lived(of_two([DUSTY])) as s:
            s.batch(message(entry(s.now_ns, {"pm10": 20.0}, seq=1)))
            for n in range(WAITING):
                s.wait(10)
                if n != 800:
                    s.journalled(message(entry(s.now_ns, {"pm10": 20.0}, seq=n + 2)))
            s.wait(10).batch(message(entry(s.now_ns, {"pm10": 20.0}, seq=WAITING + 2)))
            s.tick(120, step_s=10)
            assert s.rows("downlink") == []
            s.drain()
            s.tick(120, step_s=10)
            assert [json.loads(one["payload"])["first_seq"] for one in s.rows("downlink")][:1] == [802]
            assert {json.loads(one["payload"])["last_seq"] for one in s.rows("downlink")} == {802}

    def test_numbers_of_a_device_that_fell_silent_in_it(self) -> None:
        with lived(of_two([DUSTY])) as s:
            s.batch(message(entry(s.now_ns, {"pm10": 20.0}, seq=1)))
            for n in range(WAITING):
                s.wait(10).journalled(message(entry(s.now_ns, {"pm10": 20.0}, seq=n + 2)))
            stands_still(s, LIVE + 1, device_id="dust-2")
            s.say(20, device_id="dust-2")
            s.drain()
            s.wait(10).batch(message(entry(s.now_ns, {"pm10": 20.0}, seq=WAITING + 2)))
            s.tick(120, step_s=10)
            assert s.rows("gap") == []

    def test_a_reboot_in_it_is_not_taken_for_one_of_now(self) -> None:
        with lived(of_two([DUSTY])) as s:
            s.batch(message(entry(s.now_ns, {"pm10": 20.0}, seq=1, boot="a")))
            stands_still(s, boot="b", seq=5)
            stands_still(s, LIVE + 1, boot="c", seq=2)
            s.wait(10).batch(message(entry(s.now_ns, {"pm10": 20.0}, seq=3, boot="c")))
            s.drain()
            (known,) = s.pipeline.judge.state.sequences.values()
            assert (known.former_boot, known.boot, known.highest) == ("a", "c", 3)


class TestTwice:
    def test_the_same_reading_in_it_and_live(self) -> None:
        with lived(of_two([DUSTY])) as s:
            s.say(20)
            stands_still(s)
            at_ns = s.now_ns
            s.wait(1).batch(message(entry(at_ns, {"pm10": 20 + (WAITING - 1) % 7})))
            s.drain()
            assert (s.account.duplicate, s.account.conflict) == (1, 0)
            s.wait(1).batch(message(entry(at_ns - 10 * NS, {"pm10": 99.0})))
            assert (s.account.duplicate, s.account.conflict) == (1, 1)

    def test_a_slice_that_was_asked_for_twice(self) -> None:
        with lived(of_two([DUSTY])) as s:
            stands_still(s)
            s.say(20)
            asked = s.queue[0]
            s.commit_queue()
            before = s.account
            s.wait(1).batch(asked)
            assert s.account == before

    def test_dead_letters_can_be_replayed(self) -> None:
        with lived(of_two([DUSTY])) as s:
            stands_still(s)
            s.journalled(message(entry(s.now_ns, {"pm10": 20.0}), "dust-3"))
            s.say(20)
            s.drain()
            assert s.account.balanced
            assert {row["mine"] for row in s.rows("waiting_device")} == {MINE}


class _Held(HeldJournal):
    """A journal of batches that another one had, with their numbers."""

    def __init__(self, batches: list[Batch]) -> None:
        super().__init__((b.received_ns, b.clock_ns, [stored.record for stored in b.records]) for b in batches)


def edge(topic: str, payload: bytes) -> Record:
    """A message of a Sparkplug edge node."""
    return Record(RecordKind.MESSAGE, topic, payload, "bridge")


def packet(data: str, number: int) -> Record:
    """One of three packets of HJ 212."""
    head = f"QN=20261122160000001;ST=22;CN=2011;PW=123456;MN=STATION_1;Flag=7;PNUM=3;PNO={number}"
    at = "DataTime=20261122160000;" if number == 1 else ""
    payload = build_frame(f"{head};CP=&&{at}{data}&&".encode())
    return Record(RecordKind.MESSAGE, "hj212-tcp/STATION_1", payload, "198.51.100.7:4001")


def _held(s: Scene) -> list[Batch]:
    assert isinstance(s.journal, HeldJournal)
    return list(s.journal._batches)


def _events(batch: Batch) -> list[str]:
    return [
        json.loads(stored.record.payload)["event"]
        for stored in batch.records
        if stored.record.kind is RecordKind.SERVICE
    ]


def _is_lane(batch: Batch) -> bool:
    return bool({SET_ASIDE, DRAIN} & {*_events(batch)})


def _values(state: StateDb) -> dict[tuple[int, int], float]:
    return {key: value for key, (value, _) in identities(state).items()}


def _values_of(held: dict[str, Any]) -> dict[tuple[int, int], float]:
    return {key: value for key, (value, _) in held["identities"].items()}


def _qualities(state: StateDb) -> list[int]:
    return [odd.quality for _, odd in identities(state).values()]


def _slowly(reader: JournalReader) -> Callable[[int, int, int], list[Batch]]:
    return lambda after, upto, most: read_at_once(reader, after, upto, most)


def _all(read: Callable[[int, int, int], list[Batch]], after: int, upto: int, most: int) -> list[Batch]:
    out: list[Batch] = []
    while found := read(after, upto, most):
        out += found
        after = found[-1].no
    return out
