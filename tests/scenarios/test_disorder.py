"""reliability P3: what comes twice changes nothing, and what comes in disorder is stored as if it had come in order.

The same messages in order, each up to three times, and shuffled in windows with some an hour late and some that give
another value for a reading that was taken: the first one stays, and the other is a conflict on record.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from greenmine.core.account import Account
from greenmine.core.clock import NS_PER_MS, NS_PER_S, ManualClock
from greenmine.core.reading_store import InMemoryReadingStore, Selection
from greenmine.ingest.journal import Journal, JournalReader
from greenmine.ingest.record import Record, RecordKind
from greenmine.pipeline.pipeline import Pipeline
from greenmine.store.state import StateDb
from greenmine.store.writer import StoreWriter
from tests.pipeline_scenes import DUSTY, MINE, START_NS, activation, device, policy, table_rows

DEVICES = 10
SEED = 20261126
HOUR_S = 3_600


class Sent(NamedTuple):
    """A message: when it comes (s), the second of its reading, and the value."""

    at_s: float
    second: int
    value: float


class Seen(NamedTuple):
    """What is left of a run."""

    account: Account
    readings: list[tuple[Any, ...]]
    transitions: list[tuple[Any, ...]]
    conflicts: int


def value_of(second: int) -> float:
    """Over the limit for two minutes in ten."""
    return 300.0 + second % 7 if second // 120 % 5 == 1 else 40.0 + second % 11


def run(folder: Path, sent: Sequence[Sent]) -> Seen:
    """Judge and store these messages, in their order."""
    folder.mkdir()
    rules = policy([DUSTY], devices=[device(f"dust-{n}", pm10="ug/m3") for n in range(DEVICES)])
    journal, state, store = Journal(folder / "journal.db"), StateDb(folder / "state.db"), InMemoryReadingStore()
    journal.append([(START_NS, START_NS, [activation(rules)])])
    reader = JournalReader(folder / "journal.db")
    pipeline, writer = Pipeline(reader, state), StoreWriter(state, store, ManualClock(START_NS))
    stamped: list[tuple[int, int, list[Record]]] = []
    for place, one in enumerate(sent):
        at_ns = START_NS + int(one.at_s * NS_PER_S)
        body = {"ts": (START_NS + one.second * NS_PER_S) // NS_PER_MS, "values": {"pm10": one.value}}
        name = f"dust-{one.second % DEVICES}"
        topic = f"mines/{MINE}/{name}/up"
        stamped.append((at_ns, at_ns, [Record(RecordKind.MESSAGE, topic, json.dumps(body).encode(), f"{MINE}.{name}")]))
        if len(stamped) == 500 or place == len(sent) - 1:
            journal.append(stamped)
            stamped.clear()
            pipeline.run_available()
            writer.run_available()
    names = ("no", "at_ns", "condition", "reason", "value", "source_time_ns")
    seen = Seen(
        state.account(),
        [(reading.series, reading.time_ns, reading.value) for reading in store.query(Selection())],
        [tuple(row[name] for name in names) for row in table_rows(state, "transition")],
        len(table_rows(state, "conflict")),
    )
    reader.close()
    journal.close()
    state.close()
    return seen


def disorder(folder: Path, count: int) -> None:
    """Of so many readings, one a second."""
    chance = random.Random(SEED)
    in_order = [Sent(second, second, value_of(second)) for second in range(count)]
    plain = run(folder / "in-order", in_order)
    assert plain.account == Account(received=count, stored=count)
    assert len(plain.transitions) >= 2 * DEVICES

    often = [one for one in in_order for _ in range(chance.randrange(1, 4))]
    repeated = run(folder / "repeated", often)
    assert repeated.account == Account(received=len(often), stored=count, duplicate=len(often) - count)
    assert (repeated.readings, repeated.transitions) == (plain.readings, plain.transitions)

    mixed = []
    for one in often:
        later_s = chance.uniform(0, count / 5) + HOUR_S * (chance.random() < 0.05)
        mixed.append(one._replace(at_s=one.at_s + later_s))
    mixed.sort(key=lambda one: one.at_s)
    wrong = [Sent(mixed[-1].at_s + 1, second, 999.0) for second in chance.sample(range(count), count // 500)]
    shuffled = run(folder / "shuffled", mixed + wrong)
    assert shuffled.readings == plain.readings
    assert shuffled.conflicts == len(wrong)
    assert shuffled.account == Account(
        received=len(mixed) + len(wrong), stored=count, duplicate=len(often) - count, conflict=len(wrong)
    )


def test_doubles_and_disorder_change_nothing_that_is_stored(tmp_path: Path) -> None:
    disorder(tmp_path, 5_000)
