"""The subscriber to an external broker: paho-mqtt, QoS 1, a persistent session, acknowledgement after the commit.

The callback takes a message and offers it to the journal; it never blocks and never raises. An acknowledgement is only
sent within the connection that delivered the message: after a reconnect the same packet id may name another message,
and acknowledging that one unread would lose it. A broker sends again what was not acknowledged only after a
reconnect; so when the queue was full, the connection is given up once there is room again.
"""

from __future__ import annotations

import random
import secrets
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from greenmine.core.errors import ConfigError
from greenmine.ingest.gathering_client import GatheringClient, Publish, client_class
from greenmine.ingest.journal_writer import JournalWriter, Submission
from greenmine.ingest.record import Record, RecordFlag, RecordKind, arrival_flags

log = structlog.get_logger(__name__)

TOPICS = ("mines/#",)
KEPT_BYTES = 256 * 1024 + 1
"""Of a payload: one byte over what any decoder takes, so that a cut one is refused for its size."""
KEEPALIVE_S = 30
RECONNECT_FIRST_S = 1
RECONNECT_LONGEST_S = 30
CANARY_TOPIC = "mines/canary/ingest/down"
"""Within the tree that the account may write and read, and of a kind that is no reading."""
CANARY_EVERY_S = 30.0
DROPPED_TOPIC = "$SYS/broker/publish/messages/dropped"
"""Where mosquitto says how many messages it has dropped since it started, because a client's queue was full: it has
acknowledged them all the same."""
PUBLISH_TIMEOUT_S = 5.0
_QOS_BITS = 6
_TOPICS_KEPT = 20_000
_MOST_DIGITS = 18
_ARRIVAL_FLAGS = [int(arrival_flags(bits >> 1 & 3, bool(bits & 1), bool(bits & 8))) for bits in range(16)]
"""By the flags of the packet."""


class BrokerUrl(NamedTuple):
    """`mqtt://host:port` or `mqtts://host:port`."""

    host: str
    port: int
    tls: bool

    @classmethod
    def parse(cls, url: str) -> BrokerUrl:
        """Split a URL.

        Raises:
            ConfigError: another scheme, no host, or a password in the URL (it would show up in logs).
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ConfigError(f"the broker's URL is mqtt://host:port or mqtts://host:port: {error}") from error
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise ConfigError("the broker's URL is mqtt://host:port or mqtts://host:port")
        if parts.username or parts.password:
            raise ConfigError("do not write user or password into the broker's URL; use mqtt.user and a secret file")
        tls = parts.scheme == "mqtts"
        return cls(parts.hostname, port or (8883 if tls else 1883), tls)


class _Token(NamedTuple):
    generation: int
    mid: int
    qos: int


class Subscriber:
    """Brings messages from a broker into the journal. `on_link` is told True when subscribed and False when the
    connection is lost, on paho's thread.

    A granted subscription proves nothing: a broker that lost it, or a half-open connection, brings no message and no
    error. So a canary of our own goes out every 30 s, and where it has not come back by the next, and nothing else of
    its subscription either (it may stand behind a backlog), the connection is given up and made anew. It is not
    journalled.
    """

    def __init__(
        self,
        url: BrokerUrl,
        user: str,
        password: str,
        writer: JournalWriter,
        on_link: Callable[[bool], None],
        ca_file: str | None = None,
        topics: Sequence[str] = TOPICS,
        certificate: tuple[str, str] | None = None,
        on_dropped: Callable[[int, int], None] = lambda _more, _total: None,
    ) -> None:
        """`certificate`: files of our certificate and its key, where the broker asks for one. `on_dropped` is told, on
        paho's thread, how many more messages the broker has dropped and how many since it started."""
        self._url = url
        self._writer = writer
        self._on_link = on_link
        self._on_dropped = on_dropped
        self._watch_mid: int | None = None
        self.dropped_by_broker = 0
        self._topics = tuple(topics)
        self._lock = threading.Lock()
        self._generation = 0
        self._stopping = False
        self._has_subscribed = False
        self._ended = threading.Event()
        self._canary = threading.Thread(target=self._send_canaries, name="mqtt-canary", daemon=True)
        self._canary_out: bytes | None = None
        self._heard = self._heard_before = 0
        self.canaries_back = 0
        self.canaries_missing = 0
        self.connected = False
        self.refusal: str | None = None
        self.received = 0
        self._topic_names: dict[bytes, tuple[str, int]] = {}
        self.qos0 = 0
        self._client = client_class()(
            CallbackAPIVersion.VERSION2,
            client_id=user,
            clean_session=False,
            protocol=mqtt.MQTTv311,
            manual_ack=True,
            reconnect_on_failure=True,
        )
        self._client.username_pw_set(user, password)
        if url.tls:
            context = ssl.create_default_context(cafile=ca_file)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if certificate is not None:
                try:
                    context.load_cert_chain(*certificate)
                except (OSError, ssl.SSLError) as error:
                    raise ConfigError(f"the certificate {certificate[0]} or its key cannot be used: {error}") from error
            self._client.tls_set_context(context)
        # Drawn anew by each process, so that many of them do not all come back at one moment. Not for secrets.
        spread = random.uniform(0.75, 1.25)  # noqa: S311
        self._client.reconnect_delay_set(RECONNECT_FIRST_S * spread, RECONNECT_LONGEST_S * spread)  # type: ignore[arg-type]
        self._client.on_connect = self._connected
        self._client.on_connect_fail = self._connect_failed
        self._client.on_disconnect = self._disconnected
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._message
        if isinstance(self._client, GatheringClient):
            self._client.on_publishes = self._publishes

    def start(self) -> None:
        """Connect in the background, now and whenever the connection is lost."""
        self._client.connect_async(self._url.host, self._url.port, KEEPALIVE_S)
        self._client.loop_start()
        if self._has_own_tree:
            self._canary.start()

    def stop(self) -> None:
        """Disconnect; what was not acknowledged stays with the broker."""
        self._stopping = True
        self._ended.set()
        if self._canary.is_alive():
            self._canary.join()
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: bytes) -> bool:
        """Publish with QoS 1; whether the broker has acknowledged it. Where it has not in time, paho may still send it
        later. Called on any thread but paho's."""
        if not self.connected:
            return False  # paho would keep it in memory
        sent = self._client.publish(topic, payload, qos=1)
        with suppress(ValueError, RuntimeError):  # its queue is full, or it is not connected any more
            sent.wait_for_publish(PUBLISH_TIMEOUT_S)
            return sent.is_published()
        return False

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        """After a commit, on the journal writer's thread: acknowledge in the order of receipt.

        Without tokens: the queue was full and has room again.
        """
        with self._lock:
            current = [token for token in tokens if token.generation == self._generation and token.qos]
            if isinstance(self._client, GatheringClient) and all(token.qos == 1 for token in current):
                self._client.acknowledge_all([token.mid for token in current])
            else:
                for token in current:
                    self._client.ack(token.mid, token.qos)
        if not tokens:
            log.warning("subscriber: reconnecting, the broker has to send again what the queue could not take")
            # Ends the socket as a lost connection would; paho's own thread then connects again.
            self._drop_connection()

    def send_canary(self) -> None:
        """One round: give the connection up if the last canary has not come back, and send the next."""
        if not self.connected:
            self._canary_out = None
            return
        heard, self._heard_before = self._heard != self._heard_before, self._heard
        if self._canary_out is not None and heard:
            return  # a long backlog stands before it
        if self._canary_out is not None:
            self.canaries_missing += 1
            self._canary_out = None
            log.error("subscriber: our own message did not come back, reconnecting")
            self._has_subscribed = False  # so that it subscribes again, whatever the session says
            self._drop_connection()
            return
        self._canary_out = secrets.token_hex(8).encode()
        self._client.publish(CANARY_TOPIC, self._canary_out, qos=1)

    def _send_canaries(self) -> None:
        while not self._ended.wait(CANARY_EVERY_S):
            self.send_canary()

    def _drop_connection(self) -> None:
        connection: Any = self._client.socket()
        if connection is not None:
            with suppress(OSError):  # it is lost already
                connection.shutdown(socket.SHUT_RDWR)

    def _connected(
        self, client: mqtt.Client, _: Any, flags: mqtt.ConnectFlags, reason: ReasonCode, __: Properties | None
    ) -> None:
        if reason.is_failure:
            self.refusal = f"the broker refuses the connection: {reason}"
            log.error("subscriber: refused", reason=str(reason), host=self._url.host, port=self._url.port)
            self._link(False)
            return
        with self._lock:
            self._generation += 1
        self.refusal = None
        if self._has_own_tree:
            # At QoS 1 the count itself would wait in the full queue.
            self._watch_mid = client.subscribe(DROPPED_TOPIC, 0)[1]
        # A session may be there without its subscription, if the connection that made it ended in between.
        if flags.session_present and self._has_subscribed:
            self._link(True)
        else:
            client.subscribe([(topic, 1) for topic in self._topics])

    def _subscribed(self, _: mqtt.Client, __: Any, mid: int, reasons: list[ReasonCode], ___: Properties | None) -> None:
        if mid == self._watch_mid:
            return  # a broker that is no mosquitto, or does not grant it, tells nothing of what it drops
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            self.refusal = f"the broker refuses the subscription to {' '.join(self._topics)}: {', '.join(refused)}"
            log.error("subscriber: subscription refused", reasons=refused)
        self._has_subscribed = not refused
        self._link(not refused)

    def _connect_failed(self, _: mqtt.Client, __: Any) -> None:
        self.refusal = f"cannot reach the broker at {self._url.host}:{self._url.port}"
        self._link(False)

    def _disconnected(
        self, _: mqtt.Client, __: Any, ___: mqtt.DisconnectFlags, reason: ReasonCode, ____: Properties | None
    ) -> None:
        with self._lock:
            self._generation += 1
        if not self._stopping:
            log.warning("subscriber: connection lost", reason=str(reason))
            self._link(False)

    def _link(self, up: bool) -> None:
        self.connected = up
        self._on_link(up)

    def _message(self, _: mqtt.Client, __: Any, message: mqtt.MQTTMessage) -> None:
        """One message as paho gives it."""
        flags = message.dup << 3 | message.qos << 1 | message.retain
        self._publishes([Publish(flags, message.mid, message._topic, bytes(message.payload))])

    def _publishes(self, messages: Sequence[Publish]) -> None:
        generation, submissions = self._generation, []
        for packet_flags, mid, name, payload in messages:  # this runs for every message
            topic, flags = self._topic_names.get(name) or self._topic_name(name)
            if topic == CANARY_TOPIC:
                self._canary_came(mid, packet_flags, payload)
                continue
            if topic == DROPPED_TOPIC:
                self._drops(payload)
                continue
            flags |= _ARRIVAL_FLAGS[packet_flags]
            if not packet_flags & _QOS_BITS:
                self.qos0 += 1
            if len(payload) > KEPT_BYTES:
                payload = payload[:KEPT_BYTES]
            record = Record(RecordKind.MESSAGE, topic, payload, "", flags)
            submissions.append(Submission(record, self, _Token(generation, mid, packet_flags >> 1 & 3)))
        if submissions:
            self.received += len(submissions)
            self._heard += submissions[-1].record.source.startswith("mines/")
            # Where one is refused the writer calls `acknowledge` without tokens as soon as there is room.
            self._writer.offer_all(submissions)

    def _topic_name(self, name: bytes) -> tuple[str, int]:
        try:
            found = name.decode("utf-8"), 0
        except UnicodeDecodeError:
            return name.decode("utf-8", "backslashreplace"), int(RecordFlag.BAD_TOPIC)
        if len(self._topic_names) >= _TOPICS_KEPT:
            self._topic_names.clear()
        self._topic_names[name] = found
        return found

    def _drops(self, payload: bytes) -> None:
        if not payload.isdigit() or len(payload) > _MOST_DIGITS:
            return
        total, known = int(payload), self.dropped_by_broker
        self.dropped_by_broker = total
        more = total - known if total >= known else total  # it has started anew
        if more:
            log.error("subscriber: the broker has dropped messages that it acknowledged", more=more, total=total)
            self._on_dropped(more, total)

    @property
    def _has_own_tree(self) -> bool:
        """Whether we are subscribed to all of our own tree, as on a broker of greenmine's."""
        return any(topic in ("#", "mines/#") for topic in self._topics)

    def _canary_came(self, mid: int, packet_flags: int, payload: bytes) -> None:
        if payload == self._canary_out:
            self._canary_out = None
            self.canaries_back += 1
        self._client.ack(mid, packet_flags >> 1 & 3)
