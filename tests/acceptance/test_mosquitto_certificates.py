"""Devices with certificates of our authority on a real mosquitto, with the shipped configuration."""

from __future__ import annotations

import shutil
import socket
import ssl
from pathlib import Path

import pytest

from greenmine.authority import Authority, Signed, new_request
from greenmine.core.clock import NS_PER_S, SystemClock
from greenmine.ingest.gate import Account, hash_password
from tests.shipped_mosquitto import WAIT_S, Broker, Client, Start, authority, start

__all__ = ["authority", "start"]

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.skipif(not shutil.which("mosquitto"), reason="the mosquitto program is not installed"),
]

DAY_NS = 86_400 * NS_PER_S
NOW_NS = SystemClock().wall_ns()
A, B = (Account(f"north.{name}", "north", name, "") for name in ("dust-1", "dust-2"))


class Devices:
    """Devices' keys and certificates, of an authority that is a hundred days old."""

    def __init__(self, folder: Path) -> None:
        self.ours = Authority(folder / "ca")
        self.ours.make(NOW_NS - 100 * DAY_NS)
        self.foreign = Authority(folder / "foreign")
        self.foreign.make(NOW_NS - 100 * DAY_NS)
        self._folder = folder
        self.signed: dict[str, Signed] = {}

    def trust(self) -> tuple[bytes, bytes]:
        return self.ours.certificate_file.read_bytes(), self.ours.revocation_file.read_bytes()

    def issue(self, name: str, by: Authority | None = None, at_ns: int = NOW_NS, days: int = 30) -> str:
        """A new certificate for an account; returns a word to find its files by."""
        key, request = new_request(name)
        made = (by or self.ours).sign_device(request, name, at_ns, days)
        (self._folder / f"{made.serial}.key").write_text(key)
        (self._folder / f"{made.serial}.crt").write_text(made.pem)
        self.signed[made.serial] = made
        return made.serial

    def context(self, broker: Broker, serial: str | None) -> ssl.SSLContext:
        context = broker.authority.client_context()
        if serial is not None:
            context.load_cert_chain(self._folder / f"{serial}.crt", self._folder / f"{serial}.key")
        return context


@pytest.fixture
def devices(tmp_path_factory: pytest.TempPathFactory) -> Devices:
    return Devices(tmp_path_factory.mktemp("devices"))


def connected(broker: Broker, devices: Devices, serial: str, client_id: str = "anything", **options: object) -> Client:
    client = broker.connect(
        broker.certified, None, None, devices.context(broker, serial), client_id=client_id, **options
    )
    assert client.connected.wait(WAIT_S), client.reason
    return client


def _rank(version: ssl.TLSVersion) -> int:
    return version.value if version.value > 0 else 0xFFFF


def refused(broker: Broker, context: ssl.SSLContext) -> str:
    """What the broker's end of TLS says to a client, before a byte of MQTT. With TLS 1.2, where the client hears of it
    before it has sent more: what is sent to a closed connection may take the place of the words."""
    context.maximum_version = min(context.maximum_version, ssl.TLSVersion.TLSv1_2, key=_rank)
    with socket.create_connection(("127.0.0.1", broker.certified), timeout=WAIT_S) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="localhost") as link:
                link.sendall(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x")
                answer = link.recv(4)
        except ssl.SSLError as error:
            return str(error).lower()
    return f"let in: {answer!r}"


def test_a_device_with_a_certificate_writes_its_own_topics_and_no_other(start: Start, devices: Devices) -> None:
    broker = start(A, B, trust=devices.trust())
    ingest, dust = broker.ingest(), connected(broker, devices, devices.issue(A.name))
    ingest.subscribe("mines/#")
    for topic in ("mines/north/dust-2/up", "mines/south/dust-1/up", "mines/north/dust-1/down", "mines/north/dust-1/up"):
        dust.publish(topic, topic)
    assert ingest.next()[0] == "mines/north/dust-1/up"  # and nothing of the denied before it
    dust.subscribe("#")
    ingest.publish("mines/north/dust-2/down", "for another")
    ingest.publish("mines/north/dust-1/down", "for you")
    assert dust.next() == ("mines/north/dust-1/down", b"for you")


def test_no_user_name_and_no_client_id_makes_it_another(start: Start, devices: Devices) -> None:
    broker = start(A, B, trust=devices.trust())
    ingest = broker.ingest()
    ingest.subscribe("mines/#")
    context = devices.context(broker, devices.issue(A.name))
    thief = broker.connect(broker.certified, B.name, "x", context, client_id=B.name)
    assert thief.connected.is_set(), thief.reason
    for topic in ("mines/north/dust-2/up", "mines/north/dust-1/up"):
        thief.publish(topic)
    assert ingest.next()[0] == "mines/north/dust-1/up"


def test_a_certificate_whose_account_was_revoked_or_never_was_grants_nothing(start: Start, devices: Devices) -> None:
    broker = start(B, trust=devices.trust())
    ingest = broker.ingest()
    ingest.subscribe("mines/#")
    nobody = connected(broker, devices, devices.issue(A.name))
    nobody.publish("mines/north/dust-1/up")
    connected(broker, devices, devices.issue(B.name)).publish("mines/north/dust-2/up")
    assert ingest.next()[0] == "mines/north/dust-2/up"


def test_who_has_no_valid_certificate_is_refused_by_tls(start: Start, devices: Devices) -> None:
    revoked, other = devices.issue(A.name), devices.issue(A.name)
    devices.ours.write_revocations({revoked: NOW_NS}, NOW_NS)
    broker = start(A, trust=devices.trust())
    expired = devices.issue(A.name, at_ns=NOW_NS - 50 * DAY_NS, days=49)
    early = devices.issue(A.name, at_ns=NOW_NS + DAY_NS)
    foreign = devices.issue(A.name, by=devices.foreign)
    cases = {
        None: "handshake failure",
        revoked: "certificate revoked",
        expired: "certificate expired",
        early: "bad certificate",
        foreign: "unknown ca",
    }
    for serial, words in cases.items():
        assert words in refused(broker, devices.context(broker, serial)).replace("_", " "), words
    assert refused(broker, devices.context(broker, other)) == f"let in: {bytes((0x20, 2, 0, 0))!r}"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_1_1_is_refused(start: Start, devices: Devices) -> None:
    broker = start(A, trust=devices.trust())
    context = devices.context(broker, devices.issue(A.name))
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    assert "alert protocol version" in refused(broker, context).replace("_", " ")


def test_a_certificate_that_is_revoked_is_cut_off_while_it_is_connected(start: Start, devices: Devices) -> None:
    broker = start(A, B, trust=devices.trust())
    stolen, renewed = devices.issue(A.name), devices.issue(A.name)
    thief = connected(broker, devices, stolen, retrying=True)
    devices.ours.write_revocations({stolen: NOW_NS}, NOW_NS)
    broker.provision(A, B, trust=devices.trust())
    assert thief.lost.wait(WAIT_S)
    assert broker._answers()
    assert "certificate revoked" in refused(broker, devices.context(broker, stolen)).replace("_", " ")
    assert connected(broker, devices, renewed).connected.is_set()


def test_the_listener_opens_when_there_is_an_authority_and_the_queue_is_kept(start: Start, devices: Devices) -> None:
    by_password = B._replace(password_hash=hash_password("password"))
    broker = start(A, by_password)
    ingest = broker.ingest(clean=False)
    ingest.subscribe("mines/#")
    ingest.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", broker.certified)).close()
    dust = broker.connect(broker.tls, B.name, "password", broker.authority.client_context(), retrying=True)
    dust.publish("mines/north/dust-2/up", "before")
    broker.provision(A, by_password, trust=devices.trust())
    assert dust.lost.wait(WAIT_S)
    assert broker._answers()
    connected(broker, devices, devices.issue(A.name)).publish("mines/north/dust-1/up", "after")
    again = broker.ingest(clean=False)
    assert [again.next()[1] for _ in range(2)] == [b"before", b"after"]
