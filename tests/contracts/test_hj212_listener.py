"""The listener for HJ 212 on loopback: journal first, answer second, and nothing from anybody else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenmine.core.clock import ManualClock, SystemClock
from greenmine.core.errors import ConfigError, StoreUnavailable
from greenmine.ingest.hj212_connection import MAX_DENIALS, Limits
from greenmine.ingest.hj212_frame import crc16
from greenmine.ingest.hj212_gate import Station, StationGate
from greenmine.ingest.hj212_listener import MAX_DENIALS_A_MINUTE, Hj212Listener
from greenmine.ingest.hj212_sm4 import encrypt_cp
from greenmine.ingest.journal_writer import WriterLimits
from greenmine.ingest.record import Record, RecordFlag
from tests.hj212_station import MN, PASSWORD, StationClient, answer, data, frame
from tests.journal_rig import JournalRig
from tests.service_rig import until

KEY = bytes(range(16))
OTHER_MN = "STATION_2"
Start = Callable[..., Hj212Listener]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[JournalRig]:
    made = JournalRig(tmp_path / "journal.db")
    yield made
    made.close()


@pytest.fixture
def start(rig: JournalRig) -> Iterator[Start]:
    started: list[Hj212Listener] = []

    def begin(limits: Limits = Limits(), journal: JournalRig = rig) -> Hj212Listener:  # noqa: B008 - immutable
        gate = StationGate({MN: Station(PASSWORD, KEY), OTHER_MN: Station(None)})
        listener = Hj212Listener("127.0.0.1", 0, gate, journal.writer, SystemClock(), limits)
        listener.start()
        started.append(listener)
        return listener

    yield begin
    for listener in started:
        listener.stop()


@pytest.fixture
def listening() -> list[Hj212Listener]:
    return []


def sources(messages: list[Record]) -> list[str]:
    return [record.source for record in messages]


def test_data_are_answered_once_they_are_on_disk(rig: JournalRig, start: Start) -> None:
    with StationClient(start().port) as station:
        rig.journal.hold()
        station.send(data())
        assert rig.journal.entered.wait(10)
        assert station.silent()
        rig.journal.released.set()
        assert station.frame() == answer()
        (record,) = rig.messages()
        assert (record.source, record.payload, record.flags) == (f"hj212-tcp/{MN}", data(), 0)
        assert record.client == "tcp:127.0.0.1"


def test_a_frame_that_was_not_journalled_is_never_answered(rig: JournalRig, start: Start) -> None:
    with StationClient(start().port) as station:
        rig.journal.failure = StoreUnavailable("disk", needs_operator=True)
        station.send(data())
        until(lambda: rig.failures)
        assert station.silent()
        station.send(data())
        assert station.silent()


def test_only_what_asks_for_an_answer_gets_one(rig: JournalRig, start: Start) -> None:
    with StationClient(start().port) as station:
        station.send(data(qn="20261122160000001", flag=4) + data(qn="20261122160000002"))
        assert station.frame() == answer(qn="20261122160000002")
        assert len(rig.messages()) == 2


def test_bytes_may_come_one_by_one_and_frames_all_at_once(rig: JournalRig, start: Start) -> None:
    with StationClient(start().port) as station:
        for byte in data(qn="20261122160000000"):
            station.send(bytes([byte]))
        assert station.frame() == answer(qn="20261122160000000")
        qns = [f"2026112216000{n:04d}" for n in range(600)]
        station.send(b"".join(data(qn=qn) for qn in qns))
        assert [station.frame() for _ in qns] == [answer(qn=qn) for qn in qns]


def test_after_damage_the_next_frame_is_taken(rig: JournalRig, start: Start) -> None:
    listener = start()
    with StationClient(listener.port) as station:
        bad = data().replace(b"=81.3", b"=91.3")
        station.send(b"noise" + bad + data()[:70] + data(qn="20261122160000002"))
        assert station.frame() == answer(qn="20261122160000002")
        messages = rig.messages()
        assert sources(messages) == ["hj212-tcp/-", "hj212-tcp/-", "hj212-tcp/-", f"hj212-tcp/{MN}"]
        assert [record.payload for record in messages[:2]] == [b"noise", bad]
        assert listener.damaged == 3


def test_a_flood_of_noise_ends_the_connection_and_is_mostly_only_counted(rig: JournalRig, start: Start) -> None:
    listener = start()
    with StationClient(listener.port) as station:
        try:
            for _ in range(100):
                station.send(b"##9999" + b"x" * 2000)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert station.ended()
    kept = rig.wait_for(lambda messages: len(messages) == 10)
    assert all(len(record.payload) <= 2048 for record in kept)
    assert listener.damaged > 10


def test_a_wrong_password_is_not_answered_and_ends_the_connection(rig: JournalRig, start: Start) -> None:
    listener = start()
    with StationClient(listener.port) as station:
        guesses = b"".join(data(pw=f"00000{n}") for n in range(MAX_DENIALS)) + data()
        station.send(guesses)
        assert station.ended()
    records = rig.wait_for(lambda messages: len(messages) == MAX_DENIALS)
    assert {record.flags for record in records} == {RecordFlag.DENIED}
    assert (listener.denied, listener.frames) == (MAX_DENIALS, 0), (
        "the right guess behind the wrong ones is not looked at"
    )


def test_passwords_cannot_be_tried_out_over_many_connections(start: Start) -> None:
    listener = start()
    for _ in range(MAX_DENIALS_A_MINUTE // MAX_DENIALS):
        with StationClient(listener.port) as station:
            station.send(data(pw="000000") * MAX_DENIALS)
            assert station.ended()
    with StationClient(listener.port) as station:
        assert station.ended()
    assert listener.refused_connections == 1


def test_a_station_whose_password_cannot_be_had_is_refused(rig: JournalRig, start: Start) -> None:
    listener = start()
    with StationClient(listener.port) as station:
        station.send(data(mn=OTHER_MN, pw=""))
        (record,) = rig.wait_for(bool)
    assert (record.source, record.flags) == (f"hj212-tcp/{OTHER_MN}", RecordFlag.DENIED)


def test_a_stranger_is_noted_once_a_minute_and_not_answered(rig: JournalRig, start: Start) -> None:
    listener = start()
    with StationClient(listener.port) as station:
        station.send(data(mn="STRANGER") * 5 + data(qn="20261122160000002"))
        assert station.frame() == answer(qn="20261122160000002")
    assert sources(rig.messages()) == ["hj212-tcp/STRANGER", f"hj212-tcp/{MN}"]
    assert listener.unknown == 5


def test_one_address_may_hold_so_many_connections_and_no_more(start: Start) -> None:
    listener = start(Limits(max_per_address=2))
    first, second = StationClient(listener.port), StationClient(listener.port)
    with first, second:
        for station in (first, second):
            station.send(data())
            assert station.frame() == answer()
        with StationClient(listener.port) as third:
            assert third.ended()
        assert listener.refused_connections == 1
        first.close()
        until(lambda: listener.connections == 1)
        with StationClient(listener.port) as fourth:
            fourth.send(data())
            assert fourth.frame() == answer()


def test_the_limit_of_all_connections_holds(start: Start) -> None:
    listener = start(Limits(max_connections=1))
    with StationClient(listener.port) as first:
        first.send(data())
        assert first.frame() == answer()
        with StationClient(listener.port) as second:
            assert second.ended()


def test_a_frame_that_is_never_finished_is_given_up(rig: JournalRig, start: Start) -> None:
    with StationClient(start(Limits(unfinished_s=0.2)).port) as station:
        station.send(data() + data()[:50])
        assert station.frame() == answer()
        assert station.ended()
    records = rig.wait_for(lambda messages: len(messages) == 2)
    assert (records[1].payload, records[1].flags) == (data()[:50], RecordFlag.UNFINISHED)


def test_who_says_nothing_is_let_go(start: Start) -> None:
    listener = start(Limits(first_frame_s=0.2))
    with StationClient(listener.port) as stranger:
        assert stranger.ended()
    listener = start(Limits(idle_s=0.2, first_frame_s=0.4))
    with StationClient(listener.port) as station:
        station.send(data())
        assert station.frame() == answer()
        assert station.ended()


def test_a_full_journal_stops_the_reading_and_loses_nothing(tmp_path: Path, start: Start) -> None:
    rig = JournalRig(tmp_path / "small.db", WriterLimits(queue_records=4, linger_s=0.0, tick_s=0.05))
    try:
        listener = start(journal=rig)
        with StationClient(listener.port) as station:
            rig.journal.hold()
            qns = [f"202611221600{n:05d}" for n in range(100)]
            station.send(b"".join(data(qn=qn) for qn in qns))
            until(lambda: rig.writer.refused_full)
            assert station.silent()
            rig.journal.released.set()
            assert [station.frame() for _ in qns] == [answer(qn=qn) for qn in qns]
            assert len(rig.messages()) == 100
    finally:
        listener.stop()
        rig.close()


def test_a_frame_that_is_late_because_we_did_not_read_is_waited_for(tmp_path: Path, start: Start) -> None:
    rig = JournalRig(tmp_path / "small.db", WriterLimits(queue_records=4, linger_s=0.0, tick_s=0.05))
    try:
        listener = start(Limits(unfinished_s=0.2), rig)
        with StationClient(listener.port) as station, StationClient(listener.port) as other:
            rig.journal.hold()
            station.send(data() * 30 + data()[:50])
            until(lambda: rig.writer.refused_full)
            other.send(data()[:50])
            assert other.ended(), "by now the time of both is over"
            rig.journal.released.set()
            assert [station.frame() for _ in range(30)] == [answer()] * 30
            station.send(data()[50:])
            assert station.frame() == answer()
    finally:
        listener.stop()
        rig.close()


def test_who_ends_his_side_still_gets_his_answers(rig: JournalRig, start: Start) -> None:
    with StationClient(start().port) as station:
        rig.journal.hold()
        station.send(data())
        station.finish()
        assert rig.journal.entered.wait(10)
        rig.journal.released.set()
        assert station.frame() == answer()
        assert station.ended()


def test_the_time_is_told_to_who_asks(start: Start) -> None:
    with StationClient(start().port) as station:
        station.send(data(cn="1013", cp="PolId=w01018"))
        assert station.frame() == answer(cn="9013")
        setting = station.frame()
        assert b";CN=1012;" in setting
        assert b"CP=&&SystemTime=20" in setting


def test_encrypted_data_with_a_wrong_crc_are_not_answered(rig: JournalRig, start: Start) -> None:
    head = f"QN=20261122160000001;ST=22;CN=2011;PW={PASSWORD};MN={MN};Flag=9;CP=&&".encode()
    plain = b"DataTime=20261122160000;a34002-Rtd=81.3"
    sealed = head + encrypt_cp(plain, KEY) + b"&&"
    good = b"##%04d%b%04X\r\n" % (len(sealed), sealed, crc16(head + plain + b"&&"))
    bad = good.replace(b"QN=20261122160000001", b"QN=20261122160000000")[:-6] + b"0000\r\n"
    with StationClient(start().port) as station:
        station.send(bad + good)
        assert station.frame() == answer(flag=8)
        assert station.silent()
    assert [record.payload for record in rig.messages()] == [bad, good]


def test_history_is_asked_for_and_the_answers_are_understood(start: Start) -> None:
    listener = start()
    wanted = {"request": "history", "cn": "2051", "from": "2026-11-22T08:00:00Z", "to": "2026-11-22T08:10:00Z"}
    payload = json.dumps(wanted).encode()
    assert not listener.request_history(MN, payload), "nobody is there"
    with StationClient(listener.port) as station:
        station.send(data())
        assert station.frame() == answer()
        assert listener.request_history(MN, payload)
        asked = station.frame().decode()
        qn = asked.split("QN=")[1][:17]
        cp = "BeginTime=20261122160000,EndTime=20261122161000"
        assert asked.encode() == frame(f"QN={qn};ST=22;CN=2051;PW={PASSWORD};MN={MN};Flag=5;CP=&&{cp}&&")
        station.send(answer(qn, "9011", "QnRtn=1") + data(qn="20261122160000009", cn="2051"))
        assert station.frame() == answer(qn="20261122160000009")
        station.send(answer(qn, "9012", "ExeRtn=1"))
        until(lambda: listener.history.done == 1)


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b"[1]",
        b"no json",
        b'{"request": "history", "cn": "2051"}',
        b'{"request": "history", "cn": "2011", "from": "2026-11-22T08:00:00Z", "to": "2026-11-22T08:10:00Z"}',
        b'{"request": "history", "cn": "2061", "from": "2026-11-22T09:00:00Z", "to": "2026-11-22T08:10:00Z"}',
    ],
)
def test_nothing_else_can_be_asked_of_a_station(start: Start, payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"history|JSON|Expecting"):
        start().request_history(MN, payload)


HOSTILE = st.one_of(
    st.binary(min_size=1, max_size=300),
    st.builds(lambda cut: data()[:cut], st.integers(1, 100)),
    st.builds(lambda at, to: data()[:at] + bytes([to]) + data()[at + 1 :], st.integers(0, 120), st.integers(0, 255)),
    st.builds(lambda length: b"##%04d" % length, st.integers(0, 9999)),
    st.just(data(mn="STRANGER")),
    st.just(data(cp="")),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(HOSTILE, max_size=10), st.integers(1, 400))
def test_whatever_comes_before_it_a_good_frame_is_answered(
    start: Start, listening: list[Hj212Listener], hostile: list[bytes], piece: int
) -> None:
    if not listening:
        listening.append(start())
    qn = "20261122235959999"
    stream = b"".join(hostile)
    good = data(qn=qn)
    with StationClient(listening[0].port) as station:
        for first in range(0, len(stream), piece):
            station.send(stream[first : first + piece])
        station.send(b"\r\n" + good)
        while (found := station.frame()) != answer(qn=qn):
            assert found.startswith(b"##")
    assert listening[0].is_alive


def test_a_port_that_is_taken_is_said_with_what_to_do(rig: JournalRig, start: Start) -> None:
    taken = start()
    second = Hj212Listener("127.0.0.1", taken.port, StationGate(), rig.writer, ManualClock())
    with pytest.raises(ConfigError, match=r"choose another port \(hj212\.port\)"):
        second.start()
    second.stop()
