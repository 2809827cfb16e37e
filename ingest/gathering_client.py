"""paho's client with fewer system calls: it reads what the socket has at once, and sends acknowledgements together.

paho reads a packet's header byte by byte, asks the socket again after every packet, and sends every acknowledgement by
itself: about eight system calls a message. Two of its private names are used to change that; where a version of paho
does not have them, `client_class` gives paho's own class, which does the same more slowly.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import MQTTErrorCode

PRIVATE_NAMES = ("_create_socket", "_packet_queue")
"""What is used here of paho beside its public interface."""
GATHER_S = 0.002
"""How long the client leaves the socket alone after it read something, so that the next read brings more."""
_READ_BYTES = 64 * 1024
_MOST_PACKETS = 500
_PUBACK = 0x40


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

    def _create_socket(self) -> Any:
        return BufferedSocket(super()._create_socket())

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """As paho's, for all that was read at once."""
        result = super().loop_read(max_packets)
        for _ in range(_MOST_PACKETS):
            connection: Any = self.socket()
            if result != MQTTErrorCode.MQTT_ERR_SUCCESS or connection is None or not connection.ahead:
                break
            result = super().loop_read(max_packets)
        time.sleep(GATHER_S)
        return result

    def acknowledge_all(self, mids: Sequence[int]) -> None:
        """Send the PUBACKs of these packet ids, in this order, as one piece. Only for QoS 1, by MQTT 3.1.1."""
        if mids:
            joined = b"".join(struct.pack("!BBH", _PUBACK, 2, mid) for mid in mids)
            self._packet_queue(_PUBACK, joined, mids[-1], 1)


def client_class() -> type[mqtt.Client]:
    """The class to use: ours where this version of paho has what it needs."""
    return GatheringClient if all(hasattr(mqtt.Client, name) for name in PRIVATE_NAMES) else mqtt.Client
