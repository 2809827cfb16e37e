"""The embedded broker: amqtt in a thread of this process, which acknowledges a publish only after the journal's commit.

Weaker than an external broker in this: MQTT 3.1.1 only, no shared subscriptions, and what it would deliver to
subscribers is in memory (devices' `down` topics). What it acknowledged to a publisher is on disk.

amqtt 0.12.1 sends PUBACK before any plug-in sees the message and asks the topic filter only later, so the protocol
handler is replaced. It has no hook for that: the name that `amqtt.broker` looks the handler up by is rebound. The
version is pinned; tests/contracts/test_broker.py holds every name used here.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import amqtt.broker
import structlog
from amqtt.adapters import ReaderAdapter, WriterAdapter
from amqtt.contexts import Action as BrokerAction
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType
from amqtt.errors import MQTTError
from amqtt.mqtt.connack import NOT_AUTHORIZED, ConnackPacket
from amqtt.mqtt.constants import QOS_0, QOS_1
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.mqtt.puback import PubackPacket
from amqtt.mqtt.pubcomp import PubcompPacket
from amqtt.mqtt.publish import PublishPacket
from amqtt.mqtt.pubrec import PubrecPacket
from amqtt.plugins.manager import PluginManager
from amqtt.session import IncomingApplicationMessage, Session

from greenmine.core.errors import ConfigError
from greenmine.ingest.gate import Action, Gate
from greenmine.ingest.journal_writer import JournalWriter, Submission
from greenmine.ingest.record import Record, RecordFlag, RecordKind

log = structlog.get_logger(__name__)

MAX_PACKET_BYTES = 256 * 1024 + 1024
"""A larger packet ends the connection before it is read, as mosquitto's message_size_limit does."""
FULL_PAUSE_S = 0.05
DENIED_A_MINUTE = 10
"""Refused publishes that are kept as dead letters, per account; the rest is counted."""


class _BoundedReader(ReaderAdapter):
    """Refuses to read more than a packet may have."""

    def __init__(self, inner: ReaderAdapter) -> None:
        self._inner = inner

    async def read(self, n: int = -1) -> bytes:
        if n > MAX_PACKET_BYTES:
            raise MQTTClosed(f"a packet of {n} bytes; the most is {MAX_PACKET_BYTES}")
        return await self._inner.read(n)

    def feed_eof(self) -> None:
        self._inner.feed_eof()


class MQTTClosed(Exception):
    """Ends the reader loop of a connection."""


class _CommitFirstHandler(BrokerProtocolHandler):
    """A protocol handler whose acknowledgement follows the commit."""

    @classmethod
    async def init_from_connect(
        cls,
        reader: ReaderAdapter,
        writer: WriterAdapter,
        plugins_manager: PluginManager[Any],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> tuple[BrokerProtocolHandler, Session]:
        """Refuse strangers here: afterwards the broker would already have taken over the session of that name."""
        bounded = _BoundedReader(reader)
        handler, session = await super().init_from_connect(bounded, writer, plugins_manager, loop)
        server = _server_of(plugins_manager)
        if not server.gate.admits(session.username, session.password, session.client_id):
            log.warning("broker: connection refused", client=session.client_id, address=session.remote_address)
            server.refused_connections += 1
            await ConnackPacket.build(0, NOT_AUTHORIZED).to_stream(writer)
            await writer.close()
            raise MQTTError("not authorised: unknown account, wrong password, or client id other than the user name")
        # A will is a publish that nobody asks the gate about.
        session.will_flag = False
        return handler, session

    def attach(self, session: Session, reader: ReaderAdapter, writer: WriterAdapter) -> None:
        super().attach(session, _BoundedReader(reader), writer)

    async def handle_publish(self, publish_packet: PublishPacket) -> None:
        """Journal first, acknowledge second."""
        session, header = self.session, publish_packet.variable_header
        if session is None or header is None or publish_packet.data is None:
            return
        server = _server_of(self.plugins_manager)
        flags = _flags(publish_packet)
        allowed = server.gate.allows(session.username, Action.WRITE, header.topic_name)
        if not allowed:
            flags |= RecordFlag.DENIED
            server.denied += 1
        if allowed or server.keeps_denied(session.username or ""):
            payload = bytes(publish_packet.data) if allowed else bytes(publish_packet.data[:1024])
            record = Record(RecordKind.MESSAGE, header.topic_name, payload, session.username or "", int(flags))
            await server.commit(record)
        if publish_packet.qos == QOS_0:
            return
        if publish_packet.qos == QOS_1:
            await self._send_packet(PubackPacket.build(header.packet_id))
        else:
            await self._complete_qos2(header.packet_id)
        if allowed and server.has_subscribers:
            message = IncomingApplicationMessage(
                header.packet_id, header.topic_name, publish_packet.qos, publish_packet.data, False
            )
            await session.delivered_message_queue.put(message)

    async def _complete_qos2(self, packet_id: int) -> None:
        """The message is on disk already; only the handshake is left. A repeat is journalled again and found to be a
        duplicate by its identity."""
        released: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pubrel_waiters[packet_id] = released
        try:
            await self._send_packet(PubrecPacket.build(packet_id))
            await released
            await self._send_packet(PubcompPacket.build(packet_id))
        finally:
            self._pubrel_waiters.pop(packet_id, None)


class _Broker(amqtt.broker.Broker):
    """Asks the gate about subscriptions and deliveries."""

    def __init__(self, server: EmbeddedBroker, config: BrokerConfig) -> None:
        super().__init__(config)
        self._server = server
        self.plugins_manager.context.greenmine = server

    async def _authenticate(self, session: Session, _: ListenerConfig) -> bool:
        return session.username is not None  # the handler has refused strangers before

    async def _topic_filtering(self, session: Session, topic: str, action: BrokerAction) -> bool:
        if action is BrokerAction.PUBLISH:
            return True  # asked before the commit
        return self._server.gate.allows(session.username, Action.READ, topic)

    async def retain_message(self, *_: Any, **__: Any) -> None:
        """Readings are never retained: a retained one has no known time of receipt."""


amqtt.broker.BrokerProtocolHandler = _CommitFirstHandler


class EmbeddedBroker:
    """Runs the broker; an `AckSink` for the journal writer.

    Raises (from `start`):
        ConfigError: the address cannot be bound.
    """

    def __init__(self, host: str, port: int, gate: Gate, writer: JournalWriter, max_connections: int = 2000) -> None:
        self.host = host
        self.port = port
        self.gate = gate
        self.denied = 0
        self.refused_connections = 0
        self._writer = writer
        self._max_connections = max_connections
        self._denied_kept: dict[str, tuple[int, int]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._broker: _Broker | None = None
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._start_error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="embedded-broker", daemon=True)

    def start(self) -> None:
        """Listen; returns when the port is open."""
        self._thread.start()
        self._started.wait()
        if self._start_error is not None:
            raise ConfigError(
                f"the embedded broker cannot listen on {self.host}:{self.port}: {self._start_error}; "
                "choose another port (mqtt.port) or stop the program that holds it"
            ) from self._start_error

    def stop(self) -> None:
        """Close all connections and end the thread."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread.is_alive():
            self._thread.join()

    @property
    def has_subscribers(self) -> bool:
        """Whether anybody would be delivered to."""
        return self._broker is not None and bool(self._broker.subscriptions)

    @property
    def connections(self) -> int:
        """Clients connected now."""
        sessions = self._broker.sessions if self._broker is not None else {}
        return sum(1 for session, _ in list(sessions.values()) if session.transitions.state == "connected")

    def keeps_denied(self, account: str) -> bool:
        """Whether a refused publish of this account is still kept as a dead letter in this minute."""
        minute = int(time.monotonic() // 60)
        last, count = self._denied_kept.get(account, (minute, 0))
        count = count + 1 if last == minute else 1
        self._denied_kept[account] = (minute, count)
        return count <= DENIED_A_MINUTE

    async def commit(self, record: Record) -> None:
        """Return when the record is on disk. Never returns if the journal fails: then nothing is acknowledged."""
        assert self._loop is not None
        committed: asyncio.Future[None] = self._loop.create_future()
        while not self._writer.offer(Submission(record, self, committed)):
            await asyncio.sleep(FULL_PAUSE_S)  # back-pressure: the client gets no acknowledgement meanwhile
        await committed

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        """Called by the journal writer after the commit, on its thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, tokens)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        listener = ListenerConfig(
            type=ListenerType.TCP, bind=f"{self.host}:{self.port}", max_connections=self._max_connections
        )
        config = BrokerConfig(listeners={"default": listener}, plugins={}, session_expiry_interval=3600)
        try:
            broker = _Broker(self, config)
            await broker.start()
        except Exception as error:  # noqa: BLE001 - reported by start() on the caller's thread
            self._start_error = error
            self._started.set()
            return
        self._broker = broker
        self.port = broker._servers["default"].instance.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        await broker.shutdown()


def _resolve(tokens: Sequence[asyncio.Future[None]]) -> None:
    for committed in tokens:
        if not committed.done():
            committed.set_result(None)


def _server_of(plugins_manager: PluginManager[Any]) -> EmbeddedBroker:
    server: EmbeddedBroker = plugins_manager.context.greenmine
    return server


def _flags(packet: PublishPacket) -> RecordFlag:
    flags = RecordFlag.NONE
    if packet.qos == QOS_0:
        flags |= RecordFlag.QOS0
    if packet.retain_flag:
        flags |= RecordFlag.RETAIN
    if packet.dup_flag:
        flags |= RecordFlag.DUP
    return flags
