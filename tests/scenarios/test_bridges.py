"""What other networks bring, through the whole pipeline: addresses, codecs, sessions, and who may speak for whom."""

from __future__ import annotations

from typing import Any

import pytest

from greenmine.ingest.record import Record, RecordKind
from greenmine.simulator.encode_chirpstack import chirpstack_topic, chirpstack_uplink
from greenmine.simulator.encode_senml import SenmlValue, senml_pack
from greenmine.simulator.encode_sparkplug import EdgeSession
from greenmine.simulator.encode_tts import tts_topic, tts_uplink
from tests.pipeline_scenes import (
    DUSTY,
    MINE,
    NS,
    SPARE,
    Scene,
    device,
    everything,
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
BOTH = policy([DUSTY], devices=[device("dust-1", pm10="ug/m3"), PROBE, PUMP], codecs=CODECS)


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
        assert [row["word"] for row in s.rows("dead_letter")] == ["unknown_address"]
        (waiting,) = s.rows("waiting_device")
        assert (waiting["network"], waiting["address"]) == ("dev_eui", stranger)
        assert "SM20" in waiting["values"]


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
