"""What people say of devices, through the whole pipeline: calibrations, replacements, and who waits for approval."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert

from greenmine.core.act import ActKind, ActResult
from greenmine.core.errors import Conflict, NotFound, Refused, UnknownAddress
from greenmine.core.reading_store import InMemoryReadingStore, Selection
from greenmine.core.waiting import Network, WaitingKey
from greenmine.ingest.record import RecordFlag
from greenmine.pipeline import recalibrate, waiting
from greenmine.pipeline.pipeline import Pipeline
from greenmine.pipeline.recalibrate import Recalibrator
from greenmine.store import schema
from greenmine.store.writer import StoreWriter
from tests.pipeline_scenes import (
    DUSTY,
    HOUR_NS,
    LI,
    MINE,
    NS,
    SPARE,
    START_NS,
    Scene,
    activation,
    entry,
    everything,
    mean,
    message,
    outbox_readings,
    pm10,
    policy,
    scene,
)


def say_fact(
    s: Scene, kind: str, subject: str, from_ns: int, to_ns: int | None = None, **body: Any
) -> int:  # fmt: skip
    fact = {"mine": MINE, "kind": kind, "subject": subject, "valid_from_ns": from_ns, "valid_to_ns": to_ns,
            "reason": "certificate", "body": body}  # fmt: skip
    return int(s.act(ActKind.FACT, body=fact).detail["id"])


def calibrate(s: Scene, slope: float, offset: float = 0, from_ns: int = START_NS, **more: Any) -> int:
    return say_fact(s, "calibration", "dust-1/pm10", from_ns, slope=slope, offset=offset, **more)


def queued(s: Scene) -> list[tuple[float | None, float | None]]:
    return [(one.value, one.calibrated) for one in outbox_readings(s.state).get((False, False), [])]


def write_out(s: Scene, store: InMemoryReadingStore) -> list[tuple[float | None, float | None]]:
    StoreWriter(s.state, store, None).run_available()  # type: ignore[arg-type] - no clock is asked
    Recalibrator(s.state, store).run_available()
    return [(one.value, one.calibrated) for one in store.query(Selection.of_series(pm10()))]


class TestCalibration:
    def test_the_calibrated_value_is_stored_beside_the_raw_one_and_is_the_one_judged(self) -> None:
        with scene(policy([DUSTY])) as s:
            s.say(120)
            calibrate(s, 1.2, 10)
            s.say(120).say(50)
            assert queued(s) == [(120, None), (120, 154), (50, 70)]
            alert = s.the_alert()
            assert (alert.value, alert.last_value) == (154, 70)
            assert s.account.balanced

    def test_it_holds_by_source_time(self) -> None:
        with scene(policy([])) as s:
            calibrate(s, 2, from_ns=START_NS + 20 * NS)
            s.say(1, 1, 1)
            assert [calibrated for _, calibrated in queued(s)] == [None, 2, 2]

    def test_another_metric_and_device_are_left_alone(self) -> None:
        with scene(policy([])) as s:
            calibrate(s, 2)
            s.say(1, metric="pm25")
            assert queued(s) == [(1, None)]

    def test_late_and_quarantined_readings(self) -> None:
        with scene(policy([])) as s:
            calibrate(s, 2)
            s.say(1, 1).batch(message(entry(START_NS + 15 * NS, {"pm10": 4}))).batch(message(entry(0, {"pm10": 7})))
            assert queued(s) == [(1, 2), (1, 2), (4, 8)]
            assert [row["value"] for row in s.rows("quarantine")] == [7]

    def test_a_window_holds_what_was_judged_also_after_a_restart(self) -> None:
        for restart in (False, True):
            with scene(policy([mean(coverage=0.1)])) as s:
                s.say(100)
                calibrate(s, 2)
                s.say(100)
                if restart:
                    s.restart()
                s.say(110)
                # (100 + 200 + 220) / 3
                assert s.the_alert().value == pytest.approx(520 / 3)

    def test_conditions_of_the_past_are_not_judged_again(self) -> None:
        with scene(policy([DUSTY])) as s:
            s.say(120, 120)
            calibrate(s, 2, from_ns=START_NS)
            assert s.alerts() == []
            s.restart().run_available()
            assert s.alerts() == []

    def test_a_message_sent_again_is_a_duplicate_by_its_raw_value(self) -> None:
        with scene(policy([])) as s:
            again = message(entry(START_NS, {"pm10": 5}))
            s.batch(again)
            calibrate(s, 2)
            s.batch(again)
            assert s.account.duplicate == 1

    def test_which_way_a_message_takes_changes_nothing(self) -> None:
        held = []
        for watched in (False, True):
            with scene(policy([DUSTY])) as s:
                if watched:
                    s.pipeline.subscribe(lambda _: None)
                s.say(1)
                calibrate(s, 3)
                s.say(60, 10)
                held.append(everything(s.state))
        assert held[0] == held[1]

    def test_what_a_listener_is_told(self) -> None:
        with scene(policy([])) as s:
            told: list[Any] = []
            s.say(1)
            s.pipeline.subscribe(told.extend)
            calibrate(s, 3)
            s.say(5)
            newest = [change.what for change in told if change.kind == "latest"]
            assert [(one.value, one.calibrated, one.judged_value) for one in newest] == [(5, 15, 15)]


class TestWhatIsStoredAlready:
    def test_is_brought_up_to_a_calibration_of_the_past(self) -> None:
        store = InMemoryReadingStore()
        with scene(policy([])) as s:
            s.say(1, 2, 3, 4)
            assert write_out(s, store) == [(1, None), (2, None), (3, None), (4, None)]
            calibrate(s, 10, from_ns=START_NS + 20 * NS)
            assert write_out(s, store) == [(1, None), (2, 20), (3, 30), (4, 40)]
            assert s.rows("recalibration") == []
            first = calibrate(s, 100, from_ns=START_NS + 30 * NS)
            assert write_out(s, store) == [(1, None), (2, 20), (3, 300), (4, 400)]
            calibrate(s, 5, from_ns=START_NS + 40 * NS, corrects=first)
            assert write_out(s, store) == [(1, None), (2, 20), (3, 30), (4, 20)]
            assert s.account.stored == 4
            assert s.account.balanced

    def test_takes_the_raw_value_where_no_calibration_holds_any_more(self) -> None:
        store = InMemoryReadingStore()
        with scene(policy([])) as s:
            first = calibrate(s, 10)
            s.say(1, 2)
            say_fact(s, "replacement", "dust-1", START_NS + 20 * NS, serial="b")
            assert write_out(s, store) == [(1, 10), (2, 2)]
            say_fact(s, "calibration", "dust-1/pm10", START_NS, corrects=first, withdrawn=True)
            assert write_out(s, store) == [(1, 1), (2, 2)]

    def test_waits_for_readings_that_were_decided_before_it(self) -> None:
        store = InMemoryReadingStore()
        with scene(policy([])) as s:
            s.say(1)
            calibrate(s, 10)
            assert Recalibrator(s.state, store).run_available() == 0
            assert len(s.rows("recalibration")) == 1
            assert write_out(s, store) == [(1, 10)]

    def test_is_worked_off_in_portions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(recalibrate, "READINGS_AT_ONCE", 3)
        store = InMemoryReadingStore()
        with scene(policy([])) as s:
            s.say(*range(1, 11))
            s.batch(message(entry(s.now_ns, {"pm25": 5})))
            write_out(s, store)
            calibrate(s, 10)
            worker = Recalibrator(s.state, store)
            assert worker.run_some()
            assert worker.changed == 3
            worker.run_available()
            assert [one.calibrated for one in store.query(Selection.of_series(pm10()))] == [
                10.0 * n for n in range(1, 11)
            ]
            say_fact(s, "replacement", "dust-1", START_NS + 5 * NS, serial="b")
            assert all(calibrated == value for value, calibrated in write_out(s, store))

    def test_a_store_that_is_down_loses_nothing(self) -> None:
        store = InMemoryReadingStore()
        with scene(policy([])) as s:
            s.say(1)
            write_out(s, store)
            calibrate(s, 10)
            worker, store.down = Recalibrator(s.state, store), ConnectionError("down")
            with pytest.raises(ConnectionError):
                worker.run_some()
            store.down = None
            assert write_out(s, store) == [(1, 10)]

    def test_of_a_far_past_is_asked_of_the_store_before_it_is_stored(self) -> None:
        store = InMemoryReadingStore()
        with scene(policy([])) as s:
            old_ns = s.now_ns - 100 * HOUR_NS
            calibrate(s, 10, from_ns=old_ns)
            s.batch(message(entry(old_ns, {"pm10": 3})))
            assert write_out(s, store) == [(3, 30)]


class TestFacts:
    @pytest.mark.parametrize(
        ("kind", "subject", "body", "error"),
        [
            ("calibration", "dust-1/pm10", {"slope": 0, "offset": 0}, Refused),
            ("calibration", "dust-1/tsp", {"slope": 1, "offset": 0}, NotFound),
            ("calibration", "dust-1/pm10", {"slope": 1, "offset": 0, "corrects": 77}, NotFound),
            ("replacement", "dust-9", {"serial": "x"}, NotFound),
            ("device_move", "dust-1", {"position": [0, 91]}, Refused),
        ],
    )
    def test_a_fact_that_is_refused_changes_nothing(
        self, kind: str, subject: str, body: dict[str, Any], error: type[Exception]
    ) -> None:
        with scene(policy([])) as s:
            with pytest.raises(error):
                say_fact(s, kind, subject, START_NS, **body)
            assert s.rows("fact") == s.rows("recalibration") == []

    def test_only_a_fact_of_the_same_kind_and_device_is_corrected(self) -> None:
        with scene(policy([])) as s:
            first = say_fact(s, "replacement", "dust-1", START_NS, serial="b")
            with pytest.raises(NotFound):
                calibrate(s, 1, corrects=first)

    def test_instruments_and_places_are_known_after_a_restart(self) -> None:
        with scene(policy([])) as s:
            say_fact(s, "replacement", "dust-1", START_NS, serial="b")
            say_fact(s, "device_move", "dust-1", START_NS + 5, position=[110.0, 39.0])
            for _ in range(2):
                history = s.pipeline.judge.state.devices.history
                assert history.instrument_at(MINE, "dust-1", START_NS).serial == "b"  # type: ignore[union-attr]
                assert history.position_at(MINE, "dust-1", START_NS + 4) is None
                assert history.position_at(MINE, "dust-1", START_NS + 5).latitude == 39.0  # type: ignore[union-attr]
                s.restart()


EUI = "00112233445566aa"
AT = {"network": "dev_eui", "address": EUI}


def strangers(s: Scene) -> list[WaitingKey]:
    return list(s.pipeline.judge.state.waiting)


def unknown(s: Scene, address: str = EUI, messages: int = 1) -> None:
    """What the decoders of bridges do with an address that nobody maps, without their payloads."""
    judge = s.pipeline.judge
    real = judge.intake._checked_topic

    def refuse(stored: Any) -> Any:
        if stored.record.source.startswith("bridge/") and ("dev_eui", address) not in judge.state.registry.addresses:
            raise UnknownAddress("dev_eui", address)
        return real(stored)

    judge.intake._checked_topic = refuse  # type: ignore[method-assign]
    for _ in range(messages):
        s.wait(1).batch(message(entry(s.now_ns, {"pm10": 1}))._replace(source=f"bridge/{address}"))


def approve(s: Scene, **more: Any) -> ActResult:
    body = {**AT, "mine": MINE, "device": "dust-1", **more}
    return s.act(ActKind.APPROVE_DEVICE, body=body)


class TestWaitingList:
    def test_an_unregistered_device_waits_with_what_it_sent(self) -> None:
        with scene(policy([])) as s:
            sent = {"pm10": 7, "soil_moisture@d20": None, "ph": 7.5}
            s.batch(message(entry(s.now_ns, sent), "new-1", client="m.new-1"))
            s.wait(5).batch(message([entry(s.now_ns, {"pm10": 8}), {"ts": 1}], "new-1"))
            (row,) = s.pipeline.judge.state.waiting.values()
            assert (row.network, row.address, row.mine, row.device) == ("mqtt", f"{MINE}/new-1", MINE, "new-1")
            assert (row.first_seen_ns, row.last_seen_ns, row.messages) == (START_NS, START_NS + 5 * NS, 2)
            assert [tuple(one) for one in row.values] == [("pm10", 8, None)]
            assert '"pm10": 8' in row.sample
            assert s.account.quarantined == 4 - 0
            before = dict(s.pipeline.judge.state.waiting)
            s.restart()
            assert s.pipeline.judge.state.waiting == before

    def test_registered_devices_refused_messages_and_retained_ones_do_not_wait(self) -> None:
        with scene(policy([])) as s:
            s.say(1).batch(message(b"{", "new-1"))
            s.batch(message(entry(s.now_ns, {"pm10": 1}), "new-1", flags=RecordFlag.RETAIN))
            s.batch(message(entry(s.now_ns, {"pm10": 1}), "new-1", flags=RecordFlag.DENIED))
            assert strangers(s) == []

    def test_a_policy_that_registers_it_takes_it_off(self) -> None:
        with scene(policy([])) as s:
            for name in ("new-1", "new-2"):
                s.batch(message(entry(s.now_ns, {"pm10": 1}), name))
            s.batch(activation(policy([], devices=[{"id": "new-1"}])))
            assert strangers(s) == [(Network.MQTT, f"{MINE}/new-2")]
            assert [row["address"] for row in s.rows("waiting_device")] == [f"{MINE}/new-2"]

    def test_the_list_is_bounded_and_the_one_silent_longest_leaves(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(waiting, "MOST_WAITING", 3)
        held = []
        for restarts in (False, True):
            with scene(policy([])) as s:
                for name in ("a", "b", "c", "a", "d", "e"):
                    s.wait(1).batch(message(entry(s.now_ns, {"pm10": 1}), name))
                    if restarts:
                        s.restart()
                assert [key.address for key in strangers(s)] == [f"{MINE}/{name}" for name in "ade"]
                assert s.pipeline.judge.state.waiting_evicted == 2
                held.append(everything(s.state))
        assert held[0] == held[1]

    def test_who_was_rejected_does_not_come_back(self) -> None:
        with scene(policy([])) as s:
            said = {"network": "mqtt", "address": f"{MINE}/new-1"}
            with pytest.raises(NotFound):
                s.act(ActKind.REJECT_DEVICE, body=said)
            for _ in range(2):
                s.batch(message(entry(s.now_ns, {"pm10": 1}), "new-1"))
                if strangers(s):
                    assert s.act(ActKind.REJECT_DEVICE, "", "a test rig", body=said).detail == said
                s.wait(1).restart()
            assert strangers(s) == []
            assert [row["by"] for row in s.rows("muted_device")] == ["person:li"]
            (entry_of,) = [row for row in s.rows("audit") if row["action"] == "device.reject"]
            assert "a test rig" in entry_of["body"]

    def test_an_unknown_address_waits_and_can_be_approved_with_its_dead_letters(self) -> None:
        with scene(policy([])) as s:
            unknown(s, messages=3)
            unknown(s, "ffffffffffffffff")
            assert [key.address for key in strangers(s)] == [EUI, "ffffffffffffffff"]
            assert s.pipeline.judge.state.waiting[WaitingKey(Network.DEV_EUI, EUI)].messages == 3
            assert s.account.dead == 4
            detail = approve(s, address=EUI.upper(), replay=True).detail
            assert detail["replayed"]["messages"] == 3
            assert [key.address for key in strangers(s)] == ["ffffffffffffffff"]
            for _ in range(2):
                assert s.pipeline.judge.state.registry.addresses["dev_eui", EUI] == (MINE, "dust-1")
                s.restart()
            (fact,) = s.rows("fact")
            assert (fact["kind"], fact["subject"], fact["by"]) == ("approval", "dust-1", "person:li")

    def test_an_approval_of_what_was_rejected_lifts_that(self) -> None:
        with scene(policy([])) as s:
            unknown(s)
            s.act(ActKind.REJECT_DEVICE, body=AT)
            approve(s)
            assert s.rows("muted_device") == s.rows("waiting_device") == []

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            ({"device": "dust-9"}, NotFound),
            ({"mine": "elsewhere"}, NotFound),
            ({"network": "mqtt"}, Refused),
            ({"network": "lora"}, Refused),
            ({"address": ""}, Refused),
            ({"address": 7}, Refused),
            ({"more": 7}, Refused),
        ],
    )
    def test_approvals_that_are_refused_change_nothing(self, change: dict[str, Any], error: type[Exception]) -> None:
        with scene(policy([])) as s:
            unknown(s)
            with pytest.raises(error):
                approve(s, **change)
            assert s.rows("fact") == []
            assert len(strangers(s)) == 1

    def test_the_policys_own_map_wins(self) -> None:
        devices = [{"id": "dust-1"}, {"id": "lora-1", "address": {"dev_eui": EUI.upper()}}]
        with scene(policy([])) as s:
            approve(s)
            s.batch(activation(policy([], devices=devices)))
            assert s.pipeline.judge.state.registry.addresses["dev_eui", EUI] == (MINE, "lora-1")
            with pytest.raises(Conflict):
                approve(s)
            s.batch(activation(policy([], devices=devices[1:])))
            s.batch(activation(policy([], devices=[{"id": "other"}])))
            assert ("dev_eui", EUI) not in s.pipeline.judge.state.registry.addresses


def test_a_replay_decides_the_same() -> None:
    with scene(policy([DUSTY, mean(coverage=0.1)])) as s:
        s.say(100)
        first = calibrate(s, 1.7, from_ns=START_NS + 15 * NS)
        s.say(100, 120).batch(message(entry(s.now_ns, {"pm10": 1}), "new-1"))
        say_fact(s, "replacement", "dust-1", s.now_ns, serial="b")
        approve(s, replay=True)
        calibrate(s, 1.1, from_ns=s.now_ns, corrects=first)
        s.say(140, 100)
        with SPARE.state() as again:
            Pipeline(s.reader, again).run_available()
            assert everything(again) == everything(s.state)


def test_a_home_with_facts_of_before_still_starts() -> None:
    with scene(policy([])) as s:
        old = {"id": 5, "mine": MINE, "kind": "calibration", "subject": "dust-1/pm10", "valid_from_ns": 0,
               "valid_to_ns": None, "recorded_at_ns": 0, "by": LI, "reason": "x", "body": '{"gain":2}'}  # fmt: skip
        with s.state.writing() as connection:
            connection.execute(insert(schema.fact).values(old))
        s.restart()
        s.say(1)
        assert queued(s) == [(1, None)]
