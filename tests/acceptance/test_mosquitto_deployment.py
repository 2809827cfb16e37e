"""deploy/mosquitto as it is, on a real mosquitto: who may connect, what he may do, what is kept."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from ruamel.yaml import YAML

from greenmine.ingest.gate import Account, hash_password
from greenmine.ingest.grants import write_mosquitto_files
from tests.channel_servers import Authority

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "mosquitto"
WAIT_S = 15.0
INGEST, INGEST_PASSWORD = "greenmine-ingest", "ingest-password"

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.skipif(not shutil.which("mosquitto"), reason="the mosquitto program is not installed"),
]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def device(mine: str, name: str) -> Account:
    return Account(f"{mine}.{name}", mine, name, hash_password(f"{mine}.{name}-password"))


class Client:
    """A client that connects in the constructor and notes what happens to it."""

    def __init__(
        self,
        port: int,
        user: str | None,
        password: str | None,
        tls: ssl.SSLContext | None = None,
        client_id: str | None = None,
        clean: bool = True,
        retrying: bool = False,
    ) -> None:
        self.messages: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
        self.answered, self.connected, self.lost = threading.Event(), threading.Event(), threading.Event()
        self.reason = ""
        self._granted = threading.Event()
        self.mqtt = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=user if client_id is None and user else (client_id or "anonymous"),
            clean_session=clean,
            reconnect_on_failure=retrying,
        )
        self.mqtt.reconnect_delay_set(1, 1)
        if user is not None:
            self.mqtt.username_pw_set(user, password)
        if tls is not None:
            self.mqtt.tls_set_context(tls)
        self.mqtt.on_connect = self._on_connect
        self.mqtt.on_disconnect = lambda *_: self.lost.set()
        self.mqtt.on_message = lambda _client, _data, message: self.messages.put(message)
        self.mqtt.on_subscribe = lambda *_: self._granted.set()
        self.mqtt.connect("localhost" if tls else "127.0.0.1", port, keepalive=30)
        self.mqtt.loop_start()
        assert self.answered.wait(WAIT_S)

    def _on_connect(self, _client: object, _data: object, _flags: object, reason: object, _properties: object) -> None:
        self.reason = str(reason)
        if self.reason == "Success":
            self.connected.set()
        self.answered.set()

    def subscribe(self, topic: str) -> None:
        self._granted.clear()
        self.mqtt.subscribe(topic, qos=1)
        assert self._granted.wait(WAIT_S)

    def publish(self, topic: str, payload: bytes | str = b"x") -> None:
        """Publish and wait for the acknowledgement, which a denied publish gets as well (MQTT 3.1.1)."""
        self.mqtt.publish(topic, payload, qos=1).wait_for_publish(WAIT_S)

    def next(self) -> tuple[str, bytes]:
        message = self.messages.get(timeout=WAIT_S)
        return message.topic, message.payload

    def close(self) -> None:
        self.mqtt.disconnect()
        self.mqtt.loop_stop()


@dataclass
class Broker:
    """mosquitto started by the shipped script with the shipped configuration; only paths and ports are others."""

    folder: Path
    authority: Authority
    plain: int = field(default_factory=free_port)
    tls: int = field(default_factory=free_port)
    clients: list[Client] = field(default_factory=list)

    def __post_init__(self) -> None:
        certificate, key = self.authority.issue("localhost", "127.0.0.1")
        secrets = self.folder / "secrets"
        secrets.mkdir(exist_ok=True)
        shutil.copy(certificate, secrets / "mqtt-server.crt")
        shutil.copy(key, secrets / "mqtt-server.key")
        (secrets / "mqtt-ingest").write_text(INGEST_PASSWORD + "\n")
        text = (DEPLOY / "mosquitto.conf").read_text(encoding="utf-8")
        for old, new in {
            "/mosquitto/": f"{self.folder}/",
            "/run/secrets/": f"{secrets}/",
            "listener 1883 ": f"listener {self.plain} ",
            "listener 8883": f"listener {self.tls} 127.0.0.1",
        }.items():
            assert old in text
            text = text.replace(old, new)
        # As root mosquitto would become the user mosquitto, who may not enter pytest's folders.
        (self.folder / "mosquitto.conf").write_text(text + ("\nuser root\n" if os.getuid() == 0 else ""))
        self.start()

    def start(self) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "ACCOUNTS": str(self.folder / "accounts"),
            "RUN": str(self.folder / "run"),
            "DATA": str(self.folder / "data"),
            "CONFIG": str(self.folder / "mosquitto.conf"),
            "SECRET": str(self.folder / "secrets" / "mqtt-ingest"),
            "EVERY_S": "0.2",
        }
        self.output: list[str] = []
        script = ["sh", str(DEPLOY / "entrypoint.sh")]
        self.process = subprocess.Popen(
            script, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self.output.extend, args=(self.process.stdout,))
        self._reader.start()
        if not self._answers():
            self.stop()
            pytest.fail("mosquitto did not start:\n" + "".join(self.output))

    def _answers(self) -> bool:
        """Whether it answers an MQTT CONNECT (with a refusal) before the process ends or the time is up; all listeners
        are open by then."""
        pause = threading.Event()
        for _ in range(int(WAIT_S / 0.05)):
            try:
                with socket.create_connection(("127.0.0.1", self.plain), timeout=WAIT_S) as probe:
                    probe.sendall(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00")
                    return probe.recv(4) == b"\x20\x02\x00\x05"
            except ConnectionRefusedError:
                if self.process.poll() is not None:
                    return False
                pause.wait(0.05)
        return False

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def provision(self, *accounts: Account) -> None:
        write_mosquitto_files(self.folder / "accounts", accounts)

    def connect(self, *args: object, **options: object) -> Client:
        self.clients.append(Client(*args, **options))  # type: ignore[arg-type]
        return self.clients[-1]

    def ingest(self, clean: bool = True) -> Client:
        return self.connect(self.plain, INGEST, INGEST_PASSWORD, clean=clean)

    def device(self, name: str, **options: object) -> Client:
        client = self.connect(self.tls, name, f"{name}-password", self.authority.client_context(), **options)
        assert client.connected.is_set(), client.reason
        return client


A, B, C = device("north", "dust-1"), device("north", "dust-2"), device("south", "dust-1")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def start(tmp_path: Path, authority: Authority) -> Iterator[Callable[..., Broker]]:
    started: list[Broker] = []

    def go(*accounts: Account) -> Broker:
        write_mosquitto_files(tmp_path / "accounts", accounts)
        started.append(Broker(tmp_path, authority))
        return started[-1]

    yield go
    for broker in started:
        for client in broker.clients:
            client.close()
        if broker.process.poll() is None:
            broker.stop()


Start = Callable[..., Broker]


def test_the_configuration_is_accepted_without_a_warning_and_ends_cleanly(start: Start) -> None:
    broker = start(A)
    assert broker.ingest().connected.is_set()
    broker.clients.pop().close()
    assert broker.stop() == 0
    complaints = [line for line in broker.output if "rror" in line or "arning" in line]
    assert [line for line in complaints if "run as root" not in line] == []


def test_it_starts_before_there_is_any_account(start: Start) -> None:
    assert start().ingest().connected.is_set()


@pytest.mark.parametrize(
    ("user", "password"), [(None, None), (A.name, "wrong"), (A.name, ""), ("north.unknown", "x"), (INGEST, "wrong")]
)
def test_strangers_do_not_get_in(start: Start, user: str | None, password: str | None) -> None:
    broker = start(A)
    for port, tls in ((broker.plain, None), (broker.tls, broker.authority.client_context())):
        client = broker.connect(port, user, password, tls)
        assert not client.connected.is_set()
        assert client.reason == "Not authorized"


def test_devices_talk_tls_and_see_a_certificate_for_the_name(start: Start) -> None:
    broker = start(A)
    assert broker.device(A.name).connected.is_set()
    with socket.create_connection(("127.0.0.1", broker.tls)) as stranger, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(stranger, server_hostname="localhost")


def test_a_device_writes_its_own_topics_and_no_other(start: Start) -> None:
    broker = start(A, B, C)
    ingest, dust = broker.ingest(), broker.device(A.name)
    ingest.subscribe("mines/#")
    allowed = [f"mines/north/dust-1/{suffix}" for suffix in ("up", "up/senml", "up/hj212", "activity")]
    denied = [
        "mines/north/dust-2/up",
        "mines/south/dust-1/up",
        "mines/north/dust-1/down",
        "mines/north/dust-1/up/other",
        "mines/north/dust-1/up/",
        "mines/north/dust-1",
        "mines/north/dust-10/up",
        "mines/north/dust-1/UP",
        "mines//dust-1/up",
    ]
    for topic in denied + allowed:
        dust.publish(topic, topic)
    assert [ingest.next()[0] for _ in allowed] == allowed  # and nothing of the denied before or between them
    dust.publish(allowed[0], "last")
    assert ingest.next() == (allowed[0], b"last")


def test_a_device_reads_only_what_is_sent_down_to_it(start: Start) -> None:
    broker = start(A, B)
    ingest, dust, other = broker.ingest(), broker.device(A.name), broker.device(B.name)
    for topic in ("#", "mines/#", "$SYS/#", "mines/north/dust-2/#", "mines/north/dust-1/down"):
        dust.subscribe(topic)
    other.publish("mines/north/dust-2/up", "of another")
    ingest.publish("mines/north/dust-2/down", "for another")
    ingest.publish("mines/north/dust-1/up", "not to be read back")
    ingest.publish("mines/north/dust-1/down", "for you")
    assert dust.next() == ("mines/north/dust-1/down", b"for you")


def test_a_stolen_client_id_takes_over_nobodys_session(start: Start) -> None:
    broker = start(A)
    first = broker.ingest(clean=False)
    first.subscribe("mines/#")
    first.close()
    thief = broker.device(A.name, client_id=INGEST, clean=False)
    thief.publish("mines/north/dust-1/up", "kept for ingest")
    thief.close()
    again = broker.ingest(clean=False)
    assert again.next() == ("mines/north/dust-1/up", b"kept for ingest")


def test_more_than_the_default_queue_is_kept_for_an_absent_ingest(start: Start) -> None:
    broker = start(A)
    first = broker.ingest(clean=False)
    first.subscribe("mines/#")
    first.close()
    dust = broker.device(A.name)
    count = 3_000  # mosquitto's own default keeps 1,000 and acknowledges the rest all the same
    sent = [dust.mqtt.publish("mines/north/dust-1/up", str(n), qos=1) for n in range(count)]
    sent[-1].wait_for_publish(WAIT_S)
    again = broker.ingest(clean=False)
    assert [int(again.next()[1]) for _ in range(count)] == list(range(count))


def test_what_was_acknowledged_survives_an_orderly_restart(start: Start) -> None:
    broker = start(A)
    first = broker.ingest(clean=False)
    first.subscribe("mines/#")
    first.close()
    dust = broker.device(A.name)
    dust.publish("mines/north/dust-1/up", "before")
    dust.close()
    assert broker.stop() == 0
    broker.start()
    assert broker.ingest(clean=False).next()[1] == b"before"


def test_a_payload_of_more_than_256_kib_ends_the_connection_unacknowledged(start: Start) -> None:
    broker = start(A)
    ingest, dust = broker.ingest(), broker.device(A.name)
    ingest.subscribe("mines/#")
    dust.publish("mines/north/dust-1/up", b"x" * 262_144)
    assert len(ingest.next()[1]) == 262_144
    acknowledged = threading.Event()
    dust.mqtt.on_publish = lambda *_: acknowledged.set()
    dust.mqtt.publish("mines/north/dust-1/up", b"x" * 264_000, qos=1)
    assert dust.lost.wait(WAIT_S)
    assert not acknowledged.is_set()
    broker.device(A.name).publish("mines/north/dust-1/up", "after")
    assert ingest.next()[1] == b"after"


def test_accounts_are_given_and_taken_while_it_runs(start: Start) -> None:
    broker = start(A)
    tls = broker.authority.client_context()
    late = broker.connect(broker.tls, B.name, f"{B.name}-password", tls, retrying=True)
    assert late.reason == "Not authorized"
    broker.provision(A, B)
    assert late.connected.wait(WAIT_S)
    ingest = broker.ingest()
    ingest.subscribe("mines/#")
    late.publish("mines/north/dust-2/up", "welcome")
    assert ingest.next() == ("mines/north/dust-2/up", b"welcome")
    late.lost.clear()
    broker.provision(A)
    assert late.lost.wait(WAIT_S)
    assert broker.device(A.name).connected.is_set()


@pytest.mark.skipif(
    not shutil.which("mosquitto_sub"), reason="mosquitto_sub (package mosquitto-clients) is not installed"
)
def test_the_health_check_of_compose_tells_a_broker_from_none(start: Start) -> None:
    compose = YAML(typ="safe", pure=True).load((DEPLOY.parents[1] / "docker-compose.yml").read_text(encoding="utf-8"))
    kind, command = compose["services"]["mosquitto"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    assert "-p 1883 " in command

    def healthy(port: int) -> bool:
        checked = command.replace("$$", "$").replace("-p 1883 ", f"-p {port} ")
        return subprocess.run(["sh", "-c", checked], timeout=WAIT_S).returncode == 0

    broker = start()
    assert healthy(broker.plain)
    broker.stop()
    assert not healthy(broker.plain)
