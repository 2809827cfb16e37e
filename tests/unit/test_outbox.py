"""The outboxes: readings that wait for the store, notices that wait for their channel, and dead letters to name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, insert, update

from greenmine.alerts import lifecycle
from greenmine.alerts.lifecycle import Cause
from greenmine.core.act import Act, ActKind
from greenmine.core.alert import AlertKey, Reason, Severity
from greenmine.core.errors import NotFound
from greenmine.core.notice import NoticeKind
from greenmine.core.reading import STATS, Reading, Series
from greenmine.store import alerts, dead_letters, notices, outbox, schema
from tests.pipeline_scenes import LI, SPARE, START_NS, pm10

names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,8}", fullmatch=True)
series = st.builds(Series, names, names, names, names | st.just(""), st.sampled_from(STATS), st.integers(0, 10**6))
readings = st.builds(
    Reading,
    series,
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(0, 2**14 - 1),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
)


def some(first: int, count: int) -> list[Reading]:
    return [Reading(pm10(), START_NS + n, float(n), 0) for n in range(first, first + count)]


@settings(max_examples=60, deadline=None)
@given(st.lists(readings, max_size=20))
def test_readings_come_out_as_they_went_in(given_readings: list[Reading]) -> None:
    found = outbox.decode(outbox.encode(given_readings))
    assert found == given_readings
    assert [repr(one.value) for one in found] == [repr(one.value) for one in given_readings], "also minus zero"


class TestReadings:
    def test_parcels_leave_in_the_order_in_which_they_came(self) -> None:
        with SPARE.state() as state:
            with state.writing() as connection:
                for first in range(0, 40, 10):
                    outbox.push(connection, some(first, 10), check_store=False)
                assert outbox.depth(connection) == 40
            with state.writing() as connection:
                parcels = outbox.peek(connection, 25)
                assert [one.value for parcel in parcels for one in parcel.readings] == [float(n) for n in range(20)]
                outbox.remove(connection, parcels)
                assert outbox.depth(connection) == 20
                assert outbox.peek(connection, 25)[0].readings == some(20, 10)

    def test_one_parcel_always_comes_however_large(self) -> None:
        with SPARE.state() as state, state.writing() as connection:
            outbox.push(connection, some(0, 30), check_store=False)
            assert len(outbox.peek(connection, 1)) == 1

    def test_nothing_makes_no_parcel(self) -> None:
        with SPARE.state() as state, state.writing() as connection:
            outbox.push(connection, [], check_store=False)
            assert outbox.peek(connection, 100) == []
            assert outbox.depth(connection) == 0

    def test_parcels_that_ask_the_store_do_not_travel_with_others(self) -> None:
        with SPARE.state() as state, state.writing() as connection:
            for first, check in ((0, False), (1, True), (2, True), (3, False)):
                outbox.push(connection, some(first, 1), check_store=check)
            first, *rest = outbox.peek(connection, 100)
            assert (first.check_store, rest) == (False, [])
            outbox.remove(connection, [first])
            assert [parcel.check_store for parcel in outbox.peek(connection, 100)] == [True, True]

    def test_what_the_store_has_not_stays_in_its_place(self) -> None:
        with SPARE.state() as state, state.writing() as connection:
            outbox.push(connection, some(0, 3), check_store=True)
            outbox.push(connection, some(9, 1), check_store=False)
            outbox.decided(connection, outbox.peek(connection, 100)[0], some(1, 2))
            found = outbox.peek(connection, 100)
            assert [(parcel.check_store, parcel.readings) for parcel in found] == [
                (False, some(1, 2)),
                (False, some(9, 1)),
            ]
            outbox.decided(connection, found[0], [])
            assert [parcel.readings for parcel in outbox.peek(connection, 100)] == [some(9, 1)]


class Outbox:
    """Notices and the alerts they speak of, put into a state by hand."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.made = 0

    def alert(self, name: str, severity: Severity = Severity.WARNING) -> str:
        cause = Cause("pm10", "threshold", severity, Reason.OVER_LIMIT, 1.0, 1.0, "", None, START_NS, "rule:m/r")
        alert, _ = lifecycle.raised(AlertKey("m", name, "d", ""), 1, cause)
        alerts.save(self.connection, [replace(alert, id=name)])
        return name

    def notice(
        self, alert: str, transition: int = 1, kind: NoticeKind = NoticeKind.RAISED, target: str = "", **more: object
    ) -> str:
        self.made += 1
        key = f"{alert}/{transition}/{kind.value}/{target or self.made}"
        row: dict[str, object] = {
            "key": key, "alert_id": alert, "transition": transition, "kind": kind.value, "contact": "office",
            "channel": "webhook", "target": target, "subject": "", "text": "", "payload": "{}", "state": "pending",
            "attempts": 0, "created_ns": START_NS + self.made, "next_ns": START_NS, "detail": "",
        }  # fmt: skip
        self.connection.execute(insert(schema.notice).values({**row, **more}))
        return key

    def due(self, now_ns: int = START_NS, **more: int) -> list[str]:
        return [notice.key for notice, _ in notices.due(self.connection, now_ns, **more)]


@pytest.fixture
def box() -> Iterator[Outbox]:
    with SPARE.state() as state, state.writing() as connection:
        yield Outbox(connection)


class TestNotices:
    def test_are_due_at_their_time(self, box: Outbox) -> None:
        key = box.notice(box.alert("a"), next_ns=START_NS + 5)
        assert box.due(START_NS + 4) == []
        assert box.due(START_NS + 5) == [key]

    @pytest.mark.parametrize("state", ["delivered", "refused", "expired", "withdrawn"])
    def test_that_have_ended_are_not(self, box: Outbox, state: str) -> None:
        box.notice(box.alert("a"), state=state)
        assert box.due() == []

    def test_critical_first_then_by_age(self, box: Outbox) -> None:
        for severity in Severity:
            box.alert(severity.value, severity)
        keys = {
            n: box.notice(alert) for n, alert in enumerate(("notice", "warning", "critical", "warning", "critical"))
        }
        assert box.due() == [keys[n] for n in (2, 4, 1, 3, 0)]

    def test_of_an_alert_nobody_knows_are_sent_all_the_same(self, box: Outbox) -> None:
        """Tests of contacts speak of no alert."""
        assert box.due() == []
        key = box.notice("none", kind=NoticeKind.TEST)
        assert box.due() == [key]

    def test_a_clearing_waits_for_the_raise_before_it(self, box: Outbox) -> None:
        alert = box.alert("a")
        raised = box.notice(alert, 1, target="t", next_ns=START_NS + 900)
        cleared = box.notice(alert, 2, NoticeKind.CLEARED, target="t")
        assert box.due() == []
        assert box.due(START_NS + 900) == [raised]
        box.connection.execute(schema.notice.update().where(schema.notice.c.key == raised).values(state="expired"))
        assert box.due() == [cleared]

    def test_but_not_for_that_of_somebody_else(self, box: Outbox) -> None:
        alert = box.alert("a")
        box.notice(alert, 1, target="dead", next_ns=START_NS + 900)
        box.notice(alert, 1, target="t", contact="county", next_ns=START_NS + 900)
        box.notice(box.alert("b"), 1, target="t", next_ns=START_NS + 900)
        cleared = box.notice(alert, 2, NoticeKind.CLEARED, target="t")
        assert box.due() == [cleared]

    def test_nor_for_a_later_raise(self, box: Outbox) -> None:
        alert = box.alert("a")
        cleared = box.notice(alert, 2, NoticeKind.CLEARED, target="t")
        raised = box.notice(alert, 3, target="t")
        assert box.due() == [cleared, raised]

    def test_a_receiver_that_takes_nothing_does_not_crowd_out_the_others(self, box: Outbox) -> None:
        critical = box.alert("critical", Severity.CRITICAL)
        for number in range(300):
            box.notice(critical, number, target="dead")
        other = box.notice(box.alert("small", Severity.NOTICE), target="alive")
        due = box.due(most_a_target=20)
        assert len(due) == 21
        assert due[-1] == other


class TestDeadLetters:
    @pytest.fixture
    def connection(self) -> Iterator[Connection]:
        with SPARE.state() as state, state.writing() as connection:
            for number, (record_id, replayed_ns) in enumerate([(7, None), (7, None), (3, None), (0, None), (9, 5)], 1):
                row = {"id": number, "at_ns": number, "record_id": record_id, "source": "s", "client": "c",
                       "word": "json", "detail": "", "replayed_ns": replayed_ns,
                       "mine": "", "device": "", "field": "", "size": 0}  # fmt: skip
                connection.execute(insert(schema.dead_letter).values(row))
            yield connection

    def test_are_listed_newest_first(self, connection: Connection) -> None:
        assert [letter.id for letter in dead_letters.listed(connection)] == [4, 3, 2, 1]
        assert [letter.id for letter in dead_letters.listed(connection, limit=2)] == [4, 3]
        assert [letter.id for letter in dead_letters.listed(connection, open_only=False)] == [5, 4, 3, 2, 1]

    def act(self, *ids: object) -> Act:
        return Act(ActKind.REPLAY_DEAD_LETTERS, LI, body={"ids": list(ids)}, idempotency_key="k")

    def test_an_act_names_their_records(self, connection: Connection) -> None:
        found = dead_letters.with_record_ids(connection, self.act(1, 2, 3, 99))
        assert found.body == {"record_ids": [3, 7]}
        assert (found.principal, found.idempotency_key) == (LI, "k")

    @pytest.mark.parametrize("ids", [(), (99,), (4,), (5,), ("1",), (2**80,), (-(2**80),), (0,), (None,)])
    def test_none_that_could_be_read_again(self, connection: Connection, ids: tuple[object, ...]) -> None:
        with pytest.raises(NotFound, match="none of these"):
            dead_letters.with_record_ids(connection, self.act(*ids))

    def test_one_that_was_read_again_names_what_became_of_it(self, connection: Connection) -> None:
        connection.execute(update(schema.dead_letter).where(schema.dead_letter.c.id == 1).values(replayed_ns=8))
        with pytest.raises(NotFound, match=r"is now 2$"):
            dead_letters.with_record_ids(connection, self.act(1))


class TestAlerts:
    def test_are_kept_as_they_are_and_found_by_id(self) -> None:
        cause = Cause("pm10", "threshold", Severity.CRITICAL, Reason.OVER_LIMIT, 1.5, 1.0, "u", 4, START_NS, "rule:m/r")
        first, _ = lifecycle.raised(AlertKey("m", "r", "d", ""), 1, cause)
        second, _ = lifecycle.raised(AlertKey("n", "r", "d", ""), 2, cause._replace(at_ns=START_NS + 1))
        over = replace(second, condition=first.condition.CLEARED)
        with SPARE.state() as state, state.writing() as connection:
            alerts.save(connection, [first, second])
            alerts.save(connection, [over])
            assert alerts.get(connection, first.id) == first
            assert alerts.listed(connection) == [over, first]
            assert alerts.listed(connection, open_only=True) == [first]
            assert alerts.listed(connection, mine="n") == [over]
            assert alerts.listed(connection, limit=1) == [over]
            with pytest.raises(NotFound):
                alerts.get(connection, "a0")
            assert alerts.counts(connection) == {"raised": 2, "delivered": 0, "acknowledged": 0, "resolved": 1}
