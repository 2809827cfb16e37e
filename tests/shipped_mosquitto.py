"""deploy/mosquitto as it is, on a real mosquitto, for tests; and a client that notes what happens to it.

Import the fixtures where they are needed: `from tests.shipped_mosquitto import authority, start`.
"""

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

from greenmine.ingest.gate import Account, hash_password
from greenmine.ingest.grants import write_mosquitto_files
from tests.channel_servers import Authority

DEPLOY = Path(__file__).resolve().parents[1] / "deploy" / "mosquitto"
WAIT_S = 15.0
INGEST, INGEST_PASSWORD = "greenmine-ingest", "ingest-password"


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
        # paho closes its own sockets when the client is forgotten, which our callbacks in it would put off.
        self.mqtt.on_connect = self.mqtt.on_disconnect = self.mqtt.on_message = self.mqtt.on_subscribe = None


@dataclass
class Broker:
    """mosquitto started by the shipped script with the shipped configuration; only paths and ports are others."""

    folder: Path
    authority: Authority
    plain: int = field(default_factory=free_port)
    tls: int = field(default_factory=free_port)
    certified: int = field(default_factory=free_port)
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
        listener = (DEPLOY / "certificates.conf").read_text(encoding="utf-8")
        for old, new in {
            "/mosquitto/": f"{self.folder}/",
            "/run/secrets/": f"{secrets}/",
            "listener 8884": f"listener {self.certified} 127.0.0.1",
        }.items():
            assert old in listener
            listener = listener.replace(old, new)
        (self.folder / "certificates.conf").write_text(listener)
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
            "CERTIFICATES": str(self.folder / "certificates.conf"),
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

    def provision(self, *accounts: Account, trust: tuple[bytes, bytes] | None = None) -> None:
        write_mosquitto_files(self.folder / "accounts", accounts, trust)

    def connect(self, *args: object, **options: object) -> Client:
        self.clients.append(Client(*args, **options))  # type: ignore[arg-type]
        return self.clients[-1]

    def ingest(self, clean: bool = True) -> Client:
        return self.connect(self.plain, INGEST, INGEST_PASSWORD, clean=clean)

    def device(self, name: str, **options: object) -> Client:
        client = self.connect(self.tls, name, f"{name}-password", self.authority.client_context(), **options)
        assert client.connected.is_set(), client.reason
        return client


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def start(tmp_path: Path, authority: Authority) -> Iterator[Callable[..., Broker]]:
    started: list[Broker] = []

    def go(*accounts: Account, trust: tuple[bytes, bytes] | None = None) -> Broker:
        write_mosquitto_files(tmp_path / "accounts", accounts, trust)
        started.append(Broker(tmp_path, authority))
        return started[-1]

    yield go
    for broker in started:
        for client in broker.clients:
            client.close()
        if broker.process.poll() is None:
            broker.stop()


Start = Callable[..., Broker]
