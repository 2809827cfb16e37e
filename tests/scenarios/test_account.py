"""Every reading is counted once and kept once: duplicates, conflicts, disorder, imports, dead letters, bad input."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmine.core.account import Account
from greenmine.core.act import Act, ActKind
from greenmine.core.clock import ManualClock
from greenmine.core.errors import NotFound
from greenmine.core.quality import Quality
from greenmine.core.reading import Reading, Series
from greenmine.core.reading_store import InMemoryReadingStore, Selection
from greenmine.ingest.journal import Journal
from greenmine.ingest.record import Record, RecordFlag, RecordKind, StoredRecord
from greenmine.pipeline.pipeline import Pipeline
from greenmine.store.writer import StoreWriter
from tests.pipeline_scenes import (
    DAY_NS,
    DUSTY,
    HOUR_NS,
    LI,
    MINE,
    MINUTE_NS,
    NS,
    SILENT,
    SPARE,
    START_NS,
    HeldJournal,
    Scene,
    act_record,
    activation,
    device,
    entry,
    identities,
    imported,
    limit,
    mean,
    message,
    pm10,
    policy,
    scene,
    table_rows,
)

RULES = policy([DUSTY])
BEHIND_GATEWAY = [device("gw-1"), {**device("dust-1", pm10="ug/m3"), "gateway": "gw-1"}]
GATEWAY = policy([DUSTY], devices=BEHIND_GATEWAY)


class Stored:
    """A scene whose readings are carried into a store after every step."""

    def __init__(self, s: Scene) -> None:
        self.scene = s
        self.store = InMemoryReadingStore()

    def carry(self) -> Account:
        StoreWriter(self.scene.state, self.store, ManualClock(self.scene.now_ns)).run_available()
        return self.scene.account

    def readings(self) -> list[Reading]:
        return list(self.store.query(Selection()))


@pytest.fixture
def kept() -> Iterator[Stored]:
    with scene(RULES) as s:
        yield Stored(s)


def file_row(time_ns: int, value: float | None, device_id: str = "dust-1", **more: Any) -> list[Any]:
    row = {"mine": MINE, "device": device_id, "metric": "pm10", "channel": "", "stat": "inst", "period_s": 0,
           "time_ns": time_ns, "value": value, "unit": None, "quality": 0}  # fmt: skip
    return list({**row, **more}.values())


class TestOneByOne:
    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            (entry(START_NS, {"pm10": 5}), {"pending": 1}),
            (entry(START_NS, {"pm10": 5, "pm25": 3}), {"pending": 2}),
            (entry(START_NS, {"pm10": None}), {"quarantined": 1}),
            (entry(START_NS + DAY_NS, {"pm10": 5}), {"quarantined": 1}),
            (entry(5_000_000, {"pm10": 5}), {"quarantined": 1}),
            (entry(START_NS, {"ph": 7}), {"quarantined": 1}),
            (entry(START_NS, {"pm10": 5, "nonsense": 3}), {"pending": 1, "dead": 1}),
            (entry(START_NS, {"pm10": "5"}), {"dead": 1}),
            (entry(START_NS, {"pm10": 5}, device="dust-2"), {"dead": 1}),
            ([entry(START_NS, {"pm10": 5}), 7, entry(START_NS + NS, {"pm10": 6})], {"pending": 2, "dead": 1}),
            ([entry(START_NS, {"pm10": 5})] * 3, {"pending": 1, "duplicate": 2}),
            ([entry(START_NS, {"pm10": v}) for v in (5, 6, 5)], {"pending": 1, "conflict": 1, "duplicate": 1}),
            (b"", {"dead": 1}),
            (b"{", {"dead": 1}),
            (b"\xff\xfe", {"dead": 1}),
            (b"[" * 100_000, {"dead": 1}),
            (b'{"ts": 1, "values": {"pm10": 1e999}}', {"dead": 1}),
        ],
    )
    def test_a_message(self, kept: Stored, body: object, expected: dict[str, int]) -> None:
        kept.scene.batch(message(body))
        account = kept.scene.account
        assert account == Account(received=sum(expected.values()), **expected)
        assert kept.carry() == account._replace(pending=0, stored=account.pending)

    @pytest.mark.parametrize(
        ("record", "word"),
        [
            (message(entry(START_NS, {"pm10": 5}), flags=RecordFlag.RETAIN), "retained_telemetry"),
            (message(entry(START_NS, {"pm10": 5}), flags=RecordFlag.DENIED, client="other.dust"), "denied"),
            (message(entry(START_NS, {"pm10": 5}), flags=RecordFlag.BAD_TOPIC), "topic_encoding"),
            (message(entry(START_NS, {"pm10": 5}), kind="up/senml"), "senml_not_array"),
            (message(entry(START_NS, {"pm10": 5}), "Dust_1"), "device_id_charset"),
            (Record(RecordKind.MESSAGE, "x" * 1000, b"", "c" * 1000), "topic_too_long"),
        ],
    )
    def test_a_refused_message_is_a_dead_letter_with_its_reason(self, kept: Stored, record: Record, word: str) -> None:
        kept.scene.batch(record)
        (letter,) = kept.scene.rows("dead_letter")
        assert letter["word"] == word
        assert (letter["source"], letter["client"]) == (record.source[:300], record.client[:200])
        assert kept.scene.account == Account(received=1, dead=1)

    @pytest.mark.parametrize("kind", ["activity", "down"])
    def test_what_is_no_reading_is_not_counted(self, kept: Stored, kind: str) -> None:
        kept.scene.batch(message({"ts": 1, "kind": "blast"}, kind=kind))
        assert kept.scene.account == Account()

    def test_a_quarantined_reading_says_why(self, kept: Stored) -> None:
        kept.scene.batch(message(entry(START_NS, {"pm10": None, "ph": 7})))
        assert [(row["metric"], row["value"], row["reason"]) for row in kept.scene.rows("quarantine")] == [
            ("pm10", None, "missing"),
            ("ph", 7.0, "unregistered"),
        ]

    def test_a_conflict_names_both_values(self, kept: Stored) -> None:
        kept.scene.batch(message(entry(START_NS, {"pm10": 5})))
        kept.scene.wait(10).batch(message(entry(START_NS, {"pm10": 6})))
        (row,) = kept.scene.rows("conflict")
        assert (row["kept"], row["refused"], row["time_ns"], row["record_id"]) == (5.0, 6.0, START_NS, 4)
        kept.carry()
        assert kept.readings() == [Reading(pm10(), START_NS, 5.0)]

    def test_the_order_of_a_restart_between_does_not_matter(self, kept: Stored) -> None:
        kept.scene.batch(message(entry(START_NS, {"pm10": 5})))
        kept.scene.restart()
        kept.scene.batch(message(entry(START_NS, {"pm10": 5})))
        assert kept.scene.account == Account(received=2, pending=1, duplicate=1)

    def test_units_are_compared_after_conversion(self, kept: Stored) -> None:
        kept.scene.batch(message(entry(START_NS, {"pm10": 1500})))
        kept.scene.batch(message(entry(START_NS, {"pm10": 1.5}, unit="mg/m3")))
        assert kept.scene.account == Account(received=2, pending=1, duplicate=1)


class TestSpanOfIdentities:
    """For 72 hours the state knows what came; for older readings the store is asked."""

    @pytest.mark.parametrize("age_h", [1, 71, 73, 24 * 400])
    def test_late_readings_are_new_a_duplicate_or_a_conflict_at_any_age(self, kept: Stored, age_h: int) -> None:
        s = kept.scene
        s.say(1)
        time_ns = s.now_ns - age_h * HOUR_NS
        for value in (5, 5, 6):
            s.batch(message(entry(time_ns, {"pm10": value})))
            kept.carry()
        assert s.account == Account(received=4, stored=2, duplicate=1, conflict=1)
        assert kept.readings()[0] == Reading(pm10(), time_ns, 5.0, Quality.LATE)
        (row,) = s.rows("conflict")
        assert (row["kept"], row["refused"]) == (5.0, 6.0)

    @pytest.mark.parametrize("age_h", [71, 73])
    def test_also_two_of_the_same_in_one_payload(self, kept: Stored, age_h: int) -> None:
        s = kept.scene
        s.say(1)
        time_ns = s.now_ns - age_h * HOUR_NS
        s.batch(message([entry(time_ns, {"pm10": value}) for value in (5, 6, 5)]))
        assert kept.carry() == Account(received=4, stored=2, duplicate=1, conflict=1)

    def test_a_reading_grows_old_between_its_two_copies(self, kept: Stored) -> None:
        s = kept.scene
        s.batch(message(entry(START_NS, {"pm10": 5})))
        s.say(1)
        for _ in range(80):
            s.tick(3600)
        assert identities(s.state) == {}
        s.batch(message(entry(START_NS, {"pm10": 5})), message(entry(START_NS, {"pm10": 6})))
        assert s.account.pending == 4, "only the store can tell"
        assert kept.carry() == Account(received=4, stored=2, duplicate=1, conflict=1)

    def test_old_readings_of_a_state_that_begins_anew_do_not_overwrite(self, kept: Stored) -> None:
        """A new home on an old store: the state has never heard of the series, but the store has."""
        old = Reading(pm10(), START_NS - 100 * DAY_NS, 5.0)
        kept.store.write([old])
        kept.scene.batch(message([entry(old.time_ns, {"pm10": 6}), entry(old.time_ns + NS, {"pm10": 7})]))
        assert kept.carry() == Account(received=2, stored=1, conflict=1)
        assert kept.readings()[0] == old

    def test_identities_are_forgotten_after_their_time(self, kept: Stored) -> None:
        s = kept.scene
        s.say(1, 2)
        s.tick(71 * 3600)
        assert len(identities(s.state)) == 2
        s.tick(2 * 3600)
        assert identities(s.state) == {}


steps = st.lists(
    st.tuples(
        st.sampled_from(("dust-1", "dust-2")),
        st.integers(0, 6),
        st.sampled_from((1.0, 1.0, 1.0, 2.0)),
        st.integers(0, 3),
    ),
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(steps, st.sampled_from((0, 71, 74)), st.sampled_from((1, 7)))
def test_any_disorder_keeps_the_first_and_counts_each(
    sent: list[tuple[str, int, float, int]], age_h: int, a_batch: int
) -> None:
    """P3: duplicated, conflicting, late and shuffled; against a dictionary that keeps the first."""
    devices = [device(name, pm10="ug/m3") for name in ("dust-1", "dust-2")]
    first: dict[tuple[str, int], float] = {}
    expected = {"stored": 0, "duplicate": 0, "conflict": 0}
    records = []
    with scene(policy([DUSTY], devices=devices)) as s:
        base_ns = s.now_ns - age_h * HOUR_NS
        for name, place, value, _ in sent:
            time_ns = base_ns + place * MINUTE_NS
            records.append(message(entry(time_ns, {"pm10": value}), name))
            if (name, time_ns) not in first:
                first[name, time_ns] = value
                expected["stored"] += 1
            else:
                expected["duplicate" if first[name, time_ns] == value else "conflict"] += 1
        kept = Stored(s)
        for start in range(0, len(records), a_batch):
            s.wait(600).batch(*records[start : start + a_batch])
            assert s.account.balanced
            if sent[start][3] == 0:
                kept.carry()
        account = kept.carry()
    assert account == Account(received=len(sent), **expected)
    assert {(r.series.device, r.time_ns): r.value for r in kept.readings()} == first


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(12)), st.data())
def test_any_order_stores_the_same_readings(order: Sequence[int], data: st.DataObject) -> None:
    values = [float(n * n) for n in range(12)]
    copies = data.draw(st.lists(st.sampled_from(order), max_size=6))
    with scene(RULES) as s:
        kept = Stored(s)
        s.wait(3600)
        for place in [*order, *copies]:
            s.batch(message(entry(START_NS + place * MINUTE_NS, {"pm10": values[place]})))
        account = kept.carry()
    assert [(r.time_ns, r.value) for r in kept.readings()] == [(START_NS + n * MINUTE_NS, values[n]) for n in range(12)]
    assert account == Account(received=12 + len(copies), stored=12, duplicate=len(copies))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from((5.0, 60.0)), st.sampled_from((100.0, 140.0, 151.0, 200.0))), max_size=15),
    st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14), st.sampled_from((0, 0, -1, 1))), max_size=15),
)
def test_copies_conflicts_and_late_readings_change_no_alert(
    sent: list[tuple[float, float]], again: list[tuple[int, int, int]]
) -> None:
    """P3: the same transitions as without them."""
    rules = policy(
        [DUSTY, limit("holding", "pm10", 150, 130, hold="20s", clear_hold="10s"), mean(coverage=0.3), SILENT]
    )
    found = []
    for disturbed in (False, True):
        with scene(rules) as s:
            said: list[tuple[int, float]] = []
            for place, (pause_s, value) in enumerate(sent):
                s.wait(pause_s)
                said.append((s.now_ns, value))
                records = [message(entry(s.now_ns, {"pm10": value}))]
                for when, of, shift in again if disturbed else []:
                    if when == place and of < len(said):
                        time_ns, first_value = said[of]
                        records.append(message(entry(time_ns - abs(shift) * NS, {"pm10": first_value + 300 * shift})))
                s.batch(*records)
            s.tick(400, step_s=50)
            found.append([row[2:] for row in s.transitions()])
    assert found[0] == found[1]


hostile_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(("ts", "values", "flags", "device", "stat", "period_s", "unit", "pm10", "x")), inner
        )
    ),
    max_leaves=12,
)
near_miss = st.fixed_dictionaries(
    {
        "ts": st.sampled_from((START_NS // 1_000_000, "2026-11-22T08:00:00Z", -(2**63), 2**63, 1e300)) | hostile_json,
        "values": st.dictionaries(
            st.sampled_from(("pm10", "pm25", "ph", "pm10@d20", "laeq", "\ud800", "")),
            st.floats() | st.integers() | hostile_json,
            max_size=4,
        ),
    },
    optional={
        "flags": st.dictionaries(st.just("pm10"), st.sampled_from("NMCTB?") | hostile_json),
        "stat": st.sampled_from(("avg", "inst", "??")),
        "period_s": st.integers(-1, 2**70),
        "unit": st.sampled_from(("mg/m3", "ug/m3", "dB", "?")),
        "device": st.sampled_from(("dust-1", "dust-2", "../..")),
    },
)
payloads = st.binary(max_size=40) | st.one_of(hostile_json, near_miss, st.lists(near_miss, max_size=3)).map(
    lambda body: json.dumps(body).encode()
)
topics = st.sampled_from(
    (f"mines/{MINE}/dust-1/up", f"mines/{MINE}/dust-9/up", "mines//x/up", f"mines/{MINE}/dust-1")
) | (st.text(st.characters(codec="utf-8"), max_size=20))
hostile_records = st.builds(
    Record,
    st.just(RecordKind.MESSAGE),
    topics,
    payloads,
    st.text(st.characters(codec="utf-8"), max_size=5),
    st.integers(0, 31),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(hostile_records, max_size=6), st.booleans())
def test_hostile_input_never_stops_good_input(records: list[Record], everything_usable: bool) -> None:
    """P15, whatever the policy lets through."""
    quality = {"unusable": []} if everything_usable else {}
    rules = policy([DUSTY, mean(coverage=0.1), SILENT], quality=quality)
    with scene(rules) as s:
        s.wait(1).batch(*records)
        assert s.account.balanced
        s.say(20).wait(1).batch(message(entry(s.now_ns + 400 * NS, {"pm10": 160})))
        kept = Stored(s)
        assert kept.carry().pending == 0


class TestImports:
    def test_count_and_answer_what_became_of_each_row(self, kept: Stored) -> None:
        s = kept.scene
        rows = [
            file_row(START_NS, 5.0), file_row(START_NS, 5.0), file_row(START_NS, 6.0), file_row(START_NS + NS, None),
            file_row(START_NS + NS, 5.0, "dust-9"), file_row(START_NS + NS, 5.0, unit="dB"),
        ]  # fmt: skip
        s.batch(imported(rows))
        assert s.answers["import"].detail == {  # type: ignore[union-attr]
            "received": 6, "stored": 0, "pending": 1, "quarantined": 2, "duplicate": 1, "conflict": 1, "dead": 1,
        }  # fmt: skip
        assert kept.carry() == Account(received=6, stored=1, quarantined=2, duplicate=1, conflict=1, dead=1)

    def test_raise_nothing_and_clear_nothing(self) -> None:
        with scene(policy([DUSTY, mean(coverage=0.1), SILENT])) as s:
            s.wait(100).batch(imported(file_row(START_NS + n * 10 * NS, 900.0) for n in range(1, 10)))
            s.tick(1)
            assert s.alerts() == []
            s.say(151)
            s.wait(5).batch(imported([file_row(s.now_ns, 1.0)]))
            assert [a.condition.value for a in s.alerts() if a.key.rule == "dusty"] == ["firing"]

    def test_are_in_no_window_with_or_without_a_restart(self) -> None:
        for restarted in (False, True):
            with scene(policy([mean(coverage=0.4)])) as s:
                s.say(100).wait(10).batch(imported([file_row(s.now_ns, 9_000.0)]))
                if restarted:
                    s.restart()
                s.say(100, 100)
                assert s.alerts() == [], f"restarted: {restarted}"

    def test_do_not_count_as_hearing_of_a_device(self) -> None:
        with scene(policy([SILENT])) as s:
            for _ in range(10):
                s.wait(60).batch(imported([file_row(s.now_ns, 5.0)]))
            assert s.the_alert().key.rule == "silent"

    @pytest.mark.parametrize(
        "row",
        [
            file_row(START_NS, 10**30),
            file_row(START_NS, -(10**30)),
            file_row(START_NS, 10**400),
            file_row(START_NS, 1e308, metric="tsp", unit="mg/m3"),
            file_row(2**63 - 1, 5.0),
            file_row(-(2**63) + 1, 5.0),
            file_row(START_NS, 5.0, stat="avg", period_s=10**30),
            file_row(START_NS, 5, quality=2**14 - 1),
        ],
    )
    def test_no_row_stops_the_judging(self, kept: Stored, row: list[Any]) -> None:
        kept.scene.batch(imported([row, file_row(START_NS, 7.0, "dust-1", metric="pm25")]))
        assert kept.scene.account.balanced
        assert kept.scene.account.received == 2
        kept.carry()
        assert [r.value for r in kept.readings() if r.series.metric == "pm25"] == [7.0]

    def test_old_rows_are_checked_against_the_store(self, kept: Stored) -> None:
        rows = [file_row(START_NS - (1000 - n) * DAY_NS, float(n)) for n in range(20)]
        for _ in range(2):
            kept.scene.batch(imported(rows))
            kept.carry()
        assert kept.scene.account == Account(received=40, stored=20, duplicate=20)


class TestDeadLetterReplay:
    def replay(self, s: Scene, *record_ids: int) -> dict[str, int]:
        return dict(s.act(ActKind.REPLAY_DEAD_LETTERS, body={"record_ids": list(record_ids)}).detail)

    def dead(self, s: Scene) -> list[int]:
        return sorted({row["record_id"] for row in s.rows("dead_letter") if row["replayed_ns"] is None})

    def test_reads_the_message_by_todays_rules(self, kept: Stored) -> None:
        s = kept.scene
        s.batch(activation(policy([DUSTY], devices=[device("gw-1"), device("dust-1", pm10="ug/m3")])))
        s.batch(message(entry(START_NS, {"pm10": 5}, device="dust-1"), "gw-1"))
        assert s.account == Account(received=1, dead=1)
        s.batch(activation(GATEWAY))
        assert self.replay(s, *self.dead(s)) == {
            "messages": 1, "stored": 1, "quarantined": 0, "still_dead": 0, "already_known": 0,
        }  # fmt: skip
        assert kept.carry() == Account(received=1, stored=1)
        assert kept.readings() == [Reading(pm10(), START_NS, 5.0)]
        with pytest.raises(NotFound):
            self.replay(s, 5)

    def test_what_is_still_refused_stays_a_dead_letter(self, kept: Stored) -> None:
        s = kept.scene
        s.batch(message(b"{"))
        for _ in range(2):
            assert self.replay(s, *self.dead(s))["still_dead"] == 1
        assert s.account == Account(received=1, dead=1)
        assert len(s.rows("dead_letter")) == 1

    @pytest.mark.parametrize("days_later", [0, 10])
    def test_the_good_part_of_a_message_is_counted_once(self, kept: Stored, days_later: int) -> None:
        """Also when only the store can tell that it has it."""
        s = kept.scene
        s.batch(message(entry(START_NS, {"pm10": 5, "pm25": None, "ph": 7, "nonsense": 1})))
        s.say(1)
        before = kept.carry()
        assert before == Account(received=5, stored=2, quarantined=2, dead=1)
        s.tick(days_later * 86_400)
        for _ in range(3):
            self.replay(s, *self.dead(s))
            assert kept.carry() == before
        assert s.rows("conflict") == []
        assert len(s.rows("quarantine")) == 2

    def test_a_conflict_of_the_message_is_not_recorded_again(self, kept: Stored) -> None:
        s = kept.scene
        s.batch(message(entry(START_NS, {"pm10": 5})))
        s.batch(message(entry(START_NS, {"pm10": 6, "nonsense": 1})))
        before = kept.carry()
        self.replay(s, *self.dead(s))
        assert kept.carry() == before == Account(received=3, stored=1, conflict=1, dead=1)
        assert len(s.rows("conflict")) == 1

    def test_twice_in_one_batch_is_once(self, kept: Stored) -> None:
        s = kept.scene
        s.batch(message(entry(START_NS, {"pm10": 5}, device="dust-1"), "gw-1")).batch(activation(GATEWAY))
        act = Act(ActKind.REPLAY_DEAD_LETTERS, LI, body={"record_ids": self.dead(s)})
        s.batch(act_record(act, "t1"), act_record(act, "t2"))
        assert s.account == Account(received=1, pending=1)
        assert isinstance(s.answers["t2"], NotFound)

    def test_the_same_record_named_twice_is_once(self, kept: Stored) -> None:
        s = kept.scene
        s.batch(message(entry(START_NS, {"pm10": 5}, device="dust-1"), "gw-1")).batch(activation(GATEWAY))
        (record_id,) = self.dead(s)
        assert self.replay(s, record_id, record_id)["messages"] == 1
        assert s.account == Account(received=1, pending=1)

    def test_raises_nothing(self, kept: Stored) -> None:
        s = kept.scene
        s.batch(message(entry(START_NS, {"pm10": 900}, device="dust-1"), "gw-1")).batch(activation(GATEWAY))
        self.replay(s, *self.dead(s))
        s.tick(60)
        assert s.alerts() == []
        assert s.account.pending == 1

    def test_is_in_no_window_with_or_without_a_restart(self) -> None:
        gateway = policy([mean(coverage=0.3)], devices=BEHIND_GATEWAY)
        for restarted in (False, True):
            with scene(policy([mean(coverage=0.3)])) as s:
                s.wait(10).batch(message(entry(s.now_ns, {"pm10": 9_000}, device="dust-1"), "gw-1"))
                s.batch(activation(gateway))
                assert self.replay(s, *self.dead(s))["stored"] == 1
                if restarted:
                    s.restart()
                s.say(100, 100)
                assert s.alerts() == []


class TestDamagedJournal:
    """Bits that fell over on the disk."""

    def journal(self, damaged: RecordKind) -> HeldJournal:
        act = act_record(Act(ActKind.NOTE, LI, "a0", "words"))
        records = [activation(RULES), message(entry(START_NS, {"pm10": 5})), act, imported([file_row(START_NS, 5.0)])]
        held = HeldJournal([(START_NS + n, START_NS + n, [record]) for n, record in enumerate(records)])
        held._batches = [
            batch._replace(records=tuple(one._replace(intact=one.record.kind is not damaged) for one in batch.records))
            for batch in held._batches
        ]
        return held

    @pytest.mark.parametrize("kind", [RecordKind.ACT, RecordKind.POLICY])
    def test_an_act_or_a_policy_that_cannot_be_read_is_passed_over_aloud(self, kind: RecordKind) -> None:
        with SPARE.state() as state:
            pipeline = Pipeline(self.journal(kind), state)
            pipeline.run_available()
            assert pipeline.cursor == 4
            (said,) = [row for row in table_rows(state, "audit") if row["action"] == "journal.damaged_record"]
            assert json.loads(said["body"])["kind"] == kind.name.lower()

    @pytest.mark.parametrize("kind", [RecordKind.MESSAGE, RecordKind.IMPORT])
    def test_a_message_is_a_dead_letter(self, kind: RecordKind) -> None:
        with SPARE.state() as state:
            Pipeline(self.journal(kind), state).run_available()
            account = state.account()
            assert account == Account(received=2, pending=1, dead=1)

    def test_found_in_a_file_by_its_checksum(self, tmp_path: Any) -> None:
        path = tmp_path / "journal.db"
        journal = Journal(path)
        journal.append([(START_NS, START_NS, [activation(RULES), message(entry(START_NS, {"pm10": 5}))])])
        journal._db.execute("UPDATE record SET payload = replace(payload, '5', '6') WHERE id = 2")
        journal.close()
        with SPARE.state() as state:
            s = Scene(state, path)
            s.pipeline.run_available()
            (letter,) = s.rows("dead_letter")
            assert (letter["word"], letter["record_id"]) == ("journal_checksum", 2)
            s.close()


def test_a_stored_record_is_what_the_journal_gave() -> None:
    """The held journal of these tests numbers its records as the file does."""
    held = HeldJournal([(1, 1, [message(b"a"), message(b"b")]), (2, 2, []), (3, 3, [message(b"c")])])
    assert held.record(3) == StoredRecord(3, message(b"c"), True)
    assert [batch.no for batch in held.batches(0, 1)] == [1]
    assert [len(batch.records) for batch in held.batches(0)] == [2, 0, 1]
    assert held.record(4) is None


def test_series_of_other_mines_do_not_meet() -> None:
    other = policy([limit("dusty", "pm10", 150, 130)], "shifan-8")
    with scene(RULES, other) as s:
        for mine in (MINE, "shifan-8"):
            s.batch(message(entry(START_NS, {"pm10": 5}), mine=mine))
        assert s.account == Account(received=2, pending=2)
        assert Series("shifan-8", "dust-1", "pm10") in s.pipeline.judge.state.series
