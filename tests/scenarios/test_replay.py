"""Replaying a journal reproduces the transitions, bit for bit, and a comparison names the first that does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from greenmine.core.act import ActKind
from greenmine.core.clock import NS_PER_S
from greenmine.core.errors import Corrupt, StoreUnavailable
from greenmine.core.notice import Delivery
from greenmine.ingest.journal import Journal, JournalReader
from greenmine.ingest.record import Batch, Record, RecordKind
from greenmine.pipeline.pipeline import Pipeline
from greenmine.policy.load import load_policy
from greenmine.policy.model import Policy
from greenmine.replay import journal as replay_module
from greenmine.replay.journal import Comparison, compare, replay
from greenmine.simulator.run import messages
from greenmine.simulator.scenario import load_scenario
from greenmine.store import alerts, schema
from greenmine.store.state import StateDb
from tests.pipeline_scenes import (
    DUSTY,
    MINUTE_NS,
    SILENT,
    SPARE,
    Scene,
    Stamped,
    activation,
    commits_of,
    entry,
    everything,
    limit,
    mean,
    message,
    policy,
    service,
)

EXAMPLES = Path(__file__).parents[2] / "examples"
RULES = policy([DUSTY, limit("holding", "pm10", 150, 130, hold="30s", severity="critical"), mean(coverage=0.5), SILENT])


@pytest.fixture
def lived(tmp_path: Path) -> Iterator[Scene]:
    """A home on disk in which a good deal has happened."""
    state = StateDb(tmp_path / "state.db")
    s = Scene(state, tmp_path / "journal.db").begin(RULES)
    s.say(*[200] * 5).say(*[100] * 3)
    alert = s.alerts()[0]
    s.act(ActKind.NOTE, alert.id, "grader")
    s.say(200)
    s.act(ActKind.ACKNOWLEDGE, s.alerts(open_only=True)[0].id, "on my way")
    for notice in s.due():
        s.deliver(notice, Delivery.ok("taken") if notice.kind.value == "raised" else Delivery.retry("busy"))
    s.batch(activation(policy([DUSTY, SILENT]))).tick(400, step_s=40)
    s.batch(service("link_down")).tick(70).batch(service("link_up")).say(10)
    yield s
    s.close()
    state.close()


def home(scene: Scene) -> Path:
    assert scene.path is not None
    return scene.path


class TestReplay:
    def test_gives_the_recorded_transitions(self, lived: Scene) -> None:
        recorded = lived.transitions()
        assert len(recorded) > 15
        assert replay(home(lived)) == recorded

    @pytest.mark.parametrize("records", [1, 7, 5000])
    def test_whatever_is_committed_together(self, lived: Scene, records: int) -> None:
        with commits_of(records):
            assert replay(home(lived)) == lived.transitions()

    def test_leaves_the_home_alone(self, lived: Scene) -> None:
        before = everything(lived.state)
        replay(home(lived))
        assert everything(lived.state) == before

    def test_up_to_a_batch(self, lived: Scene) -> None:
        recorded = lived.transitions()
        first_ns = recorded[0][2]
        reader = JournalReader(home(lived))
        no = next(batch.no for batch in reader.all_batches() if batch.clock_ns == first_ns)
        reader.close()
        assert replay(home(lived), until=no - 1) == []
        assert replay(home(lived), until=no) == [row for row in recorded if row[2] == first_ns]

    def test_piles_up_no_readings(self, lived: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        """What no store will ever take must not stay in memory."""
        made: list[StateDb] = []

        class Watched(StateDb):
            def close(self) -> None:
                made.append(self)

        monkeypatch.setattr(replay_module, "StateDb", Watched)
        replay(home(lived))
        (state,) = made
        assert everything(state)["outbox"] == {}
        assert state.account().pending > 0
        StateDb.close(state)

    def test_nothing_to_read(self, tmp_path: Path) -> None:
        with pytest.raises(StoreUnavailable):
            replay(tmp_path / "absent.db")

    def test_an_empty_journal(self, tmp_path: Path) -> None:
        Journal(tmp_path / "journal.db").close()
        assert replay(tmp_path / "journal.db") == []


class TestComparison:
    def test_of_what_fits(self, lived: Scene) -> None:
        count = len(lived.transitions())
        assert compare(home(lived), lived.state) == Comparison(count, count, None, whole=True)

    def test_goes_as_far_as_the_state_has_judged(self, lived: Scene) -> None:
        """A journal that is ahead of the state, as after a crash, is no difference."""
        count = len(lived.transitions())
        lived.wait(10)
        stamped: Stamped = (lived.now_ns, lived.now_ns, [message(entry(lived.now_ns, {"pm10": 900}))])
        lived.journal.append([stamped])
        assert compare(home(lived), lived.state) == Comparison(count, count, None, whole=True)
        assert len(replay(home(lived))) == count + 1

    @pytest.mark.parametrize("place", [0, 5, -1])
    def test_names_a_transition_that_was_changed(self, lived: Scene, place: int) -> None:
        recorded = lived.transitions()
        alert_id, no = recorded[place][:2]
        with lived.state.writing() as connection:
            where = (schema.transition.c.alert_id == alert_id) & (schema.transition.c.no == no)
            connection.execute(update(schema.transition).where(where).values(value=-1.0))
        found = compare(home(lived), lived.state).difference
        assert found is not None
        assert found.position == place % len(recorded)
        assert found.replayed == recorded[place]
        assert found.recorded is not None
        assert found.recorded[7] == -1.0
        assert str(found).startswith(f"recorded: {alert_id} #{no} ")
        assert "value -1.0" in str(found)

    def test_names_one_that_is_missing_at_the_end(self, lived: Scene) -> None:
        recorded = lived.transitions()
        with lived.state.writing() as connection:
            where = (schema.transition.c.alert_id == recorded[-1][0]) & (schema.transition.c.no == recorded[-1][1])
            connection.execute(delete(schema.transition).where(where))
        found = compare(home(lived), lived.state).difference
        assert found is not None
        assert (found.position, found.recorded, found.replayed) == (len(recorded) - 1, None, recorded[-1])
        assert str(found).startswith("recorded: none; replayed: ")

    def test_names_one_that_should_not_be_there(self, lived: Scene) -> None:
        recorded = lived.transitions()
        with lived.state.writing() as connection:
            extra = alerts.history(connection, recorded[-1][0])[-1]
            alerts.append_transitions(connection, [extra._replace(no=extra.no + 1, note="forged")])
        found = compare(home(lived), lived.state).difference
        assert found is not None
        assert found.replayed is None
        assert found.recorded is not None
        assert found.recorded[-1] == "forged"

    def test_a_journal_that_ends_before_the_state(self, lived: Scene, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        shorter = Journal(tmp_path / "other" / "journal.db")
        shorter.append([(1, 1, [service("start")])])
        shorter.close()
        with pytest.raises(Corrupt, match="ends at 1"):
            compare(tmp_path / "other" / "journal.db", lived.state)

    def test_says_where_the_journals_beginning_is_gone(self, lived: Scene) -> None:
        """Documented: what the journal no longer holds cannot be replayed."""
        assert isinstance(lived.journal, Journal)
        lived.journal._db.execute("DELETE FROM record WHERE id < 10")
        lived.journal._db.execute("DELETE FROM batch WHERE no < 10")
        found = compare(home(lived), lived.state)
        assert not found.whole
        assert found.difference is not None
        assert "cannot be replayed" in str(replay_module.__doc__)


@pytest.fixture(scope="module")
def episode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped mines with the shipped dust episode: the way of `greenmine demo`, without its broker."""
    path = tmp_path_factory.mktemp("episode") / "journal.db"
    policies: list[Policy] = [load_policy(EXAMPLES / f"shifan-{n}.yaml").policy for n in (1, 2)]
    start_ns = 1_767_225_600 * NS_PER_S
    stamped: list[Stamped] = [(start_ns, start_ns, [service("start"), *(activation(one) for one in policies)])]
    for sent in messages(policies, load_scenario("dust-episode"), start_ns, start_ns + 30 * MINUTE_NS):
        record = Record(RecordKind.MESSAGE, sent.topic, sent.payload, sent.client)
        stamped.append((sent.time_ns, sent.time_ns, [record]))
    journal = Journal(path)
    journal.append(stamped)
    journal.close()
    return path


class GrowingJournal(JournalReader):
    """A journal of which only the first batches have been written yet."""

    until = 0

    def batches(self, after: int, most_records: int = 5000) -> list[Batch]:
        return [batch for batch in super().batches(after, most_records) if batch.no <= self.until]


@pytest.mark.parametrize(("records", "restart_every"), [(1, None), (7, None), (5000, None), (1, 37), (5000, 50)])
def test_a_simulated_episode_in_any_commits_and_with_restarts(
    episode: Path, records: int, restart_every: int | None
) -> None:
    expected = replay(episode)
    assert {row[5] for row in expected} >= {"over_limit", "mean_over_limit", "back_within_clear_level"}
    reader = GrowingJournal(episode)
    with commits_of(records), SPARE.state() as state:
        while reader.until < reader.last_no():
            reader.until = min(reader.until + (restart_every or 10**9), reader.last_no())
            Pipeline(reader, state).run_available()
        with state.reading() as connection:
            assert alerts.all_transitions(connection) == expected
    reader.close()
