"""The embedded broker over TLS: who gets in by certificate, as whom, and who does not."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from greenmine.authority import Authority, new_request
from greenmine.core.clock import NS_PER_S, SystemClock
from greenmine.core.errors import ConfigError
from greenmine.ingest.broker import EmbeddedBroker
from greenmine.ingest.broker_tls import TlsListener, server_context
from greenmine.ingest.gate import Account, Gate, hash_password
from greenmine.ingest.record import RecordFlag
from tests.journal_rig import QUICK, JournalRig

DAY_NS = 86_400 * NS_PER_S
NOW_NS = SystemClock().wall_ns()
WAIT_S = 10.0
ACCEPTED, NOT_AUTHORISED = b"\x20\x02\x00\x00", b"\x20\x02\x00\x05"
ENDED = r"(?i)eof|reset"
"""asyncio ends a handshake that fails without a word."""
D1, D2 = "m1.d1", "m1.d2"


class Rig:
    """A broker with TLS before a journal; an authority that is a hundred days old."""

    def __init__(self, folder: Path, required: bool = False) -> None:
        self.folder = folder
        self.ours, self.foreign = Authority(folder / "ca"), Authority(folder / "foreign")
        for one in (self.ours, self.foreign):
            one.make(NOW_NS - 100 * DAY_NS)
        key, request = new_request("localhost")
        (folder / "server.key").write_text(key)
        (folder / "server.crt").write_text(self.ours.sign_server(request, ["localhost"], NOW_NS).pem)
        context = server_context(
            folder / "server.crt", folder / "server.key", self.ours.certificate_file, required=required
        )
        self.journal = JournalRig(folder / "journal.db", QUICK)
        self.gate = Gate()
        tls = TlsListener("127.0.0.1", 0, context)
        self.broker = EmbeddedBroker("127.0.0.1", 0, self.gate, self.journal.writer, 100, tls)
        self.broker.start()

    def issue(self, name: str, by: Authority | None = None, at_ns: int = NOW_NS, days: int = 30) -> str:
        key, request = new_request(name)
        made = (by or self.ours).sign_device(request, name, at_ns, days)
        (self.folder / f"{made.serial}.key").write_text(key)
        (self.folder / f"{made.serial}.crt").write_text(made.pem)
        return made.serial

    def give(self, **serials: str) -> None:
        """The accounts d1 and d2, each with a password and these certificates (with blanks between)."""
        names = {"d1": D1, "d2": D2}
        self.gate.replace(
            Account(full, "m1", name, hash_password("password"), frozenset(serials.get(name, "").split()))
            for name, full in names.items()
        )

    def context(self, serial: str | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ours.certificate_file))
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # the client then hears of a refusal in the handshake
        if serial is not None:
            context.load_cert_chain(self.folder / f"{serial}.crt", self.folder / f"{serial}.key")
        return context

    def link(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        assert self.broker.tls is not None
        plain = socket.create_connection(("127.0.0.1", self.broker.tls.port), timeout=WAIT_S)
        try:
            return context.wrap_socket(plain, server_hostname="localhost")
        except BaseException:
            plain.close()
            raise

    def answer(self, context: ssl.SSLContext, client_id: str, user: str | None = None, password: str = "") -> bytes:
        with closing(self.link(context)) as link:
            link.sendall(connect(client_id, user, password))
            return link.recv(4)

    def close(self) -> None:
        self.broker.stop()
        self.journal.close()


def connect(client_id: str, user: str | None = None, password: str = "") -> bytes:
    texts = [client_id] if user is None else [client_id, user, *([password] if password else [])]
    flags = 0x02 | (0x80 if user is not None else 0) | (0x40 if password else 0)
    payload = b"".join(len(text).to_bytes(2, "big") + text.encode() for text in texts)
    body = b"\x00\x04MQTT\x04" + bytes([flags]) + b"\x00\x3c" + payload
    return b"\x10" + bytes([len(body)]) + body


def publish(topic: str, payload: bytes, packet_id: int) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic.encode() + packet_id.to_bytes(2, "big") + payload
    return b"\x32" + bytes([len(body)]) + body


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def test_a_certificate_is_who_it_names_and_may_what_a_password_of_it_may(rig: Rig) -> None:
    serial = rig.issue(D1)
    rig.give(d1=serial)
    with closing(rig.link(rig.context(serial))) as link:
        link.sendall(connect(D1))
        assert link.recv(4) == ACCEPTED
        for number, topic in enumerate(("mines/m1/d1/up", "mines/m1/d2/up"), 1):
            link.sendall(publish(topic, b"x", number))
            assert link.recv(4) == b"\x40\x02" + number.to_bytes(2, "big")
    records = rig.journal.messages()
    assert [(r.source, r.client, bool(r.flags & RecordFlag.DENIED)) for r in records] == [
        ("mines/m1/d1/up", D1, False),
        ("mines/m1/d2/up", D1, True),
    ]


@pytest.mark.parametrize(
    ("client_id", "user", "answer"),
    [
        (D1, None, ACCEPTED), (D1, D1, ACCEPTED),
        (D2, None, NOT_AUTHORISED), (D1, D2, NOT_AUTHORISED), ("x", D1, NOT_AUTHORISED),
    ],
)  # fmt: skip
def test_client_id_and_user_name_are_the_certificates(
    rig: Rig, client_id: str, user: str | None, answer: bytes
) -> None:
    serial = rig.issue(D1)
    rig.give(d1=serial)
    assert rig.answer(rig.context(serial), client_id, user) == answer


def test_another_devices_password_is_of_no_use_with_a_certificate(rig: Rig) -> None:
    serial = rig.issue(D1)
    rig.give(d1=serial)
    assert rig.answer(rig.context(serial), D2, D2, "password") == NOT_AUTHORISED


def test_without_a_certificate_the_password_counts(rig: Rig) -> None:
    rig.give()
    assert rig.answer(rig.context(), D1, D1, "password") == ACCEPTED
    assert rig.answer(rig.context(), D1, D1, "wrong") == NOT_AUTHORISED
    assert rig.answer(rig.context(), D1) == NOT_AUTHORISED


def test_a_certificate_that_is_not_on_record_of_that_account_is_refused(rig: Rig) -> None:
    mine, unknown = rig.issue(D1), rig.issue(D1)
    rig.give(d2=mine)
    assert rig.answer(rig.context(unknown), D1) == NOT_AUTHORISED
    assert rig.answer(rig.context(mine), D1) == NOT_AUTHORISED


def test_what_is_expired_or_of_another_authority_does_not_get_past_tls(rig: Rig) -> None:
    expired = rig.issue(D1, at_ns=NOW_NS - 50 * DAY_NS, days=49)
    early = rig.issue(D1, at_ns=NOW_NS + DAY_NS)
    foreign = rig.issue(D1, by=rig.foreign)
    rig.give(d1=f"{expired} {early} {foreign}")
    for serial in (expired, early, foreign):
        with pytest.raises(OSError, match=ENDED):
            rig.answer(rig.context(serial), D1)
    valid = rig.issue(D1)
    rig.give(d1=valid)
    assert rig.answer(rig.context(valid), D1) == ACCEPTED


def test_a_revoked_certificate_is_cut_and_a_renewed_one_is_not(rig: Rig) -> None:
    old, new = rig.issue(D1), rig.issue(D1)
    rig.give(d1=f"{old} {new}")
    before = list(rig.gate._accounts.values())
    with closing(rig.link(rig.context(old))) as link:
        link.sendall(connect(D1))
        assert link.recv(4) == ACCEPTED
        third = rig.issue(D1)
        rig.gate.replace([before[0]._replace(serials=frozenset({old, new, third})), before[1]])
        for _ in range(2):  # the first may be answered in passing while the connection is being ended
            link.sendall(b"\xc0\x00")
            assert link.recv(2) == b"\xd0\x00", "one more certificate is no reason to come again"
        rig.gate.replace([before[0]._replace(serials=frozenset({new, third})), before[1]])
        assert link.recv(2) == b""
    assert rig.answer(rig.context(old), D1) == NOT_AUTHORISED
    assert rig.answer(rig.context(new), D1) == ACCEPTED


def test_a_certificate_can_be_required(tmp_path: Path) -> None:
    rig = Rig(tmp_path, required=True)
    try:
        serial = rig.issue(D1)
        rig.give(d1=serial)
        with pytest.raises(OSError, match=ENDED):
            rig.answer(rig.context(), D1, D1, "password")
        assert rig.answer(rig.context(serial), D1) == ACCEPTED
    finally:
        rig.close()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_1_1_is_refused(rig: Rig) -> None:
    context = rig.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError, match=ENDED):
        rig.link(context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with closing(rig.link(context)) as link:
        assert link.version() == "TLSv1.2"


def test_files_that_are_missing_or_do_not_fit_are_said(tmp_path: Path) -> None:
    key, request = new_request("localhost")
    authority = Authority(tmp_path / "ca")
    authority.make(NOW_NS)
    (tmp_path / "server.crt").write_text(authority.sign_server(request, ["localhost"], NOW_NS).pem)
    cert_file, key_file = tmp_path / "server.crt", tmp_path / "server.key"
    with pytest.raises(ConfigError, match="ca server --host"):
        server_context(cert_file, key_file, None)
    key_file.write_text(new_request("localhost")[0])
    with pytest.raises(ConfigError, match="cannot be used"):
        server_context(cert_file, key_file, None)
    key_file.write_text(key)
    assert server_context(cert_file, key_file, None).verify_mode == ssl.CERT_NONE
    with pytest.raises(ConfigError, match="ca init"):
        server_context(cert_file, key_file, None, required=True)
