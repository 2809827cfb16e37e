"""A store that is away for most of an hour: nothing is lost, no alarm waits, and now goes before what waited.

Time is the readings' own; the writer is asked again when it says so. The store answers over HTTP.
"""

from __future__ import annotations

import itertools
import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from greenmine.core.clock import NS_PER_MS, NS_PER_S, ManualClock
from greenmine.core.reading import Reading, Series
from greenmine.core.reading_store import Selection, WriteReport
from greenmine.ingest.journal import Journal, JournalReader
from greenmine.ingest.record import Record, RecordKind
from greenmine.pipeline.pipeline import Pipeline
from greenmine.policy.canonical import to_canonical_json
from greenmine.policy.model import Policy
from greenmine.simulator.load import LoadPlan, load_messages, load_policy_document
from greenmine.store import alerts, writer
from greenmine.store.influx_store import InfluxReadingStore
from greenmine.store.state import StateDb
from greenmine.store.writer import StoreWriter
from tests.contracts.fake_influx import FakeInflux, Request, Script

START_NS = 1_767_225_600 * NS_PER_S
RATE = 500
SENSORS = 500
RETRY_AFTER_S = 20
MOST_REQUESTS_BEHIND = 3
"""Two of a backlog's portion, and its own."""


def unavailable(**headers: str) -> Script:
    """503 as InfluxDB says it."""
    words = {"code": "unavailable", "message": "starting"}
    return Script(503, json.dumps(words), {name.replace("_", "-"): value for name, value in headers.items()})


class CountingInflux(FakeInflux):
    """Counts what is stored instead of keeping it, and how many requests late each second of readings was."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: Script | None = None
        self.stored: set[int] = set()
        self.live: Iterator[object] = iter(())
        """Taken one step further with each write."""
        self.pushed: dict[int, int] = {}
        self.behind: list[int] = []
        self.written_from_ns = 0

    def answer(self, request: Request) -> Script:
        """As told, or as InfluxDB would."""
        number = len(self.requests)
        if self.answers is None:
            next(self.live, None)
            for line in request.lines:
                second = int(line.rpartition(" ")[2]) // NS_PER_S
                if second in self.pushed:
                    self.behind.append(number - self.pushed.pop(second))
            found = super().answer(request)
        else:
            found = self.answers
        request.lines.clear()
        request.body = b""
        return found

    def keep(self, lines: list[str]) -> None:
        """Remember the values, not their text."""
        for line in lines:
            head, fields, time = line.split(" ")
            named = (field for field in fields.split(",") if "_q=" not in field)
            self.stored.update(hash((head, field, time)) for field in named)


class Switched:
    """A store whose connection can be exchanged."""

    def __init__(self, now: InfluxReadingStore) -> None:
        self.now = now

    def write(self, readings: Sequence[Reading]) -> WriteReport:
        return self.now.write(readings)

    def write_columns(self, series: Sequence[Series], times_ns: Sequence[int], values: Sequence[float]) -> bool:
        return self.now.write_columns(series, times_ns, values)

    def query(self, selection: Selection, newest_first_limit: int | None = None) -> Iterator[Reading]:
        return self.now.query(selection, newest_first_limit)

    def count(self, selection: Selection) -> int:
        return self.now.count(selection)

    def close(self) -> None:
        self.now.close()


class Outage:
    """A mine's load through journal, judging and outbox, second by second."""

    def __init__(self, folder: Path, influx: CountingInflux, seconds: int) -> None:
        self.influx, self.seconds = influx, seconds
        plan = LoadPlan(rate=RATE, sensors=SENSORS, duration_s=seconds, batch=10, devices=10, clients=())
        rule = {"id": "high", "kind": "threshold", "severity": "critical", "metric": "pm10", "raise": 900, "clear": 800}
        alarm = {
            "id": "alarm",
            "sensors": [
                {
                    "kind": "dust",
                    "principle": "simulated",
                    "channel": f"a{number}",
                    "metrics": {"pm10": {"unit": "ug/m3", "interval": "60s"}},
                }
                for number in range(8)
            ],
        }
        document = load_policy_document(plan)
        policy = Policy.model_validate(
            {**document, "devices": [*document["devices"], alarm], "rules": [rule]},
        )
        self.mine = policy.mine.id
        self.journal, self.state = Journal(folder / "journal.db"), StateDb(folder / "state.db")
        activation = json.dumps({"mine": self.mine, "canonical": to_canonical_json(policy)}).encode()
        self.journal.append([(START_NS, START_NS, [Record(RecordKind.POLICY, "service:test", activation)])])
        self.reader = JournalReader(folder / "journal.db")
        self.pipeline = Pipeline(self.reader, self.state)
        self.good = InfluxReadingStore(influx.url, "greenmine", "token")
        self.store = Switched(self.good)
        self.writer = StoreWriter(self.state, self.store, ManualClock(START_NS))
        self.load = itertools.groupby(load_messages(plan, START_NS), lambda one: (one.time_ns - START_NS) // NS_PER_S)
        self.second, self.alarms, self.ask_at_s = 0, 0, 0.0

    def close(self) -> None:
        """Let go of the files."""
        self.good.close()
        self.reader.close()
        self.journal.close()
        self.state.close()

    def next_second(self, more: Sequence[Record] = ()) -> bool:
        """Journal and judge one second of load; False at its end."""
        found = next(self.load, None)
        if found is None:
            return False
        self.second = found[0] + 1
        stamped = [
            (one.time_ns, one.time_ns, [Record(RecordKind.MESSAGE, one.topic, one.payload, one.client)])
            for one in found[1]
        ]
        at_ns = stamped[-1][0]
        self.journal.append([*stamped, *((at_ns, at_ns, [record]) for record in more)])
        self.pipeline.run_available()
        self.influx.pushed[at_ns // NS_PER_S] = len(self.influx.requests)
        return True

    def until(self, share: float) -> None:
        """Load up to a share of all of it, the store asked again when its writer says so."""
        while self.second < share * self.seconds and self.next_second():
            if self.second >= self.ask_at_s:
                self.ask_at_s = self.second + self.writer.attempt()

    def alarm(self) -> None:
        """One reading far over the limit, of a sensor of its own: its alert stands before the store is asked."""
        time_ms = (START_NS + self.second * NS_PER_S) // NS_PER_MS
        body = json.dumps({"ts": time_ms, "values": {f"pm10@a{self.alarms}": 950.0}}).encode()
        self.alarms += 1
        assert self.next_second([Record(RecordKind.MESSAGE, f"mines/{self.mine}/alarm/up", body, "load.alarm")])
        with self.state.reading() as connection:
            found = alerts.listed(connection, self.mine)
        assert {one.key.channel for one in found} == {f"a{number}" for number in range(self.alarms)}


def outage(folder: Path, seconds: int) -> None:
    """reliability P4, over so many seconds of 500 readings each."""
    influx, released = CountingInflux(), threading.Event()
    with influx.running(), socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        refusing = InfluxReadingStore(f"http://127.0.0.1:{nobody.getsockname()[1]}", "greenmine", "token")
        impatient = InfluxReadingStore(influx.url, "greenmine", "token", write_timeout_s=0.1)
        scene = Outage(folder, influx, seconds)
        scene.until(0.1)
        assert scene.state.account().pending == 0
        asked: Counter[str] = Counter()
        for share, name, script, store in (
            (0.25, "503", unavailable(), scene.good),
            (0.4, "503 and when", unavailable(Retry_After=str(RETRY_AFTER_S)), scene.good),
            (0.55, "refused", None, refusing),
            (0.7, "hangs", Script(wait=released), impatient),
        ):
            influx.answers, scene.store.now = script, store
            before, began = len(influx.requests), scene.second
            scene.alarm()
            scene.until(share)
            asked[name] = len(influx.requests) - before
            assert asked[name] <= 5 + (scene.second - began) / (writer.LONGEST_WAIT_S / 2), "ever less often"
            assert scene.writer.trouble is not None
        assert asked["503"] > 0
        assert asked["503 and when"] <= 0.15 * seconds / RETRY_AFTER_S + 1
        assert asked["refused"] == 0
        assert asked["hangs"] > 0
        released.set()

        away = scene.state.account()
        assert away.pending >= 0.59 * RATE * seconds
        influx.answers, scene.store.now = None, scene.good
        influx.pushed.clear()
        influx.live = (scene.next_second() for _ in itertools.count())
        scene.alarm()
        assert scene.writer.attempt() == 0.0
        assert scene.writer.trouble is None
        influx.live = iter(())
        assert influx.behind, "live readings came while the backlog was written"
        assert max(influx.behind) <= MOST_REQUESTS_BEHIND
        scene.until(1.0)
        while scene.state.account().pending:
            assert scene.writer.attempt() == 0.0

        account = scene.state.account()
        count = RATE * seconds + scene.alarms
        assert account.balanced
        assert (account.received, account.stored, account.pending) == (count, count, 0)
        assert len(influx.stored) == count
        scene.close()
        refusing.close()
        impatient.close()


def test_six_minutes_of_which_the_store_is_away_for_most(tmp_path: Path) -> None:
    outage(tmp_path, 360)
