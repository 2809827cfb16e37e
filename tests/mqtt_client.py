"""MQTT clients for tests: packets by hand on a socket, which can be wrong on purpose, and a paho client to wait on."""

from __future__ import annotations

import queue
import socket
import struct
import threading
from types import TracebackType

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

WAIT_S = 15.0
"""How long a test waits for what must come; a failing test takes this long, a passing one never."""

PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"
CONNACK, PUBLISH, PUBACK, PUBREC, PUBCOMP, SUBACK, PINGRESP = 2, 3, 4, 5, 7, 9, 13


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("!H", len(raw)) + raw


def packet(head: int, body: bytes) -> bytes:
    length, digits = len(body), b""
    while True:
        length, digit = divmod(length, 128)
        digits += bytes([digit | (0x80 if length else 0)])
        if not length:
            return bytes([head]) + digits + body


def connect(
    user: str | None,
    password: str | None = None,
    client_id: str | None = None,
    clean: bool = False,
    keepalive: int = 60,
) -> bytes:
    flags = (0x02 if clean else 0) | (0x80 if user is not None else 0) | (0x40 if password is not None else 0)
    body = text("MQTT") + bytes([4, flags]) + struct.pack("!H", keepalive)
    body += text(client_id if client_id is not None else user or "")
    body += text(user) if user is not None else b""
    body += text(password) if password is not None else b""
    return packet(0x10, body)


def publish(
    topic: str | bytes, payload: bytes, qos: int = 1, mid: int = 1, retain: bool = False, dup: bool = False
) -> bytes:
    head = 0x30 | qos << 1 | (1 if retain else 0) | (8 if dup else 0)
    return packet(head, text(topic) + (struct.pack("!H", mid) if qos else b"") + payload)


def pubrel(mid: int) -> bytes:
    return packet(0x62, struct.pack("!H", mid))


def subscribe(*filters: str, mid: int = 1, qos: int = 1) -> bytes:
    return packet(0x82, struct.pack("!H", mid) + b"".join(text(one) + bytes([qos]) for one in filters))


class RawClient:
    """A socket on which whole packets are sent and read."""

    def __init__(self, port: int, *packets: bytes, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(WAIT_S)
        if receive_buffer is not None:  # counts only from before the connection
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", port))
        self.send(*packets)

    def send(self, *packets: bytes) -> None:
        self.socket.sendall(b"".join(packets))

    def packet(self) -> tuple[int, bytes]:
        """Type and body of the next packet.

        Raises:
            ConnectionError: there is none, the other side has closed.
        """
        head = self._exactly(1)[0]
        length = shift = 0
        while True:
            digit = self._exactly(1)[0]
            length |= (digit & 0x7F) << shift
            shift += 7
            if not digit & 0x80:
                return head >> 4, self._exactly(length)

    def expect(self, kind: int) -> bytes:
        got, body = self.packet()
        assert got == kind, f"packet type {got} instead of {kind}"
        return body

    def is_closed(self) -> bool:
        """Wait for the end of the connection; False when a packet comes instead."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()

    def _exactly(self, count: int) -> bytes:
        got = b""
        while len(got) < count:
            chunk = self.socket.recv(count - len(got))
            if not chunk:
                raise ConnectionError("the other side has closed")
            got += chunk
        return got


class Client:
    """A paho client with a persistent session and the user name as client id; `reason` is the broker's answer."""

    def __init__(self, port: int, user: str, password: str, protocol: mqtt.MQTTProtocolVersion = mqtt.MQTTv311) -> None:
        self.messages: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
        self.reason = ""
        self._answered, self._granted = threading.Event(), threading.Event()
        options = {"clean_session": False} if protocol == mqtt.MQTTv311 else {}
        self.mqtt = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=user, protocol=protocol, reconnect_on_failure=False, **options
        )
        self.mqtt.max_inflight_messages_set(100)
        self.mqtt.username_pw_set(user, password)
        self.mqtt.on_connect = self._connected
        self.mqtt.on_message = lambda _client, _data, message: self.messages.put(message)
        self.mqtt.on_subscribe = lambda *_: self._granted.set()
        self.mqtt.connect("127.0.0.1", port)
        self.mqtt.loop_start()
        assert self._answered.wait(WAIT_S)

    def _connected(self, _: object, __: object, ___: object, reason: object, ____: object) -> None:
        self.reason = str(reason)
        self._answered.set()

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> None:
        """Publish and wait for the acknowledgement."""
        sent = self.mqtt.publish(topic, payload, qos=qos, retain=retain)
        sent.wait_for_publish(WAIT_S)
        assert sent.is_published()

    def subscribe(self, *filters: str) -> None:
        self._granted.clear()
        self.mqtt.subscribe([(one, 1) for one in filters])
        assert self._granted.wait(WAIT_S)

    def next(self) -> mqtt.MQTTMessage:
        return self.messages.get(timeout=WAIT_S)

    def close(self) -> None:
        self.mqtt.disconnect()
        self.mqtt.loop_stop()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()
