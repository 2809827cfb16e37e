"""A restart at any point loses nothing and does nothing twice; which batches are committed together changes nothing.

Scripts of everything that can enter a journal are judged without a break, one batch a commit. The same journal is then
judged in other commits, with restarts, and with commits that fail halfway; what every table holds must be the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from greenmine.core.account import Account
from greenmine.core.act import Act, ActKind
from greenmine.core.alert import DISK_RULE, LINK_RULE, STORE_RULE, AlertKey, Condition, Reason
from greenmine.core.clock import ManualClock
from greenmine.core.notice import Delivery
from greenmine.core.reading import Reading
from greenmine.core.reading_store import InMemoryReadingStore, Selection
from greenmine.ingest.record import Record, RecordFlag
from greenmine.pipeline.pipeline import Pipeline
from greenmine.policy.model import Policy
from greenmine.store import audit, hours
from greenmine.store.state import StateDb
from greenmine.store.writer import StoreWriter
from tests.pipeline_scenes import (
    DAY_NS,
    DUSTY,
    HOUR_NS,
    LI,
    MINE,
    NS,
    SILENT,
    SPARE,
    START_NS,
    HeldJournal,
    Scene,
    act_record,
    activation,
    commits_of,
    delivery,
    device,
    entry,
    everything,
    identities,
    imported,
    limit,
    mean,
    message,
    policy,
    service,
    table_rows,
)

DEVICES = [
    device("gw-1"),
    {**device("dust-1", pm10="ug/m3", pm25="ug/m3"), "gateway": "gw-1"},
    device("noise-1", "noise", laeq="dB"),
]
HOLDING = limit("holding", "pm10", 150, 130, hold="30s", clear_hold="20s", severity="critical", not_during=["blast"])
LOUD = {**mean("laeq", "60s", coverage=0.3), "id": "loud"}
POLICIES = (
    policy([DUSTY, HOLDING, mean(coverage=0.5), LOUD, SILENT], devices=DEVICES),
    policy([limit("dusty", "pm10", 250, 200), {**mean(window="10m", coverage=0.1)}, SILENT], devices=DEVICES),
    policy([DUSTY, mean(window="100h", coverage=0.00001)], devices=DEVICES[1:]),
    policy([{**SILENT, "id": "dusty"}, HOLDING], devices=DEVICES, quality={"unusable": []}),
)
VALUES = (0, 120, 130, 131, 150, 151, 200, 260, 900)
DEVICE_OF = {"pm10": "dust-1", "pm25": "dust-1", "laeq": "noise-1"}


class Said(NamedTuple):
    """One record of a script, before it is known which alerts and notices there are to speak of."""

    kind: str
    metric: str
    value: float
    offset_s: float
    number: int


saids = st.builds(
    Said,
    st.sampled_from(
        ("reading",) * 12
        + ("numbered",) * 4
        + ("activity",) * 2
        + (
            "twice",
            "flagged",
            "null",
            "garbage",
            "retained",
            "behind gateway",
            "mixed",
            "import",
            "stranger",
            "stranger",
        )
        + ("acknowledge", "note", "resolve", "keyed note", "fact", "replay", "replay")
        + ("calibration", "calibration", "replacement", "approve", "reject")
        + ("delivered", "delivered", "retry", "refused", "policy", "mine leaves", "start", "link_down", "link_up")
        + ("disk_full", "disk_room", "store_refuses", "store_takes")
    ),
    st.sampled_from(("pm10", "pm10", "pm25", "laeq")),
    st.sampled_from(VALUES),
    st.sampled_from((0, 0, 0, 0, 0, -5, -30, -3600, -71 * 3600, -74 * 3600, 200, 400)),
    st.integers(0, 5),
)
pauses_s = st.sampled_from((0.0, 0.3, 1.0, 5.0, 10.0, 10.0, 10.0, 31.0, 70.0, 301.0, 3700.0, 90_000.0, 200_000.0))
scripts = st.lists(st.tuples(pauses_s, st.lists(saids, max_size=4)), min_size=3, max_size=18)


sizes = st.sampled_from((1, 2, 7, 5000))
crashes = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 120)), max_size=6)
carryings = st.lists(st.booleans(), min_size=8, max_size=8)


class Narrator:
    """Turns a script into a journal, judging as it goes: acts and reports name alerts and notices that really are."""

    def __init__(self, state: StateDb) -> None:
        self.scene = Scene(state)
        self.policy: Policy = POLICIES[0]

    def tell(self, script: list[tuple[float, list[Said]]]) -> HeldJournal:
        self.scene.begin(self.policy)
        for pause_s, said in script:
            self.scene.wait(pause_s)
            self.scene.batch(*(record for one in said for record in self.records(one)))
        assert isinstance(self.scene.journal, HeldJournal)
        return self.scene.journal

    def records(self, said: Said) -> Iterator[Record]:
        kind, metric, value, offset_s, number = said
        time_ns = self.scene.now_ns + int(offset_s * NS)
        sender = DEVICE_OF[metric]
        if kind in ("reading", "twice"):
            yield from [message(entry(time_ns, {metric: value / (4 if metric == "laeq" else 1)}), sender)] * (
                2 if kind == "twice" else 1
            )
        elif kind == "flagged":
            yield message(entry(time_ns, {metric: value}, flags={metric: "M"}), sender)
        elif kind == "null":
            yield message(entry(time_ns, {metric: None, "nonsense": 1}), sender)
        elif kind == "garbage":
            yield message(b"{", sender)
        elif kind == "retained":
            yield message(entry(time_ns, {metric: value}), sender, flags=RecordFlag.RETAIN)
        elif kind == "behind gateway":
            yield message(entry(time_ns, {"pm10": value}, device="dust-1"), "gw-1")
        elif kind == "mixed":
            yield message([entry(time_ns, {metric: value}), entry(time_ns + NS, {metric: 1}), 7], sender)
        elif kind == "numbered":
            more = {"seq": number * 3 + int(value) % 5, "boot": "a" if value < 200 else "b"}
            yield message(entry(time_ns, {metric: value}, **more), sender)
        elif kind == "activity":
            what = {"kind": ("blast", "stop", "haul")[number % 3], "state": ("start", "end", "planned")[int(value) % 3]}
            yield message({"ts": time_ns // 1_000_000, **what}, sender, kind="activity")
        elif kind == "stranger":
            yield message([entry(time_ns, {metric: value}), 7], f"stranger-{number}")
        elif kind == "import":
            yield imported([(MINE, sender, metric, "", "inst", 0, time_ns - n * NS, value, None, 0) for n in range(3)])
        elif kind == "policy":
            self.policy = POLICIES[number % len(POLICIES)]
            yield activation(self.policy)
        elif kind == "mine leaves":
            yield activation(None)
        elif kind in ("start", "link_down", "link_up", "disk_full", "disk_room", "store_refuses", "store_takes"):
            yield service(kind)
        else:
            yield from self._answers(kind, number)

    def _answers(self, kind: str, number: int) -> Iterator[Record]:
        s = self.scene
        if kind in ("acknowledge", "note", "resolve", "keyed note"):
            alerts = s.alerts()[-3:]
            alert_id = alerts[number % len(alerts)].id if alerts and number < 5 else "a-unknown"
            act = ActKind.NOTE if kind == "keyed note" else ActKind(kind)
            yield act_record(Act(act, LI, alert_id, "words", {}, "key" if kind == "keyed note" else ""))
        elif kind == "fact":
            body = {"mine": MINE, "kind": "maintenance", "subject": "", "valid_from_ns": number, "valid_to_ns": None,
                    "reason": "words" * (number % 2), "body": {}}  # fmt: skip
            yield act_record(Act(ActKind.FACT, LI, body=body))
        elif kind in ("calibration", "replacement"):
            subject, body = ("dust-1", {"serial": f"n{number}"}) if kind == "replacement" else (
                "dust-1/pm10", {"slope": 0.5 + number, "offset": number, **({"corrects": number} if number > 4 else {})}
            )  # fmt: skip
            fact = {"mine": MINE, "kind": kind, "subject": subject, "valid_from_ns": s.now_ns - number * 20 * NS,
                    "valid_to_ns": None, "reason": "words", "body": body}  # fmt: skip
            yield act_record(Act(ActKind.FACT, LI, body=fact))
        elif kind == "approve":
            address = {"network": "dev_eui", "address": f"{number:016X}", "mine": MINE, "device": "dust-1"}
            yield act_record(Act(ActKind.APPROVE_DEVICE, LI, body={**address, "replay": True}))
        elif kind == "reject":
            body = {"network": "mqtt", "address": f"{MINE}/stranger-{number}"}
            yield act_record(Act(ActKind.REJECT_DEVICE, LI, body=body))
        elif kind == "replay":
            ids = sorted({row["record_id"] for row in s.rows("dead_letter")})[-3:]
            yield act_record(Act(ActKind.REPLAY_DEAD_LETTERS, LI, body={"record_ids": ids or [999]}))
        else:
            outcome = {"delivered": Delivery.ok("taken"), "retry": Delivery.retry("busy", 7.0 * number)}
            waiting = [row["key"] for row in s.rows("notice") if row["state"] == "pending"] or ["0" * 64]
            yield delivery(waiting[number % len(waiting)], outcome.get(kind, Delivery.refused("no such box")))


@contextmanager
def judged(journal: HeldJournal, how: Callable[[Pipeline], None]) -> Iterator[StateDb]:
    with SPARE.state() as state:
        how(Pipeline(journal, state))
        yield state


def told(script: list[tuple[float, list[Said]]]) -> tuple[HeldJournal, dict[str, Any]]:
    """The journal of a script, and what a state holds that judged it without a break, one batch a commit."""
    with SPARE.state() as state:
        journal = Narrator(state).tell(script)
        return journal, everything(state)


def assert_same(state: StateDb, expected: dict[str, Any]) -> None:
    found = everything(state)
    for part in expected:
        assert found[part] == expected[part], part
    account = state.account()
    assert account.balanced
    with state.reading() as connection:
        assert sum(hours.accounts(connection).values(), Account()) == account
        assert audit.verify(audit.rows(connection)).broken_no is None


class _Halt(Exception):
    """The process ends here."""


@contextmanager
def halting_after(state: StateDb, statements: int) -> Iterator[None]:
    """The state's writing connection fails before its n-th statement, as a process that ends there would leave it."""
    left = statements

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise _Halt

    event.listen(state._writer, "before_cursor_execute", count)
    try:
        yield
    finally:
        event.remove(state._writer, "before_cursor_execute", count)


@settings(max_examples=25, deadline=None)
@given(scripts, sizes)
def test_which_batches_are_committed_together_changes_nothing(
    script: list[tuple[float, list[Said]]], records: int
) -> None:
    journal, expected = told(script)
    with commits_of(records), SPARE.state() as state:
        Pipeline(journal, state).run_available()
        assert_same(state, expected)


def test_an_identity_that_is_forgotten_in_the_commit_that_brought_it() -> None:
    """Three batches: a reading nearly three days old, the moment at which it is too old, and another old one."""
    old = [message(entry(START_NS - 71 * HOUR_NS - n * NS, {metric: 5})) for n, metric in enumerate(("pm10", "pm25"))]
    times = (START_NS, START_NS + 2 * HOUR_NS, START_NS + 2 * HOUR_NS + NS)
    begun = [(START_NS, START_NS, [service("start")]), (START_NS, START_NS, [activation(policy([DUSTY]))])]
    journal = HeldJournal(
        [*begun, *((t, t, records) for t, records in zip(times, ([old[0]], [], [old[1]]), strict=True))]
    )
    held = []
    for records in (1, 5000):
        with commits_of(records), SPARE.state() as state:
            Pipeline(journal, state).run_available()
            held.append(everything(state))
    assert held[0] == held[1]
    assert held[0]["identities"] == {}, "older than 72 hours: the store is asked"
    assert held[0]["outbox"].keys() == {(False, False), (True, False)}


class _Until(HeldJournal):
    """A journal of which only the first batches have been written yet."""

    def __init__(self, whole: HeldJournal) -> None:
        super().__init__()
        self._batches, self._records = whole._batches, whole._records
        self.end = len(whole._batches)

    def batches(self, after: int, most_records: int = 5000) -> list[Any]:
        return [batch for batch in super().batches(after, most_records) if batch.no <= self.end]

    def last_no(self) -> int:
        return self.end


@settings(max_examples=20, deadline=None)
@given(scripts)
def test_a_restart_after_every_commit_changes_nothing(script: list[tuple[float, list[Said]]]) -> None:
    journal, expected = told(script)
    with SPARE.state() as state:
        growing = _Until(journal)
        for end in range(1, journal.last_no() + 1):
            growing.end = end
            Pipeline(growing, state).run_available()
        assert_same(state, expected)


@settings(max_examples=30, deadline=None)
@given(scripts, crashes, sizes)
def test_a_crash_at_any_statement_changes_nothing(
    script: list[tuple[float, list[Said]]], where: list[tuple[int, int]], records: int
) -> None:
    """Each crash: so many more batches have come into the journal, and the process ends at such a statement."""
    journal, expected = told(script)
    with commits_of(records), SPARE.state() as state:
        growing = _Until(journal)
        growing.end = 0
        for batches, statements in where:
            growing.end = min(growing.end + batches, journal.last_no())
            with halting_after(state, statements), suppress(_Halt):
                Pipeline(growing, state).run_available()
            assert state.account().balanced
        growing.end = journal.last_no()
        Pipeline(growing, state).run_available()
        assert_same(state, expected)


@settings(max_examples=30, deadline=None)
@given(scripts)
def test_whatever_happens_the_parts_of_the_state_fit_each_other(script: list[tuple[float, list[Said]]]) -> None:
    with SPARE.state() as state:
        narrator = Narrator(state)
        narrator.tell(script)
        assert_sums_fit(narrator.scene)
        assert_histories_fit(narrator.scene)
        assert_conditions_fit(narrator.scene)


def assert_sums_fit(s: Scene) -> None:
    """The account is the number of rows that say why."""
    account = s.account
    assert account.balanced
    assert account.dead == sum(row["replayed_ns"] is None for row in s.rows("dead_letter"))
    assert account.quarantined == len(s.rows("quarantine"))
    assert account.conflict == len(s.rows("conflict"))
    assert account.pending == sum(row["readings"] for row in s.rows("readings_outbox"))
    assert len(identities(s.state)) <= account.received


def assert_histories_fit(s: Scene) -> None:
    """Each alert's transitions are numbered without gaps, begin with a raise, and end in the alert as it is; nothing
    but a fresh usable reading, data that came back, a rule that is gone or a service that is mended has ever cleared
    one."""
    for alert in s.alerts():
        history = s.history(alert.id)
        assert [step.no for step in history] == list(range(1, len(history) + 1))
        assert (history[-1].no, history[-1].condition, history[-1].handling) == (
            alert.transition,
            alert.condition,
            alert.handling,
        )
        assert history[0].condition is Condition.FIRING
        assert history[0].at_ns == alert.raised_at_ns
        before = Condition.INACTIVE
        for step in history:
            if step.condition is Condition.CLEARED is not before:
                assert step.reason in CLEARING
                if step.reason is Reason.BACK_WITHIN_CLEAR_LEVEL:
                    assert step.value is not None
                    assert step.source_time_ns is not None
            before = step.condition


CLEARING = (Reason.BACK_WITHIN_CLEAR_LEVEL, Reason.DATA_RETURNED, Reason.RULE_REMOVED, Reason.SERVICE_MENDED)


def assert_conditions_fit(s: Scene) -> None:
    """An alert fires exactly while a condition of its key does, and there is one open alert a key."""
    open_alerts = s.alerts(open_only=True)
    keys = [alert.key for alert in open_alerts]
    assert len(keys) == len(set(keys))
    series = {row["id"]: row for row in s.rows("series")}
    phases: dict[AlertKey, set[str]] = {}
    for row in s.rows("condition"):
        one = series[row["series_id"]]
        if row["phase"] != "pending":
            phases.setdefault(AlertKey(row["mine"], row["rule"], one["device"], one["channel"]), set()).add(
                row["phase"]
            )
    firing = {a.key: a.condition.value for a in open_alerts if a.condition is not Condition.CLEARED}
    expected = {key: "stale" if found == {"stale"} else "firing" for key, found in phases.items()}
    assert {
        key: found for key, found in firing.items() if key.rule not in (LINK_RULE, DISK_RULE, STORE_RULE)
    } == expected


LONG_SCRIPT: list[tuple[float, list[Said]]] = [
    (1, [Said("reading", "pm10", 900, 0, 0), Said("mixed", "pm25", 10, 0, 0), Said("reading", "pm25", 11, 0, 0)]),
    (1, [Said("null", "pm10", 0, 0, 0)]),
    (1, [Said("numbered", "pm10", 0, 0, 0), Said("activity", "pm10", 0, 0, 2)]),
    (1, [Said("numbered", "pm10", 0, 0, 3), Said("activity", "pm10", 0, 0, 0)]),
    (10, [Said("reading", "pm10", 900, 0, 0), Said("twice", "laeq", 260, 0, 0)]),
    (31, [Said("acknowledge", "pm10", 0, 0, 0), Said("reading", "pm10", 50, -20, 0)]),
    (5, [Said("retry", "pm10", 0, 0, 0), Said("delivered", "pm10", 0, 0, 1), Said("refused", "pm10", 0, 0, 2)]),
    (10, [Said("reading", "pm10", 0, 0, 0), Said("import", "pm10", 0, -74 * 3600, 0)]),
    (31, [Said("reading", "pm10", 0, 0, 0), Said("fact", "pm10", 0, 0, 1), Said("keyed note", "pm10", 0, 0, 0)]),
    (301, [Said("replay", "pm10", 0, 0, 0), Said("resolve", "pm10", 0, 0, 0)]),
    (1, [Said("stranger", "pm10", 9, 0, 0), Said("stranger", "pm10", 9, 0, 1)]),
    (1, [Said("reject", "pm10", 0, 0, 0), Said("reading", "pm10", 90, 0, 0), Said("calibration", "pm10", 0, 0, 1)]),
    (3700, [Said("reading", "pm10", 200, 0, 0), Said("policy", "pm10", 0, 0, 1)]),
    (1, [Said("link_down", "pm10", 0, 0, 0)]),
    (70, [Said("delivered", "pm10", 0, 0, 0)]),
    (1, [Said("link_up", "pm10", 0, 0, 0), Said("reading", "pm10", 260, 0, 0)]),
]


def test_the_long_script_has_everything_in_it() -> None:
    """So that the tests of every single crash have something to lose."""
    _, held = told(LONG_SCRIPT)
    empty = [part for part, rows in held.items() if not rows]
    assert empty == []
    assert {row["condition"] for row in held["transition"]} >= {"firing", "cleared"}
    assert {row["state"] for row in held["notice"]} >= {"delivered", "refused", "pending"}


def test_an_exception_at_any_statement_of_a_commit_leaves_nothing_of_it() -> None:
    """One transaction: every statement of every commit of a script is made to fail once, and nothing moves."""
    journal, expected = told(LONG_SCRIPT)
    halts = 0
    with SPARE.state() as state:
        growing = _Until(journal)
        for end in range(1, journal.last_no() + 1):
            growing.end = end
            before = everything(state)
            statements = 0
            while True:
                pipeline = Pipeline(growing, state)
                with halting_after(state, statements):
                    try:
                        pipeline.run_available()
                    except _Halt:
                        halts += 1
                    else:
                        break
                assert everything(state) == before
                # Where statements read only, nothing could be left behind: skip ahead, but hit every kind of table.
                statements += 3
        assert_same(state, expected)
    assert halts > 50


def test_a_home_on_disk_is_the_same_after_crashes(tmp_path: Path) -> None:
    """The same with files: pipeline and state are dropped without being closed."""
    journal, expected = told(LONG_SCRIPT)
    growing = _Until(journal)
    for end in range(1, journal.last_no() + 1):
        growing.end = end
        state = StateDb(tmp_path / "state.db")
        if end % 3 == 0:
            with halting_after(state, end % 4), pytest.raises(_Halt):
                Pipeline(growing, state).run_available()
        else:
            Pipeline(growing, state).run_available()
    state = StateDb(tmp_path / "state.db")
    Pipeline(growing, state).run_available()
    assert_same(state, expected)
    state.close()


@settings(max_examples=20, deadline=None)
@given(scripts, carryings, sizes)
def test_what_rests_in_the_store_does_not_depend_on_when_it_was_carried_there(
    script: list[tuple[float, list[Said]]], carried: list[bool], records: int
) -> None:
    def carry(state: StateDb, store: InMemoryReadingStore) -> None:
        StoreWriter(state, store, ManualClock(START_NS)).run_available()

    def held(store: InMemoryReadingStore) -> list[Reading]:
        return list(store.query(Selection()))

    journal, _ = told(script)
    with commits_of(records), SPARE.state() as one, SPARE.state() as other:
        at_end, between = InMemoryReadingStore(), InMemoryReadingStore()
        Pipeline(journal, one).run_available()
        carry(one, at_end)
        growing = _Until(journal)
        for end in range(1, journal.last_no() + 1):
            growing.end = end
            Pipeline(growing, other).run_available()
            if carried[end % 8]:
                carry(other, between)
        carry(other, between)
        assert held(between) == held(at_end)
        assert one.account() == other.account()
        assert one.account().pending == 0
        conflicts = [
            sorted((row["device"], row["metric"], row["time_ns"], row["kept"], row["refused"]) for row in rows)
            for rows in (table_rows(one, "conflict"), table_rows(other, "conflict"))
        ]
        assert conflicts[0] == conflicts[1]
        assert len(conflicts[0]) == one.account().conflict


class TestWindowsSurvive:
    """Means after a restart, where a naive index of 72 hours would have forgotten what is in the window."""

    @pytest.mark.parametrize("restarted", [False, True])
    def test_longer_than_the_index_of_identities(self, restarted: bool) -> None:
        with SPARE.state() as state:
            s = Scene(state).begin(policy([mean(window="7d", coverage=0.00001)]))
            s.say(1000)
            for _ in range(6):
                s.tick(20 * 3600).say(60)
                if restarted:
                    s.restart()
            assert s.the_alert().last_value == pytest.approx((1000 + 6 * 60) / 7), "five days ago is in the mean"

    @pytest.mark.parametrize("restarted", [False, True])
    def test_of_a_backlog_older_than_the_index(self, restarted: bool) -> None:
        with SPARE.state() as state:
            s = Scene(state).begin(policy([mean(coverage=0.5)]))
            for number in range(3):
                s.tick(3601).batch(message(entry(START_NS - 5 * DAY_NS + number * 10 * NS, {"pm10": 200})))
                if restarted:
                    s.restart()
            assert s.the_alert().value == 200

    @pytest.mark.parametrize("restarted", [False, True])
    def test_a_window_that_grows_holds_what_the_index_held(self, restarted: bool) -> None:
        """The index is pruned at moments of the journal's clock, not of the process."""
        with SPARE.state() as state:
            s = Scene(state).begin(policy([mean(window="60s", coverage=0.5)]))
            s.say(*[100] * 12)
            s.tick(71.5 * 3600).say(100)
            s.tick(1800)
            if restarted:
                s.restart()
            s.tick(1).batch(activation(policy([mean(window="200h", coverage=0.00001)])))
            s.say(5000)
            assert s.the_alert().value == pytest.approx((13 * 100 + 5000) / 14)


OFTEN = (
    (test_which_batches_are_committed_together_changes_nothing, (scripts, sizes)),
    (test_a_restart_after_every_commit_changes_nothing, (scripts,)),
    (test_a_crash_at_any_statement_changes_nothing, (scripts, crashes, sizes)),
    (test_whatever_happens_the_parts_of_the_state_fit_each_other, (scripts,)),
    (test_what_rests_in_the_store_does_not_depend_on_when_it_was_carried_there, (scripts, carryings, sizes)),
)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("test", "strategies"), OFTEN, ids=[test.__name__ for test, _ in OFTEN])
def test_the_same_with_many_scripts(test: Any, strategies: tuple[st.SearchStrategy[Any], ...]) -> None:
    settings(max_examples=1000, deadline=None)(given(*strategies)(test.hypothesis.inner_test))()
