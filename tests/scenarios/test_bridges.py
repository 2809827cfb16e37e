"""What other networks bring, through the whole pipeline: addresses, codecs, sessions, and who may speak for whom."""

from __future__ import annotations

from typing import Any

import pytest

from greenmine.core.act import ActKind
from greenmine.core.alert import Condition
from greenmine.core.errors import NotFound
from greenmine.core.quality import Quality
from greenmine.ingest.record import Record, RecordKind
from greenmine.pipeline.pipeline import Pipeline
from greenmine.policy.load import EXAMPLES, load_policy
from greenmine.simulator.encode_chirpstack import chirpstack_topic, chirpstack_uplink
from greenmine.simulator.encode_senml import SenmlValue, senml_pack
from greenmine.simulator.encode_sparkplug import EdgeSession, MetricValue, sparkplug_payload
from greenmine.simulator.encode_tts import tts_topic, tts_uplink
from tests.pipeline_scenes import (
    DUSTY,
    MINE,
    NS,
    SPARE,
    Scene,
    activation,
    device,
    everything,
    limit,
    message,
    outbox_readings,
    policy,
    restored,
)

EUI = "a84041b2c1841f3d"
PROBE = {
    **device("soil-1", "soil", channel="d20", soil_moisture="%"),
    "address": {"dev_eui": EUI},
    "codec": "probe",
}
PUMP = {**device("pump-1", "water", flow="L/s"), "address": {"edge": "mine-a/gw01/pump"}, "codec": "pump"}
CODECS = {
    "probe": {
        "fields": {"SM20": {"metric": "soil_moisture", "channel": "d20", "scale": 100, "unit": "%"}},
        "bytes": [{"at": 0, "length": 2, "metric": "soil_moisture", "channel": "d20", "scale": 0.01, "port": 2}],
        "battery": "Bat",
        "ignore": ["TempC"],
    },
    "pump": {"fields": {"Flow": {"metric": "flow", "unit": "m3/h"}}},
}
WET = limit("wet", "flow", 150, 100)
BOTH = policy([DUSTY], devices=[device("dust-1", pm10="ug/m3"), PROBE, PUMP], codecs=CODECS)


FLOODED = policy([DUSTY, WET], devices=[device("dust-1", pm10="ug/m3"), PROBE, PUMP], codecs=CODECS)


def arrived(topic: str, payload: bytes) -> Record:
    return Record(RecordKind.MESSAGE, topic, payload, "bridge", 0)


def stored(s: Scene) -> list[tuple[str, str, str, float]]:
    found = [one for readings in outbox_readings(s.state).values() for one in readings]
    return [(one.series.device, one.series.metric, one.series.channel, round(one.value or 0.0, 6)) for one in found]


def networks(time_ns: int, counter: int, **sent: Any) -> list[Record]:
    return [
        arrived(chirpstack_topic("a1", EUI), chirpstack_uplink(EUI, time_ns, counter=counter, **sent)),
        arrived(tts_topic("app", "soil07"), tts_uplink("soil07", EUI, time_ns, counter=counter, **sent)),
    ]


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("sent", [{"fields": {"SM20": 0.184, "Bat": 3.5, "TempC": 4}}, {"frame": b"\x07\x30"}])
def test_an_uplink_becomes_a_reading_by_the_devices_codec(number: int, sent: dict[str, Any]) -> None:
    with SPARE.state() as state:
        s = Scene(state).begin(BOTH)
        uplink = networks(s.now_ns, 1, **sent)[number]
        s.batch(uplink, uplink)
        assert stored(s) == [("soil-1", "soil_moisture", "d20", 18.4)]
        assert s.state.account()._asdict()["duplicate"] == 1, "an uplink that two gateways heard, or that came twice"
        assert s.rows("dead_letter") == []


def test_a_probe_that_nobody_registered_waits() -> None:
    with SPARE.state() as state:
        s = Scene(state).begin(BOTH)
        stranger = "00000000000000ff"
        s.batch(arrived(chirpstack_topic("a1", stranger), chirpstack_uplink(stranger, s.now_ns, fields={"SM20": 0.2})))
        assert stored(s) == []
        assert [(row["word"], row["field"]) for row in s.rows("dead_letter")] == [
            ("unknown_address", "deviceInfo.devEui")
        ]
        (waiting,) = s.rows("waiting_device")
        assert (waiting["network"], waiting["address"]) == ("dev_eui", stranger)
        assert "SM20" in waiting["values"]


def test_an_uplink_without_values_that_anybody_can_read() -> None:
    with SPARE.state() as state:
        s = Scene(state).begin(policy([DUSTY], devices=[{**PROBE, "codec": None}]))
        for record in networks(s.now_ns, 1, frame=b"\x07\x30"):
            s.batch(record)
        assert [row["word"] for row in s.rows("dead_letter")] == ["no_codec", "no_codec"]
        assert (s.account.received, s.account.dead) == (2, 2)


def test_lost_uplinks_are_a_gap_that_nobody_is_asked_for() -> None:
    with SPARE.state() as state:
        s = Scene(state).begin(BOTH)
        for counter in (7, 8, 11, 12):
            s.tick(10)
            s.batch(networks(s.now_ns, counter, fields={"SM20": 0.2})[0])
        s.tick(40)
        (gap,) = s.rows("gap")
        assert (gap["device"], gap["stream"], gap["first_seq"], gap["last_seq"]) == ("soil-1", "fcnt", 9, 10)
        assert s.rows("downlink") == []


def test_a_replayed_dead_letter_of_a_probe_that_was_registered_since() -> None:
    with SPARE.state() as state:
        s = Scene(state).begin(policy([DUSTY]))
        s.batch(networks(s.now_ns, 1, fields={"SM20": 0.184})[0])
        (letter,) = s.rows("dead_letter")
        s.batch(activation(BOTH))
        again = {"record_ids": [letter["record_id"]]}
        assert s.act(ActKind.REPLAY_DEAD_LETTERS, body=again).detail["stored"] == 1
        with pytest.raises(NotFound):
            s.act(ActKind.REPLAY_DEAD_LETTERS, body=again)
        assert stored(s) == [("soil-1", "soil_moisture", "d20", 18.4)]
        assert s.account.balanced


def test_a_topic_that_names_another_device_than_the_payload() -> None:
    with SPARE.state() as state:
        s = Scene(state).begin(BOTH)
        s.batch(
            arrived(chirpstack_topic("a1", "00000000000000ff"), chirpstack_uplink(EUI, s.now_ns, fields={"SM20": 1}))
        )
        assert [row["word"] for row in s.rows("dead_letter")] == ["scope"]


def test_senml_of_another_device_is_refused_and_its_own_is_stored() -> None:
    with SPARE.state() as state:
        s = Scene(state).begin(BOTH)
        s.batch(message(senml_pack([SenmlValue("pm10", 0.0813, "mg/m3")], s.now_ns), kind="up/senml"))
        other = senml_pack([SenmlValue("pm10", 1.0)], s.now_ns + NS, base_name="urn:dev:mac:00000000000000ff:")
        s.batch(message(other, kind="up/senml"))
        assert [row["word"] for row in s.rows("dead_letter")] == ["senml_scope"]
        assert all(one[0] == "dust-1" for one in stored(s))


def test_a_pack_that_contradicts_itself_keeps_its_first_value() -> None:
    """senml-37."""
    with SPARE.state() as state:
        s = Scene(state).begin(BOTH)
        t = s.now_ns // NS
        s.batch(message(b'[{"bt":%d,"n":"pm10","v":1},{"n":"pm10","v":2},{"n":"pm10","v":1}]' % t, kind="up/senml"))
        assert stored(s) == [("dust-1", "pm10", "", 1.0)]
        assert (s.account.conflict, s.account.duplicate) == (1, 1)


class TestSparkplug:
    def born(self, s: Scene) -> EdgeSession:
        session = EdgeSession("mine-a", "gw01")
        s.batch(arrived(*session.node_birth({}, s.now_ns)))
        s.batch(arrived(*session.device_birth("pump", {"Flow": 36.0}, s.now_ns)))
        return session

    def say(self, s: Scene, session: EdgeSession, flow: float) -> None:
        s.tick(10)
        s.batch(arrived(*session.data("pump", {"Flow": flow}, s.now_ns)))

    def test_birth_and_data(self) -> None:
        with SPARE.state() as state:
            s = Scene(state).begin(BOTH)
            session = self.born(s)
            self.say(s, session, 72.0)
            assert stored(s) == [("pump-1", "flow", "", 10.0), ("pump-1", "flow", "", 20.0)], "m3/h are stored as L/s"
            assert s.rows("downlink") == []

    @pytest.mark.parametrize("lost", ["birth", "message"])
    def test_what_was_missed_is_asked_for(self, lost: str) -> None:
        with SPARE.state() as state:
            s = Scene(state).begin(BOTH)
            if lost == "birth":
                session = EdgeSession("mine-a", "gw01")
                session.node_birth({}, s.now_ns)
                session.device_birth("pump", {"Flow": 36.0}, s.now_ns)
            else:
                session = self.born(s)
                session.skip()
            self.say(s, session, 72.0)
            self.say(s, session, 75.0)
            (asked,) = s.rows("downlink")
            assert asked["target"] == "spBv1.0/mine-a/NCMD/gw01", "once, however much it says meanwhile"

    def test_what_fires_is_stale_with_the_death_and_goes_on_with_the_birth(self) -> None:
        with SPARE.state() as state:
            s = Scene(state).begin(FLOODED)
            session = self.born(s)
            self.say(s, session, 720.0)
            assert s.the_alert().condition is Condition.FIRING
            old = EdgeSession("mine-a", "gw01", bd_seq=99)
            s.batch(arrived(*old.node_death()))
            assert s.the_alert().condition is Condition.FIRING, "the death of a session that was over"
            s.batch(arrived(*session.node_death()))
            assert s.the_alert().condition is Condition.STALE
            s.restart()
            s.tick(5)
            session = EdgeSession("mine-a", "gw01", bd_seq=1)
            s.batch(arrived(*session.node_birth({}, s.now_ns)))
            s.batch(arrived(*session.device_birth("pump", {"Flow": 730.0}, s.now_ns)))
            assert s.the_alert().condition is Condition.FIRING
            s.tick(5)
            s.batch(arrived(*session.device_death("pump", s.now_ns)))
            assert s.the_alert().condition is Condition.STALE
            assert s.reasons()[-3:] == ["silent_while_firing", "data_returned", "silent_while_firing"]

    def test_a_replay_of_the_journal_comes_to_the_same(self) -> None:
        """All batches at once, in another state: sessions, requests, alerts that a death made stale, dead letters."""
        with SPARE.state() as live, SPARE.state() as again:
            s = Scene(live).begin(FLOODED)
            session = self.born(s)
            self.say(s, session, 720.0)
            s.batch(*networks(s.now_ns, 1, fields={"SM20": 0.184, "x": 1}))
            session.skip()
            self.say(s, session, 721.0)
            s.batch(arrived(*session.device_birth("stranger", {"Flow": 1.0}, s.now_ns)))
            s.batch(arrived(*session.node_death()))
            self.say(s, session, 722.0)
            Pipeline(s.reader, again).run_available()
            assert everything(again) == everything(live)
            assert restored(again).edge_nodes == restored(live).edge_nodes
            assert s.the_alert().condition is Condition.STALE
            assert len(s.rows("downlink")) == 1

    def test_a_death_ends_nothing_of_other_devices(self) -> None:
        with SPARE.state() as state:
            s = Scene(state).begin(FLOODED)
            session = self.born(s)
            s.say(500.0)
            s.batch(arrived(*session.node_death()))
            assert s.the_alert().condition is Condition.FIRING

    def test_lost_messages_are_a_gap_that_historical_values_fill(self) -> None:
        with SPARE.state() as state:
            s = Scene(state).begin(BOTH)
            session = self.born(s)
            self.say(s, session, 72.0)
            lost_ns = s.now_ns + 4 * NS
            session.skip(2)
            self.say(s, session, 75.0)
            assert [one["kind"] for one in s.rows("downlink")] == ["rebirth"]
            s.tick(35)
            (gap,) = s.rows("gap")
            assert (gap["device"], gap["stream"]) == ("pump-1", "edge:mine-a/gw01")
            assert (gap["first_seq"], gap["last_seq"], gap["reason"]) == (3, 4, "open")
            assert gap["found_ns"] - gap["opened_ns"] < 60 * NS
            # What is true now, as asked for, brings nothing back.
            s.batch(arrived(*session.node_birth({}, s.now_ns)))
            s.batch(arrived(*session.device_birth("pump", {"Flow": 75.0}, s.now_ns)))
            old = arrived(*session.data("pump", {"Flow": 1.0}, lost_ns - 60 * NS, historical=True))
            kept = arrived(*session.data("pump", {"Flow": 73.0}, lost_ns, historical=True))
            s.batch(old, kept, kept)
            assert [(one["reason"], one["filled"]) for one in s.rows("gap")] == [("open", 1)]
            s.restart()
            s.batch(arrived(*session.data("pump", {"Flow": 74.0}, lost_ns + NS, historical=True)))
            assert [(one["reason"], one["filled"]) for one in s.rows("gap")] == [("filled", 2)]
            with SPARE.state() as again:
                Pipeline(s.reader, again).run_available()
                assert everything(again) == everything(s.state)

    def test_a_gap_at_the_turn_of_the_numbers_and_one_after_a_new_birth(self) -> None:
        with SPARE.state() as state:
            s = Scene(state).begin(BOTH)
            session = self.born(s)
            session.skip(253)
            s.batch(arrived(*session.node_birth({}, s.now_ns)))
            for step in range(260):
                s.wait(1)
                if step == 256:
                    session.skip()
                s.batch(arrived(*session.device_birth("pump", {"Flow": 36.0 + step}, s.now_ns)))
            s.tick(40)
            (gap,) = s.rows("gap")
            assert (gap["first_seq"], gap["last_seq"], gap["first_seq"] % 256) == (257, 257, 1)

    def test_devices_that_a_gateway_invents_cost_no_memory(self) -> None:
        with SPARE.state() as state:
            s = Scene(state).begin(BOTH)
            session = self.born(s)
            for number in range(50):
                s.batch(arrived(*session.device_birth(f"x{number}", {f"m{one}": 1.0 for one in range(20)}, s.now_ns)))
                s.batch(arrived(*session.data(f"x{number}", {"m1": 2.0}, s.now_ns)))
            assert set(restored(state).edge_nodes["mine-a/gw01"].births) == {"", "pump"}
            assert s.rows("downlink") == [], "and nobody asks for theirs"
            self.say(s, session, 72.0)
            assert stored(s)[-1] == ("pump-1", "flow", "", 20.0)
            waiting = s.rows("waiting_device")
            assert {(one["network"], one["address"]) for one in waiting} == {
                ("edge", f"mine-a/gw01/x{number}") for number in range(50)
            }
            assert "m1" in waiting[0]["values"], "an installer sees what it sent"

    def test_an_alias_of_one_device_names_nothing_of_another(self) -> None:
        with SPARE.state() as state:
            other = {**PUMP, "id": "pump-2", "address": {"edge": "mine-a/gw01/second"}}
            s = Scene(state).begin(policy([DUSTY], devices=[PUMP, other], codecs=CODECS))
            session = self.born(s)
            lost = session.device_birth("second", {"Level": 3.0}, s.now_ns)
            assert lost[0].endswith("DBIRTH/gw01/second")
            stolen = sparkplug_payload([MetricValue(7.0, alias=1, with_datatype=False)], s.now_ns + NS, 3)
            s.batch(arrived("spBv1.0/mine-a/DDATA/gw01/second", stolen))
            assert [one[0] for one in stored(s)] == ["pump-1"]
            assert [row["word"] for row in s.rows("dead_letter")] == ["sparkplug_alias"]
            assert len(s.rows("downlink")) == 1

    def test_a_device_that_is_registered_later_is_asked_for_its_birth(self) -> None:
        with SPARE.state() as state:
            extra = {**PUMP, "id": "pump-2", "address": {"edge": "mine-a/gw01/second"}}
            s = Scene(state).begin(BOTH)
            session = self.born(s)
            s.batch(arrived(*session.device_birth("second", {"Flow": 36.0}, s.now_ns)))
            s.batch(activation(policy([DUSTY], devices=[PUMP, extra], codecs=CODECS)))
            s.batch(arrived(*session.data("second", {"Flow": 72.0}, s.now_ns + NS)))
            assert len(s.rows("downlink")) == 1
            s.tick(2)
            s.batch(arrived(*session.node_birth({}, s.now_ns)))
            s.batch(arrived(*session.device_birth("second", {"Flow": 36.0}, s.now_ns)))
            s.tick(2)
            s.batch(arrived(*session.data("second", {"Flow": 72.0}, s.now_ns)))
            assert [one[3] for one in stored(s) if one[0] == "pump-2"] == [10.0, 20.0]

    def test_numbers_wrap_without_a_request(self) -> None:
        with SPARE.state() as state:
            s = Scene(state).begin(BOTH)
            session = self.born(s)
            for number in range(300):
                s.wait(1)
                s.batch(arrived(*session.data("pump", {"Flow": 36.0 + number}, s.now_ns)))
            assert len(stored(s)) == 301
            assert s.rows("downlink") == []

    def test_messages_that_come_twice_change_nothing(self) -> None:
        told = []
        for times in (1, 2):
            with SPARE.state() as state:
                s = Scene(state).begin(BOTH)
                session = EdgeSession("mine-a", "gw01")
                steps = [
                    session.node_birth({}, s.now_ns),
                    session.device_birth("pump", {"Flow": 36.0}, s.now_ns),
                    session.data("pump", {"Flow": 40.0}, s.now_ns + NS),
                ]
                for step in steps:
                    s.batch(*[arrived(*step)] * times)
                told.append((stored(s), s.rows("downlink"), restored(state).edge_nodes["mine-a/gw01"].seq))
        assert told[0] == told[1]

    def test_late_values_that_are_historical_are_late(self) -> None:
        with SPARE.state() as state:
            s = Scene(state).begin(BOTH)
            session = self.born(s)
            s.batch(arrived(*session.data("pump", {"Flow": 72.0}, s.now_ns - 60 * NS, historical=True)))
            assert [one[3] for one in stored(s)] == [10.0, 20.0]
            qualities = [one.quality for readings in outbox_readings(s.state).values() for one in readings]
            assert [bool(one & Quality.LATE) for one in qualities] == [False, True]

    def test_messages_that_are_none_are_dead_and_move_no_session(self) -> None:
        with SPARE.state() as state:
            s = Scene(state).begin(BOTH)
            session = self.born(s)
            before = restored(state).edge_nodes
            s.batch(
                arrived("spBv1.0/mine-a/DDATA/gw01/pump", b"\xff" * 9),
                arrived("spBv1.0/mine-a/DDATA/gw01/pump", sparkplug_payload([], s.now_ns, 256)),
                arrived("spBv1.0/mine-a/DDATA/gw01/", b""),
                arrived("spBv1.0/mine-a/NCMD/gw01", b"whatever"),
                arrived("spBv1.0/STATE/scada", b"ONLINE"),
            )
            assert restored(state).edge_nodes == before
            assert [row["word"] for row in s.rows("dead_letter")] == ["protobuf", "range", "topic_empty_level"]
            self.say(s, session, 72.0)
            assert s.account.balanced

    def test_after_its_death_a_node_is_not_believed(self) -> None:
        with SPARE.state() as state:
            s = Scene(state).begin(BOTH)
            session = self.born(s)
            s.batch(arrived(*session.node_death()))
            assert not restored(state).edge_nodes["mine-a/gw01"].online
            before = stored(s)
            self.say(s, session, 72.0)
            assert stored(s) == before
            assert s.rows("downlink") != []

    @pytest.mark.parametrize("restart_after", [1, 2, 3, 4])
    def test_a_restart_changes_nothing(self, restart_after: int) -> None:
        told = []
        for restart in (False, True):
            with SPARE.state() as state:
                s = Scene(state).begin(BOTH)
                session = EdgeSession("mine-a", "gw01")
                steps = [
                    session.node_birth({}, s.now_ns),
                    session.device_birth("pump", {"Flow": 36.0}, s.now_ns),
                    session.data("pump", {"Flow": 40.0}, s.now_ns + NS),
                    (session.skip(), session.data("pump", {"Flow": 44.0}, s.now_ns + 2 * NS))[1],
                    session.data("pump", {"Flow": 48.0}, s.now_ns + 3 * NS),
                ]
                for number, step in enumerate(steps):
                    if restart and number == restart_after:
                        s.restart()
                    s.tick(5)
                    s.batch(arrived(*step))
                told.append((everything(state), restored(state).edge_nodes, s.rows("downlink")))
        assert told[0] == told[1]

    def test_a_gateway_that_no_policy_names(self) -> None:
        with SPARE.state() as state:
            s = Scene(state).begin(BOTH)
            session = EdgeSession("other", "gw99")
            s.batch(arrived(*session.node_birth({}, s.now_ns)))
            s.batch(arrived(*session.device_birth("pump", {"Flow": 36.0}, s.now_ns)))
            assert stored(s) == []
            assert {row["word"] for row in s.rows("dead_letter")} == {"unknown_address"}
            assert restored(state).edge_nodes == {}


def test_a_bridge_speaks_for_registered_addresses_of_every_mine_and_for_no_own_topic() -> None:
    """The broker keeps a bridge off our own topics (test_gate_grants); here, that a payload cannot name our ids."""
    with SPARE.state() as state:
        s = Scene(state).begin(BOTH)
        s.batch(
            arrived(chirpstack_topic("a1", EUI), chirpstack_uplink(EUI, s.now_ns, fields={f"{MINE}/dust-1/pm10": 9}))
        )
        assert stored(s) == []


def test_the_example_mine_of_other_networks_stores_what_each_of_them_brings() -> None:
    """The bytes are those of the probe that the example's codec is written for."""
    frame = bytes.fromhex("0d120107085c050000 6410".replace(" ", ""))
    fields = {"water_SOIL": "21.40", "temp_SOIL": "12.80", "conduct_SOIL": 100, "Bat": 3.346}
    with SPARE.state() as state:
        s = Scene(state).begin(load_policy(EXAMPLES / "networks" / "shifan-3.yaml").policy)
        second = "a84041b2c1841f3e"
        s.batch(
            arrived(chirpstack_topic("a1", EUI), chirpstack_uplink(EUI, s.now_ns, counter=1, fields=fields)),
            arrived(tts_topic("app", "soil07"), tts_uplink("soil07", second, s.now_ns, counter=1, frame=frame)),
        )
        session = EdgeSession("shifan-3", "gw-01")
        s.batch(arrived(*session.node_birth({}, s.now_ns)))
        s.batch(arrived(*session.device_birth("pump-1", {"Process/Flow": 360.0, "Process/pH_x100": 712.0}, s.now_ns)))
        mast = senml_pack([SenmlValue("wind_speed", 3.5, "m/s"), SenmlValue("pressure", 89.1, "kPa")], s.now_ns)
        s.batch(message(mast, "weather-1", mine="shifan-3", kind="up/senml"))
        assert s.rows("dead_letter") == []
        assert sorted(stored(s)) == [
            ("pump-1", "flow", "", 100.0),
            ("pump-1", "ph", "", 7.12),
            *[(soil, *one) for soil in ("soil-1", "soil-2") for one in SOIL],
            ("weather-1", "pressure", "", 89.1),
            ("weather-1", "wind_speed", "", 3.5),
        ]


SOIL = [("ec", "d20", 0.1), ("soil_moisture", "d20", 21.4), ("soil_temp", "d20", 12.8)]
