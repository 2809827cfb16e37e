"""What the pipeline makes of a journal: conditions in time, silence, lost connections, and what must stop it."""

from __future__ import annotations

from typing import Any

import pytest

from greenmine.core.act import ActKind
from greenmine.core.alert import AlertKey, Condition, Severity
from greenmine.core.errors import Corrupt
from greenmine.pipeline.watch import LINK_GRACE_NS
from tests.pipeline_scenes import (
    CONTACTS,
    DAY_NS,
    DUSTY,
    MINE,
    MINUTE_NS,
    NS,
    SILENT,
    SILENT_PM10,
    START_NS,
    Scene,
    activation,
    device,
    entry,
    limit,
    mean,
    message,
    pm10,
    policy,
    restored,
    scene,
    service,
)

TWO_CONTACTS = [CONTACTS[0], {**CONTACTS[1], "channels": [{"kind": "email", "to": "a@example.com"}]}]


class TestThresholds:
    def test_raised_and_cleared(self) -> None:
        with scene(policy([DUSTY])) as s:
            s.say(150, 151, 140, 130)
            alert = s.the_alert()
            assert s.reasons() == ["over_limit", "back_within_clear_level"]
            assert (alert.value, alert.last_value, alert.limit, alert.unit) == (151, 130, 150, "ug/m3")
            assert (alert.raised_at_ns, alert.cleared_at_ns) == (START_NS + 20 * NS, START_NS + 40 * NS)

    def test_a_hold_ends_by_the_clock_of_idle_batches(self) -> None:
        with scene(policy([limit("dusty", "pm10", 150, 130, hold="30s")])) as s:
            s.say(151).tick(29.9)
            assert s.alerts() == []
            s.tick(0.1)
            assert s.the_alert().raised_at_ns == START_NS + 40 * NS

    def test_records_come_before_the_clock_of_their_batch(self) -> None:
        """A reading that ends the hold, in the batch in which it would have been over, is the newer knowledge."""
        with scene(policy([limit("dusty", "pm10", 150, 130, hold="30s")])) as s:
            s.say(151).say(100, every_s=30)
            assert s.alerts() == []

    def test_timers_are_looked_at_once_a_second_however_many_batches_there_are(self) -> None:
        with scene(policy([limit("dusty", "pm10", 150, 130, hold="1s")])) as s:
            s.wait(0.5).batch(message(entry(s.now_ns, {"pm10": 151})))
            for seconds in (0.7, 0.4, 0.3, 0.1):
                s.tick(seconds)
            assert [alert.raised_at_ns - START_NS for alert in s.alerts()] == [2 * NS]

    def test_a_wall_clock_that_steps_moves_no_timer(self) -> None:
        """P12: readings are compared with the wall clock, holds run on the journal's."""
        with scene(policy([limit("dusty", "pm10", 150, 130, hold="30s", clear_hold="30s")])) as s:
            s.say(151)
            for jump_ns in (3600 * NS, -3600 * NS, -s.now_ns):
                s.wait(5).batch(received_ns=s.now_ns + jump_ns)
            assert s.alerts() == []
            s.tick(20)
            assert s.the_alert().condition is Condition.FIRING

    def test_readings_a_device_stamps_in_the_future_are_not_judged(self) -> None:
        with scene(policy([DUSTY])) as s:
            s.batch(message(entry(s.now_ns + DAY_NS, {"pm10": 900})))
            s.say(151)
            assert s.the_alert().value == 151
            s.batch(message(entry(s.now_ns + DAY_NS, {"pm10": 1})))
            assert s.the_alert().condition is Condition.FIRING
            assert s.account.quarantined == 2

    def test_an_unusable_reading_neither_raises_nor_clears(self) -> None:
        with scene(policy([DUSTY])) as s:
            s.wait(10).batch(message(entry(s.now_ns, {"pm10": 900}, flags={"pm10": "M"})))
            assert s.alerts() == []
            s.say(151)
            s.wait(10).batch(message(entry(s.now_ns, {"pm10": 1}, flags={"pm10": "C"})))
            s.wait(10).batch(message(entry(s.now_ns, {"pm10": -5})))
            assert s.the_alert().condition is Condition.FIRING
            assert s.account.pending == 4, "raw values are stored as they came"

    def test_a_policy_may_say_which_readings_are_unusable(self) -> None:
        with scene(policy([DUSTY], quality={"unusable": ["invalid"]})) as s:
            s.wait(10).batch(message(entry(s.now_ns, {"pm10": 99_999}, flags={"pm10": "M"})))
            assert s.the_alert().value == 99_999

    @pytest.mark.parametrize("value", [1e308, 1.7976931348623157e308, -1e308])
    def test_absurd_values_do_not_stop_the_judging_whatever_the_policy_lets_through(self, value: float) -> None:
        rules = [DUSTY, mean(coverage=0.1), {**mean("laeq", coverage=0.1), "id": "noise"}]
        devices = [device("dust-1", pm10="mg/m3", pm25="ug/m3"), device("noise-1", "noise", laeq="dB")]
        with scene(policy(rules, devices=devices, quality={"unusable": []})) as s:
            for _ in range(3):
                s.say(value).say(value, metric="laeq", device_id="noise-1", every_s=0)
            s.say(200, 1)
            assert s.account.balanced


class TestLateness:
    def test_a_late_normal_reading_clears_nothing_and_a_late_high_one_raises_nothing(self) -> None:
        with scene(policy([DUSTY])) as s:
            s.say(151)
            s.batch(message(entry(s.now_ns - 5 * NS, {"pm10": 1})))
            assert s.the_alert().condition is Condition.FIRING
            s.say(100)
            s.batch(message(entry(s.now_ns - 3 * NS, {"pm10": 900})))
            assert s.reasons() == ["over_limit", "back_within_clear_level"]

    def test_recorded_traffic_that_is_sent_again_clears_nothing(self) -> None:
        """Threat 4: an hour of normal readings played back."""
        with scene(policy([DUSTY])) as s:
            sent = [message(entry(START_NS + n * 10 * NS, {"pm10": 50})) for n in range(1, 361)]
            s.wait(3600).batch(*sent)
            s.say(151)
            before = s.transitions()
            s.tick(60).batch(*sent)
            assert s.transitions() == before
            assert s.account.duplicate == 360

    def test_a_backlog_is_judged_in_its_order_when_it_comes(self) -> None:
        with scene(policy([DUSTY])) as s:
            backlog = [entry(START_NS + n * MINUTE_NS, {"pm10": v}) for n, v in enumerate((100, 151, 100, 151), 1)]
            s.wait(3600).batch(message(backlog))
            first, second = s.alerts()
            assert (first.condition, second.condition) == (Condition.CLEARED, Condition.FIRING)
            assert (first.raised_at_ns, second.raised_at_ns) == (s.now_ns, s.now_ns)
            assert second.source_time_ns == START_NS + 4 * MINUTE_NS


class TestMeans:
    def test_over_a_window_of_source_time(self) -> None:
        with scene(policy([mean(coverage=1.0)])) as s:
            s.say(200, 200, 200, 200, 200)
            assert s.alerts() == [], "five of six"
            s.say(100)
            assert (s.the_alert().value, s.reasons()) == (pytest.approx(1100 / 6), ["mean_over_limit"])
            s.say(100, 100, 60)
            assert s.the_alert().last_value == pytest.approx(760 / 6)
            assert s.reasons() == ["mean_over_limit", "back_within_clear_level"]

    def test_with_too_little_coverage_it_neither_raises_nor_clears(self) -> None:
        with scene(policy([mean(coverage=0.75)])) as s:
            s.say(900, every_s=30).say(900, every_s=30).say(900, every_s=30)
            assert s.alerts() == []
            s.say(*[200] * 6)
            assert s.the_alert().condition is Condition.FIRING
            s.say(1, 1, 1, every_s=60)
            assert s.the_alert().condition is Condition.FIRING, "one of six readings is no mean"
            s.say(*[1] * 5)
            assert s.the_alert().condition is Condition.CLEARED

    def test_noise_by_its_energy(self) -> None:
        """Five of 60 dB and one of 73 dB: 10 lg((5 x 10^6 + 10^7.3) / 6) = 66.19, while the plain mean is 62.17."""
        rule = {**limit("noise", "laeq", 65, 62), "kind": "mean", "window": "60s", "coverage": 1.0}
        with scene(policy([rule], devices=[device("noise-1", "noise", laeq="dB")])) as s:
            s.say(60, 60, 60, 60, 60, 73, metric="laeq", device_id="noise-1")
            assert s.the_alert().value == pytest.approx(66.1896, abs=1e-3)

    def test_late_and_unusable_readings_are_in_no_mean(self) -> None:
        with scene(policy([mean(coverage=0.5)])) as s:
            s.say(100, 100, 100)
            s.batch(message(entry(s.now_ns - 5 * NS, {"pm10": 9_000})))
            s.wait(10).batch(message(entry(s.now_ns, {"pm10": 9_000}, flags={"pm10": "D"})))
            s.say(100)
            assert s.alerts() == []

    def test_readings_before_an_activation_in_the_same_batch_stay_in_the_window(self) -> None:
        rules = policy([mean(coverage=1.0)])
        with scene(rules) as s:
            s.say(200, 200, 200, 200)
            s.wait(10).batch(message(entry(s.now_ns, {"pm10": 200})), activation(rules))
            s.say(200)
            assert s.the_alert().condition is Condition.FIRING


class TestSilence:
    def test_makes_a_firing_alert_stale_and_never_clears_it(self) -> None:
        """P14: silence is not health."""
        with scene(policy([DUSTY])) as s:
            s.say(151).tick(121)
            assert s.the_alert().condition is Condition.STALE
            s.tick(3 * 86_400, step_s=3600)
            assert s.the_alert().condition is Condition.STALE
            s.say(140)
            assert s.the_alert().condition is Condition.FIRING
            s.say(100)
            assert s.reasons() == ["over_limit", "silent_while_firing", "data_returned", "back_within_clear_level"]

    def test_readings_that_cannot_be_used_are_silence(self) -> None:
        with scene(policy([DUSTY, SILENT_PM10])) as s:
            s.say(151)
            for _ in range(31):
                s.wait(10).batch(message(entry(s.now_ns, {"pm10": 1}, flags={"pm10": "M"})))
            assert {(a.key.rule, a.condition) for a in s.alerts()} == {
                ("dusty", Condition.STALE),
                ("silent", Condition.FIRING),
            }

    def test_exactly_the_silent_devices_are_told(self) -> None:
        devices = [device(f"dust-{n}", pm10="ug/m3") for n in range(20)]
        with scene(policy([SILENT_PM10], devices=devices)) as s:
            for _ in range(7):
                s.wait(60).batch(
                    *(message(entry(s.now_ns, {"pm10": 50}), f"dust-{n}") for n in range(20) if n % 4),
                )
            assert sorted(a.key.device for a in s.alerts()) == sorted(f"dust-{n}" for n in range(0, 20, 4))

    def test_a_device_that_was_never_heard(self) -> None:
        with scene(policy([SILENT])) as s:
            s.tick(300)
            assert s.alerts() == []
            s.tick(1)
            alert = s.the_alert()
            assert (alert.kind, alert.value, alert.limit, alert.source_time_ns) == ("absence", None, None, None)
            assert s.reasons() == ["no_usable_data"]

    def test_after_a_start_everybody_has_the_whole_time_again(self) -> None:
        with scene(policy([SILENT_PM10])) as s:
            s.say(50).tick(290)
            s.batch(service("start")).tick(300)
            assert s.alerts() == []
            s.tick(1)
            assert s.the_alert().condition is Condition.FIRING

    def test_the_first_reading_ends_it(self) -> None:
        with scene(policy([SILENT_PM10])) as s:
            s.tick(400).say(9_999)
            assert s.reasons() == ["no_usable_data", "data_returned"]
            assert s.alerts(open_only=True) == []

    def test_two_series_of_a_device_are_one_alert_until_both_are_back(self) -> None:
        with scene(policy([SILENT])) as s:
            s.tick(301).tick(60)
            s.say(50)
            assert s.the_alert().condition is Condition.FIRING
            s.say(50, metric="pm25")
            assert s.reasons() == ["no_usable_data", "data_returned"]

    def test_one_of_them_falling_silent_is_an_alert_too(self) -> None:
        with scene(policy([SILENT])) as s:
            s.say(*[50] * 31)
            assert s.the_alert().metric == "pm25"


class TestLink:
    """The connection to an external broker."""

    def test_while_it_is_down_nobody_is_silent(self) -> None:
        with scene(policy([SILENT, DUSTY])) as s:
            s.say(151).batch(service("link_down")).tick(3600)
            assert [(a.key.rule, a.condition) for a in s.alerts()] == [
                ("dusty", Condition.FIRING),
                ("broker-link", Condition.FIRING),
            ]
            s.batch(service("link_up")).tick(300)
            assert not any(a.key.rule == "silent" for a in s.alerts())
            s.tick(1)
            assert [a.key.rule for a in s.alerts()].count("silent") == 1

    def test_each_mine_is_told_once_after_a_minute(self) -> None:
        with scene(policy([SILENT]), policy([SILENT], "shifan-8")) as s:
            s.batch(service("link_down")).tick(LINK_GRACE_NS / NS - 1)
            assert s.alerts() == []
            s.tick(1).tick(600, step_s=60)
            lost = s.alerts()
            assert sorted(a.key for a in lost) == [AlertKey(m, "broker-link", "broker", "") for m in ("shifan-8", MINE)]
            assert {(a.severity, a.kind) for a in lost} == {(Severity.CRITICAL, "link")}
            s.batch(service("link_up"))
            assert {a.condition for a in s.alerts()} == {Condition.CLEARED}

    def test_a_short_loss_is_no_news(self) -> None:
        with scene(policy([SILENT])) as s:
            for _ in range(5):
                s.batch(service("link_down")).tick(59).batch(service("link_up")).tick(5)
            assert s.alerts() == []

    def test_repeated_reports_of_one_loss_are_one_loss(self) -> None:
        with scene(policy([SILENT])) as s:
            s.batch(service("link_down")).tick(30).batch(service("link_down")).tick(30)
            assert s.the_alert().raised_at_ns == START_NS + 60 * NS

    def test_a_restart_brings_no_connection_back(self) -> None:
        """A service that is started again while the broker is away must not tell everybody that all is well."""
        with scene(policy([SILENT])) as s:
            s.batch(service("link_down")).tick(60)
            s.batch(service("start")).tick(1).batch(service("link_down")).tick(120)
            assert s.reasons() == ["no_usable_data"]
            assert len(s.due()) == 1
            s.batch(service("link_up"))
            assert s.reasons() == ["no_usable_data", "data_returned"]

    def test_a_message_is_evidence_that_it_is_back(self) -> None:
        """The event itself may find no room in the journal's queue; then absence would be blind for ever."""
        with scene(policy([SILENT_PM10])) as s:
            s.batch(service("link_down")).tick(60).say(50)
            assert s.reasons() == ["no_usable_data", "data_returned"]
            s.tick(301)
            assert [a.key.rule for a in s.alerts()] == ["broker-link", "silent"]

    def test_an_alert_that_somebody_handles_is_raised_again(self) -> None:
        with scene(policy([SILENT])) as s:
            s.batch(service("link_down")).tick(60)
            s.act(ActKind.ACKNOWLEDGE, s.the_alert().id)
            s.batch(service("link_up")).batch(service("link_down")).tick(60)
            assert s.the_alert().condition is Condition.FIRING


class TestFullDisk:
    """Nothing is taken from devices: that is told, and not the silence of each of them."""

    def test_one_alert_a_mine_and_no_storm_of_silences(self) -> None:
        with scene(policy([SILENT]), policy([SILENT], "shifan-8")) as s:
            s.say(50).batch(service("disk_full")).tick(3600, step_s=60)
            assert sorted(a.key for a in s.alerts()) == [
                AlertKey(m, "disk-room", "disk", "") for m in ("shifan-8", MINE)
            ]
            assert {(a.severity, a.kind, a.condition) for a in s.alerts()} == {
                (Severity.CRITICAL, "disk", Condition.FIRING)
            }
            assert all("磁盘已满" in row["subject"] for row in s.rows("notice"))
            s.batch(service("disk_full")).restart()
            s.batch(service("start")).tick(600, step_s=60)
            assert len(s.alerts()) == 2, "told once, and also after a restart"

    def test_when_there_is_room_silence_counts_again(self) -> None:
        with scene(policy([SILENT])) as s:
            s.say(50).batch(service("disk_full")).tick(3600).batch(service("disk_room"))
            assert s.the_alert().condition is Condition.CLEARED
            s.tick(300)
            assert len(s.alerts()) == 1
            s.tick(1)
            assert [a.key.rule for a in s.alerts()] == ["disk-room", "silent"]


class TestStoreThatRefuses:
    """Nothing is lost and alarms go on; but nobody may find out after weeks."""

    def test_each_mine_is_warned_once_and_told_of_the_end(self) -> None:
        with scene(policy([SILENT, DUSTY])) as s:
            s.say(50).batch(service("store_refuses")).batch(service("store_refuses")).say(151, 50, every_s=60)
            refused, dusty = s.alerts()
            assert (refused.key, refused.kind, refused.severity) == (
                AlertKey(MINE, "store-refuses", "store", ""), "store", Severity.WARNING
            )  # fmt: skip
            assert dusty.key.rule == "dusty", "judging goes on"
            s.restart()
            s.batch(service("start")).batch(service("store_refuses")).batch(service("store_takes"))
            assert [a.condition for a in s.alerts() if a.kind == "store"] == [Condition.CLEARED]
            assert [row["reason"] for row in s.rows("transition") if row["alert_id"] == refused.id] == [
                "service_fault", "service_mended"
            ]  # fmt: skip
            assert sum("数据库拒绝写入" in row["subject"] for row in s.rows("notice")) == 2
            s.tick(301)
            assert [a.key.rule for a in s.alerts() if a.condition is Condition.FIRING] == ["silent"], "silence counts"


class TestRefusals:
    """What must stop the pipeline, and what must not."""

    def test_a_state_ahead_of_its_journal(self) -> None:
        with scene(policy([DUSTY])) as s:
            s.say(50)
            with pytest.raises(Corrupt, match=r"judged batch 3, but the journal ends at 0"):
                Scene(s.state)

    def test_a_failing_listener_stops_nothing(self) -> None:
        with scene(policy([DUSTY])) as s:
            heard: list[int] = []

            def fail(*_: object) -> None:
                raise ZeroDivisionError

            s.pipeline.subscribe(fail)
            s.pipeline.subscribe_commits(fail)
            s.pipeline.on_results(fail)
            s.pipeline.subscribe(lambda changes: heard.append(len(changes)))
            s.say(151)
            s.act(ActKind.ACKNOWLEDGE, s.the_alert().id)
            assert len(heard) == 2

    def test_listeners_hear_of_what_is_committed(self) -> None:
        with scene(policy([DUSTY])) as s:
            heard: list[Any] = []

            def listen(changes: Any) -> None:
                heard.append([change.kind for change in changes])
                assert s.account.received == len(heard)

            end = s.pipeline.subscribe(listen)
            s.say(100, 151)
            end()
            s.say(151)
            assert heard == [["latest", "message"], ["latest", "alert", "transition", "message"]]

    def test_waiting_for_a_batch(self) -> None:
        with scene(policy([DUSTY])) as s:
            assert s.pipeline.wait_for(2, timeout_s=0)
            assert not s.pipeline.wait_for(3, timeout_s=0)

    def test_series_know_their_newest(self) -> None:
        with scene(policy([DUSTY])) as s:
            s.say(1, 2)
            for state in (s.pipeline.judge.state, restored(s.state)):
                assert (state.series[pm10()].value, state.series[pm10()].newest_ns) == (2.0, s.now_ns)
            assert s.pipeline.judge.state.series[pm10()].usable_clock_ns == s.now_ns
