"""What every broker in front of the journal promises: amqtt inside the process, and mosquitto with the subscriber.

One suite for both; what only one of them can show follows below it.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import selectors
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import amqtt.broker
import pytest
from amqtt.adapters import StreamWriterAdapter
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.mqtt.protocol.handler import ProtocolHandler
from amqtt.session import Session

from greenmine.core.errors import ConfigError, StoreUnavailable
from greenmine.ingest import broker as broker_module
from greenmine.ingest.broker import EmbeddedBroker
from greenmine.ingest.gate import Account, Gate, hash_password
from greenmine.ingest.journal_writer import WriterLimits
from greenmine.ingest.record import Record, RecordFlag
from greenmine.ingest.subscriber import BrokerUrl, Subscriber
from tests import mqtt_client as m
from tests.journal_rig import QUICK, JournalRig
from tests.mosquitto_server import MosquittoServer, StartMosquitto, mosquitto
from tests.mqtt_client import WAIT_S, Client, RawClient

__all__ = ["mosquitto"]

PASSWORD = "a password"
NOT_AUTHORISED = b"\x00\x05"
ACCEPTED_NEW, ACCEPTED_KNOWN = b"\x00\x00", b"\x01\x00"


def device(mine: str, name: str, password: str = PASSWORD) -> Account:
    return Account(f"{mine}.{name}", mine, name, hash_password(password))


def service(name: str) -> Account:
    return Account(name, "", "", hash_password(PASSWORD))


D1, D2, OTHER, OFFICE, INGEST = (
    device("m1", "d1"), device("m1", "d2"), device("m2", "d1"), service("office"), service("greenmine-ingest"),
)  # fmt: skip
ACCOUNTS = [D1, D2, OTHER, OFFICE, INGEST]


class Rig(Protocol):
    """A broker in front of a journal."""

    journal: JournalRig
    port: int

    def replace_accounts(self, accounts: Iterable[Account]) -> None: ...

    def publish(self, topic: str, payload: bytes) -> bool: ...

    def close(self) -> None: ...


class EmbeddedRig:
    def __init__(self, folder: Path, limits: WriterLimits = QUICK, max_connections: int = 100) -> None:
        self.journal = JournalRig(folder / "journal.db", limits)
        self.gate = Gate(ACCOUNTS)
        self.broker = EmbeddedBroker("127.0.0.1", 0, self.gate, self.journal.writer, max_connections)
        self.broker.start()
        self.port = self.broker.port

    def replace_accounts(self, accounts: Iterable[Account]) -> None:
        self.gate.replace(accounts)

    def publish(self, topic: str, payload: bytes) -> bool:
        return self.broker.publish(topic, payload)

    def close(self) -> None:
        self.broker.stop()
        self.journal.close()


class MosquittoRig:
    def __init__(self, folder: Path, server: MosquittoServer) -> None:
        self.journal = JournalRig(folder / "journal.db")
        self.server = server
        self.port = server.port
        linked = threading.Event()
        url = BrokerUrl.parse(f"mqtt://127.0.0.1:{server.port}")
        self.subscriber = Subscriber(
            url, INGEST.name, PASSWORD, self.journal.writer, lambda up: linked.set() if up else None
        )
        self.subscriber.start()
        assert linked.wait(WAIT_S), self.subscriber.refusal

    def replace_accounts(self, accounts: Iterable[Account]) -> None:
        self.server.replace_accounts(accounts)

    def publish(self, topic: str, payload: bytes) -> bool:
        return self.subscriber.publish(topic, payload)

    def close(self) -> None:
        self.subscriber.stop()
        self.journal.close()


@pytest.fixture(params=["amqtt", pytest.param("mosquitto", marks=pytest.mark.mosquitto)])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    made: Rig
    if request.param == "amqtt":
        made = EmbeddedRig(tmp_path)
    else:
        start: StartMosquitto = request.getfixturevalue("mosquitto")
        made = MosquittoRig(tmp_path, start(ACCOUNTS))
    yield made
    made.close()


def come_in(rig: Rig, account: Account, clean: bool = False, keepalive: int = 60) -> RawClient:
    client = RawClient(rig.port, m.connect(account.name, PASSWORD, clean=clean, keepalive=keepalive))
    assert client.expect(m.CONNACK) in (ACCEPTED_NEW, ACCEPTED_KNOWN)
    return client


def readings(messages: Iterable[Record]) -> list[tuple[str, bytes]]:
    """What may be decoded: messages that the sender had the right to send."""
    return [(one.source, one.payload) for one in messages if not one.flags & RecordFlag.DENIED]


def up(account: Account) -> str:
    return f"mines/{account.mine}/{account.device}/up"


def down(account: Account) -> str:
    return f"mines/{account.mine}/{account.device}/down"


def everything_before_now(rig: Rig) -> list[Record]:
    """The journal's messages, after one that another device has sent last."""
    with Client(rig.port, OTHER.name, PASSWORD) as other:
        other.publish(up(OTHER), b"the last")
    return rig.journal.wait_for_payload(b"the last")


# --- who comes in


@pytest.mark.parametrize(
    ("user", "password"),
    [("nobody", PASSWORD), ("m1.d1", "wrong"), ("m1.d1", None), ("m1.d1", ""), (None, None)],
)
def test_strangers_are_refused(rig: Rig, user: str | None, password: str | None) -> None:
    with RawClient(rig.port, m.connect(user, password, client_id="m1.d1", clean=True)) as stranger:
        assert stranger.expect(m.CONNACK) in (NOT_AUTHORISED, b"\x00\x04")
        assert stranger.is_closed()


def test_nobody_takes_the_session_of_another_by_its_client_id(rig: Rig) -> None:
    """A device that uses another's client id does not get the session of that name, and what waits in it stays."""
    with come_in(rig, D1) as first:
        first.send(m.subscribe(down(D1)))
        first.expect(m.SUBACK)
        first.send(m.DISCONNECT)
        assert first.is_closed()
    with Client(rig.port, OFFICE.name, PASSWORD) as office:
        office.publish(down(D1), b"an order")
    for clean in (False, True):
        with RawClient(rig.port, m.connect(D2.name, PASSWORD, client_id=D1.name, clean=clean)) as thief:
            answer = thief.expect(m.CONNACK)
            assert answer in (NOT_AUTHORISED, ACCEPTED_NEW, ACCEPTED_KNOWN)
            if answer != NOT_AUTHORISED:  # mosquitto gives him his own client id instead
                thief.send(m.PINGREQ)
                thief.expect(m.PINGRESP)  # and not the order
    with RawClient(rig.port, m.connect(D1.name, PASSWORD)) as owner:
        assert owner.expect(m.CONNACK) == ACCEPTED_KNOWN
        assert owner.expect(m.PUBLISH).endswith(b"an order")


def test_the_same_account_again_takes_over_and_goes_on(rig: Rig) -> None:
    with come_in(rig, D1) as first:
        first.send(m.subscribe(down(D1)))
        first.expect(m.SUBACK)
        with RawClient(rig.port, m.connect(D1.name, PASSWORD)) as second:
            assert second.expect(m.CONNACK) == ACCEPTED_KNOWN
            assert first.is_closed()
            second.send(m.publish(up(D1), b"from the second"))
            second.expect(m.PUBACK)
            with Client(rig.port, OFFICE.name, PASSWORD) as office:
                office.publish(down(D1), b"an order")
            assert second.expect(m.PUBLISH).endswith(b"an order")
    assert (up(D1), b"from the second") in readings(rig.journal.wait_for_payload(b"from the second"))


def test_a_clean_session_takes_over_too(rig: Rig) -> None:
    with come_in(rig, D1, clean=True) as first, come_in(rig, D1, clean=True) as second:
        assert first.is_closed()
        second.send(m.PINGREQ)
        second.expect(m.PINGRESP)


def test_a_withdrawn_account_loses_its_connection_and_its_grants(rig: Rig) -> None:
    with come_in(rig, D1) as revoked, come_in(rig, D2) as kept:
        rig.replace_accounts([D2, OTHER, OFFICE, INGEST])
        assert revoked.is_closed()
        with RawClient(rig.port, m.connect(D1.name, PASSWORD)) as again:
            assert again.expect(m.CONNACK) == NOT_AUTHORISED
        kept.send(m.publish(up(D2), b"still here"))
        kept.expect(m.PUBACK)


def test_a_new_password_ends_the_connection_of_the_old_one(rig: Rig) -> None:
    with come_in(rig, D1) as stolen:
        rig.replace_accounts([device("m1", "d1", "new"), D2, OTHER, OFFICE, INGEST])
        assert stolen.is_closed()
        with RawClient(rig.port, m.connect(D1.name, "new")) as owner:
            owner.expect(m.CONNACK)
            owner.send(m.PINGREQ)
            owner.expect(m.PINGRESP)


# --- what is taken


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_publish_of_any_qos_reaches_the_journal_once(rig: Rig, qos: int) -> None:
    with Client(rig.port, D1.name, PASSWORD) as client:
        for number in range(20):
            client.publish(up(D1), b"%d" % number, qos=qos)
        client.publish(up(D1), b"end")
    found = rig.journal.wait_for_payload(b"end")
    assert readings(found) == [(up(D1), b"%d" % number) for number in range(20)] + [(up(D1), b"end")]
    assert [bool(one.flags & RecordFlag.QOS0) for one in found] == [qos == 0] * 20 + [False]


def test_every_topic_of_a_device_is_taken(rig: Rig) -> None:
    with Client(rig.port, D1.name, PASSWORD) as client:
        for suffix in ("up", "up/senml", "up/hj212", "activity"):
            client.publish(f"mines/m1/d1/{suffix}", suffix.encode())
    found = readings(rig.journal.wait_for_payload(b"activity"))
    assert found == [
        (f"mines/m1/d1/{suffix}", suffix.encode()) for suffix in ("up", "up/senml", "up/hj212", "activity")
    ]


MANY_LEVELS = "a/" * 10_000
FOREIGN = [
    "mines/m1/d2/up", "mines/m2/d1/up", "mines/m2/d2/up", "mines/m1/d1/down", "mines/m1/d2/down", "mines/m1/d1/up/x",
    "mines/m1/d1/up/senml/x", "mines/m1/d1/UP", "mines/m1/d1", "mines/m1", "mines", "mines/m1/d1/", "mines//d1/up",
    "/mines/m1/d1/up", "mines/m1/d1/up/", "mines/m1/m1.d1/up", "x", "spBv1.0/g/DDATA/e", "mines/M1/d1/up", MANY_LEVELS,
]  # fmt: skip


def test_nothing_that_a_device_sends_on_a_foreign_topic_becomes_a_reading(rig: Rig) -> None:
    assert len(FOREIGN) == 20
    with Client(rig.port, D1.name, PASSWORD) as client:
        for topic in FOREIGN:
            if topic != MANY_LEVELS or isinstance(rig, EmbeddedRig):  # mosquitto ends the connection for that
                client.publish(topic, b"evil")
        client.publish(up(D1), b"good")
    assert sorted(readings(everything_before_now(rig))) == [(up(D1), b"good"), (up(OTHER), b"the last")]


@pytest.mark.parametrize(
    "wrong",
    [
        m.publish("mines/m1/d1/+", m.publish("mines/m1/d1/up", b"smuggled")),
        m.publish("#", m.publish("mines/m1/d1/up", b"smuggled")),
        m.publish(b"mines/m1/\xff\xfe/up", m.publish("mines/m1/d1/up", b"smuggled")),
        m.publish("mines/m1/d1\x00/up", m.publish("mines/m1/d1/up", b"smuggled")),
        m.packet(0x36, m.text("mines/m1/d1/up") + b"\x00\x01" + m.publish("mines/m1/d1/up", b"smuggled")),
        m.packet(0x82, b"\x00\x01" + m.text(b"\xff\xff\xff") + b"\x00" + m.publish("mines/m1/d1/up", b"smuggled")),
        m.connect("m1.d1", PASSWORD),
        b"\xf0\x00",
        b"\x00\x00",
        b"\x30\xff\xff\xff\xff\xff",
    ],
    ids=["plus", "hash", "not utf-8", "nul", "qos 3", "filter", "second connect", "type 15", "type 0", "length"],
)
def test_a_malformed_packet_ends_the_connection_and_hides_nothing_behind_it(rig: Rig, wrong: bytes) -> None:
    with come_in(rig, D1) as client:
        client.send(wrong, m.publish(up(D1), b"behind it", mid=9))
        assert client.is_closed()
    assert readings(everything_before_now(rig)) == [(up(OTHER), b"the last")]


def test_an_oversized_packet_ends_its_connection_and_no_other(rig: Rig) -> None:
    with come_in(rig, D1) as loud, come_in(rig, D2) as other:
        with suppress(ConnectionError):  # the broker may close while it is still being sent
            loud.send(m.publish(up(D1), b"x" * 300_000))
        assert loud.is_closed()
        other.send(m.publish(up(D2), b"x" * 262_144))
        other.expect(m.PUBACK)
    found = rig.journal.wait_for(lambda messages: len(messages) == 1)
    assert [(one.source, len(one.payload)) for one in found] == [(up(D2), 262_144)]


def test_bytes_that_are_no_mqtt_harm_nobody(rig: Rig) -> None:
    with come_in(rig, D1) as client:
        for noise in (
            b"",
            b"\x10",
            b"\x10\x0c\x00\x04MQ",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00" * 100,
            b"\x00" * 100,
        ):
            with RawClient(rig.port, noise) as stranger:
                with suppress(OSError):  # it may be closed already
                    stranger.socket.shutdown(socket.SHUT_WR)
                assert stranger.is_closed()
        client.send(m.publish(up(D1), b"good"))
        client.expect(m.PUBACK)
    assert (up(D1), b"good") in readings(rig.journal.wait_for_payload(b"good"))


# --- what is given


def test_a_device_is_given_its_own_commands_and_nothing_else(rig: Rig) -> None:
    """mosquitto grants every subscription and asks at delivery; amqtt refuses it. Nothing comes of it either way."""
    with Client(rig.port, D1.name, PASSWORD) as curious:
        for greedy in ("#", "+/+/+/+", "mines/#", "mines/m1/d2/up", "$share/g/mines/#", "$share/g/#", "$SYS/#"):
            curious.subscribe(greedy)
        curious.subscribe(down(D1))
        with Client(rig.port, D2.name, PASSWORD) as neighbour:
            neighbour.publish(up(D2), b"secret")
        with Client(rig.port, OFFICE.name, PASSWORD) as office:
            office.publish(down(D2), b"secret order")
            for number in range(3):
                office.publish(down(D1), b"order %d" % number)
        got = [curious.next()]
        while got[-1].payload != b"order 2":
            got.append(curious.next())
    assert {one.topic for one in got} == {down(D1)}


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_command_of_any_qos_is_delivered(rig: Rig, qos: int) -> None:
    with Client(rig.port, D1.name, PASSWORD) as client, Client(rig.port, OFFICE.name, PASSWORD) as office:
        client.subscribe(down(D1))
        office.publish(down(D1), b"water the road", qos=qos)
        got = client.next()
        assert (got.topic, got.payload, got.retain) == (down(D1), b"water the road", False)


def test_a_device_cannot_command_itself(rig: Rig) -> None:
    with Client(rig.port, D1.name, PASSWORD) as client, Client(rig.port, OFFICE.name, PASSWORD) as office:
        client.subscribe(down(D1))
        client.publish(down(D1), b"forged")
        office.publish(down(D1), b"true")
        assert client.next().payload == b"true"


def test_a_service_is_given_what_devices_send(rig: Rig) -> None:
    with Client(rig.port, OFFICE.name, PASSWORD) as office, Client(rig.port, D1.name, PASSWORD) as client:
        office.subscribe("mines/+/+/up")
        client.publish(up(D1), b"a reading")
        assert office.next().payload == b"a reading"


def test_a_message_of_ours_reaches_the_device_and_only_with_an_acknowledgement_due(rig: Rig) -> None:
    with come_in(rig, D1) as client, Client(rig.port, D2.name, PASSWORD) as neighbour:
        client.send(m.subscribe(down(D1)))
        client.expect(m.SUBACK)
        neighbour.subscribe(down(D2))
        assert rig.publish(down(D1), b"fill in")
        got = client.expect(m.PUBLISH)
        assert got.endswith(b"fill in")
        assert got[len(m.text(down(D1))) :][:2] != b"fi", "it has no packet id, so it is not of QoS 1"
        assert rig.publish(down(D2), b"and you")
        assert neighbour.next().payload == b"and you"


# --- amqtt alone


def test_a_message_of_ours_is_not_taken_while_the_device_is_away(embedded: EmbeddedRig) -> None:
    """It would wait in memory; in the outbox it waits on disk."""
    assert not embedded.broker.publish(down(D1), b"nobody was ever here")
    with come_in(embedded, D1) as client:
        client.send(m.subscribe(down(D1)))
        client.expect(m.SUBACK)
        client.send(m.DISCONNECT)
        assert client.is_closed()
    until_nobody_is_connected(embedded)
    assert not embedded.broker.publish(down(D1), b"gone")
    with RawClient(embedded.port, m.connect(D1.name, PASSWORD)) as back:
        assert back.expect(m.CONNACK) == ACCEPTED_KNOWN
        assert embedded.broker.publish(down(D1), b"here again")
        assert back.expect(m.PUBLISH).endswith(b"here again")
    embedded.broker.stop()
    assert not embedded.broker.publish(down(D1), b"no broker")


def until_nobody_is_connected(embedded: EmbeddedRig) -> None:
    never = threading.Event()
    for _ in range(int(WAIT_S / 0.01)):
        if embedded.broker.connections == 0:
            return
        never.wait(0.01)
    raise AssertionError("a connection did not end")


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EmbeddedRig]:
    made = EmbeddedRig(tmp_path)
    yield made
    made.close()


def test_the_names_of_amqtt_that_the_broker_is_built_on() -> None:
    """A newer amqtt must be read again before the pin is moved: most of these are private."""
    assert version("amqtt") == "0.12.1"
    handler = broker_module._CommitFirstHandler
    # `amqtt.broker` looks the handler up by this name; ours is in its place.
    assert amqtt.broker.BrokerProtocolHandler is handler
    assert "BrokerProtocolHandler.init_from_connect(" in inspect.getsource(
        amqtt.broker.Broker._initialize_client_session
    )
    # What is replaced is called by amqtt under these names.
    loop = inspect.getsource(ProtocolHandler._reader_loop)
    for called in (
        "self.handle_publish(",
        "self.handle_pubrel(",
        "self.handle_read_timeout()",
        ".from_stream(self.reader",
    ):
        assert called in loop
    for name in ("init_from_connect", "attach", "handle_publish", "handle_pubrel", "handle_read_timeout"):
        assert hasattr(BrokerProtocolHandler, name), name
    connected = inspect.getsource(amqtt.broker.Broker._client_connected)
    assert "self._handle_client_session(reader, writer, client_session, handler, server, listener_name)" in connected
    assert "self._client_connected(" in inspect.getsource(amqtt.broker.Broker.stream_connected)
    assert "self.stream_connected" in inspect.getsource(amqtt.broker.Broker._create_server_instance)
    for name, parameters in {
        "_authenticate": ["self", "session", "_"],
        "_topic_filtering": ["self", "session", "topic", "action"],
        "add_subscription": ["self", "subscription", "session"],
        "shutdown": ["self"],
    }.items():
        assert list(inspect.signature(getattr(amqtt.broker.Broker, name)).parameters) == parameters
    sending = inspect.getsource(ProtocolHandler._send_packet)
    assert "async with self._write_lock:" in sending
    assert sending.count("ProtocolHandlerError") == 1
    assert "except asyncio.CancelledError as e:" in sending
    # What is used of it.
    for owner, names in {
        BrokerProtocolHandler: ["_send_packet", "stop"],
        amqtt.broker.Broker: [
            "_client_connected",
            "_handle_client_session",
            "_matches",
            "internal_message_broadcast",
            "subscriptions",
        ],
    }.items():
        for name in names:
            assert hasattr(owner, name), name
    assert "ssl_object = writer.get_ssl_info()" in inspect.getsource(BrokerProtocolHandler.init_from_connect)
    made = ["self", "listener_name", "listener_type", "address", "port", "ssl_context"]
    assert list(inspect.signature(amqtt.broker.Broker._create_server_instance).parameters) == made
    session = Session()
    for name in (
        "ssl_object",
        "username",
        "password",
        "client_id",
        "remote_address",
        "will_flag",
        "keep_alive",
        "transitions",
    ):
        assert hasattr(session, name), name
    assert hasattr(session.transitions, "is_connected")
    assert hasattr(session.transitions, "disconnect")
    assert "self._writer = writer" in inspect.getsource(StreamWriterAdapter.__init__)


def test_the_parts_of_a_running_amqtt_that_the_broker_reaches_into(embedded: EmbeddedRig) -> None:
    inner: Any = embedded.broker._broker
    assert inner.plugins_manager.context.greenmine is embedded.broker
    assert list(inspect.signature(inner.plugins_manager.context.broadcast_message).parameters)[:2] == ["topic", "data"]
    assert inner._servers["default"].instance.sockets[0].getsockname()[1] == embedded.port
    assert inner.subscriptions == {}
    with come_in(embedded, D1):
        assert isinstance(inner.sessions["m1.d1"][1], broker_module._CommitFirstHandler)


@pytest.mark.parametrize("qos", [1, 2])
def test_an_acknowledgement_comes_only_after_the_commit(embedded: EmbeddedRig, qos: int) -> None:
    """While the journal holds its commit, what comes next on the connection is the answer to a later ping.

    Mutation check, done by hand: with the PUBACK sent before `self._journal` in `handle_publish` this is red.
    """
    answer = m.PUBACK if qos == 1 else m.PUBREC
    journal = embedded.journal.journal
    journal.hold()
    with come_in(embedded, D1) as client:
        client.send(m.publish(up(D1), b"held", qos=qos))
        assert journal.entered.wait(WAIT_S)
        client.send(m.PINGREQ)
        client.expect(m.PINGRESP)
        assert embedded.journal.messages() == []
        journal.released.set()
        client.expect(answer)
        assert readings(embedded.journal.messages()) == [(up(D1), b"held")]


def test_a_failed_commit_is_never_acknowledged(embedded: EmbeddedRig) -> None:
    journal = embedded.journal.journal
    journal.hold()
    journal.failure = StoreUnavailable("disk full")
    with come_in(embedded, D1) as client:
        client.send(m.publish(up(D1), b"lost", mid=1), m.publish(up(D1), b"refused", mid=2))
        assert journal.entered.wait(WAIT_S)
        journal.released.set()
        embedded.journal.writer._thread.join(WAIT_S)
        assert embedded.journal.failures
        for _ in range(3):
            client.send(m.PINGREQ)
            client.expect(m.PINGRESP)
    assert embedded.journal.messages() == []


def test_acknowledgements_come_in_the_order_of_receipt_also_when_the_queue_is_full(tmp_path: Path) -> None:
    rig = EmbeddedRig(tmp_path, QUICK._replace(queue_records=3, batch_records=2))
    try:
        with come_in(rig, D1) as client:
            client.send(*(m.publish(up(D1), b"%d" % mid, mid=mid) for mid in range(1, 41)))
            answers = [client.expect(m.PUBACK) for _ in range(40)]
        assert answers == [mid.to_bytes(2, "big") for mid in range(1, 41)]
        assert [payload for _, payload in readings(rig.journal.messages())] == [b"%d" % mid for mid in range(1, 41)]
        assert rig.journal.writer.refused_full > 0
    finally:
        rig.close()


def test_a_connection_with_much_unacknowledged_is_not_read_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood must wait in the sender's socket, not in our memory."""
    monkeypatch.setattr(broker_module, "MAX_UNACKNOWLEDGED_BYTES", 50_000)
    rig = EmbeddedRig(tmp_path, QUICK._replace(batch_records=1))
    journal = rig.journal.journal
    journal.hold()
    with closing(rig), come_in(rig, D1) as flood, come_in(rig, D2) as other:
        flood.send(*(m.publish(up(D1), b"x" * 10_000, mid=mid) for mid in range(1, 101)))
        assert journal.entered.wait(WAIT_S)
        for _ in range(200):  # time enough for the broker to read all of the flood, if it would
            other.send(m.PINGREQ)
            other.expect(m.PINGRESP)
        assert 1 < rig.journal.writer.backlog < 10
        journal.released.set()
        for _ in range(100):
            flood.expect(m.PUBACK)
        assert len(rig.journal.messages()) == 100


def test_refused_publishes_are_kept_as_dead_letters_in_a_small_number(embedded: EmbeddedRig) -> None:
    with Client(embedded.port, D1.name, PASSWORD) as client:
        for number in range(30):
            client.publish(up(D2), b"evil %d " % number + b"x" * 2_000)
        client.publish(up(D1), b"good")
    found = embedded.journal.wait_for_payload(b"good")
    denied = [one for one in found if one.flags & RecordFlag.DENIED]
    assert 10 <= len(denied) <= 20  # the minute may change in between
    assert all((one.source, one.client, len(one.payload)) == (up(D2), D1.name, 1024) for one in denied)
    assert embedded.broker.denied == 30


def test_a_retained_publish_is_marked_and_given_to_nobody_later(embedded: EmbeddedRig) -> None:
    with Client(embedded.port, D1.name, PASSWORD) as client, Client(embedded.port, OFFICE.name, PASSWORD) as office:
        client.publish(up(D1), b"old", retain=True)
        client.publish(up(D1), b"", retain=True)
        office.publish(down(D1), b"old order", retain=True)
        office.subscribe("mines/#")
        client.subscribe(down(D1))
        office.publish(down(D1), b"new order")
        assert client.next().payload == b"new order"
        assert office.next().payload == b"new order"
    flags = {one.payload: one.flags for one in embedded.journal.messages()}
    assert flags == {
        b"old": RecordFlag.RETAIN,
        b"": RecordFlag.RETAIN,
        b"old order": RecordFlag.RETAIN,
        b"new order": 0,
    }


def test_a_will_is_never_published(embedded: EmbeddedRig) -> None:
    body = m.text("MQTT") + bytes([4, 0xC4 | 0x08]) + b"\x00\x3c" + m.text(D1.name)
    body += m.text(down(D2)) + m.text(b"a will") + m.text(D1.name) + m.text(PASSWORD)
    with Client(embedded.port, D2.name, PASSWORD) as heir, Client(embedded.port, OFFICE.name, PASSWORD) as office:
        heir.subscribe(down(D2))
        with RawClient(embedded.port, m.packet(0x10, body)) as dying:
            dying.expect(m.CONNACK)
        office.publish(down(D2), b"an order")
        assert heir.next().payload == b"an order"
    assert readings(embedded.journal.messages()) == [(down(D2), b"an order")]


def test_a_repeated_qos_2_publish_is_answered_again_and_so_is_a_release_after_a_reconnect(
    embedded: EmbeddedRig,
) -> None:
    with come_in(embedded, D1) as client:
        client.send(m.publish(up(D1), b"twice", qos=2, mid=7))
        client.expect(m.PUBREC)
        client.send(m.publish(up(D1), b"twice", qos=2, mid=7, dup=True))
        client.expect(m.PUBREC)
    with come_in(embedded, D1) as client:
        client.send(m.pubrel(7))
        assert client.expect(m.PUBCOMP) == b"\x00\x07"
    # Both are in the journal; their identity makes the second a duplicate.
    assert [one.payload for one in embedded.journal.messages()] == [b"twice", b"twice"]
    assert [one.flags for one in embedded.journal.messages()] == [0, RecordFlag.DUP]


def test_a_silent_client_is_cut_after_its_keepalive_and_one_that_pings_stays(
    embedded: EmbeddedRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = threading.Event()

    def wait_for_the_end(client: RawClient) -> None:
        if client.is_closed():
            cut.set()

    with come_in(embedded, D1, keepalive=1) as client, come_in(embedded, D2, keepalive=1) as silent:
        watcher = threading.Thread(target=wait_for_the_end, args=(silent,))
        watcher.start()
        while not cut.wait(0.2):
            client.send(m.PINGREQ)
            client.expect(m.PINGRESP)
        watcher.join()
        client.send(m.PINGREQ)
        client.expect(m.PINGRESP)
    monkeypatch.setattr(broker_module, "MAX_KEEPALIVE_S", 0.1)
    with (
        come_in(embedded, D1, keepalive=0) as none,
        come_in(embedded, D2, keepalive=60_000) as long,
        come_in(embedded, OTHER, keepalive=1) as slow,
    ):
        slow.send(m.publish(up(OTHER), b"half of it")[:-4])
        assert none.is_closed()
        assert long.is_closed()
        assert slow.is_closed()
    assert embedded.journal.messages() == []


def test_half_a_connect_is_cut_and_leaves_nothing_open(embedded: EmbeddedRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_module, "CONNECT_TIMEOUT_S", 0.2)
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else None
    whole = m.connect(D1.name, PASSWORD)
    slow = [RawClient(embedded.port, whole[: 1 + number]) for number in range(len(whole) - 1)]
    for client in slow:
        assert client.is_closed()
        client.close()
    with come_in(embedded, D1) as good:
        good.send(m.PINGREQ)
        good.expect(m.PINGRESP)
        if before is not None:
            assert len(os.listdir("/proc/self/fd")) <= before + 2  # the two ends of the good one


def test_too_many_connections_are_refused_and_give_their_place_back(tmp_path: Path) -> None:
    rig = EmbeddedRig(tmp_path, max_connections=5)
    try:
        held = [RawClient(rig.port, b"\x10") for _ in range(4)]
        with come_in(rig, D1) as client:
            with RawClient(rig.port) as one_too_many:
                assert one_too_many.is_closed()
            client.send(m.PINGREQ)
            client.expect(m.PINGRESP)
            for one in held:
                one.socket.shutdown(socket.SHUT_WR)
                assert one.is_closed()
                one.close()
            with come_in(rig, D2) as other:
                other.send(m.PINGREQ)
                other.expect(m.PINGRESP)
                assert rig.broker.connections == 2
    finally:
        rig.close()


def test_a_thousand_connects_leave_no_place_taken(tmp_path: Path) -> None:
    rig = EmbeddedRig(tmp_path, max_connections=50)
    try:
        for number in range(1_000):
            account = (D1, D2)[number % 2] if number % 3 else Account("x" * 1_000, "", "", "")
            with RawClient(rig.port, m.connect(account.name, PASSWORD, clean=number % 5 == 0)) as client:
                client.expect(m.CONNACK)
                if number % 7 == 0:
                    client.send(m.DISCONNECT)
        with come_in(rig, OTHER) as last:
            last.send(m.publish(up(OTHER), b"last"))
            last.expect(m.PUBACK)
    finally:
        rig.close()


def test_a_storm_of_take_overs_leaves_one_connection(embedded: EmbeddedRig) -> None:
    storm = [RawClient(embedded.port, m.connect(D1.name, PASSWORD, clean=bool(number % 2))) for number in range(90)]
    with ExitStack() as stack, selectors.DefaultSelector() as ready:
        for client in storm:
            stack.enter_context(client)
            ready.register(client.socket, selectors.EVENT_READ, client)
        alive = set(storm)
        while len(alive) > 1:
            found = ready.select(WAIT_S)
            assert found, f"{len(alive)} are still connected"
            for key, _ in found:
                client = key.data
                try:
                    client.expect(m.CONNACK)
                except ConnectionError:
                    ready.unregister(client.socket)
                    alive.remove(client)
        (survivor,) = alive
        survivor.send(m.publish(up(D1), b"a reading"))
        if survivor.packet()[0] == m.CONNACK:
            survivor.expect(m.PUBACK)
        assert embedded.broker.connections == 1


def test_a_huge_client_id_is_refused(embedded: EmbeddedRig) -> None:
    with RawClient(embedded.port, m.connect("x" * 8_000, PASSWORD)) as client:
        assert client.expect(m.CONNACK) == NOT_AUTHORISED
    with RawClient(embedded.port, m.connect("x" * 60_000, PASSWORD)) as client:
        assert client.is_closed()


def test_mqtt_5_is_told_that_it_is_not_spoken(embedded: EmbeddedRig) -> None:
    body = m.text("MQTT") + bytes([5, 0xC2]) + b"\x00\x3c\x00" + m.text(D1.name) + m.text(D1.name) + m.text(PASSWORD)
    with RawClient(embedded.port, m.packet(0x10, body)) as client:
        assert client.expect(m.CONNACK) == b"\x00\x01"
        assert client.is_closed()


@contextmanager
def one_who_never_reads(rig: EmbeddedRig) -> Iterator[None]:
    """A client that sends and does not read, when the broker's answers have filled every buffer in between."""
    inner: Any = rig.broker._broker
    inner._servers["default"].instance.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with RawClient(rig.port, m.connect(D1.name, PASSWORD), receive_buffer=2048) as client, come_in(rig, D2) as other:
        client.expect(m.CONNACK)
        client.send(m.subscribe(*["x"] * 1_000) * 150)  # each is refused in an answer of 1,006 bytes
        handler = inner.sessions[D1.name][1]
        stuck = 0
        for _ in range(20_000):
            other.send(m.PINGREQ)
            other.expect(m.PINGRESP)
            stuck = stuck + 1 if handler._write_lock.locked() else 0
            if stuck == 1:
                client.send(m.PINGREQ * 1_000)
            if stuck == 300:  # answers to another, while nothing more could be sent to this one
                break
        assert stuck == 300
        loop = rig.broker._loop
        assert loop is not None
        assert len(asyncio.all_tasks(loop)) < 100  # what cannot be answered is not read
        yield


def test_a_client_that_never_reads_holds_up_neither_others_nor_the_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its connection is cut; the time-out of the stop is for what nobody has thought of.
    monkeypatch.setattr(broker_module, "STOP_TIMEOUT_S", 10 * WAIT_S)
    rig = EmbeddedRig(tmp_path)
    with one_who_never_reads(rig):
        with come_in(rig, OTHER) as other:
            other.send(m.publish(up(OTHER), b"good"))
            other.expect(m.PUBACK)
        stopping = threading.Thread(target=rig.close)
        stopping.start()
        stopping.join(WAIT_S)
        assert not stopping.is_alive()


def test_a_client_that_never_reads_can_be_taken_over(embedded: EmbeddedRig) -> None:
    with one_who_never_reads(embedded), come_in(embedded, D1) as again:
        again.send(m.PINGREQ)
        again.expect(m.PINGRESP)


@pytest.mark.parametrize("held", [False, True])
def test_stopping_under_load_ends_and_loses_nothing_acknowledged(tmp_path: Path, held: bool) -> None:
    rig = EmbeddedRig(tmp_path)
    acknowledged: list[bytes] = []
    running = threading.Event()

    def publish_until_cut() -> None:
        mid = 0
        with come_in(rig, D1) as client:
            try:
                while True:
                    mid += 1
                    client.send(m.publish(up(D1), b"%d" % mid, mid=mid % 65_535 + 1))
                    client.expect(m.PUBACK)
                    acknowledged.append(b"%d" % mid)
                    if mid == 20:
                        running.set()
            except ConnectionError:
                return

    publisher = threading.Thread(target=publish_until_cut)
    publisher.start()
    assert running.wait(WAIT_S)
    if held:
        rig.journal.journal.hold()
        assert rig.journal.journal.entered.wait(WAIT_S)
    rig.broker.stop()
    publisher.join(WAIT_S)
    assert not publisher.is_alive()
    rig.journal.close()
    assert set(acknowledged) <= {payload for _, payload in readings(rig.journal.messages())}


def test_commits_that_come_after_the_end_of_the_broker_trouble_nobody(embedded: EmbeddedRig) -> None:
    journal = embedded.journal.journal
    journal.hold()
    with come_in(embedded, D1) as client:
        client.send(m.publish(up(D1), b"x"))
        assert journal.entered.wait(WAIT_S)
    embedded.broker.stop()
    journal.released.set()
    embedded.journal.wait_for_payload(b"x")
    assert embedded.journal.writer.failed is None
    embedded.broker.stop()


def test_a_taken_port_is_an_error_with_advice(embedded: EmbeddedRig) -> None:
    second = EmbeddedBroker("127.0.0.1", embedded.port, embedded.gate, embedded.journal.writer)
    with pytest.raises(ConfigError, match="choose another port"):
        second.start()
    second.stop()


def test_a_connection_that_breaks_in_the_middle_of_anything_gives_its_place_back(tmp_path: Path) -> None:
    """Reset (not closed) after every number of bytes of a whole exchange."""
    rig = EmbeddedRig(tmp_path, max_connections=12)
    whole = (
        m.connect(D1.name, PASSWORD) + m.subscribe(down(D1)) + m.publish(up(D1), b"reading", qos=2, mid=5) + m.pubrel(5)
    )
    try:
        for length in range(1, len(whole) + 1, 3):
            client = RawClient(rig.port, whole[:length])
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            client.close()
            with come_in(rig, D2) as other:
                other.send(m.PINGREQ)
                other.expect(m.PINGRESP)
    finally:
        rig.close()


# --- mosquitto alone


@pytest.mark.mosquitto
def test_mosquitto_gives_a_device_that_borrows_the_services_client_id_its_own(
    tmp_path: Path, mosquitto: StartMosquitto
) -> None:
    """The session of the ingest service, and what waits in it, is not to be had by its client id."""
    rig = MosquittoRig(tmp_path, mosquitto(ACCOUNTS))
    rig.subscriber.stop()
    with Client(rig.port, D1.name, PASSWORD) as client:
        client.publish(up(D1), b"while it was away")
    with RawClient(rig.port, m.connect(D2.name, PASSWORD, client_id=INGEST.name, clean=True)) as thief:
        thief.expect(m.CONNACK)
        thief.send(m.PINGREQ)
        thief.expect(m.PINGRESP)
    linked = threading.Event()
    again = Subscriber(
        BrokerUrl.parse(f"mqtt://127.0.0.1:{rig.port}"), INGEST.name, PASSWORD, rig.journal.writer, _when_up(linked)
    )
    again.start()
    try:
        assert readings(rig.journal.wait_for_payload(b"while it was away")) == [(up(D1), b"while it was away")]
    finally:
        again.stop()
        rig.close()


def _when_up(event: threading.Event) -> Callable[[bool], None]:
    return lambda up: event.set() if up else None
