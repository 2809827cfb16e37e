"""Packets as they come from a socket: whole and well-formed, or the connection ends."""

from __future__ import annotations

import asyncio
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.ingest.framing import MAX_CONNECT_BYTES, MAX_PACKET_BYTES, Malformed, PacketReader, read_packet
from tests import mqtt_client as m


class Stream:
    """A stream with an end, which gives exactly what was asked for."""

    def __init__(self, raw: bytes) -> None:
        self.rest = raw
        self.ended = False

    async def read(self, n: int = -1) -> bytes:
        if len(self.rest) < n:
            raise asyncio.IncompleteReadError(self.rest, n)
        chunk, self.rest = self.rest[:n], self.rest[n:]
        return chunk

    def feed_eof(self) -> None:
        self.ended = True


def packet_of(raw: bytes, first: bool = False) -> bytes:
    return asyncio.run(read_packet(Stream(raw).read, first))


GOOD = [
    m.publish("mines/m1/d1/up", b"{}"),
    m.publish("mines/m1/d1/up", b"", qos=0, retain=True),
    m.publish("矿/1", b"\xff", qos=2, dup=True),
    m.publish("t", b"x" * (MAX_PACKET_BYTES - 5)),
    m.packet(0x40, b"\x00\x01"),
    m.packet(0x50, b"\x00\x01"),
    m.packet(0x70, b"\x00\x01"),
    m.pubrel(7),
    m.subscribe("#"),
    m.subscribe("mines/m1/d1/down", "+/x", qos=0),
    m.packet(0xA2, b"\x00\x01" + m.text("#")),
    m.PINGREQ,
    m.DISCONNECT,
]


@pytest.mark.parametrize("raw", GOOD, ids=range(len(GOOD)))
def test_a_packet_comes_whole_and_the_next_begins_where_it_ends(raw: bytes) -> None:
    stream = Stream(raw + b"next")
    assert asyncio.run(read_packet(stream.read, first=False)) == raw
    assert stream.rest == b"next"


def test_a_connection_begins_with_connect_and_has_one() -> None:
    connect = m.connect("m1.d1", "pw")
    assert packet_of(connect, first=True) == connect
    for raw, first in ((connect, False), (m.PINGREQ, True), (m.publish("t", b""), True)):
        with pytest.raises(Malformed, match="no place here"):
            packet_of(raw, first)


@pytest.mark.parametrize("kind", [0, 2, 9, 11, 13, 15])
def test_packets_that_only_a_broker_sends_are_refused(kind: int) -> None:
    with pytest.raises(Malformed, match="no place here"):
        packet_of(bytes([kind << 4, 0]))


@pytest.mark.parametrize(
    "raw",
    [
        m.publish("", b"x"),
        m.publish("mines/m1/d1/+", b"x"),
        m.publish("mines/#", b"x"),
        m.publish("mines/m1/d1\x00/up", b"x"),
        m.publish(b"mines/m1/\xff\xfe/up", b"x"),
        m.publish(b"mines/\xed\xa0\x80/up", b"x"),
        m.publish("t", b"x", mid=0),
        m.packet(0x36, m.text("t") + b"\x00\x01"),
        m.packet(0x32, m.text("t")),
        m.packet(0x32, m.text("t") + b"\x01"),
        m.packet(0x30, b""),
        m.packet(0x30, b"\x00"),
        m.packet(0x30, b"\x00\x09t"),
        m.packet(0x40, b""),
        m.packet(0x40, b"\x00\x01\x00"),
        m.packet(0x62, b"\x00"),
        m.packet(0x82, b""),
        m.packet(0x82, b"\x00\x01"),
        m.packet(0x82, b"\x00\x01" + m.text("#")),
        m.packet(0x82, b"\x00\x01" + m.text("#") + b"\x03"),
        m.packet(0x82, b"\x00\x01" + m.text(b"\xff") + b"\x00"),
        m.packet(0x82, b"\x00\x01" + m.text("#") + b"\x00\x00"),
        m.packet(0xA2, b"\x00\x01\x00"),
        m.packet(0xA2, b"\x00\x01" + m.text("a\x00b")),
        m.packet(0xC0, b"x"),
        m.packet(0xE0, b"x"),
    ],
)
def test_a_malformed_packet(raw: bytes) -> None:
    with pytest.raises(Malformed):
        packet_of(raw)


def test_a_packet_that_is_too_large_is_not_read() -> None:
    for size, first, head in ((MAX_PACKET_BYTES + 1, False, 0x30), (MAX_CONNECT_BYTES + 1, True, 0x10)):
        stream = Stream(m.packet(head, b"x" * size))
        with pytest.raises(Malformed, match="the most is"):
            asyncio.run(read_packet(stream.read, first))
        assert len(stream.rest) == size
    with pytest.raises(Malformed, match="four bytes"):
        packet_of(b"\x30\xff\xff\xff\xff\x01")
    with pytest.raises(Malformed, match="the most is"):
        packet_of(b"\x30\xff\xff\xff\x7f")


@given(st.binary(max_size=100) | st.sampled_from(GOOD).map(lambda raw: raw[:300]), st.booleans())
def test_only_malformed_or_the_end_of_the_stream_leaves_the_framing(raw: bytes, first: bool) -> None:
    stream = Stream(raw)
    try:
        packet = asyncio.run(read_packet(stream.read, first))
    except (Malformed, asyncio.IncompleteReadError):
        return
    assert packet + stream.rest == raw


def test_the_reader_gives_a_packet_piece_by_piece_and_waits_for_room_before_the_next() -> None:
    asked = 0

    async def has_room() -> None:
        nonlocal asked
        asked += 1

    async def run() -> None:
        reader = PacketReader(Stream(m.PINGREQ + m.pubrel(7)), has_room)
        assert asked == 0
        assert [await reader.read(1), await reader.read(1)] == [b"\xc0", b"\x00"]
        assert asked == 1
        assert await reader.read(1) == b"\x62"
        assert asked == 2
        assert await reader.read(3) == b"\x02" + struct.pack("!H", 7)
        with pytest.raises(asyncio.IncompleteReadError):
            await reader.read(1)

    asyncio.run(run())


def test_the_reader_does_not_reach_into_the_next_packet() -> None:
    async def run() -> None:
        reader = PacketReader(Stream(m.connect("a") + m.PINGREQ), None)
        await reader.read(2)
        with pytest.raises(asyncio.IncompleteReadError):
            await reader.read(1_000)

    asyncio.run(run())


def test_a_reader_that_was_ended_gives_nothing_more() -> None:
    async def run() -> None:
        stream = Stream(m.PINGREQ)
        reader = PacketReader(stream, None)
        reader.ended = True
        with pytest.raises(Malformed, match="to end"):
            await reader.read(1)
        reader.feed_eof()
        assert stream.ended

    asyncio.run(run())
