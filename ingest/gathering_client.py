"""paho's client with fewer system calls: it reads what the socket has at once, takes whole messages out of it, and
sends acknowledgements together.

paho reads a packet's header byte by byte, asks the socket again after every packet, makes an object, a lock and a
function for every message, and sends every acknowledgement by itself. Two of its private names are used to change that;
where a version of paho does not have them, `client_class` gives paho's own class, which does the same more slowly. A
third tells whether paho is in the middle of a packet; where it does not, paho reads all messages itself. Everything but
plain messages (QoS 0 and 1, MQTT 3.1.1) is left to paho, also whatever is malformed.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import MQTTErrorCode

PRIVATE_NAMES = ("_create_socket", "_packet_queue")
"""What is used here of paho beside its public interface."""
GATHER_S = 0.005
"""How long the client leaves the socket alone after it read something, so that the next read brings more."""
_READ_BYTES = 64 * 1024
_MOST_PACKETS = 500
_MOST_MESSAGES = 500
_PUBLISH = 0x30
_QOS_1 = 0x02
_QOS_2 = 0x04
_PUBACK = 0x40


class Publish(NamedTuple):
    """A message as it came. `flags`: the lower half of the packet's first byte (DUP 8, QoS 6, RETAIN 1); `mid`: the
    packet id, 0 at QoS 0."""

    flags: int
    mid: int
    topic: bytes
    payload: bytes


class BufferedSocket:
    """A socket that reads ahead. Everything else is the socket's own."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._ahead = b""
        self._place = 0

    def recv(self, size: int) -> bytes:
        """Up to `size` bytes; BlockingIOError where there are none now, b'' at the end, as the socket itself."""
        if self._place >= len(self._ahead):
            self._ahead, self._place = self._connection.recv(_READ_BYTES), 0
        start = self._place
        self._place = min(len(self._ahead), start + size)
        return self._ahead[start : self._place]

    def fill(self) -> None:
        """Read ahead if nothing is left. What goes wrong goes wrong again when paho reads, and is dealt with there."""
        if self._place >= len(self._ahead):
            with suppress(OSError):
                self._ahead, self._place = self._connection.recv(_READ_BYTES), 0

    def publishes(self) -> list[Publish]:
        """The whole messages that stand next in what was read, of QoS 0 or 1 and well-formed; they count as read."""
        data, place, end = self._ahead, self._place, len(self._ahead)
        found: list[Publish] = []
        while place + 2 <= end and len(found) < _MOST_MESSAGES:  # this runs for every message
            first = data[place]
            if first & 0xF0 != _PUBLISH or first & _QOS_2:
                break
            length, start = data[place + 1], place + 2
            if length & 0x80:
                length, start = _long_length(data, start - 1)
            stop = start + length
            if stop > end or length < 2:
                break
            body = start + 2 + (data[start] << 8 | data[start + 1])
            topic_end, mid = body, 0
            if first & _QOS_1:
                body += 2
                if body > stop:
                    break
                mid = data[topic_end] << 8 | data[topic_end + 1]
                if not mid:
                    break
            if body > stop or topic_end == start + 2:
                break
            found.append(Publish(first & 0x0F, mid, data[start + 2 : topic_end], data[body:stop]))
            place = stop
        self._place = place
        return found

    @property
    def ahead(self) -> int:
        """Bytes that were read and not taken yet."""
        return len(self._ahead) - self._place

    def pending(self) -> int:
        """Bytes that `select` does not know of."""
        below = getattr(self._connection, "pending", None)
        return self.ahead + (below() if below is not None else 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class GatheringClient(mqtt.Client):
    """Reads and acknowledges several messages at a time."""

    on_publishes: Callable[[Sequence[Publish]], None] | None = None
    """Called with messages in the place of `on_message`; some may still come by that."""

    def _create_socket(self) -> Any:
        return BufferedSocket(super()._create_socket())

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """As paho's, for all that was read at once."""
        result = MQTTErrorCode.MQTT_ERR_SUCCESS
        for number in range(_MOST_PACKETS):
            connection: Any = self.socket()
            if connection is None or (number and not connection.ahead):
                break
            if number == 0:
                connection.fill()
            if self.on_publishes is not None and self._is_between_packets():
                found = connection.publishes()
                if found:
                    self.on_publishes(found)
                    continue
            result = super().loop_read(max_packets)
            if result != MQTTErrorCode.MQTT_ERR_SUCCESS:
                break
        time.sleep(GATHER_S)
        return result

    def _is_between_packets(self) -> bool:
        under_way = getattr(self, "_in_packet", None)
        return isinstance(under_way, dict) and under_way.get("command") == 0

    def acknowledge_all(self, mids: Sequence[int]) -> None:
        """Send the PUBACKs of these packet ids, in this order, as one piece. Only for QoS 1, by MQTT 3.1.1."""
        if mids:
            joined = b"".join(struct.pack("!BBH", _PUBACK, 2, mid) for mid in mids)
            self._packet_queue(_PUBACK, joined, mids[-1], 1)


def _long_length(data: bytes, place: int) -> tuple[int, int]:
    """A length of up to four bytes, and where what it counts begins; the latter is beyond the end where it is not all
    there."""
    length = 0
    for number in range(4):
        if place + number >= len(data):
            break
        byte = data[place + number]
        length |= (byte & 0x7F) << (7 * number)
        if not byte & 0x80:
            return length, place + number + 1
    return 0, len(data) + 1


def client_class() -> type[mqtt.Client]:
    """The class to use: ours where this version of paho has what it needs."""
    return GatheringClient if all(hasattr(mqtt.Client, name) for name in PRIVATE_NAMES) else mqtt.Client
