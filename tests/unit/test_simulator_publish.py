"""The publisher and the load generator, against mosquitto and against nobody."""

from __future__ import annotations

import base64
import getpass
import hashlib
import json
import os
import shutil
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import paho.mqtt.client as mqtt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from greenmine.core.clock import NS_PER_MS, NS_PER_S, ManualClock, ScaledClock, SystemClock
from greenmine.core.errors import ConfigError, UserError
from greenmine.ingest.admit import admit
from greenmine.ingest.decode_json import decode_json
from greenmine.ingest.registry import Registry
from greenmine.policy.check import check_policy
from greenmine.simulator.load import LoadPlan, load_messages, load_policy, run_load
from greenmine.simulator.message import TimedMessage
from greenmine.simulator.publish import MqttPublisher, run_live

PASSWORD = "not-a-secret"
WAIT_S = 20.0
MOSQUITTO = os.environ.get("GREENMINE_MOSQUITTO") or shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")


def message(device: str, seq: int, time_ns: int = 0) -> TimedMessage:
    payload = f'{{"ts":"2026-11-22T08:00:00+08:00","values":{{"ph":7.0}},"seq":{seq}}}'.encode()
    return TimedMessage(time_ns, "m1", device, f"mines/m1/{device}/up", payload, f"m1.{device}", ((device, seq),), 1)


class Mosquitto:
    """A mosquitto of one's own on a loopback port, with one password for the accounts it knows."""

    def __init__(self, folder: Path, accounts: list[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.url = f"mqtt://127.0.0.1:{self.port}"
        passwords = folder / "passwords"
        passwords.write_text("".join(f"{name}:{self._hash(name)}\n" for name in [*accounts, "ear"]))
        passwords.chmod(0o600)
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\n"
            f"user {getpass.getuser()}\nlog_dest stderr\nmax_queued_messages 0\n"
        )
        self._process: subprocess.Popen[str] | None = None
        self._drain: threading.Thread | None = None

    @staticmethod
    def _hash(name: str) -> str:
        salt = hashlib.sha256(name.encode()).digest()[:12]
        digest = hashlib.pbkdf2_hmac("sha512", PASSWORD.encode(), salt, 101)
        return f"$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"

    def start(self) -> None:
        assert MOSQUITTO is not None
        process = subprocess.Popen([MOSQUITTO, "-c", str(self._config)], stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        for line in process.stderr:
            if " running" in line:
                break
        else:
            raise AssertionError(f"mosquitto ended with {process.wait()}")
        self._process = process
        self._drain = threading.Thread(target=self._read, args=(process.stderr,), daemon=True)
        self._drain.start()

    @staticmethod
    def _read(stream: IO[str]) -> None:
        with stream:
            for _ in stream:
                pass

    def stop(self) -> None:
        if self._process is not None and self._drain is not None:
            # Not terminate: mosquitto forgets a SIGTERM that comes just after it has said that it is running.
            self._process.kill()
            self._process.wait(WAIT_S)
            self._drain.join(WAIT_S)
            self._process = None


class Ear:
    """Hears all that is published."""

    def __init__(self, url_port: int) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self._changed = threading.Condition()
        self._subscribed = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="ear", protocol=mqtt.MQTTv311)
        self._client.username_pw_set("ear", PASSWORD)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", url_port)
        self._client.loop_start()
        assert self._subscribed.wait(WAIT_S)

    def _on_message(self, _client: mqtt.Client, _data: object, heard: mqtt.MQTTMessage) -> None:
        with self._changed:
            self.heard.append((heard.topic, heard.payload))
            self._changed.notify_all()

    def wait_for(self, enough: Callable[[], bool]) -> bool:
        with self._changed:
            return self._changed.wait_for(enough, WAIT_S)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    if MOSQUITTO is None:
        pytest.skip("no mosquitto: set GREENMINE_MOSQUITTO or put it on PATH")
    mosquitto = Mosquitto(tmp_path, ["m1.a", "m1.b", "load-1", "load-2"])
    mosquitto.start()
    yield mosquitto
    mosquitto.stop()


@pytest.fixture
def ear(broker: Mosquitto) -> Iterator[Ear]:
    hearing = Ear(broker.port)
    yield hearing
    hearing.close()


@pytest.mark.mosquitto
def test_what_is_published_arrives_and_is_acknowledged_and_logged(broker: Mosquitto, ear: Ear, tmp_path: Path) -> None:
    sent = [message(device, seq) for seq in range(1, 151) for device in ("a", "b")]
    log = tmp_path / "acknowledged.jsonl"
    acknowledged: list[TimedMessage] = []
    with MqttPublisher(
        broker.url, lambda _: PASSWORD, in_flight=10, ack_log=log, on_ack=acknowledged.append
    ) as publisher:
        assert all(publisher.publish(one) for one in sent)
        assert publisher.drain(WAIT_S)
        assert (publisher.published, publisher.acknowledged, publisher.unacknowledged) == (300, 300, 0)
    assert ear.wait_for(lambda: len(ear.heard) == len(sent))
    assert sorted(ear.heard) == sorted((one.topic, one.payload) for one in sent)
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert sorted((line["topic"], line["seq"]) for line in lines) == sorted((m.topic, m.sequence[0][1]) for m in sent)
    assert lines[0] == {"topic": lines[0]["topic"], "seq": 1, "sequence": [[lines[0]["topic"].split("/")[2], 1]]}
    assert Counter(acknowledged) == Counter(sent)


@pytest.mark.mosquitto
def test_an_acknowledgement_may_come_before_publish_returns(broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    publish = mqtt.Client.publish

    def slow(client: mqtt.Client, topic: str, payload: bytes, qos: int) -> mqtt.MQTTMessageInfo:
        info = publish(client, topic, payload, qos)
        info.wait_for_publish(WAIT_S)
        return info

    monkeypatch.setattr(mqtt.Client, "publish", slow)
    with MqttPublisher(broker.url, lambda _: PASSWORD, in_flight=2) as publisher:
        for seq in range(1, 6):
            assert publisher.publish(message("a", seq))
        assert publisher.drain(WAIT_S)
        assert publisher.acknowledged == 5


@pytest.mark.mosquitto
def test_it_goes_on_after_the_broker_was_away(broker: Mosquitto) -> None:
    told: list[str] = []
    with MqttPublisher(broker.url, lambda _: PASSWORD, tell=told.append) as publisher:
        assert publisher.publish(message("a", 1))
        assert publisher.drain(WAIT_S)
        broker.stop()
        for seq in range(2, 12):
            assert publisher.publish(message("a", seq))
        assert not publisher.drain(0)
        broker.start()
        assert publisher.drain(WAIT_S)
        assert (publisher.published, publisher.acknowledged) == (11, 11)
    assert any("connection lost" in words for words in told)
    assert any("connected again" in words for words in told)


@pytest.mark.mosquitto
def test_a_full_window_waits_and_stop_ends_the_wait(broker: Mosquitto) -> None:
    stop = threading.Event()
    with MqttPublisher(broker.url, lambda _: PASSWORD, in_flight=3) as publisher:
        assert publisher.publish(message("a", 1), stop)
        assert publisher.drain(WAIT_S)
        broker.stop()
        results: list[bool] = []
        done = threading.Event()

        def fill() -> None:
            results.extend(publisher.publish(message("a", seq), stop) for seq in range(2, 6))
            done.set()

        thread = threading.Thread(target=fill)
        thread.start()
        assert not done.wait(0.3), "the fourth must wait for an acknowledgement that cannot come"
        stop.set()
        assert done.wait(WAIT_S)
        thread.join(WAIT_S)
    assert results == [True, True, True, False]
    assert publisher.unacknowledged == 3


@pytest.mark.mosquitto
@pytest.mark.parametrize(
    ("device", "password", "told"),
    [
        ("a", lambda _: "wrong", "refuses m1.a: .*(Not authorized|Bad user name).*check the device's password"),
        ("unknown", lambda _: PASSWORD, "refuses m1.unknown: .*provisioned"),
        ("a", lambda _: None, "refuses m1.a: "),
        ("a", {}.__getitem__, "no password for m1.a; provision the device first"),
    ],
)
def test_a_refused_login_is_told(
    broker: Mosquitto, device: str, password: Callable[[str], str | None], told: str
) -> None:
    with MqttPublisher(broker.url, password) as publisher, pytest.raises(ConfigError, match=told):
        publisher.publish(message(device, 1))
    assert publisher.published == 0


def test_a_broker_that_is_not_there_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    publisher = MqttPublisher(f"mqtt://127.0.0.1:{port}", lambda _: None)
    with pytest.raises(ConfigError, match=f"127.0.0.1:{port} cannot be reached: .*is it running there"):
        publisher.publish(message("a", 1))
    publisher.close()


def test_a_port_that_does_not_speak_mqtt_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"mqtt://127.0.0.1:{mute.getsockname()[1]}"
        with (
            MqttPublisher(url, lambda _: None, connect_timeout_s=0.2) as publisher,
            pytest.raises(ConfigError, match=r"refuses m1\.a: it does not answer to MQTT"),
        ):
            publisher.publish(message("a", 1))


def test_a_port_that_hangs_up_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as rude:
        thread = threading.Thread(target=lambda: rude.accept()[0].close())
        thread.start()
        url = f"mqtt://127.0.0.1:{rude.getsockname()[1]}"
        with (
            MqttPublisher(url, lambda _: None, connect_timeout_s=WAIT_S) as publisher,
            pytest.raises(ConfigError, match=r"refuses m1\.a: it closed the connection without an answer"),
        ):
            publisher.publish(message("a", 1))
        thread.join(WAIT_S)


@pytest.mark.mosquitto
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_the_log_is_told(broker: Mosquitto) -> None:
    with MqttPublisher(broker.url, lambda _: PASSWORD, ack_log=Path("/dev/full")) as publisher:
        assert publisher.publish(message("a", 1))
        with pytest.raises(ConfigError, match=r"log cannot be written: .*No space left"):
            publisher.drain(WAIT_S)
        with pytest.raises(ConfigError, match="log cannot be written"):
            publisher.publish(message("a", 2))


@pytest.mark.parametrize("url", ["localhost", "http://localhost", "mqtt://", "mqtt://u:p@host", "mqtt://host:port"])
def test_a_broker_address_is_checked(url: str) -> None:
    with pytest.raises(ConfigError, match="no broker address"):
        MqttPublisher(url, lambda _: None)


def test_a_log_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        MqttPublisher("mqtt://127.0.0.1", lambda _: None, ack_log=tmp_path / "absent" / "log")


class Recorder:
    """Takes what is published, and what time it was."""

    def __init__(self, clock: SteppingClock) -> None:
        self.clock = clock
        self.taken: list[tuple[int, int]] = []

    def publish(self, message: TimedMessage, stop: threading.Event | None = None) -> bool:
        self.taken.append((message.time_ns, self.clock.now_ns))
        return True


class SteppingClock:
    """Moves on by a step whenever it is looked at."""

    def __init__(self, now_ns: int, step_ns: int) -> None:
        self.now_ns = now_ns
        self._step_ns = step_ns

    def wall_ns(self) -> int:
        self.now_ns += self._step_ns
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.wall_ns()


def test_a_live_run_keeps_the_clocks_pace() -> None:
    clock = SteppingClock(0, 100 * NS_PER_S)
    recorder = Recorder(clock)
    times = [0, 250 * NS_PER_S, 250 * NS_PER_S, 900 * NS_PER_S]
    assert run_live((message("a", 1, t) for t in times), recorder, clock, threading.Event()) == 4
    assert [due for due, _ in recorder.taken] == times
    for due, at in recorder.taken:
        assert due <= at <= due + 200 * NS_PER_S, "not before its time, and at the next look after it"


def test_a_scaled_clock_speeds_a_run_up() -> None:
    base = ManualClock(5)
    clock = ScaledClock(base, 60, start_wall_ns=1_000 * NS_PER_S)
    base.advance(NS_PER_S)
    assert clock.wall_ns() == 1_060 * NS_PER_S
    recorder = Recorder(SteppingClock(0, 0))
    due = [message("a", 1, 1_060 * NS_PER_S), message("a", 2, 1_059 * NS_PER_S)]
    assert run_live(due, recorder, clock, threading.Event()) == 2


def test_stop_ends_a_live_run_at_once() -> None:
    clock, stop = ManualClock(0), threading.Event()
    recorder = Recorder(SteppingClock(0, 0))
    first = threading.Event()

    def endless() -> Iterator[TimedMessage]:
        yield message("a", 1, 0)
        first.set()
        yield message("a", 2, 10**18)

    counts: list[int] = []
    thread = threading.Thread(target=lambda: counts.append(run_live(endless(), recorder, clock, stop)))
    thread.start()
    assert first.wait(WAIT_S)
    stop.set()
    thread.join(WAIT_S)
    assert not thread.is_alive()
    assert counts == [1]
    assert run_live([message("a", 1, 0)], recorder, clock, stop) == 0


PLANS = st.builds(
    lambda rate, sensors, batch, devices, duration: LoadPlan(
        rate, sensors, duration, min(batch, sensors), min(devices, sensors // min(batch, sensors))
    ),
    st.floats(1, 5_000),
    st.integers(1, 60),
    st.integers(1, 10),
    st.integers(0, 20),
    st.floats(0.01, 3),
)


@given(PLANS)
@settings(max_examples=60, deadline=None)
def test_the_schedule_is_open_loop_and_never_above_its_rate(plan: LoadPlan) -> None:
    start_ns = 1_795_305_600 * NS_PER_S
    sent = []
    for index, one in zip(range(2_000), load_messages(plan, start_ns), strict=False):
        sent.append(one)
        until_s = (one.time_ns - start_ns) / NS_PER_S
        assert index * plan.batch <= plan.rate * until_s * (1 + 1e-9) + 1e-3
        assert one.readings == plan.batch
    assert len(sent) == min(plan.messages, 2_000)
    assert plan.messages * plan.batch <= plan.rate * plan.duration_s
    registry = Registry.of([load_policy(plan)])
    readings = [
        (admitted.reading.series, admitted.reading.time_ns)
        for one in sent
        for item in decode_json(one.payload).items
        for admitted in [admit(item, one.mine, one.device, registry, one.time_ns)]
        if not admitted.quarantine
    ]
    assert len(readings) == len(sent) * plan.batch, "all are registered"
    assert len(set(readings)) == len(readings), "no reading twice"
    assert len({(one.topic, one.sequence) for one in sent}) == len(sent)


def test_a_plan_has_all_its_sensors_and_a_clean_policy() -> None:
    plan = LoadPlan(rate=100, sensors=25, duration_s=1, batch=5, devices=4)
    policy = load_policy(plan)
    assert check_policy(policy) == []
    assert [len(device.sensors) for device in policy.devices] == [7, 6, 6, 6]
    reached = {item.channel + one.device for one in load_messages(plan, 0) for item in decode_json(one.payload).items}
    assert len(reached) == 25
    assert {one.client for one in load_messages(plan, 0)} == {"load-1", "load-2"}
    own = LoadPlan(rate=100, sensors=4, duration_s=1, clients=())
    assert {one.client for one in load_messages(own, 0)} == {f"load.d0000{index}" for index in range(4)}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rate": 0.0}, "must be positive"),
        ({"duration_s": -1.0}, "must be positive"),
        ({"sensors": 0}, "must be positive"),
        ({"batch": 11}, "1 to 10 of these readings, not 11"),
        ({"batch": 5, "devices": 3}, "with 10 sensors the most is 2 devices"),
    ],
)
def test_a_plan_that_cannot_be_met_is_refused(change: dict[str, float], told: str) -> None:
    with pytest.raises(UserError, match=told):
        LoadPlan(**({"rate": 10.0, "sensors": 10, "duration_s": 1.0} | change))  # type: ignore[arg-type]


@pytest.mark.mosquitto
def test_load_is_sent_and_measured(broker: Mosquitto, ear: Ear, tmp_path: Path) -> None:
    plan = LoadPlan(rate=2_000, sensors=40, duration_s=0.5, batch=4)
    log = tmp_path / "log.jsonl"
    result = run_load(plan, broker.url, lambda _: PASSWORD, SystemClock(), threading.Event(), ack_log=log)
    assert (result.planned, result.sent, result.acknowledged) == (250, 250, 250)
    assert (result.readings_sent, result.readings_acknowledged) == (1_000, 1_000)
    assert result.p50_ms is not None
    assert result.p90_ms is not None
    assert result.p99_ms is not None
    assert result.max_ms is not None
    assert 0 < result.p50_ms <= result.p90_ms <= result.p99_ms <= result.max_ms
    assert ear.wait_for(lambda: len(ear.heard) == 250)
    assert len(log.read_text(encoding="utf-8").splitlines()) == 250


@pytest.mark.mosquitto
def test_latency_counts_from_the_schedule(broker: Mosquitto) -> None:
    """A generator that is late itself must not hide it: here its clock stands an hour ahead of the schedule at once."""

    class LateClock(ManualClock):
        def wall_ns(self) -> int:
            now = super().wall_ns()
            self.advance(3_600 * NS_PER_S)
            return now

    plan = LoadPlan(rate=10, sensors=2, duration_s=1)
    result = run_load(plan, broker.url, lambda _: PASSWORD, LateClock(NS_PER_S), threading.Event())
    assert result.acknowledged == 10
    assert result.p50_ms is not None
    assert result.p50_ms * NS_PER_MS > 3_000 * NS_PER_S


@pytest.mark.mosquitto
def test_load_stops_early_and_counts_what_it_sent(broker: Mosquitto) -> None:
    stop = threading.Event()
    stop.set()
    result = run_load(LoadPlan(10, 2, 60), broker.url, lambda _: PASSWORD, SystemClock(), stop)
    assert (result.planned, result.sent, result.acknowledged, result.p50_ms) == (600, 0, 0, None)
