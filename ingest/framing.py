"""MQTT 3.1.1 packets as they come from a socket: whole, within their size, and well-formed, or the connection ends.

A parser that stops in the middle of a malformed packet takes what is left of it for the next packet; so form is
checked on whole packets, before any parser sees them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import Protocol

MAX_PACKET_BYTES = 256 * 1024 + 1024
"""Of a body. A larger packet ends the connection before it is read, as mosquitto's max_packet_size does."""
MAX_CONNECT_BYTES = 16 * 1024
"""Of the first packet, which comes from a stranger."""
_LONGEST_LENGTH = 4

Read = Callable[[int], Awaitable[bytes]]
"""Reads exactly that many bytes, or raises."""


class _ExactReader(Protocol):
    async def read(self, n: int = -1) -> bytes: ...

    def feed_eof(self) -> None: ...


class Malformed(Exception):
    """What was sent is no MQTT; the connection has to end."""


class PacketType(IntEnum):
    """The packets that a client may send."""

    CONNECT = 1
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    UNSUBSCRIBE = 10
    PINGREQ = 12
    DISCONNECT = 14


_IDENTIFIED = (PacketType.PUBACK, PacketType.PUBREC, PacketType.PUBREL, PacketType.PUBCOMP)
_EMPTY = (PacketType.PINGREQ, PacketType.DISCONNECT)


class PacketReader:
    """Gives a parser that reads byte by byte whole, well-formed packets, and none while the connection has no room."""

    def __init__(self, inner: _ExactReader, has_room: Callable[[], Awaitable[None]] | None) -> None:
        """`has_room` returns when more may be read; None for the first packet, which has to be CONNECT."""
        self._inner = inner
        self._has_room = has_room
        self._packet = b""
        self._at = 0
        self.ended = False

    async def read(self, n: int = -1) -> bytes:
        """The next `n` bytes of the packet, or of the next packet when this one is used up.

        Raises:
            Malformed: see `read_packet`; or `ended` was set, by which whoever owns the reader ends the connection.
            IncompleteReadError: the packet has no `n` bytes more.
        """
        if self._at == len(self._packet):
            if self.ended:
                raise Malformed("this connection is to end")
            if self._has_room is not None:
                await self._has_room()
            self._packet, self._at = await read_packet(self._inner.read, first=self._has_room is None), 0
        chunk = self._packet[self._at : self._at + n]
        if len(chunk) < n:
            raise asyncio.IncompleteReadError(chunk, n)
        self._at += n
        return chunk

    def feed_eof(self) -> None:
        """No more will come."""
        self._inner.feed_eof()


async def read_packet(read: Read, first: bool) -> bytes:
    """The next packet, header and body; `first` is the CONNECT of a connection.

    Raises:
        Malformed: it is too large, of a kind that has no place here, or its parts do not fit.
    """
    head = await read(1)
    kind = head[0] >> 4
    if (kind == PacketType.CONNECT) != first or kind not in list(PacketType):
        raise Malformed(f"a packet of type {kind} has no place here")
    length, digits = 0, b""
    while True:
        digit = await read(1)
        digits += digit
        length |= (digit[0] & 0x7F) << (7 * (len(digits) - 1))
        if not digit[0] & 0x80:
            break
        if len(digits) == _LONGEST_LENGTH:
            raise Malformed("the packet's length has more than four bytes")
    most = MAX_CONNECT_BYTES if first else MAX_PACKET_BYTES
    if length > most:
        raise Malformed(f"a packet of {length} bytes; the most is {most}")
    body = await read(length) if length else b""
    if not first:
        check_body(PacketType(kind), head[0] & 0x0F, body)
    return head + digits + body


def check_body(kind: PacketType, flags: int, body: bytes) -> None:
    """Whether the parts of a packet other than CONNECT fill it exactly, and its text is MQTT text.

    Raises:
        Malformed: they do not.
    """
    if kind is PacketType.PUBLISH:
        _check_publish(flags, body)
    elif kind in _IDENTIFIED:
        if len(body) != 2:
            raise Malformed("an acknowledgement has two bytes")
    elif kind in _EMPTY:
        if body:
            raise Malformed("this packet has no body")
    else:
        _check_filters(body, with_qos=kind is PacketType.SUBSCRIBE)


def _check_publish(flags: int, body: bytes) -> None:
    qos = flags >> 1 & 3
    if qos == 3:
        raise Malformed("there is no QoS 3")
    topic, at = _text(body, 0)
    if not topic or "#" in topic or "+" in topic:
        raise Malformed("a topic is not empty and has no wildcards")
    if qos and (len(body) < at + 2 or body[at : at + 2] == b"\x00\x00"):
        raise Malformed("a publish of QoS 1 or 2 has a packet id that is not 0")


def _check_filters(body: bytes, with_qos: bool) -> None:
    at = 2
    if len(body) <= at:
        raise Malformed("the list of topic filters is empty")
    while at < len(body):
        _, at = _text(body, at)
        if with_qos:
            if at == len(body) or body[at] > 2:
                raise Malformed("a topic filter has no QoS of 0, 1 or 2")
            at += 1


def _text(body: bytes, at: int) -> tuple[str, int]:
    """The text at an offset, and the offset after it."""
    length = int.from_bytes(body[at : at + 2], "big")
    end = at + 2 + length
    if len(body) < end or at + 2 > len(body):
        raise Malformed("a text does not fit its packet")
    try:
        text = body[at + 2 : end].decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("a text is not UTF-8") from error
    if "\x00" in text:
        raise Malformed("a text has U+0000")
    return text, end
