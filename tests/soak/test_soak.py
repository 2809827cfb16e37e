"""The long runs of `make soak`: the same promises as in the suite, ten times as often. Bounded in count and time."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from greenmine.core.clock import NS_PER_S, ManualClock
from greenmine.core.errors import DecodeRefused, StoreUnavailable
from greenmine.core.reading_store import InMemoryReadingStore, Selection
from greenmine.ingest.decode_json import decode_json
from greenmine.ingest.journal import Journal, JournalReader
from greenmine.ingest.record import Record, RecordKind
from greenmine.ingest.topic import parse_topic
from greenmine.pipeline.pipeline import Pipeline
from greenmine.policy.canonical import to_canonical_json
from greenmine.simulator.load import LoadPlan, load_messages, load_policy
from greenmine.store import outbox
from greenmine.store.state import StateDb
from greenmine.store.writer import StoreWriter
from tests.acceptance.test_kill import everything_is_stored, journalled_in, run_embedded
from tests.unit.test_journal_recovery import damaged_starts

pytestmark = pytest.mark.soak

SEED = 20261122
MUTATIONS = 400_000
START_NS = 1_767_225_600 * NS_PER_S
SEEDS = [
    b'{"ts":"2026-11-22T08:00:00+08:00","values":{"pm10":81.3,"soil_moisture@d20":18.4},"seq":1042,"boot":"a1"}',
    b'[{"ts":1767225600000,"values":{"ph":7.1,"turbidity":null},"flags":{"ph":"N"}},{"ts":1,"values":{"tsp":1e3}}]',
    b'{"ts":1767225600000,"stat":"avg","period_s":3600,"unit":"mg/m3","device":"d1","values":{"pm25":0.03}}',
]
PIECES = [
    b"NaN",
    b"1e999",
    b"null",
    b"true",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b"\\ud800",
    b"\xff",
    b"\x00",
    b"9" * 400,
    b",",
    b":",
]


@pytest.mark.timeout(1800)
def test_fifty_kills(tmp_path: Path) -> None:
    acknowledged, victim = run_embedded(tmp_path, kills=50, count=100_000, early=False)
    assert len(acknowledged) == 100_000
    assert acknowledged - set(journalled_in(victim.home)) == set()
    everything_is_stored(victim.home, 100_000)


@pytest.mark.timeout(1800)
def test_only_refusals_leave_the_parsers() -> None:
    chance = random.Random(SEED)
    decoded = refused = 0
    for _ in range(MUTATIONS):
        payload = bytearray(chance.choice(SEEDS))
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(payload) + 1)
            cut = at + chance.choice((0, 0, 1, 1, 3, 20))
            piece = chance.choice(PIECES) if chance.random() < 0.6 else bytes([chance.randrange(256)])
            payload[at:cut] = piece
        try:
            found = decode_json(bytes(payload))
        except DecodeRefused:
            refused += 1
        else:
            decoded += 1
            json.dumps([item._asdict() for item in found.items], allow_nan=False)
        try:
            parse_topic("mines/" + payload[:40].decode("latin-1"))
        except DecodeRefused:
            refused += 1
    assert decoded > MUTATIONS // 100
    assert refused > MUTATIONS // 2


@pytest.mark.timeout(1800)
def test_an_hour_without_a_store(tmp_path: Path) -> None:
    """360,000 readings while the store is away: judged, kept, and stored once when it is back."""
    plan = LoadPlan(rate=100, sensors=100, duration_s=3600, batch=10, devices=10, clients=())
    policy = load_policy(plan)
    journal = Journal(tmp_path / "journal.db")
    activation = json.dumps({"mine": policy.mine.id, "canonical": to_canonical_json(policy)}).encode()
    journal.append([(START_NS, START_NS, [Record(RecordKind.POLICY, "service:test", activation)])])
    state, store = StateDb(tmp_path / "state.db"), InMemoryReadingStore()
    store.down = StoreUnavailable("away")
    writer = StoreWriter(state, store, ManualClock(START_NS))
    pipeline = Pipeline(JournalReader(tmp_path / "journal.db"), state)
    stamped = []
    for message in load_messages(plan, START_NS):
        record = Record(RecordKind.MESSAGE, message.topic, message.payload, message.client)
        stamped.append((message.time_ns, message.time_ns, [record]))
        if len(stamped) == 1000:
            journal.append(stamped)
            stamped = []
            pipeline.run_available()
            with pytest.raises(StoreUnavailable):
                writer.run_available()
    journal.append(stamped)
    pipeline.run_available()
    with state.reading() as connection:
        assert outbox.depth(connection) == state.account().pending == 360_000
    store.down = None
    writer.run_available()
    account = state.account()
    assert account.balanced
    assert (account.received, account.stored, account.pending) == (360_000, 360_000, 0)
    assert store.count(Selection()) == 360_000
    state.close()
    journal.close()


@pytest.mark.parametrize(("rounds", "flips"), [(500, False), (1000, True)])
def test_every_damaged_journal_starts_and_counts_what_is_gone(tmp_path: Path, rounds: int, flips: bool) -> None:
    """reliability P8 at full size."""
    damaged_starts(tmp_path, rounds, flips)
