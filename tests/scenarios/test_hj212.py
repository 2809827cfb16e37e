"""HJ 212 through the real pipeline: who may speak, which series it becomes, packets, keys, and dead letters again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmine.core.account import Account
from greenmine.core.act import ActKind
from greenmine.core.errors import ConfigError
from greenmine.core.quality import flag_names
from greenmine.ingest.hj212_frame import build_frame, crc16
from greenmine.ingest.hj212_history import span_of
from greenmine.ingest.hj212_packets import MAX_AGE_NS, MOST_OF_A_STATION
from greenmine.ingest.hj212_requests import stamp_of
from greenmine.ingest.hj212_sm4 import encrypt_cp
from greenmine.ingest.record import Record, RecordFlag, RecordKind
from greenmine.pipeline.pipeline import Pipeline
from greenmine.policy.model import Policy
from tests.pipeline_scenes import (
    MINE,
    NS,
    SPARE,
    START_NS,
    Scene,
    activation,
    everything,
    message,
    outbox_readings,
    policy,
    scene,
    service,
)

MN, CHILD_MN = "STATION_1", "STATION_2"
KEY = "0123456789abcdeffedcba9876543210"
DATA_TIME = "20261122160000"
"""START_NS at +08:00."""


def station(
    name: str = "logger", mn: str | None = MN, metrics: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    found: dict[str, Any] = {"id": name, **more}
    if mn is not None:
        found["address"] = {"mn": mn}
    metrics = {"pm10": {"unit": "ug/m3", "interval": "60s"}} if metrics is None else metrics
    if metrics:
        found["sensors"] = [{"kind": "dust", "principle": "light_scattering", "metrics": metrics}]
    return found


def mine(*devices: dict[str, Any]) -> Policy:
    return policy([], devices=list(devices) or [station()])


def frame(data: str, cn: str = "2011", mn: str = MN, at: str = DATA_TIME, head: str = "Flag=5") -> bytes:
    return build_frame(f"QN={at}001;ST=22;CN={cn};PW=123456;MN={mn};{head};CP=&&DataTime={at};{data}&&".encode())


def packet(data: str, number: int, of: int, at: str = DATA_TIME, cn: str = "2011", mn: str = MN) -> bytes:
    head = f"QN={at}001;ST=22;CN={cn};PW=123456;MN={mn};Flag=7;PNUM={of};PNO={number}"
    return build_frame(f"{head};CP=&&{data}&&".encode())


def mqtt(payload: bytes, device: str = "logger") -> Record:
    return message(payload, device, kind="up/hj212")


def tcp(payload: bytes, mn: str = MN, flags: int = 0) -> Record:
    return Record(RecordKind.MESSAGE, f"hj212-tcp/{mn}", payload, "198.51.100.7:4001", flags)


def words(here: Scene) -> list[str]:
    return [row["word"] for row in here.rows("dead_letter")]


def stored(here: Scene) -> list[tuple[str, str, str, int, float | None, list[str]]]:
    return [
        (r.series.device, r.series.metric, r.series.stat, r.series.period_s, r.value, flag_names(r.quality))
        for readings in outbox_readings(here.state).values()
        for r in readings
    ]


def balances(account: Account) -> bool:
    return account.received == (
        account.stored + account.pending + account.quarantined + account.duplicate + account.conflict + account.dead
    )


def test_a_station_over_mqtt_and_over_its_listener_is_the_same_device() -> None:
    with scene(mine()) as here:
        here.batch(mqtt(frame("a34002-Rtd=81.3,a34002-Flag=N")))
        here.wait(60).batch(tcp(frame("a34002-Rtd=90,a34002-Flag=C", at="20261122160100")))
        assert stored(here) == [
            ("logger", "pm10", "inst", 0, 81.3, []),
            ("logger", "pm10", "inst", 0, 90.0, ["calibration"]),
        ]
        assert words(here) == []


def test_a_station_that_waits_is_shown_without_its_password() -> None:
    with scene(mine()) as here:
        here.batch(
            mqtt(frame("a34002-Rtd=140.6", mn="STATION_9")), tcp(frame("a34002-Rtd=140.6", mn="STATION_8"), "STATION_8")
        )
        samples = [row["sample"] for row in here.rows("waiting_device")]
        assert samples
        assert all("PW=***;" in sample and "123456" not in sample for sample in samples)


def test_the_unit_is_the_registered_one() -> None:
    metrics = {"pm10": {"unit": "ng/m3", "interval": "60s"}, "tsp": {"unit": "mg/m3", "interval": "60s"}}
    with scene(mine(station(metrics=metrics))) as here:
        here.batch(mqtt(frame("a34002-Rtd=140600.000;a34001-Rtd=0.178")))
        assert [(metric, value) for _, metric, _, _, value, _ in stored(here)] == [("pm10", 140.6), ("tsp", 178.0)]


def test_a_value_that_can_only_be_in_another_unit_is_kept_apart() -> None:
    with scene(mine()) as here:
        here.batch(mqtt(frame("a34002-Rtd=140600.000")))
        here.batch(mqtt(frame("a34002-Rtd=99999999999", at="20261122160001")))
        here.batch(mqtt(frame("a34002-Rtd=140600.000,a34002-Flag=D", at="20261122160002")))
        here.batch(mqtt(frame("a34002-Rtd=-9999,a34002-Flag=D", at="20261122160003")))
        assert [row["reason"] for row in here.rows("quarantine")] == ["unit_doubt"]
        assert [flags for *_, flags in stored(here)] == [
            ["range"], ["range", "invalid"], ["range", "negative", "invalid"],
        ]  # fmt: skip
        assert balances(here.account)


@pytest.mark.parametrize(("cn", "period_s"), [("2051", 60), ("2061", 3600)])
def test_periods_that_never_came_are_asked_for_and_what_the_station_sends_again_fills_them(
    cn: str, period_s: int
) -> None:
    metrics = {"pm10": {"unit": "ug/m3", "interval": f"{period_s}s", "stat": "avg", "period": f"{period_s}s"}}

    def sent(period: int, resent: bool = False) -> Record:
        at = stamp_of(START_NS + period * period_s * NS)
        return tcp(frame(f"a34002-Avg={80 + period}", cn, at=at, head="Flag=5;RF=1" if resent else "Flag=5"))

    with scene(mine(station(metrics=metrics))) as here:
        for period, after in ((0, 1), (1, 1), (4, 3)):
            here.wait(after * period_s).batch(sent(period))
        here.tick(31)
        (gap,) = here.rows("gap")
        assert (gap["device"], gap["stream"], gap["reason"]) == ("logger", f"period-{period_s}", "open")
        (asked,) = here.rows("downlink")
        assert (asked["kind"], asked["target"]) == ("history", f"hj212:{MN}")
        span = span_of(asked["payload"])
        assert span == (cn, START_NS + 2 * period_s * NS, START_NS + 3 * period_s * NS)
        here.batch(sent(2, resent=True)).restart()
        assert here.rows("gap")[0]["reason"] == "open"
        here.batch(sent(3, resent=True))
        (gap,) = here.rows("gap")
        assert (gap["reason"], gap["filled"]) == ("filled", 2)
        assert [value for *_, value, _ in stored(here)] == [80.0, 81.0, 84.0, 82.0, 83.0]


def test_a_gateway_speaks_for_the_stations_behind_it_and_for_no_other() -> None:
    devices = [
        station("logger", None, {}),
        station("dust-a", MN, gateway="logger"),
        station("dust-b", CHILD_MN),
    ]
    with scene(mine(*devices)) as here:
        here.batch(mqtt(frame("a34002-Rtd=1")))
        here.batch(mqtt(frame("a34002-Rtd=2", mn=CHILD_MN)))
        here.batch(mqtt(frame("a34002-Rtd=3", mn="NOBODY")))
        here.batch(mqtt(frame("a34002-Rtd=4"), device="dust-b"))
        assert [(device, value) for device, _, _, _, value, _ in stored(here)] == [("dust-a", 1.0)]
        assert words(here) == ["mn", "mn", "mn"]


def test_what_the_listener_says_of_a_frame() -> None:
    with scene(mine(station(), station("other", CHILD_MN))) as here:
        here.batch(tcp(frame("a34002-Rtd=1", mn="NOBODY"), mn="NOBODY"))
        here.batch(tcp(frame("a34002-Rtd=1", mn=CHILD_MN)))
        here.batch(tcp(frame("a34002-Rtd=1"), flags=RecordFlag.DENIED))
        here.batch(tcp(frame("a34002-Rtd=1")[:60], flags=RecordFlag.UNFINISHED))
        assert words(here) == ["unknown_address", "mn", "auth", "timeout"]
        assert stored(here) == []


def test_minute_data_have_the_period_that_is_registered() -> None:
    registered = {"pm10": {"unit": "ug/m3", "interval": "10m", "stat": "avg", "period": "10m"}}
    with scene(mine(station(metrics=registered))) as here:
        here.batch(mqtt(frame("a34002-Avg=31,a34002-Max=35", cn="2051")))
        here.batch(mqtt(frame("a34002-Avg=31", cn="2061")))
        assert stored(here) == [("logger", "pm10", "avg", 600, 31.0, [])]
        quarantined = [(row["stat"], row["period_s"], row["reason"]) for row in here.rows("quarantine")]
        assert quarantined == [("max", 600, "unregistered"), ("avg", 3600, "unregistered")]
        here.batch(mqtt(frame("a34004-Avg=31", cn="2051")))
        assert here.rows("quarantine")[-1]["period_s"] == 600, "a station has one period of minutes"


@pytest.mark.parametrize(
    ("ignored", "left"),
    [
        (["-Cou"], ["a99010 (avg 3600 s) is 5"]),
        (["W00000-cou", "A99010"], ["a34002-Cou (sum 3600 s) is 7"]),
        (["a99010-Avg", "a34002", "w00000"], []),
    ],
)
def test_what_a_policy_ignores_of_a_station_is_a_note_and_no_dead_letter(ignored: list[str], left: list[str]) -> None:
    registered = {"pm10": {"unit": "ug/m3", "interval": "1h", "stat": "avg", "period": "1h"}}
    data = "a34002-Avg=31,a34002-Cou=7;w00000-Cou=63;a99010-Avg=5"
    with scene(mine(station(metrics=registered, hj212={"ignore": ignored}))) as here:
        here.batch(mqtt(frame(data, cn="2061")))
        assert [row["detail"] for row in here.rows("dead_letter")] == left
        assert len(stored(here)) == ("a34002" not in ignored)
        assert balances(here.account)
        assert here.account.received == len(left) + len(stored(here))


def test_one_bad_value_costs_no_other_and_the_account_balances() -> None:
    with scene(mine()) as here:
        here.batch(mqtt(frame("a34002-Rtd=1;q99999-Rtd=5,q99999-Flag=D;w00000-Cou=63;a34004-Rtd=--.-")))
        assert words(here) == ["field", "number", "unknown_factor"]
        assert here.rows("dead_letter")[2]["detail"] == "q99999 (inst 0 s) is 5 invalid"
        assert (here.account.received, here.account.pending, here.account.dead) == (4, 1, 3)


def test_a_frame_sent_again_changes_nothing_and_another_value_is_a_conflict() -> None:
    with scene(mine()) as here:
        for value in (1, 1, 2):
            here.batch(tcp(frame(f"a34002-Rtd={value}")))
        assert (here.account.pending, here.account.duplicate, here.account.conflict) == (1, 1, 1)


def test_data_that_are_sent_again_later_are_duplicates_or_late() -> None:
    with scene(mine()) as here:
        here.batch(tcp(frame("a34002-Rtd=1")))
        here.wait(120).batch(tcp(frame("a34002-Rtd=3", at="20261122160200")))
        again = [("a34002-Rtd=1", DATA_TIME), ("a34002-Rtd=2", "20261122160100"), ("a34002-Rtd=2", "20261122160100")]
        for data, at in again:
            here.wait(1).batch(tcp(frame(data, at=at, head="Flag=9;RF=1")))
        assert (here.account.pending, here.account.duplicate, here.account.conflict) == (3, 2, 0)
        assert [flags for *_, flags in stored(here)] == [[], [], ["late"]]


def test_damage_costs_no_good_frame_of_its_payload() -> None:
    good = [frame(f"a34002-Rtd={value}", at=f"2026112216000{value}") for value in range(4)]
    broken = good[1].replace(b"Rtd=1", b"Rtd=7")
    with scene(mine()) as here:
        here.batch(mqtt(b"noise" + good[0] + broken + good[1][:40] + good[2] + b"##12" + good[3] + b"##9999"))
        assert [value for *_, value, _ in stored(here)] == [0.0, 2.0, 3.0]
        assert words(here) == ["header", "crc", "length", "length", "length"]
        assert balances(here.account)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(st.binary(max_size=40), st.integers(0, 59), st.tuples(st.integers(0, 59), st.integers(0, 2**16))),
        max_size=8,
    )
)
def test_hostile_bytes_among_good_frames(pieces: list[bytes | int | tuple[int, int]]) -> None:
    """A number is a good frame of that second, a pair one with a bit turned over."""
    payload, seconds = bytearray(), set()
    for piece in pieces:
        if isinstance(piece, bytes):
            payload += piece.replace(b"#", b"") + b"\r\n"
        elif isinstance(piece, int):
            payload += frame(f"a34002-Rtd={piece}", at=f"202611221600{piece:02d}")
            seconds.add(float(piece))
        else:
            damaged = bytearray(frame("a34002-Rtd=77", at=f"202611221500{piece[0]:02d}"))
            damaged[piece[1] // 8 % len(damaged)] ^= 1 << piece[1] % 8
            payload += damaged
    with scene(mine()) as here:
        here.batch(mqtt(bytes(payload)))
        assert {value for *_, value, _ in stored(here)} - {77.0} == seconds
        assert balances(here.account)


def test_a_command_without_readings_counts_nothing() -> None:
    with scene(mine()) as here:
        here.batch(mqtt(frame("", cn="2081")), tcp(frame("", cn="9014")))
        assert here.account == Account()


def test_dead_letters_are_read_again_by_a_later_policy() -> None:
    with scene(mine(station(mn="OTHER"))) as here:
        here.batch(mqtt(frame("a34002-Rtd=1")), tcp(frame("a34002-Rtd=2", at="20261122160100")))
        assert words(here) == ["mn", "unknown_address"]
        here.wait(120).batch(activation(mine()))
        ids = [row["record_id"] for row in here.rows("dead_letter")]
        answer = here.act(ActKind.REPLAY_DEAD_LETTERS, body={"record_ids": ids})
        assert (answer.detail["stored"], answer.detail["still_dead"]) == (2, 0)
        assert balances(here.account)


# --- packets --------------------------------------------------------------------------------------------------------

PARTS = [f"DataTime={DATA_TIME};a34002-Rtd=81.3,", "a34002-Flag=N;a340", "04-Rtd=40,a34004-Flag=T"]
METRICS = {"pm10": {"unit": "ug/m3", "interval": "60s"}, "pm25": {"unit": "ug/m3", "interval": "60s"}}
WHOLE = [("logger", "pm10", "inst", 0, 81.3, []), ("logger", "pm25", "inst", 0, 40.0, ["range"])]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("restart", [False, True])
def test_packets_are_put_together_in_any_order(order: tuple[int, ...], restart: bool) -> None:
    with scene(mine(station(metrics=METRICS))) as here:
        for place in order:
            here.wait(1).batch(tcp(packet(PARTS[place], place + 1, 3)))
            if restart:
                here.restart()
        assert sorted(stored(here)) == sorted(WHOLE)
        assert words(here) == []
        # What is sent again because an answer was lost is known.
        here.wait(1).batch(tcp(packet(PARTS[1], 2, 3)))
        here.tick(MAX_AGE_NS / NS + 2)
        assert (here.account.received, words(here), here.rows("hj212_packet")) == (2, [], [])


def outcome_of(here: Scene) -> dict[str, Any]:
    """All that follows from a journal."""
    return {**everything(here.state), "packets": here.rows("hj212_packet"), "joined": here.rows("hj212_joined")}


def test_packets_in_one_message() -> None:
    payload = b"".join(packet(part, number, 3) for number, part in enumerate(PARTS, 1))
    with scene(mine(station(metrics=METRICS))) as here:
        here.batch(mqtt(payload))
        assert sorted(stored(here)) == sorted(WHOLE)


def test_packets_that_are_never_whole_become_dead_letters() -> None:
    with scene(mine(station(metrics=METRICS))) as here:
        here.batch(tcp(packet(PARTS[0], 1, 3)))
        here.wait(1).batch(tcp(packet(PARTS[1], 2, 3)))
        here.tick(MAX_AGE_NS / NS - 3)
        assert words(here) == []
        here.tick(3)
        assert words(here) == ["packet", "packet"]
        assert (here.account.received, here.account.dead, here.rows("hj212_packet")) == (2, 2, [])
        ids = [row["record_id"] for row in here.rows("dead_letter")]
        answer = here.act(ActKind.REPLAY_DEAD_LETTERS, body={"record_ids": ids})
        assert answer.detail["still_dead"] == 2


def test_packets_that_contradict_each_other() -> None:
    with scene(mine(station(metrics=METRICS))) as here:
        here.batch(tcp(packet(PARTS[0], 1, 3)), tcp(packet(PARTS[1], 2, 4)), tcp(packet(PARTS[1], 1, 3)))
        assert words(here) == ["packet", "packet"]


def test_a_station_has_room_for_a_few_pieces_only() -> None:
    with scene(mine(station(metrics=METRICS))) as here:
        for second in range(MOST_OF_A_STATION + 2):
            here.wait(1).batch(tcp(packet(PARTS[0], 1, 3, at=f"2026112216000{second}")))
        assert words(here) == ["packet", "packet"]
        assert len(here.rows("hj212_packet")) == MOST_OF_A_STATION


def test_data_in_packets_are_read_again() -> None:
    with scene(mine(station())) as here:
        parts = [f"DataTime={DATA_TIME};a34002-Rtd=81.3;q9-Rtd=1;", "q8-Rtd=2"]
        for number, part in enumerate(parts, 1):
            here.wait(1).batch(tcp(packet(part, number, 2)))
        assert words(here) == ["unknown_factor", "unknown_factor"]
        record_id = here.rows("dead_letter")[0]["record_id"]
        answer = here.act(ActKind.REPLAY_DEAD_LETTERS, body={"record_ids": [record_id]})
        assert (answer.detail["still_dead"], answer.detail["stored"]) == (2, 0)
        assert (here.account.received, here.account.dead) == (3, 2)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.integers(0, 5), st.integers(1, 3), st.integers(2, 3)),
            st.integers(1, 700),
        ),
        max_size=25,
    ),
    st.data(),
)
def test_a_restart_at_any_moment_changes_nothing(steps: list[tuple[int, int, int] | int], data: st.DataObject) -> None:
    def run(here: Scene, restarts: bool) -> dict[str, Any]:
        here.begin(mine(station(metrics=METRICS)))
        for step in steps:
            if isinstance(step, int):
                here.tick(step)
            else:
                second, number, of = step
                if number <= of:
                    payload = packet(PARTS[number - 1], number, of, at=f"2026112216000{second}")
                    here.wait(1).batch(tcp(payload))
            if restarts and data.draw(st.booleans()):
                here.restart()
        assert balances(here.account)
        return outcome_of(here)

    with SPARE.state() as one, SPARE.state() as other, SPARE.state() as third:
        live, restarted = Scene(one), Scene(other)
        found = run(live, restarts=False)
        assert found == run(restarted, restarts=True)
        # Judged again in few commits instead of one for each batch.
        again = Scene(third)
        again.journal = again.reader = live.reader
        again.restart().run_available()
        assert found == outcome_of(again)


# --- encrypted data -------------------------------------------------------------------------------------------------


def sealed(data: str, key: str = KEY) -> bytes:
    head = f"QN={DATA_TIME}001;ST=22;CN=2011;PW=123456;MN={MN};Flag=9;CP=&&"
    cp = encrypt_cp(f"DataTime={DATA_TIME};{data}".encode(), bytes.fromhex(key))
    segment = head.encode() + cp + b"&&"
    plain = f"{head}DataTime={DATA_TIME};{data}&&".encode()
    return b"##%04d%b%04X\r\n" % (len(segment), segment, crc16(plain))


def secrets(reference: str) -> str:
    found = {"secret:station-key": KEY, "secret:station-password": "123456", "secret:other": "654321"}
    if reference not in found:
        raise ConfigError("no such file")
    return found[reference]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [("secret:station-password", []), ("secret:other", ["auth"]), ("secret:lost", ["auth"]), (None, [])],
)
def test_the_password_over_mqtt_is_the_registered_one(reference: str | None, expected: list[str]) -> None:
    with SPARE.state() as state:
        here = Scene(state)
        here.pipeline = Pipeline(here.reader, state, secrets)
        here.batch(service("start"))
        more = {} if reference is None else {"hj212": {"password": reference}}
        here.batch(activation(mine(station(**more))))
        here.batch(mqtt(frame("a34002-Rtd=1")))
        # What came from the listener was checked there, and a replay cannot decide it differently.
        here.batch(tcp(frame("a34002-Rtd=2", at="20261122160100")))
        assert words(here) == expected
        assert [value for *_, value, _ in stored(here)] == ([2.0] if expected else [1.0, 2.0])
        assert "654321" not in str(here.rows("dead_letter"))


def test_a_password_that_is_put_right_lets_dead_letters_in() -> None:
    with SPARE.state() as state:
        here = Scene(state)
        here.pipeline = Pipeline(here.reader, state, secrets)
        here.pipeline.on_results(here.answers.update)
        here.batch(service("start"))
        here.batch(activation(mine(station(hj212={"password": "secret:other"}))), mqtt(frame("a34002-Rtd=1")))
        assert words(here) == ["auth"]
        here.wait(60).batch(activation(mine(station(hj212={"password": "secret:station-password"}))))
        ids = [row["record_id"] for row in here.rows("dead_letter")]
        assert here.act(ActKind.REPLAY_DEAD_LETTERS, body={"record_ids": ids}).detail["stored"] == 1
        assert balances(here.account)


@pytest.mark.parametrize(
    ("payload", "reference", "expected"),
    [
        (sealed("a34002-Rtd=81.3,a34002-Flag=N"), "secret:station-key", []),
        (sealed("a34002-Rtd=81.3", key="00" * 16), "secret:station-key", ["crc"]),
        (sealed("a34002-Rtd=81.3"), "secret:lost", ["sm4_key"]),
        (sealed("a34002-Rtd=81.3"), None, ["sm4_key"]),
        (frame("a34002-Rtd=81.3"), "secret:station-key", []),
        (build_frame(b"ST=22;CN=2011;PW=1;MN=STATION_1;CP=&&{0xE4,zz}&&"), "secret:station-key", ["cp"]),
    ],
)
def test_encrypted_data_are_read_with_the_stations_key(
    payload: bytes, reference: str | None, expected: list[str]
) -> None:
    with SPARE.state() as state:
        here = Scene(state)
        here.pipeline = Pipeline(here.reader, state, secrets)
        here.batch(service("start"))
        more = {} if reference is None else {"hj212": {"sm4_key": reference}}
        here.batch(activation(mine(station(**more))), mqtt(payload))
        assert words(here) == expected
        assert [value for *_, value, _ in stored(here)] == ([] if expected else [81.3])
        assert KEY not in str(here.rows("dead_letter"))


def test_what_an_installer_sees_has_no_password() -> None:
    with scene(mine()) as here:
        seen: list[Any] = []
        here.pipeline.subscribe(seen.extend)
        here.batch(tcp(frame("a34002-Rtd=1")))
        (shown,) = [change.what for change in seen if change.kind == "message"]
        assert "123456" not in str(shown)
        assert shown["readings"][0]["value"] == 1.0
        assert (shown["mine"], shown["device"]) == (MINE, "logger")
    assert START_NS % NS == 0


def test_a_station_that_nobody_registered_waits_with_its_values_and_without_its_password() -> None:
    with scene(mine(station("other", CHILD_MN))) as here:
        here.batch(tcp(frame("a34002-Rtd=81.3,q9-Rtd=2")), mqtt(frame("a34002-Rtd=1"), device="stranger"))
        assert words(here) == ["unknown_address", "mn"]
        known, own = sorted(here.pipeline.judge.state.waiting.values(), key=lambda one: one.network)
        assert (known.network, known.address) == ("mn", MN)
        assert [(one.name, one.value) for one in known.values] == [("pm10", 81.3), ("q9", 2.0)]
        assert (own.network, own.address) == ("mqtt", f"{MINE}/stranger")
        for one in (known, own):
            assert "123456" not in one.sample
            assert "PW=***;" in one.sample
