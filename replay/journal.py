"""Replays a journal through the pipeline that judged it live, and compares what comes out with what was recorded.

What the journal no longer holds cannot be replayed: after its oldest batches were taken away, policies, open alerts and
running holds of that time are missing, and the replay may differ without anything being wrong (`Comparison.whole`).
Nothing is delivered and nothing is stored by a replay; all that it decides stays in memory and is dropped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from greenmine.core.alert import Transition
from greenmine.core.errors import Corrupt
from greenmine.ingest.journal import JournalReader
from greenmine.ingest.record import Batch
from greenmine.pipeline import commit
from greenmine.pipeline.hj212_reader import Secrets, no_secrets
from greenmine.pipeline.pipeline import Pipeline
from greenmine.store import alerts, outbox
from greenmine.store.state import StateDb, get_meta

Row = tuple[Any, ...]
"""A transition as `store.alerts.all_transitions` gives it: plain values in the order of `core.alert.Transition`."""


class Difference(NamedTuple):
    """The first transition that differs, from 0; None on the side that has none there."""

    position: int
    recorded: Row | None
    replayed: Row | None

    def __str__(self) -> str:
        sides = (("recorded", self.recorded), ("replayed", self.replayed))
        return "; ".join(f"{name}: {'none' if row is None else _words(row)}" for name, row in sides)


class Comparison(NamedTuple):
    """What a replay found: how many transitions either side has, and the first that differs (None where none does).

    `whole` is False where the journal does not begin at its first batch.
    """

    recorded: int
    replayed: int
    difference: Difference | None
    whole: bool


def replay(journal: Path, until: int | None = None, secrets: Secrets = no_secrets) -> list[Row]:
    """The transitions that follow from a journal, up to its batch number `until` (None: to its end). `secrets` are
    those of stations that encrypt or have a password; without them their messages are dead letters.

    Raises:
        StoreUnavailable: the journal cannot be read.
        Corrupt: it lacks batches, or an act or a policy in it does not fit its checksum.
    """
    reader = _JournalUntil(journal, until)
    state = StateDb(None)
    try:
        pipeline = Pipeline(reader, state, secrets)
        pipeline.subscribe_commits(lambda stored, _: _drop_parcels(state) if stored else None)
        pipeline.run_available()
        with state.reading() as connection:
            return alerts.all_transitions(connection)
    finally:
        state.close()
        reader.close()


def compare(journal: Path, state: StateDb, secrets: Secrets = no_secrets) -> Comparison:
    """Replay a journal as far as the state has judged it, and name the first transition that differs; `secrets` as for
    `replay`.

    Raises:
        StoreUnavailable: the journal cannot be read.
        Corrupt: it is damaged, or ends before the place up to which the state has judged.
    """
    with state.reading() as connection:
        recorded = alerts.all_transitions(connection)
        cursor = int(get_meta(connection, commit.CURSOR) or 0)
    first, last = _extent(journal)
    if cursor > last:
        raise Corrupt(f"the state has judged batch {cursor}, but the journal {journal} ends at {last}")
    replayed = replay(journal, cursor, secrets)
    return Comparison(len(recorded), len(replayed), _first_difference(recorded, replayed), first <= 1)


class _JournalUntil(JournalReader):
    """A journal that ends at a batch."""

    def __init__(self, path: Path, until: int | None) -> None:
        super().__init__(path)
        self._until = until

    def batches(self, after: int, most_records: int = 5000) -> list[Batch]:
        found = super().batches(after, most_records)
        return found if self._until is None else [batch for batch in found if batch.no <= self._until]

    def at_once(self, after: int, upto: int, most_records: int = 5000) -> list[Batch]:
        return super().at_once(after, upto if self._until is None else min(upto, self._until), most_records)

    def last_no(self) -> int:
        last = super().last_no()
        return last if self._until is None else min(last, self._until)


def _drop_parcels(state: StateDb) -> None:
    """No store will ever take them; a long journal must not pile them up."""
    with state.writing() as connection:
        while parcels := outbox.peek(connection, 100_000):
            outbox.remove(connection, parcels)


def _extent(journal: Path) -> tuple[int, int]:
    """Numbers of the oldest and the newest batch, 0 for an empty journal."""
    reader = JournalReader(journal)
    try:
        oldest = reader.batches(0, 1)
        return (oldest[0].no if oldest else 0), reader.last_no()
    finally:
        reader.close()


def _first_difference(recorded: list[Row], replayed: list[Row]) -> Difference | None:
    for position in range(max(len(recorded), len(replayed))):
        one = recorded[position] if position < len(recorded) else None
        other = replayed[position] if position < len(replayed) else None
        if one != other:
            return Difference(position, one, other)
    return None


def _words(row: Row) -> str:
    one = Transition(*row)
    return f"{one.alert_id} #{one.no} {one.condition} {one.handling} {one.reason} value {one.value!r} at {one.at_ns}"
