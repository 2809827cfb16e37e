"""A message to a device from the decision that asks for it to its end, through the journal only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from greenmine.core.downlink import Downlink, DownlinkKind, downlink_id
from greenmine.ingest.record import Batch, Record, RecordKind, StoredRecord
from greenmine.pipeline import downlinks as downlinks_module
from greenmine.pipeline.effects import Effects
from greenmine.pipeline.intake import Intake
from greenmine.store import downlinks
from tests.pipeline_scenes import DUSTY, MINE, NS, SPARE, Scene, entry, everything, message, policy, scene

TOPIC = f"mines/{MINE}/dust-1/down"


@contextmanager
def asking(expires_s: float = 600) -> Iterator[None]:
    """Within this, each message asks its device for a backfill."""
    judged = Intake.message

    def and_ask(self: Intake, stored: StoredRecord, batch: Batch, fx: Effects) -> None:
        judged(self, stored, batch, fx)
        payload = b"%d" % stored.id
        identity = downlink_id(DownlinkKind.BACKFILL, TOPIC, batch.clock_ns, payload)
        fx.downlinks.append(
            Downlink(
                identity, DownlinkKind.BACKFILL, TOPIC, payload, batch.clock_ns, batch.clock_ns + int(expires_s * NS)
            )
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Intake, "message", and_ask)
        yield


def outcome(identity: str, sent: bool) -> Record:
    payload = json.dumps({"id": identity, "sent": sent, "detail": "" if sent else "away"}).encode()
    return Record(RecordKind.DOWNLINK, "service:downlinks", payload)


def due(on: Scene) -> list[tuple[Downlink, int]]:
    with on.state.reading() as connection:
        return downlinks.due(connection, on.now_ns)


def states(on: Scene) -> list[tuple[str, int]]:
    return [(row["state"], row["attempts"]) for row in on.rows("downlink")]


def test_it_is_due_until_its_sending_came_back_through_the_journal() -> None:
    with asking(), scene(policy([DUSTY])) as on:
        on.say(10)
        ((found, attempts),) = due(on)
        assert (found.target, attempts) == (TOPIC, 0)
        on.batch(outcome(found.id, True))
        assert (due(on), states(on)) == ([], [("sent", 1)])
        on.batch(outcome(found.id, True))
        assert states(on) == [("sent", 1)], "a second report of the same attempt changes nothing"


def test_it_is_tried_again_with_growing_pauses_until_it_expires() -> None:
    with asking(expires_s=60), scene(policy([DUSTY])) as on:
        on.say(10)
        ((found, _),) = due(on)
        waits = []
        for _ in range(3):
            on.batch(outcome(found.id, False))
            assert due(on) == []
            before_ns = on.now_ns
            while not due(on) and states(on)[0][0] == "pending":
                on.tick(1)
            waits.append((on.now_ns - before_ns) // NS)
        assert waits[0] < waits[1] < waits[2]
        on.tick(60)
        assert states(on) == [("expired", 3)]
        assert on.pipeline.judge.state.downlinks == {}


def test_a_restart_and_a_replay_come_to_the_same() -> None:
    with asking(expires_s=120), scene(policy([DUSTY])) as on:
        on.say(10, 20, 30)
        first, second, _ = [one.id for one, _ in due(on)]
        on.restart()
        on.batch(outcome(first, True), outcome(second, False))
        on.restart()
        on.tick(100, step_s=1)
        on.batch(outcome(second, False))
        on.tick(60, step_s=1)
        assert sorted(states(on)) == [("expired", 0), ("expired", 2), ("sent", 1)]
        with SPARE.state() as state:
            again = Scene(state)
            again.journal.append(
                (b.received_ns, b.clock_ns, [r.record for r in b.records]) for b in on.reader.batches(0)
            )
            again.pipeline.run_available()
            assert everything(again.state) == everything(on.state)


def test_what_is_asked_for_beyond_the_most_that_may_wait_is_refused_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(downlinks_module, "MOST_WAITING", 2)
    with asking(), scene(policy([DUSTY])) as on:
        on.say(10, 20, 30)
        assert sorted(states(on)) == [("pending", 0), ("pending", 0), ("refused", 0)]
        with on.state.reading() as connection:
            (refused,) = downlinks.listed(connection, "refused")
            assert downlinks.counts(connection) == {"pending": 2, "refused": 1}
        assert "too many" in refused.detail


def test_ended_ones_are_forgotten_after_a_month() -> None:
    with asking(expires_s=1), scene(policy([DUSTY])) as on:
        on.say(10)
        on.tick(5)
        assert states(on) == [("expired", 0)]
        on.tick(29 * 86_400)
        assert states(on) == [("expired", 0)]
        on.tick(2 * 86_400)
        assert states(on) == []


def test_a_device_that_is_away_does_not_crowd_out_the_others() -> None:
    with asking(), scene(policy([DUSTY])) as on:
        on.batch(*(message(entry(on.now_ns + n, {"pm10": 1.0 + n})) for n in range(30)))
        assert len(due(on)) == 20
