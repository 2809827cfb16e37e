"""deploy/mosquitto as it is, on a real mosquitto: who may connect, what he may do, what is kept."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading

import pytest
from ruamel.yaml import YAML

from tests.shipped_mosquitto import DEPLOY, INGEST, WAIT_S, Start, authority, device, start

__all__ = ["authority", "start"]

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.skipif(not shutil.which("mosquitto"), reason="the mosquitto program is not installed"),
]


A, B, C = device("north", "dust-1"), device("north", "dust-2"), device("south", "dust-1")


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
