"""What becomes of alerts: their two axes, changes of policy, acts of people, and who is told."""

from __future__ import annotations

from typing import Any

import pytest

from greenmine.core.act import Act, ActKind
from greenmine.core.alert import Condition, Handling, Severity
from greenmine.core.errors import Conflict, NotFound, Refused
from greenmine.core.notice import Delivery, NoticeKind
from greenmine.store import audit
from tests.pipeline_scenes import (
    CONTACTS,
    DAY_NS,
    DUSTY,
    LI,
    MINE,
    NS,
    SILENT,
    SILENT_PM10,
    START_NS,
    Scene,
    act_record,
    activation,
    delivery,
    device,
    entry,
    limit,
    mean,
    message,
    policy,
    scene,
    text,
)

TWO_CONTACTS = [CONTACTS[0], {**CONTACTS[1], "channels": [{"kind": "email", "to": "a@example.com"}]}]


class TestAlerts:
    def test_one_payload_may_raise_clear_and_raise_again(self) -> None:
        with scene(policy([DUSTY])) as s:
            s.wait(60).batch(
                message([entry(START_NS + n * NS, {"pm10": v}) for n, v in ((1, 151), (2, 100), (3, 160))])
            )
            first, second = sorted(s.alerts(), key=lambda a: a.condition.value)
            assert first.id != second.id
            assert (first.key, first.raised_at_ns) == (second.key, second.raised_at_ns)
            assert (first.condition, second.condition) == (Condition.CLEARED, Condition.FIRING)
            assert len({notice.key for notice in s.due()}) == len(s.due())

    def test_two_rules_and_two_devices_are_four_alerts(self) -> None:
        rules = [DUSTY, limit("very-dusty", "pm10", 300, 200, severity="critical")]
        devices = [device("dust-1", pm10="ug/m3"), device("dust-2", pm10="ug/m3")]
        with scene(policy(rules, devices=devices)) as s:
            s.say(500).say(500, device_id="dust-2")
            assert len({alert.key for alert in s.alerts()}) == len(s.alerts()) == 4

    def test_a_handled_alert_stays_open_and_is_raised_again(self) -> None:
        with scene(policy([DUSTY])) as s:
            s.say(151)
            alert = s.the_alert()
            s.act(ActKind.ACKNOWLEDGE, alert.id, "on my way")
            s.say(100)
            assert s.the_alert().is_open
            s.say(200)
            again = s.the_alert()
            assert (again.id, again.handling, again.value) == (alert.id, Handling.ACKNOWLEDGED, 200)
            s.say(100)
            s.act(ActKind.RESOLVE, alert.id, "watered the road")
            assert s.alerts(open_only=True) == []
            s.say(151)
            assert len(s.alerts()) == 2
            assert s.reasons(alert.id) == [
                "over_limit", "acknowledged_by_person", "back_within_clear_level", "over_limit",
                "back_within_clear_level", "resolved_by_person",
            ]  # fmt: skip

    def test_transitions_are_numbered_without_gaps(self) -> None:
        with scene(policy([DUSTY])) as s:
            s.say(151)
            alert = s.the_alert()
            s.act(ActKind.ACKNOWLEDGE, alert.id)
            s.act(ActKind.NOTE, alert.id, "grader")
            s.say(100)
            s.deliver(s.due()[0])
            s.act(ActKind.RESOLVE, alert.id, "done")
            s.deliver(s.due()[0], Delivery.refused("no such box"))
            history = s.history()
            assert [step.no for step in history] == list(range(1, len(history) + 1)) == list(range(1, 8))
            assert s.the_alert().transition == 7
            assert [step.at_ns for step in history] == sorted(step.at_ns for step in history)

    def test_every_transition_is_audited_and_the_chain_fits(self) -> None:
        with scene(policy([DUSTY])) as s:
            s.say(151)
            s.act(ActKind.ACKNOWLEDGE, s.the_alert().id)
            with s.state.reading() as connection:
                rows = list(audit.rows(connection))
            assert audit.verify(rows).broken_no is None
            assert [(row.action, row.principal) for row in rows] == [
                ("service.start", "service:greenmine"),
                ("policy.activate", "service:greenmine"),
                ("alert.over_limit", f"rule:{MINE}/dusty"),
                ("alert.acknowledged_by_person", LI),
            ]

    @pytest.mark.parametrize("restarted", [False, True])
    def test_two_series_of_a_key_fire_and_fall_silent_together(self, restarted: bool) -> None:
        """A minute's mean beside the instant value: one alert, stale only while all that fire are silent."""
        metrics = {"pm10": {"unit": "ug/m3", "interval": "10s"}}
        means = {"pm10": {"unit": "ug/m3", "interval": "60s", "stat": "avg", "period": "60s"}}
        sensor = {"kind": "dust", "principle": "beta"}
        devices = [{"id": "dust-1", "sensors": [{**sensor, "metrics": metrics}, {**sensor, "metrics": means}]}]

        def say_mean(s: Scene, value: float) -> None:
            s.wait(1).batch(message(entry(s.now_ns, {"pm10": value}, stat="avg", period_s=60)))

        def condition(s: Scene) -> Condition:
            if restarted:
                s.restart()
            return s.the_alert().condition

        with scene(policy([DUSTY], devices=devices)) as s:
            s.say(200).tick(181)
            assert condition(s) is Condition.STALE
            say_mean(s, 180)
            assert condition(s) is Condition.FIRING, "the other series fires and is heard"
            s.tick(182)
            assert condition(s) is Condition.STALE, "now both are silent"
            say_mean(s, 180)
            assert condition(s) is Condition.FIRING
            say_mean(s, 50)
            assert condition(s) is Condition.STALE, "what still fires is silent"
            s.say(50)
            assert condition(s) is Condition.CLEARED


class TestPolicyChanges:
    def test_a_rule_that_is_gone_clears_its_alert_and_says_why(self) -> None:
        with scene(policy([DUSTY, SILENT])) as s:
            s.say(151).batch(activation(policy([SILENT])))
            assert s.reasons() == ["over_limit", "rule_removed"]
            s.say(151)
            assert len(s.alerts()) == 1

    def test_so_does_a_device_that_is_gone(self) -> None:
        with scene(policy([DUSTY])) as s:
            s.say(151).batch(activation(policy([DUSTY], devices=[device("dust-2", pm10="ug/m3")])))
            assert s.reasons() == ["over_limit", "rule_removed"]

    def test_and_a_mine_that_leaves(self) -> None:
        with scene(policy([DUSTY]), policy([DUSTY], "shifan-8")) as s:
            s.say(151).batch(message(entry(s.now_ns, {"pm10": 151}), mine="shifan-8")).batch(activation(None))
            assert {(a.key.mine, a.condition) for a in s.alerts()} == {
                (MINE, Condition.CLEARED),
                ("shifan-8", Condition.FIRING),
            }
            s.say(151)
            assert s.account.quarantined == 1

    def test_other_levels_hold_from_the_next_reading(self) -> None:
        with scene(policy([DUSTY])) as s:
            s.say(151).batch(activation(policy([limit("dusty", "pm10", 300, 280)])))
            assert s.the_alert().condition is Condition.FIRING
            s.say(290)
            assert s.the_alert().condition is Condition.FIRING
            s.say(280)
            assert s.the_alert().condition is Condition.CLEARED

    def test_an_alert_raised_again_speaks_of_the_rule_as_it_is_now(self) -> None:
        with scene(policy([DUSTY])) as s:
            s.say(151)
            s.act(ActKind.ACKNOWLEDGE, s.the_alert().id)
            s.say(100).batch(activation(policy([limit("dusty", "pm10", 300, 280, severity="critical")])))
            s.say(301)
            alert = s.the_alert()
            assert (alert.value, alert.limit, alert.severity) == (301, 300, Severity.CRITICAL)
            assert "301 高于 限值 300" in s.due()[-1].subject

    def test_a_hold_under_the_old_level_ends_in_no_alert(self) -> None:
        with scene(policy([limit("dusty", "pm10", 150, 130, hold="60s")])) as s:
            s.say(160).batch(activation(policy([limit("dusty", "pm10", 300, 280, hold="60s")])))
            s.tick(61)
            assert s.alerts() == []

    def test_a_rule_that_asks_something_else_is_another_rule(self) -> None:
        """A pending threshold that becomes an absence rule would otherwise never notice silence."""
        with scene(policy([limit("r", "pm10", 150, 130, hold="60s")])) as s:
            s.say(160).batch(activation(policy([{**SILENT_PM10, "id": "r"}]))).tick(301)
            assert [a.kind for a in s.alerts()] == ["absence"]

    def test_turned_round_it_is_another_rule_too(self) -> None:
        with scene(policy([limit("r", "pm10", 150, 130)])) as s:
            s.say(160).batch(activation(policy([limit("r", "pm10", 150, 170, direction="below")])))
            s.say(160)
            assert s.reasons() == ["over_limit", "rule_removed"]

    def test_removing_one_of_two_firing_series_leaves_the_alert_as_the_other_is(self) -> None:
        both = [device("dust-1", pm10="ug/m3", pm25="ug/m3")]
        with scene(policy([SILENT], devices=both)) as s:
            s.tick(301).batch(activation(policy([SILENT], devices=[device("dust-1", pm10="ug/m3")])))
            assert s.the_alert().condition is Condition.FIRING
            s.say(50)
            assert s.reasons() == ["no_usable_data", "data_returned"]

    def test_the_same_policy_again_changes_no_alert(self) -> None:
        rules = policy([DUSTY, mean(), SILENT])
        with scene(rules) as s:
            s.say(*[200] * 8)
            before = s.transitions()
            s.batch(activation(rules)).say(*[200] * 3)
            assert s.transitions() == before


class TestActs:
    def raised(self, s: Scene) -> str:
        s.say(151)
        return s.the_alert().id

    def test_acknowledging_twice_is_acknowledging_once(self) -> None:
        with scene(policy([DUSTY])) as s:
            alert_id = self.raised(s)
            first = s.act(ActKind.ACKNOWLEDGE, alert_id)
            assert s.act(ActKind.ACKNOWLEDGE, alert_id).alert == first.alert
            assert s.reasons() == ["over_limit", "acknowledged_by_person"]

    def test_a_note_on_a_closed_alert(self) -> None:
        with scene(policy([DUSTY])) as s:
            alert_id = self.raised(s)
            s.act(ActKind.ACKNOWLEDGE, alert_id)
            s.say(100)
            s.act(ActKind.RESOLVE, alert_id, "done")
            noted = s.act(ActKind.NOTE, alert_id, "found the cause a week later").alert
            assert noted is not None
            assert (noted.notes, noted.is_open) == (1, False)
            assert s.alerts(open_only=True) == []

    @pytest.mark.parametrize(
        ("kind", "error"),
        [(ActKind.RESOLVE, Conflict), (ActKind.NOTE, None), (ActKind.ACKNOWLEDGE, None)],
    )
    def test_while_it_fires(self, kind: ActKind, error: type[Exception] | None) -> None:
        with scene(policy([DUSTY])) as s:
            alert_id = self.raised(s)
            if error is None:
                assert s.act(kind, alert_id, "words").alert is not None
            else:
                with pytest.raises(error):
                    s.act(kind, alert_id, "words")
                assert s.reasons() == ["over_limit"]

    def test_on_an_alert_that_does_not_exist(self) -> None:
        with scene(policy([DUSTY])) as s:
            with pytest.raises(NotFound):
                s.act(ActKind.ACKNOWLEDGE, "a0")
            assert [row["action"] for row in s.rows("audit")][-1] == "act.refused"

    def test_a_key_makes_two_acts_one(self) -> None:
        with scene(policy([DUSTY])) as s:
            alert_id = self.raised(s)
            for _ in range(3):
                s.act(ActKind.NOTE, alert_id, "once", idempotency_key="k")
            assert s.the_alert().notes == 1
            with pytest.raises(Refused) as refused:
                s.act(ActKind.NOTE, alert_id, "other words", idempotency_key="k")
            assert refused.value.word == "idempotency_key_reused"

    def test_also_in_one_batch(self) -> None:
        """A button pressed twice: both acts come with one group commit of the journal."""
        with scene(policy([DUSTY])) as s:
            alert_id = self.raised(s)
            act = Act(ActKind.NOTE, LI, alert_id, "once", idempotency_key="k")
            s.batch(act_record(act, "t1"), act_record(act, "t2"))
            assert s.answers["t1"] == s.answers["t2"]
            assert s.the_alert().notes == 1

    def test_also_when_the_first_closed_the_alert(self) -> None:
        with scene(policy([DUSTY])) as s:
            alert_id = self.raised(s)
            s.act(ActKind.ACKNOWLEDGE, alert_id)
            s.say(100)
            act = Act(ActKind.RESOLVE, LI, alert_id, "done", idempotency_key="k")
            s.batch(act_record(act, "t1"), act_record(act, "t2"))
            assert s.answers["t1"] == s.answers["t2"]

    def test_a_key_is_the_principals_own(self) -> None:
        with scene(policy([DUSTY])) as s:
            alert_id = self.raised(s)
            for principal in (LI, "person:wang"):
                s.batch(act_record(Act(ActKind.NOTE, principal, alert_id, "words", idempotency_key="k")))
            assert s.the_alert().notes == 2

    def fact(self, **more: Any) -> dict[str, Any]:
        given = {"mine": MINE, "kind": "maintenance", "subject": "dust-1/pm10", "valid_from_ns": START_NS,
                 "valid_to_ns": None, "reason": "new filter", "body": {"b": 1, "a": [1.5, None]}}  # fmt: skip
        return {**given, **more}

    def test_a_fact_is_a_row_with_its_principal(self) -> None:
        with scene(policy([DUSTY])) as s:
            assert s.act(ActKind.FACT, body=self.fact()).detail == {"id": 1}
            assert s.act(ActKind.FACT, body=self.fact(valid_to_ns=START_NS + 1)).detail == {"id": 2}
            first, _ = s.rows("fact")
            assert (first["by"], first["body"], first["recorded_at_ns"]) == (LI, '{"a":[1.5,null],"b":1}', s.now_ns)

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            ({"mine": "shifan-1"}, NotFound),
            ({"mine": ["unhashable"]}, NotFound),
            ({"kind": "rumour"}, Refused),
            ({"kind": ["unhashable"]}, Refused),
            ({"subject": "Dust 1"}, Refused),
            ({"subject": 5}, Refused),
            ({"valid_from_ns": 1.5}, Refused),
            ({"valid_from_ns": True}, Refused),
            ({"valid_from_ns": 2**63}, Refused),
            ({"valid_to_ns": START_NS}, Conflict),
            ({"reason": " "}, Refused),
            ({"reason": "x" * 2001}, Refused),
            ({"body": []}, Refused),
            ({"body": {"x": float("nan")}}, Refused),
            ({"body": {"x": [float("inf")]}}, Refused),
            ({"more": 1}, Refused),
        ],
    )
    def test_a_fact_that_cannot_stand_is_refused_and_stops_nothing(
        self, change: dict[str, Any], error: type[Exception]
    ) -> None:
        with scene(policy([DUSTY])) as s:
            with pytest.raises(error):
                s.act(ActKind.FACT, body=self.fact(**change))
            assert s.rows("fact") == []
            s.say(151)
            assert len(s.alerts()) == 1

    @pytest.mark.parametrize("ids", [None, [], "1", [True], [1.5], [0], [-1], [2**64], [1] * 20_000, [None], {"1": 1}])
    def test_no_ids_to_replay(self, ids: object) -> None:
        with scene(policy([DUSTY])) as s:
            with pytest.raises(Refused):
                s.act(ActKind.REPLAY_DEAD_LETTERS, body={"record_ids": ids})
            with pytest.raises(NotFound):
                s.act(ActKind.REPLAY_DEAD_LETTERS, body={"record_ids": [2**63 - 1]})


class TestNotices:
    def test_are_made_with_the_raise_and_with_the_clearing(self) -> None:
        with scene(policy([DUSTY])) as s:
            s.say(151)
            (raised,) = s.due()
            assert (raised.kind, raised.contact, raised.transition) == (NoticeKind.RAISED, "office", 1)
            s.deliver(raised)
            s.say(100)
            (cleared,) = s.due()
            assert (cleared.kind, cleared.transition) == (NoticeKind.CLEARED, 3)
            assert s.reasons() == ["over_limit", "notice_delivered", "back_within_clear_level"]

    def test_a_clearing_is_not_told_before_the_raise(self) -> None:
        with scene(policy([DUSTY])) as s:
            s.say(151)
            (raised,) = s.due()
            s.deliver(raised, Delivery.retry("busy"))
            s.say(100, every_s=1)
            assert s.due() == []
            assert [n.kind for n in s.due(s.now_ns + 60 * NS)] == [NoticeKind.RAISED]
            s.wait(60).deliver(raised)
            assert [n.kind for n in s.due()] == [NoticeKind.CLEARED]

    def test_a_clearing_not_yet_told_is_withdrawn_when_it_is_raised_again(self) -> None:
        """It would otherwise arrive after the new raise, and say that all is well."""
        with scene(policy([DUSTY])) as s:
            s.say(151)
            s.act(ActKind.ACKNOWLEDGE, s.the_alert().id)
            s.deliver(s.due()[0])
            s.say(100)
            (cleared,) = s.due()
            s.deliver(cleared, Delivery.retry("busy"))
            s.say(200)
            assert [n.kind for n in s.due(s.now_ns + DAY_NS)] == [NoticeKind.RAISED]
            states = {row["key"]: row["state"] for row in s.rows("notice")}
            assert states[cleared.key] == "withdrawn"
            s.deliver(cleared)
            assert {row["key"]: row["state"] for row in s.rows("notice")}[cleared.key] == "withdrawn"

    def test_attempts_are_spread_and_given_up_after_a_day(self) -> None:
        with scene(policy([DUSTY])) as s:
            s.say(151)
            (raised,) = s.due()
            pauses, created_ns = [], s.now_ns
            while due := [row for row in s.rows("notice") if row["state"] == "pending"]:
                pauses.append((due[0]["next_ns"] - s.now_ns) / NS)
                s.now_ns = due[0]["next_ns"]
                s.deliver(raised, Delivery.retry("busy"))
            assert pauses[1:9] == sorted(pauses[1:9])
            assert max(pauses) <= 900
            assert s.now_ns - created_ns > DAY_NS
            (row,) = s.rows("notice")
            assert (row["state"], row["attempts"], row["ended_ns"]) == ("expired", len(pauses), s.now_ns)
            assert row["first_attempt_ns"] == created_ns
            assert s.reasons()[-1] == "notice_refused"
            assert "busy" in s.history()[-1].note

    def test_a_refused_notice_is_seen(self) -> None:
        with scene(policy([DUSTY], contacts=TWO_CONTACTS[1:])) as s:
            s.say(151)
            s.deliver(s.due()[0], Delivery.refused("550 no such box"))
            last = s.history()[-1]
            assert (last.reason.value, last.principal) == ("notice_refused", "service:channel-email")
            assert last.note == "raised county email 550 no such box"
            assert "notice.ended" in [row["action"] for row in s.rows("audit")]

    def test_a_report_that_comes_twice_counts_once(self) -> None:
        with scene(policy([DUSTY])) as s:
            s.say(151)
            (raised,) = s.due()
            for _ in range(3):
                s.deliver(raised)
            s.batch(delivery("0" * 64, Delivery.ok()))
            assert s.reasons() == ["over_limit", "notice_delivered"]

    def test_a_report_on_an_alert_that_is_long_over(self) -> None:
        with scene(policy([DUSTY])) as s:
            s.say(151)
            (raised,) = s.due()
            s.say(100, 160)
            first, second = s.alerts()
            s.deliver(raised)
            assert s.reasons(first.id)[-1] == "notice_delivered"
            assert s.alerts(open_only=True) == [second]

    def test_everybody_told_has_a_notice_of_his_own(self) -> None:
        rule = limit("dusty", "pm10", 150, 130, tell=["office", "county"])
        with scene(policy([rule], contacts=TWO_CONTACTS)) as s:
            s.say(151)
            assert sorted((n.contact, n.channel, n.target) for n in s.due()) == [
                ("county", "email", "a@example.com"),
                ("office", "console", ""),
            ]
            s.deliver(next(n for n in s.due() if n.contact == "county"))
            s.say(100)
            assert [(n.contact, n.kind.value) for n in s.due()] == [("office", "raised"), ("county", "cleared")]

    def test_critical_goes_first(self) -> None:
        rules = [DUSTY, limit("very-dusty", "pm10", 300, 200, severity="critical")]
        with scene(policy(rules)) as s:
            s.say(200, 400)
            assert [n.subject.split("]")[0] for n in s.due()] == ["[严重", "[警告"]

    def test_no_text_of_a_device_name_reaches_a_header(self) -> None:
        devices = [{**device("dust-1", pm10="ug/m3"), "name": text("北\r\nBcc: x", "N\r\nBcc: x")}]
        with scene(policy([DUSTY], devices=devices)) as s:
            s.say(151)
            assert "\n" not in s.due()[0].subject
