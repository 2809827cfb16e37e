"""Dead letters: reason, place and bytes of what was refused; a quota; a replay that stores once and pages nobody."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from greenmine.core.account import Account
from greenmine.core.act import ActKind
from greenmine.core.dead_letter import DeadLetterTotals, DeadReason
from greenmine.core.errors import NotFound
from greenmine.ingest.hj212_frame import build_frame
from greenmine.intakes import StateIntakes
from greenmine.pipeline.pipeline import Pipeline
from greenmine.store import dead_letters, schema, set_apart
from greenmine.store.state import StateDb
from greenmine.web.backend import DeadLettersAsked
from tests.pipeline_scenes import (
    DUSTY,
    MINE,
    NS,
    SPARE,
    HeldJournal,
    Scene,
    activation,
    commits_of,
    device,
    entry,
    everything,
    message,
    policy,
    scene,
    service,
)

ROOT = Path(__file__).resolve().parents[2]
REFUSALS = re.compile(r"(?:DecodeRefused|RefusedItem|PackRefused)\(\s*\"(\w+)\"")


def totals(state: StateDb) -> DeadLetterTotals:
    with state.reading() as connection:
        return dead_letters.totals(connection)


def listed(state: StateDb, **asked: str) -> list[dead_letters.DeadLetterRow]:
    with state.reading() as connection:
        return dead_letters.listed(connection, 1000, **asked)  # type: ignore[arg-type]


def test_every_word_of_a_refusal_is_a_reason() -> None:
    used = {
        word
        for folder in ("core", "ingest", "pipeline", "store", "app")
        for path in (ROOT / folder).glob("*.py")
        for word in REFUSALS.findall(path.read_text(encoding="utf-8"))
    }
    assert len(used) > 30
    assert used <= set(DeadReason)


@pytest.mark.parametrize(
    ("body", "word", "field"),
    [
        (b"{", "json", ""),
        ({"values": {"pm10": 1}}, "missing_field", "ts"),
        ({"ts": "yesterday", "values": {"pm10": 1}}, "ts_format", "ts"),
        ({"ts": 1_795_334_400_000, "values": {}}, "missing_field", "values"),
        ({"ts": 1_795_334_400_000, "values": {"pm10": 1}, "seq": -1}, "range", "seq"),
        ({"ts": 1_795_334_400_000, "values": {"pm10": 1}, "device": "A"}, "device_id_charset", "device"),
        ({"ts": 1_795_334_400_000, "values": {"pm10": 1}, "device": "other"}, "scope", "device"),
        ([{"ts": 1_795_334_400_000, "values": {"pm10": 1}, "device": "other"}], "scope", "[0].device"),
        ({"ts": 1_795_334_400_000, "values": {"pm10": "1"}}, "type", "values.pm10"),
        ([7], "type", "[0]"),
        ([{"ts": 1_795_334_400_000, "values": {"pm99": 1}}], "unknown_field", "[0].values.pm99"),
        ([{"ts": 1_795_334_400_000, "values": {"pm10": 1}, "unit": 5}], "type", "[0].unit"),
        (b'{"ts": 1795334400000, "values": {"\\ud800": 1}}', "encoding", "values.\\ud800"),
    ],
)
def test_a_letter_has_its_reason_and_its_place(body: object, word: str, field: str) -> None:
    with scene(policy([DUSTY])) as on:
        on.batch(message(body, client="c1"))
        (letter,) = listed(on.state)
        assert (letter.word, letter.field, letter.client) == (word, field, "c1")
        assert (letter.mine, letter.device, letter.source) == (MINE, "dust-1", f"mines/{MINE}/dust-1/up")


def test_a_letter_has_the_bytes_of_its_message(tmp_path: Path) -> None:
    with SPARE.state() as state:
        on = Scene(state, tmp_path / "journal.sqlite").begin(policy([DUSTY]))
        on.batch(message(b"\x00\xff{", client="c1"), message({"ts": 1, "values": {"a": 1, "b": 2}}))
        intakes = StateIntakes(state, tmp_path / "journal.sqlite")
        found = intakes.dead_letters(DeadLettersAsked(None, None, None, False, 10))
        assert [intakes.dead_letter(row.id)[1] for row in found][-1] == b"\x00\xff{"
        assert [row.size for row in found] == [0, 37, 3]
        with pytest.raises(NotFound):
            intakes.dead_letter(99)
        only = intakes.dead_letters(DeadLettersAsked("encoding", MINE, "dust-1", False, 10))
        assert [row.word for row in only] == ["encoding"]
        assert intakes.dead_letters(DeadLettersAsked("encoding", MINE, "dust-2", False, 10)) == []
        on.close()


def test_one_message_cannot_fill_the_quota() -> None:
    """Every byte of a run of `#` is damage by itself; every letter of it would drop one of somebody else's."""
    good = build_frame(b"ST=22;CN=2011;PW=1;MN=S;CP=&&DataTime=20261122160000;a34002-Rtd=0.031&&")
    logger = {**device("dust-1", pm10="ug/m3"), "address": {"mn": "S"}}
    with scene(policy([DUSTY], devices=[logger])) as here:
        here.batch(message(b"#" * 5000 + good, kind="up/hj212"))
        assert here.account == Account(received=102, pending=1, dead=101)
        letters = listed(here.state)
        assert len(letters) == 101
        assert letters[0].detail.endswith("(and 4899 more of this message)")
        many = {f"nonsense-{number}": 1 for number in range(101)}
        here.batch(message(entry(here.wait(10).now_ns, {**many, "pm10": 81.3})))
        assert here.account == Account(received=204, pending=2, dead=202)
        assert "more of this message" not in listed(here.state)[0].detail
        here.act(ActKind.REPLAY_DEAD_LETTERS, body={"record_ids": [letters[0].record_id]})
        assert here.account == Account(received=204, pending=2, dead=202)


def test_a_replay_stores_once_and_pages_nobody() -> None:
    behind = {**device("dust-1", pm10="ug/m3"), "gateway": "gw-1"}
    with scene(policy([DUSTY], devices=[device("gw-1"), device("dust-1", pm10="ug/m3")])) as on:
        for n in range(4):
            on.batch(message(entry(on.wait(1).now_ns, {"pm10": 900.0 + n}, device="dust-1"), "gw-1"))
        on.batch(activation(policy([DUSTY], devices=[device("gw-1"), behind])))
        ids = [letter.record_id for letter in listed(on.state, word="scope")]
        found = on.act(ActKind.REPLAY_DEAD_LETTERS, body={"record_ids": ids})
        assert found.detail["stored"] == 4
        assert on.account == Account(received=4, pending=4)
        assert on.alerts() == []
        assert on.due() == []
        with pytest.raises(NotFound):
            on.act(ActKind.REPLAY_DEAD_LETTERS, body={"record_ids": ids})
        # Even if they were taken for not replayed: nothing is stored a second time.
        with on.state.writing() as connection:
            connection.execute(update(schema.dead_letter).values(replayed_ns=None))
        tally = on.act(ActKind.REPLAY_DEAD_LETTERS, body={"record_ids": ids}).detail
        assert (tally["stored"], tally["already_known"]) == (0, 4)
        assert on.account.pending == 4
        assert on.alerts() == []


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "MOST_ROWS", 6)
    monkeypatch.setattr(dead_letters, "MOST_BYTES", 400)


@pytest.mark.usefixtures("small")
class TestQuota:
    def test_the_oldest_are_dropped_and_counted(self) -> None:
        with scene(policy([DUSTY])) as on:
            for n in range(10):
                on.batch(message(b"{" * (n + 1)))
            assert [letter.size for letter in listed(on.state)] == [10, 9, 8, 7, 6, 5]
            assert totals(on.state) == DeadLetterTotals(6, 45, 4)
            assert on.account == Account(received=10, dead=10), "the account keeps them"

    def test_bytes_count_as_well(self) -> None:
        with scene(policy([DUSTY])) as on:
            on.batch(message(b"{" * 150), message(b"{" * 150), message(b"{" * 150))
            assert totals(on.state) == DeadLetterTotals(2, 300, 1)
            on.batch(message(b"{" * 401))
            assert totals(on.state) == DeadLetterTotals(0, 0, 4), "one that alone is too large is not kept either"
            on.batch(message(b"{"))
            assert totals(on.state) == DeadLetterTotals(1, 1, 4)

    def test_the_letters_of_a_message_go_together(self) -> None:
        with scene(policy([DUSTY])) as on:
            on.batch(message([7, 7, 7, 7]))
            on.batch(message([8, 8, 8]))
            assert [letter.record_id for letter in listed(on.state)] == [listed(on.state)[0].record_id] * 3
            assert totals(on.state)[0::2] == (3, 4)
            on.act(ActKind.REPLAY_DEAD_LETTERS, body={"record_ids": [listed(on.state)[0].record_id]})
            assert on.account == Account(received=7, dead=7)

    def test_what_was_replayed_is_no_loss(self) -> None:
        with scene(policy([DUSTY], devices=[device("gw-1"), device("dust-1", pm10="ug/m3")])) as on:
            on.batch(message(entry(on.now_ns, {"pm10": 1}, device="dust-1"), "gw-1"))
            behind = {**device("dust-1", pm10="ug/m3"), "gateway": "gw-1"}
            on.batch(activation(policy([DUSTY], devices=[device("gw-1"), behind])))
            on.act(ActKind.REPLAY_DEAD_LETTERS, body={"record_ids": [listed(on.state)[0].record_id]})
            on.batch(*[message(b"{")] * 6)
            assert totals(on.state)[0::2] == (6, 0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from([b"{", b"{" * 120, b"[7,7,7]", b"[7]"]), max_size=4), max_size=8))
def test_what_is_kept_does_not_depend_on_which_batches_were_committed_together(bodies: list[list[bytes]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dead_letters, "MOST_ROWS", 6)
        patch.setattr(dead_letters, "MOST_BYTES", 400)
        start = 1_795_334_400 * NS
        batches = [[service("start")], [activation(policy([DUSTY]))], *([message(b) for b in one] for one in bodies)]
        journal = HeldJournal([(start + n * NS, start + n * NS, records) for n, records in enumerate(batches)])
        held = []
        for records in (1, 3, 5000):
            with commits_of(records), SPARE.state() as state:
                Pipeline(journal, state).run_available()
                held.append(everything(state))
                letters, kept = listed(state), totals(state)
                assert kept.rows == len(letters) <= 6
                assert kept.bytes == sum(one.size for one in letters) <= 400
                assert kept.dropped == state.account().dead - kept.rows
                assert all(n in (1, 3) for n in Counter(one.record_id for one in letters).values())
        assert held[0] == held[1] == held[2]


def test_what_is_set_apart_is_bounded_and_a_replay_still_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_apart, "MOST_ROWS", 5)
    with scene() as s:
        s.begin(policy([DUSTY])).say(20)
        s.batch(message(entry(s.now_ns, {"pm10": None, "pm25": "text"})))
        for _ in range(10):
            s.wait(1).batch(message(entry(s.now_ns, {"pm10": None})))
            s.batch(message(entry(s.now_ns - NS, {"pm10": 20.5})), message(entry(s.now_ns - NS, {"pm10": 21})))
        first, *others = [row["record_id"] for row in s.rows("quarantine")]
        conflicts = [row["id"] for row in s.rows("conflict")]
        assert len(conflicts) >= 10
        s.tick(7300, 3650)
        assert [row["record_id"] for row in s.rows("quarantine")] == [first, *others[-5:]]
        assert [row["id"] for row in s.rows("conflict")] == conflicts[-5:]
        before = s.state.account()
        assert before.quarantined == 11
        ids = [row["record_id"] for row in s.rows("dead_letter")]
        assert s.act(ActKind.REPLAY_DEAD_LETTERS, body={"record_ids": ids}).detail["still_dead"] == 1
        assert s.state.account() == before


def test_a_letter_whose_message_has_expired_keeps_no_other_from_being_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with scene() as s:
        s.begin(policy([DUSTY])).say(20)
        late = {"pm10": 20.0, "pm25": "text"}
        s.batch(message(entry(s.now_ns + NS, late)), message(entry(s.now_ns + 2 * NS, late)))
        gone, kept = [row["record_id"] for row in s.rows("dead_letter")]
        record = HeldJournal.record
        monkeypatch.setattr(HeldJournal, "record", lambda own, one: None if one == gone else record(own, one))
        assert s.act(ActKind.REPLAY_DEAD_LETTERS, body={"record_ids": [gone, kept]}).detail["messages"] == 1
        with pytest.raises(NotFound, match="with its message"):
            s.act(ActKind.REPLAY_DEAD_LETTERS, body={"record_ids": [gone]})
