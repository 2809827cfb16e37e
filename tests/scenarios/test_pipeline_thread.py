"""The pipeline on its own thread, and the desk at which acts wait for their answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from greenmine.core.act import Act, ActKind
from greenmine.core.errors import Conflict, Corrupt, NotFound, StoreUnavailable
from greenmine.ingest.journal_writer import Submission
from greenmine.ingest.record import Record, RecordKind
from greenmine.pipeline.thread import ActDesk, PipelineThread
from tests.pipeline_scenes import DUSTY, LI, MINE, SPARE, START_NS, Scene, entry, imported, message, policy

TIMEOUT_S = 20.0


class Running:
    """A pipeline on its thread over a journal that a test writes, in the place of the journal's writer."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.takes = True
        self.judged = threading.Event()
        self.failures: list[Exception] = []
        self.failed = threading.Event()
        self.thread = PipelineThread(scene.pipeline, self._fail)
        self.desk = ActDesk(scene.pipeline, self)  # type: ignore[arg-type]
        scene.pipeline.subscribe_commits(lambda *_: self.judged.set())

    def put(self, submission: Submission, timeout_s: float) -> bool:
        """What `JournalWriter.put` does."""
        if self.takes:
            self.write(submission.record)
        return self.takes

    def write(self, *records: Record) -> None:
        self.scene.wait(1)
        self.scene.journal.append([(self.scene.now_ns, self.scene.now_ns, list(records))])
        self.thread.wake()

    def _fail(self, error: Exception) -> None:
        self.failures.append(error)
        self.failed.set()


@pytest.fixture
def running() -> Iterator[Running]:
    with SPARE.state() as state:
        made = Running(Scene(state).begin(policy([DUSTY])))
        yield made
        made.thread.stop()


def in_background(call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Start a call; the thread, and where its result or exception will be."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(call())
        except Exception as error:  # noqa: BLE001 - handed to the test
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


class TestThread:
    def test_judges_what_is_there_when_it_starts_and_what_comes(self, running: Running) -> None:
        running.write(message(entry(START_NS, {"pm10": 151})))
        running.thread.start()
        assert running.scene.pipeline.wait_for(3, TIMEOUT_S)
        running.write(message(entry(START_NS + 10**9, {"pm10": 100})))
        assert running.scene.pipeline.wait_for(4, TIMEOUT_S)
        running.thread.stop()
        assert running.scene.reasons() == ["over_limit", "back_within_clear_level"]

    def test_judges_the_rest_before_it_ends(self, running: Running) -> None:
        running.thread.start()
        for number in range(20):
            running.write(message(entry(START_NS + number * 10**9, {"pm10": 151})))
        running.thread.stop()
        assert running.scene.account.received == 20

    def test_ends_on_a_failure_and_says_so(self, running: Running) -> None:
        def corrupt(*_: Any) -> Any:
            raise Corrupt("the journal lacks batches")

        running.thread.start()
        running.scene.reader.batches = corrupt  # type: ignore[method-assign]
        running.thread.wake()
        assert running.failed.wait(TIMEOUT_S)
        assert [str(error) for error in running.failures] == ["the journal lacks batches"]
        assert running.thread.failed is running.failures[0]
        running.write(message(entry(START_NS, {"pm10": 151})))
        assert not running.scene.pipeline.wait_for(3, 0.0)

    def test_can_be_stopped_without_having_been_started(self, running: Running) -> None:
        running.thread.stop()


class TestDesk:
    def raised(self, running: Running) -> str:
        running.write(message(entry(START_NS, {"pm10": 151})))
        running.thread.start()
        assert running.scene.pipeline.wait_for(3, TIMEOUT_S)
        return running.scene.the_alert().id

    def test_answers_when_the_act_is_committed(self, running: Running) -> None:
        alert_id = self.raised(running)
        alert = running.desk.submit(Act(ActKind.ACKNOWLEDGE, LI, alert_id), TIMEOUT_S).alert
        assert alert == running.scene.the_alert()
        assert alert is not None
        assert alert.acknowledged_by == LI

    @pytest.mark.parametrize(
        ("act", "error"),
        [(Act(ActKind.NOTE, LI, "a0", "words"), NotFound), (Act(ActKind.RESOLVE, LI, "", "words"), Conflict)],
    )
    def test_raises_the_answer_of_a_refused_act(self, running: Running, act: Act, error: type[Exception]) -> None:
        alert_id = self.raised(running)
        with pytest.raises(error):
            running.desk.submit(Act(act.kind, act.principal, act.alert_id or alert_id, act.note), TIMEOUT_S)

    def test_gives_each_his_own_answer(self, running: Running) -> None:
        alert_id = self.raised(running)
        acts = [Act(ActKind.NOTE, f"person:p{n}", alert_id, f"note {n}") for n in range(8)]
        waiting = [in_background(lambda act=act: running.desk.submit(act, TIMEOUT_S)) for act in acts]  # type: ignore[misc]
        for thread, _ in waiting:
            thread.join(TIMEOUT_S)
        assert sorted(outcome[0].alert.notes for _, outcome in waiting) == list(range(1, 9))  # type: ignore[attr-defined]

    def test_says_when_nothing_could_be_recorded(self, running: Running) -> None:
        running.takes = False
        with pytest.raises(StoreUnavailable, match="could not be recorded"):
            running.desk.submit(Act(ActKind.NOTE, LI, "a0", "words"), TIMEOUT_S)

    def test_says_when_it_is_recorded_but_not_judged_yet(self, running: Running) -> None:
        """The pipeline's thread has not been started."""
        with pytest.raises(StoreUnavailable, match="is recorded and will be judged"):
            running.desk.submit(Act(ActKind.NOTE, LI, "a0", "words"), timeout_s=0.0)
        running.thread.start()
        assert running.scene.pipeline.wait_for(3, TIMEOUT_S), "a late answer finds nobody and does no harm"

    def test_takes_imports_too(self, running: Running) -> None:
        running.thread.start()
        record = imported([(MINE, "dust-1", "pm10", "", "inst", 0, START_NS, 5.0, None, 0)])
        assert record.kind is RecordKind.IMPORT
        assert running.desk.enter(record, TIMEOUT_S).detail["pending"] == 1

    def test_tells_of_changes(self, running: Running) -> None:
        heard: list[str] = []
        end = running.scene.pipeline.subscribe(lambda changes: heard.extend(change.kind for change in changes))
        self.raised(running)
        end()
        running.desk.submit(Act(ActKind.NOTE, LI, running.scene.the_alert().id, "words"), TIMEOUT_S)
        assert "transition" in heard
        assert heard.count("transition") == 1
