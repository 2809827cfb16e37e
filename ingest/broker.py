"""The embedded broker: amqtt in a thread of this process, which acknowledges a publish only after the journal's commit.

Weaker than an external broker in this: MQTT 3.1.1 only, no shared subscriptions, no wills, and what it would deliver to
subscribers is in memory (devices' `down` topics). What it acknowledged to a publisher is on disk.

amqtt 0.12.1 sends PUBACK before any plug-in sees the message and asks the topic filter only later, so the protocol
handler is replaced. It has no hook for that: the name that `amqtt.broker` looks the handler up by is rebound. It also
leaves sockets open after a failed CONNECT, lets a silent client stay, loses its place in the stream after a malformed
packet, and mixes up the two connections of a take-over; so what surrounds a connection is ours too. The version is
pinned; tests/contracts/test_broker.py holds every name used here.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import amqtt.broker
import structlog
from amqtt.adapters import ReaderAdapter, StreamReaderAdapter, StreamWriterAdapter, WriterAdapter
from amqtt.contexts import Action as BrokerAction
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType
from amqtt.errors import AMQTTError, MQTTError, NoDataError, ProtocolHandlerError
from amqtt.mqtt.connack import NOT_AUTHORIZED, ConnackPacket
from amqtt.mqtt.constants import QOS_0, QOS_1
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.mqtt.puback import PubackPacket
from amqtt.mqtt.pubcomp import PubcompPacket
from amqtt.mqtt.publish import PublishPacket
from amqtt.mqtt.pubrec import PubrecPacket
from amqtt.mqtt.pubrel import PubrelPacket
from amqtt.plugins.manager import PluginManager
from amqtt.session import Session

from greenmine.core.errors import ConfigError
from greenmine.ingest.broker_tls import TlsListener, presented
from greenmine.ingest.framing import PacketReader
from greenmine.ingest.gate import Action, DeniedQuota, Gate
from greenmine.ingest.journal_writer import JournalWriter, Submission
from greenmine.ingest.record import Record, RecordFlag, RecordKind, arrival_flags

log = structlog.get_logger(__name__)

FULL_PAUSE_S = 0.05
CONNECT_TIMEOUT_S = 10.0
"""How long a stranger may take to say who he is."""
MAX_KEEPALIVE_S = 600
"""A client that asks for more, or for none, is given this; after one and a half times its keep-alive it is cut."""
CLOSE_TIMEOUT_S = 1.0
"""How long the last bytes may take to leave when a connection ends; a client that does not read would take for ever."""
STOP_TIMEOUT_S = 10.0
PUBLISH_TIMEOUT_S = 5.0
MAX_UNACKNOWLEDGED_BYTES = 1024 * 1024
"""Publishes of one connection that wait for the commit; then no more is read from it."""
_PUBLISH_OVERHEAD_BYTES = 1024
_TLS = "tls"


class _Writer(StreamWriterAdapter):
    """A writer whose `close` comes to an end although the client does not read."""

    async def close(self) -> None:
        flushed = False
        try:
            with suppress(OSError):  # the client has gone, or does not read: TimeoutError is one
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await super().close()
                flushed = True
        finally:
            if not flushed:
                self._writer.transport.abort()


class _CommitFirstHandler(BrokerProtocolHandler):
    """A protocol handler whose acknowledgement follows the commit."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._packets: PacketReader | None = None
        self._offering = asyncio.Lock()
        self._unacknowledged_bytes = 0
        self._fewer = asyncio.Event()

    @classmethod
    async def init_from_connect(
        cls,
        reader: ReaderAdapter,
        writer: WriterAdapter,
        plugins_manager: PluginManager[Any],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> tuple[BrokerProtocolHandler, Session]:
        """Refuse strangers here: afterwards the broker would already have taken over the session of that name."""
        server = _server_of(plugins_manager)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                handler, session = await super().init_from_connect(
                    PacketReader(reader, None), writer, plugins_manager, loop
                )
            await _admit(server, session, writer)
        except (AMQTTError, MQTTError, NoDataError):
            raise
        except Exception as error:
            # Whatever a stranger's bytes set off in amqtt: only these errors give back the connection's place.
            raise MQTTError(f"no usable CONNECT: {error!r}") from error
        # A will is a publish that nobody asks the gate about.
        session.will_flag = False
        session.keep_alive = math.ceil(1.5 * min(session.keep_alive or MAX_KEEPALIVE_S, MAX_KEEPALIVE_S))
        return handler, session

    def attach(self, session: Session, reader: ReaderAdapter, writer: WriterAdapter) -> None:
        self._packets = PacketReader(reader, self._has_room)
        super().attach(session, self._packets, writer)

    def handle_read_timeout(self) -> None:
        self._end_reading()

    async def stop(self) -> None:
        """Before Python 3.12 `wait_for` may swallow the cancellation of amqtt's reader, which would then go on."""
        self._end_reading()
        await super().stop()

    async def handle_publish(self, publish_packet: PublishPacket) -> None:
        """Journal first, acknowledge second."""
        session, header = self.session, publish_packet.variable_header
        if session is None or header is None or publish_packet.data is None:
            return
        server = _server_of(self.plugins_manager)
        size = len(publish_packet.data) + _PUBLISH_OVERHEAD_BYTES
        self._unacknowledged_bytes += size
        try:
            allowed = await self._journal(server, session.username or "", publish_packet)
            if allowed and server.has_subscriber(header.topic_name):
                # Never retained: a retained reading has no known time of receipt.
                await self.plugins_manager.context.broadcast_message(header.topic_name, publish_packet.data)
            if publish_packet.qos == QOS_1:
                await self._send_packet(PubackPacket.build(header.packet_id))
            elif publish_packet.qos != QOS_0:
                # A repeat is journalled again and found to be a duplicate by its identity.
                await self._send_packet(PubrecPacket.build(header.packet_id))
        finally:
            self._unacknowledged_bytes -= size
            self._fewer.set()

    async def handle_pubrel(self, pubrel: PubrelPacket) -> None:
        """The message is on disk since its PUBREC, also when that was in an earlier connection."""
        await self._send_packet(PubcompPacket.build(pubrel.packet_id))

    async def _send_packet(self, packet: Any) -> None:
        try:
            await super()._send_packet(packet)
        except ProtocolHandlerError as error:  # amqtt's dress for a cancellation, which nobody would recognise
            raise asyncio.CancelledError from error

    async def _journal(self, server: EmbeddedBroker, account: str, packet: PublishPacket) -> bool:
        """Returns when the publish is on disk: whether the account had the right to it."""
        topic, data = packet.topic_name or "", packet.data or b""
        flags = arrival_flags(packet.qos, packet.retain_flag, packet.dup_flag)
        allowed = server.gate.allows(account, Action.WRITE, topic)
        if not allowed:
            flags |= RecordFlag.DENIED
            server.denied += 1
            if not server.denied_quota.keeps(account):
                return False
            data = data[:1024]
        record = Record(RecordKind.MESSAGE, topic, bytes(data), account, int(flags))
        async with self._offering:  # in the order of receipt, also while the queue is full
            committed = await server.offer(record)
        await committed
        return allowed

    def _end_reading(self) -> None:
        if self._packets is not None:
            self._packets.ended = True

    async def _has_room(self) -> None:
        await asyncio.sleep(0)  # from Python 3.12 on nothing else lets the handlers of earlier packets begin
        async with self._write_lock:
            pass  # a client that does not take its answers is not read either
        while self._unacknowledged_bytes > MAX_UNACKNOWLEDGED_BYTES:
            self._fewer.clear()
            await self._fewer.wait()


async def _admit(server: EmbeddedBroker, session: Session, writer: WriterAdapter) -> None:
    certificate = presented(session.ssl_object)
    if certificate is None:
        if server.gate.admits(session.username, session.password, session.client_id):
            return
    elif server.gate.admits_certificate(*certificate, session.username, session.client_id):
        session.username = certificate.name
        return
    log.warning("broker: connection refused", client=(session.client_id or "")[:130], address=session.remote_address)
    server.refused_connections += 1
    await ConnackPacket.build(0, NOT_AUTHORIZED).to_stream(writer)
    raise MQTTError("not authorised: unknown account or certificate, wrong password, or client id other than its name")


class _Broker(amqtt.broker.Broker):
    """Asks the gate about subscriptions and deliveries, and sees to it that every connection comes to an end."""

    def __init__(self, server: EmbeddedBroker, config: BrokerConfig, max_connections: int) -> None:
        super().__init__(config)
        self._server = server
        self._max_connections = max_connections
        self._open: set[asyncio.Task[Any]] = set()
        self.live: dict[str, tuple[asyncio.Task[Any], asyncio.Event]] = {}
        self.wildcards: set[str] = set()
        self.plugins_manager.context.greenmine = server

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        if len(self._open) >= self._max_connections:
            self._server.refused_connections += 1
            writer.transport.abort()
            return
        task, adapter = _current_task(), _Writer(writer)
        self._open.add(task)
        try:
            await self._client_connected(listener_name, StreamReaderAdapter(reader), adapter)
        except asyncio.CancelledError:
            return  # only by ourselves; asyncio would report a handler that ends cancelled as an error
        except Exception as error:  # noqa: BLE001 - one connection, whatever it did, is not the broker
            log.warning("broker: connection failed", error=repr(error))
        finally:
            self._open.discard(task)
            await adapter.close()

    async def _create_server_instance(
        self, listener_name: str, listener_type: ListenerType, address: str | None, port: int, ssl_context: Any
    ) -> Any:
        tls = self._server.tls
        if tls is None or listener_name != _TLS:
            return await super()._create_server_instance(listener_name, listener_type, address, port, ssl_context)
        connected = partial(self.stream_connected, listener_name=listener_name)
        return await asyncio.start_server(
            connected, address, port, ssl=tls.context, ssl_handshake_timeout=CONNECT_TIMEOUT_S
        )

    async def _handle_client_session(
        self,
        reader: ReaderAdapter,
        writer: WriterAdapter,
        client_session: Session,
        handler: BrokerProtocolHandler,
        *rest: Any,
    ) -> None:
        """One connection an account: an earlier one is ended before this one begins."""
        account, ended = client_session.client_id or "", asyncio.Event()
        while account in self.live:
            earlier, its_end = self.live[account]
            earlier.cancel()
            await its_end.wait()
        self.live[account] = (_current_task(), ended)
        try:
            await super()._handle_client_session(reader, writer, client_session, handler, *rest)
        finally:
            try:
                await handler.stop()
            finally:
                if client_session.transitions.is_connected():
                    client_session.transitions.disconnect()
                del self.live[account]
                ended.set()

    def end_connections(self, accounts: Iterable[str]) -> None:
        """Cut the connections of these accounts."""
        for account in accounts:
            if account in self.live:
                self.live[account][0].cancel()

    async def shutdown(self) -> None:
        for server in self._servers.values():
            server.instance.close()  # nobody comes in any more
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)
        await super().shutdown()

    async def add_subscription(self, subscription: tuple[str, int], session: Session) -> int:
        code = await super().add_subscription(subscription, session)
        if code <= 2 and ("#" in subscription[0] or "+" in subscription[0]):
            self.wildcards.add(subscription[0])
        return code

    async def _authenticate(self, session: Session, _: ListenerConfig) -> bool:
        return session.username is not None  # the handler has refused strangers before

    async def _topic_filtering(self, session: Session, topic: str, action: BrokerAction) -> bool:  # noqa: ARG002
        # The action is subscribe or receive: publishes were asked about before their commit.
        return self._server.gate.allows(session.username, Action.READ, topic)


amqtt.broker.BrokerProtocolHandler = _CommitFirstHandler


class EmbeddedBroker:
    """Runs the broker; an `AckSink` for the journal writer.

    Raises (from `start`):
        ConfigError: the address cannot be bound.
    """

    def __init__(
        self,
        host: str,
        port: int,
        gate: Gate,
        writer: JournalWriter,
        max_connections: int = 2000,
        tls: TlsListener | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.tls = tls
        self.gate = gate
        self.denied = 0
        self.denied_quota = DeniedQuota()
        self.refused_connections = 0
        self._writer = writer
        self._max_connections = max_connections
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
                f"the embedded broker cannot listen on {self.where}: {self._start_error}; "
                "choose another port (mqtt.port) or stop the program that holds it"
            ) from self._start_error
        self.gate.on_changed(self._accounts_changed)

    @property
    def where(self) -> str:
        """Where it listens, for people."""
        plain = f"{self.host}:{self.port}"
        return plain if self.tls is None else f"{plain} and {self.tls.host}:{self.tls.port} (TLS)"

    def stop(self) -> None:
        """Close all connections and end the thread."""
        if self._stop is not None:
            self._call(self._stop.set)
        if self._thread.is_alive():
            self._thread.join()

    def has_subscriber(self, topic: str) -> bool:
        """Whether anybody might be delivered this."""
        broker = self._broker
        return broker is not None and (bool(broker.subscriptions.get(topic)) or bool(broker.wildcards))

    @property
    def connections(self) -> int:
        """Clients connected now."""
        return len(self._broker.live) if self._broker is not None else 0

    def publish(self, topic: str, payload: bytes) -> bool:
        """Give a message of ours, with QoS 1, to the clients that are connected and subscribe to its topic; whether
        there was one. From then on it is in memory only. Called on any thread but the broker's."""
        if self._loop is None or self._broker is None:
            return False
        giving = self._give(self._broker, topic, payload)
        try:
            return asyncio.run_coroutine_threadsafe(giving, self._loop).result(PUBLISH_TIMEOUT_S)
        except (TimeoutError, concurrent.futures.CancelledError):
            return False
        except RuntimeError:  # the loop is closed
            giving.close()
            return False

    async def _give(self, broker: _Broker, topic: str, payload: bytes) -> bool:
        filters = [topic, *(one for one in broker.wildcards if broker._matches(topic, one))]
        sessions = (session for one in filters for session, _ in broker.subscriptions.get(one, ()))
        if not any(session.transitions.is_connected() for session in sessions):
            return False  # for a client that is away it would wait in memory; in the outbox it waits on disk
        await broker.internal_message_broadcast(topic, payload, QOS_1)
        return True

    async def offer(self, record: Record) -> asyncio.Future[None]:
        """Queue a record, waiting for room; the answer is done when the record is on disk. It never is if the journal
        fails: then nothing is acknowledged."""
        committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        while not self._writer.offer(Submission(record, self, committed)):
            await asyncio.sleep(FULL_PAUSE_S)  # back-pressure: the client gets no acknowledgement meanwhile
        return committed

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        """Called by the journal writer after the commit, on its thread."""
        self._call(_resolve, tokens)

    def _accounts_changed(self, accounts: Iterable[str]) -> None:
        """A password or an account was withdrawn: whoever came in with it has to come again."""
        if self._broker is not None:
            self._call(self._broker.end_connections, accounts)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        """On the broker's thread, unless that has ended: then there is nobody left to tell."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(function, *arguments)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        listeners = {"default": ListenerConfig(type=ListenerType.TCP, bind=f"{self.host}:{self.port}")}
        if self.tls is not None:
            listeners[_TLS] = ListenerConfig(type=ListenerType.TCP, bind=f"{self.tls.host}:{self.tls.port}")
        config = BrokerConfig(listeners=listeners, plugins={}, session_expiry_interval=3600)
        try:
            broker = _Broker(self, config, self._max_connections)
            await broker.start()
        except Exception as error:  # noqa: BLE001 - reported by start() on the caller's thread
            self._start_error = error
            self._started.set()
            return
        self._broker = broker
        self.port = _port_of(broker, "default")
        if self.tls is not None:
            self.tls = self.tls._replace(port=_port_of(broker, _TLS))
        self._started.set()
        await self._stop.wait()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await broker.shutdown()
        except TimeoutError:
            log.warning("broker: connections did not end in time and are dropped")


def _port_of(broker: _Broker, listener: str) -> int:
    port: int = broker._servers[listener].instance.sockets[0].getsockname()[1]
    return port


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def _resolve(tokens: Sequence[asyncio.Future[None]]) -> None:
    for committed in tokens:
        if not committed.done():
            committed.set_result(None)


def _server_of(plugins_manager: PluginManager[Any]) -> EmbeddedBroker:
    server: EmbeddedBroker = plugins_manager.context.greenmine
    return server
