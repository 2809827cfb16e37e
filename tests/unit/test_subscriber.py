"""The subscriber: takes messages without ever raising, acknowledges only within the connection that brought them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from greenmine.core.errors import ConfigError
from greenmine.ingest import subscriber as subscriber_module
from greenmine.ingest.gate import Account, hash_password
from greenmine.ingest.journal_writer import Submission
from greenmine.ingest.record import RecordFlag, RecordKind
from greenmine.ingest.subscriber import KEPT_BYTES, BrokerUrl, Subscriber
from tests import mqtt_client as m
from tests.journal_rig import QUICK, JournalRig
from tests.mosquitto_server import StartMosquitto, mosquitto
from tests.mqtt_client import WAIT_S, Client, RawClient

__all__ = ["mosquitto"]

PASSWORD = "a password"
INGEST = Account("greenmine-ingest", "", "", hash_password(PASSWORD))
D1 = Account("m1.d1", "m1", "d1", hash_password(PASSWORD))
UP = "mines/m1/d1/up"


class FakeWriter:
    """Takes what it is offered, or refuses it."""

    def __init__(self) -> None:
        self.offered: queue.Queue[Submission] = queue.Queue()
        self.full = False
        self.backlog = 0

    def offer_all(self, submissions: Sequence[Submission]) -> int:
        for submission in () if self.full else submissions:
            self.offered.put(submission)
        return 0 if self.full else len(submissions)

    def next(self) -> Submission:
        return self.offered.get(timeout=WAIT_S)


class Link:
    """What `on_link` was told."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.told: list[bool] = []

    def __call__(self, up: bool) -> None:
        with self._changed:
            self.told.append(up)
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[list[bool]], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.told), WAIT_S), self.told


def subscriber(port: int, writer: Any, link: Callable[[bool], None], password: str = PASSWORD) -> Subscriber:
    return Subscriber(BrokerUrl.parse(f"mqtt://127.0.0.1:{port}"), INGEST.name, password, writer, link)


@pytest.fixture
def quick_reconnects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriber_module, "RECONNECT_FIRST_S", 0.02)
    monkeypatch.setattr(subscriber_module, "RECONNECT_LONGEST_S", 0.1)


# --- without a broker


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("mqtt://broker", BrokerUrl("broker", 1883, False)),
        ("mqtt://127.0.0.1:1884", BrokerUrl("127.0.0.1", 1884, False)),
        ("mqtts://broker", BrokerUrl("broker", 8883, True)),
        ("mqtts://[::1]:9000", BrokerUrl("::1", 9000, True)),
    ],
)
def test_urls(url: str, parsed: BrokerUrl) -> None:
    assert BrokerUrl.parse(url) == parsed


@pytest.mark.parametrize(
    "url",
    [
        "",
        "broker:1883",
        "http://broker",
        "mqtt://",
        "mqtt://:1883",
        "mqtt://b:x",
        "mqtt://b:99999",
        "mqtt://[::1",
        "mqtt://u@b",
    ],
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ConfigError, match="broker's URL"):
        BrokerUrl.parse(url)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as refused:
        BrokerUrl.parse("mqtt://user:hunter2@broker")
    assert "hunter2" not in str(refused.value)


@given(
    st.binary(max_size=40) | st.text(max_size=20).map(str.encode),
    st.binary(max_size=40),
    st.integers(0, 2),
    st.booleans(),
    st.booleans(),
)
@example(b"mines/m1/\xff\xfe/up", b"\x00", 1, True, True)
@example(b"\xed\xa0\x80", b"", 0, False, False)
def test_the_callback_takes_anything(topic: bytes, payload: bytes, qos: int, retain: bool, dup: bool) -> None:
    writer = FakeWriter()
    taker = subscriber(1883, writer, lambda _: None)
    message = paho.MQTTMessage(mid=7, topic=topic)
    message.payload, message.qos, message.retain, message.dup = payload, qos, retain, dup
    taker._message(taker._client, None, message)
    taken = writer.next()
    record = taken.record
    assert (record.kind, record.payload, record.client) == (RecordKind.MESSAGE, payload, "")
    assert taken.sink is taker
    assert bool(record.flags & RecordFlag.QOS0) == (qos == 0)
    assert bool(record.flags & RecordFlag.RETAIN) == retain
    assert bool(record.flags & RecordFlag.DUP) == dup
    record.source.encode()
    try:
        assert record.source == topic.decode()
    except UnicodeDecodeError:
        assert record.flags & RecordFlag.BAD_TOPIC
    else:
        assert not record.flags & RecordFlag.BAD_TOPIC


def test_a_huge_payload_is_kept_cut() -> None:
    writer = FakeWriter()
    taker = subscriber(1883, writer, lambda _: None)
    message = paho.MQTTMessage(mid=7, topic=UP.encode())
    message.payload = b"x" * 10_000_000
    taker._message(taker._client, None, message)
    assert len(writer.next().record.payload) == KEPT_BYTES


def test_acknowledging_without_a_connection_troubles_nobody() -> None:
    """The journal's writer calls this on its own thread, and must not end of it."""
    writer = FakeWriter()
    taker = subscriber(1883, writer, lambda _: None)
    message = paho.MQTTMessage(mid=7, topic=UP.encode())
    message.qos = 1
    taker._message(taker._client, None, message)
    taker.acknowledge([writer.next().token])
    taker.acknowledge(())
    taker.stop()
    taker.acknowledge(())


def test_a_broker_that_is_not_there_is_said_so(quick_reconnects: None) -> None:
    link = Link()
    with m.socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
    taker = subscriber(port, FakeWriter(), link)
    taker.start()
    link.wait_for(lambda told: len(told) >= 3)
    taker.stop()
    assert set(link.told) == {False}
    assert not taker.connected
    assert taker.refusal == f"cannot reach the broker at 127.0.0.1:{port}"


# --- with mosquitto


@pytest.mark.mosquitto
def test_a_wrong_password_is_said_so(mosquitto: StartMosquitto, quick_reconnects: None) -> None:
    link = Link()
    taker = subscriber(mosquitto([INGEST]).port, FakeWriter(), link, "wrong")
    taker.start()
    link.wait_for(lambda told: len(told) >= 1)
    taker.stop()
    assert set(link.told) == {False}
    assert "refuses the connection" in (taker.refusal or "")


@pytest.mark.mosquitto
def test_the_link_is_up_when_subscribed_and_down_when_the_broker_is_gone(
    mosquitto: StartMosquitto, quick_reconnects: None
) -> None:
    server, link = mosquitto([INGEST]), Link()
    taker = subscriber(server.port, FakeWriter(), link)
    taker.start()
    link.wait_for(lambda told: told == [True])
    assert taker.connected
    assert taker.refusal is None
    server.stop()
    link.wait_for(lambda told: told[1:2] == [False])
    assert not taker.connected
    server.start()
    link.wait_for(lambda told: told[-1])
    assert taker.connected
    taker.stop()


@pytest.mark.mosquitto
def test_an_acknowledgement_of_an_earlier_connection_is_not_sent(
    mosquitto: StartMosquitto, quick_reconnects: None
) -> None:
    """After the broker has lost its sessions the first message of the new one has the packet id of the first of the old
    one. The old one's acknowledgement, sent now, would be the new one's: it would be lost if we died before its commit.
    That it was not acknowledged shows at the next reconnect, when it comes again.

    Mutation check, done by hand: without the comparison of generations in `acknowledge` this is red.
    """
    server, writer, link = mosquitto([INGEST, D1], "max_inflight_messages 1"), FakeWriter(), Link()
    taker = subscriber(server.port, writer, link)
    taker.start()
    link.wait_for(lambda told: told == [True])
    with Client(server.port, D1.name, PASSWORD) as client:
        client.publish(UP, b"old")
    old = writer.next()
    server.stop()
    link.wait_for(lambda told: told[1:2] == [False])
    server.start()
    link.wait_for(lambda told: told[-1])
    with Client(server.port, D1.name, PASSWORD) as client:
        client.publish(UP, b"new")
    new = writer.next()
    assert new.record.payload == b"new"
    assert new.token.mid == old.token.mid
    taker.acknowledge([old.token])
    _reconnect(taker, link)
    again = writer.next()
    assert (again.record.payload, again.record.flags) == (b"new", RecordFlag.DUP)
    # And the acknowledgement of this connection is sent: only then is there another message.
    taker.acknowledge([again.token])
    with Client(server.port, D1.name, PASSWORD) as client:
        client.publish(UP, b"newer")
    assert writer.next().record.payload == b"newer"
    taker.stop()


def _reconnect(taker: Subscriber, link: Link) -> None:
    """As if the connection was lost, after everything that was to be sent is sent: packets leave in order, and a
    subscription is answered."""
    count = len(link.told)
    taker._client.subscribe([(topic, 1) for topic in subscriber_module.TOPICS])
    link.wait_for(lambda told: len(told) == count + 1)
    count = len(link.told)
    taker.acknowledge(())
    link.wait_for(lambda told: len(told) >= count + 2 and told[-1])


@pytest.mark.mosquitto
def test_what_was_sent_while_the_subscriber_was_away_comes_when_it_is_back(mosquitto: StartMosquitto) -> None:
    server = mosquitto([INGEST, D1])
    for visit in range(3):
        writer, link = FakeWriter(), Link()
        taker = subscriber(server.port, writer, link)
        taker.start()
        link.wait_for(lambda told: told == [True])
        if visit:
            got = [writer.next() for _ in range(20)]
            assert [one.record.payload for one in got] == [b"%d-%d" % (visit, i) for i in range(20)]
            taker.acknowledge([one.token for one in got])
        taker.stop()
        with Client(server.port, D1.name, PASSWORD) as client:
            for number in range(20):
                client.publish(UP, b"%d-%d" % (visit + 1, number))


@pytest.mark.mosquitto
def test_what_was_not_acknowledged_comes_again_to_the_next_subscriber(mosquitto: StartMosquitto) -> None:
    server = mosquitto([INGEST, D1])
    for visit in range(2):
        writer, link = FakeWriter(), Link()
        taker = subscriber(server.port, writer, link)
        taker.start()
        link.wait_for(lambda told: told == [True])
        if not visit:
            with Client(server.port, D1.name, PASSWORD) as client:
                client.publish(UP, b"taken and not committed")
        got = writer.next().record
        assert got.payload == b"taken and not committed"
        assert bool(got.flags & RecordFlag.DUP) == bool(visit)
        taker.stop()


@pytest.mark.mosquitto
def test_a_session_without_its_subscription_is_given_one(mosquitto: StartMosquitto) -> None:
    """Left behind by a connection that ended between its CONNECT and its SUBSCRIBE."""
    server, writer, link = mosquitto([INGEST, D1]), FakeWriter(), Link()
    with RawClient(server.port, m.connect(INGEST.name, PASSWORD)) as half:
        half.expect(m.CONNACK)
    taker = subscriber(server.port, writer, link)
    taker.start()
    link.wait_for(lambda told: told == [True])
    with Client(server.port, D1.name, PASSWORD) as client:
        client.publish(UP, b"a reading")
    assert writer.next().record.payload == b"a reading"
    taker.stop()


@pytest.mark.mosquitto
def test_a_retained_message_is_marked_when_it_is_old_and_not_when_it_is_new(mosquitto: StartMosquitto) -> None:
    server = mosquitto([INGEST, D1])
    with Client(server.port, D1.name, PASSWORD) as client:
        client.publish(UP, b"old", retain=True)
        writer, link = FakeWriter(), Link()
        taker = subscriber(server.port, writer, link)
        taker.start()
        link.wait_for(lambda told: told == [True])
        client.publish(UP, b"new", retain=True)
        client.publish(UP, b"", retain=True)
        got = {one.record.payload: one.record.flags for one in (writer.next(), writer.next(), writer.next())}
    assert got == {b"old": RecordFlag.RETAIN, b"new": 0, b"": 0}
    taker.stop()


@pytest.mark.mosquitto
def test_qos_0_is_counted(mosquitto: StartMosquitto) -> None:
    server, writer, link = mosquitto([INGEST, D1]), FakeWriter(), Link()
    taker = subscriber(server.port, writer, link)
    taker.start()
    link.wait_for(lambda told: told == [True])
    with Client(server.port, D1.name, PASSWORD) as client:
        client.publish(UP, b"0", qos=0)
        client.publish(UP, b"1", qos=1)
        client.publish(UP, b"2", qos=2)
    got = [writer.next() for _ in range(3)]
    assert [one.record.payload for one in got] == [b"0", b"1", b"2"]
    assert [one.record.flags for one in got] == [RecordFlag.QOS0, 0, 0]
    assert [one.token.qos for one in got] == [0, 1, 1]
    assert (taker.received, taker.qos0) == (3, 1)
    taker.acknowledge([one.token for one in got])
    taker.stop()


@pytest.fixture
def small_queue(tmp_path: Path) -> Iterator[JournalRig]:
    rig = JournalRig(tmp_path / "journal.db", QUICK._replace(queue_records=5, batch_records=2))
    yield rig
    rig.close()


@pytest.mark.mosquitto
def test_what_the_queue_could_not_take_is_sent_again_and_nothing_is_lost(
    mosquitto: StartMosquitto, small_queue: JournalRig, quick_reconnects: None
) -> None:
    server, link = mosquitto([INGEST, D1]), Link()
    taker = subscriber(server.port, small_queue.writer, link)
    taker.start()
    link.wait_for(lambda told: told == [True])
    small_queue.journal.hold()
    with Client(server.port, D1.name, PASSWORD) as client:
        for number in range(100):
            client.publish(UP, b"%d" % number)
    assert small_queue.journal.entered.wait(WAIT_S)
    small_queue.journal.released.set()
    everything = {b"%d" % number for number in range(100)}
    small_queue.wait_for(lambda messages: {one.payload for one in messages} == everything)
    assert small_queue.writer.refused_full > 0
    assert False in link.told
    taker.stop()


@pytest.mark.mosquitto
def test_acknowledgements_follow_the_commit_with_a_real_journal(
    mosquitto: StartMosquitto, tmp_path: Path, quick_reconnects: None
) -> None:
    """What is taken but not committed when the process dies comes again: here the subscriber goes while the journal
    still holds its commit, and the next one is given the message once more."""
    server, link = mosquitto([INGEST, D1]), Link()
    rig = JournalRig(tmp_path / "journal.db")
    rig.journal.hold()
    taker = subscriber(server.port, rig.writer, link)
    taker.start()
    link.wait_for(lambda told: told == [True])
    with Client(server.port, D1.name, PASSWORD) as client:
        client.publish(UP, b"a reading")
    assert rig.journal.entered.wait(WAIT_S)
    taker.stop()
    rig.close()
    writer, link = FakeWriter(), Link()
    taker = subscriber(server.port, writer, link)
    taker.start()
    again = writer.next()
    assert (again.record.payload, again.record.flags) == (b"a reading", RecordFlag.DUP)
    taker.acknowledge([again.token])
    taker.stop()


@pytest.mark.mosquitto
def test_a_canary_comes_back_and_is_not_journalled(mosquitto: StartMosquitto) -> None:
    server, link, writer = mosquitto([INGEST, D1]), Link(), FakeWriter()
    taker = subscriber(server.port, writer, link)
    taker.start()
    link.wait_for(lambda told: told == [True])
    taker.send_canary()
    assert taker.publish("mines/m1/d1/down", b"after the canary")
    assert writer.next().record.payload == b"after the canary", "the canary came before it, and was not offered"
    assert (taker.canaries_back, taker.canaries_missing) == (1, 0)
    taker.send_canary()
    taker.stop()
    assert link.told.count(True) == 1


@pytest.mark.mosquitto
def test_where_the_canary_stays_away_the_connection_is_made_anew(
    mosquitto: StartMosquitto, quick_reconnects: None
) -> None:
    server, link, writer = mosquitto([INGEST, D1]), Link(), FakeWriter()
    taker = subscriber(server.port, writer, link)
    taker.start()
    link.wait_for(lambda told: told == [True])
    forgotten = threading.Event()
    taker._client.on_unsubscribe = lambda *_: forgotten.set()
    taker._client.unsubscribe("mines/#")  # as a broker that forgot it would have it
    assert forgotten.wait(WAIT_S)
    with Client(server.port, D1.name, PASSWORD) as client:
        client.publish(UP, b"nobody hears this")
    taker.send_canary()
    taker.send_canary()
    link.wait_for(lambda told: told == [True, False, True])
    assert taker.canaries_missing == 1
    with Client(server.port, D1.name, PASSWORD) as client:
        client.publish(UP, b"heard again")
    assert writer.next().record.payload == b"heard again"
    taker.stop()


@pytest.mark.mosquitto
def test_a_canary_behind_a_backlog_is_waited_for(mosquitto: StartMosquitto, quick_reconnects: None) -> None:
    """What comes meanwhile by the same subscription proves more than the canary could."""
    server, link, writer = mosquitto([INGEST, D1]), Link(), FakeWriter()
    taker = subscriber(server.port, writer, link)
    taker.start()
    link.wait_for(lambda told: told == [True])
    taker._canary_out = b"one that is still in the broker's queue"
    with Client(server.port, D1.name, PASSWORD) as client:
        for _ in range(2):
            client.publish(UP, b"a reading of long ago")
            writer.next()
            taker.send_canary()
    assert (taker.canaries_missing, link.told) == (0, [True])
    taker.send_canary()
    link.wait_for(lambda told: told == [True, False, True])
    assert taker.canaries_missing == 1
    taker.stop()


def test_a_certificate_that_is_none_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    url = BrokerUrl.parse("mqtts://127.0.0.1")
    pair = (str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
    with pytest.raises(ConfigError, match=r"cert\.pem or its key cannot be used"):
        Subscriber(url, INGEST.name, PASSWORD, FakeWriter(), lambda _: None, certificate=pair)  # type: ignore[arg-type]
