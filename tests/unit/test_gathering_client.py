"""paho's client with fewer system calls: what it takes out of the stream is what paho would have read."""

from __future__ import annotations

import itertools
import struct
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from greenmine.ingest import gathering_client
from greenmine.ingest.gathering_client import PRIVATE_NAMES, BufferedSocket, GatheringClient, Publish, client_class


class Stream:
    """A connection on which pieces of a stream come, one a read; then there is nothing now."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = [piece for piece in pieces if piece]
        self.closed = False

    def recv(self, size: int) -> bytes:
        if not self.pieces:
            raise BlockingIOError
        piece, self.pieces[:1] = self.pieces[0][:size], [rest] if (rest := self.pieces[0][size:]) else []
        return piece

    def close(self) -> None:
        self.closed = True


class Silent:
    def recv(self, _: int) -> bytes:
        return b""


def packet(publish: Publish) -> bytes:
    body = struct.pack("!H", len(publish.topic)) + publish.topic
    if publish.flags & 6:
        body += struct.pack("!H", publish.mid)
    body += publish.payload
    length, rest = b"", len(body)
    while True:
        rest, low = rest >> 7, rest & 0x7F
        length += bytes((low | (0x80 if rest else 0),))
        if not rest:
            return bytes((0x30 | publish.flags,)) + length + body


def read(pieces: list[bytes], ours: bool) -> tuple[list[Publish], list[MQTTErrorCode]]:
    """All messages that come out of a stream, and what paho said of it, with or without our reading."""
    client = GatheringClient(CallbackAPIVersion.VERSION2, client_id="c", protocol=mqtt.MQTTv311, manual_ack=True)
    found: list[Publish] = []

    def by_paho(_: Any, __: Any, m: mqtt.MQTTMessage) -> None:
        found.append(Publish(m.dup << 3 | m.qos << 1 | m.retain, m.mid, m._topic, bytes(m.payload)))

    client.on_message = by_paho
    if ours:
        client.on_publishes = found.extend
    stream = Stream(pieces)
    client._sock = BufferedSocket(stream)  # type: ignore[assignment]
    said = []
    while stream.pieces and not stream.closed:
        said.append(client.loop_read())
    return found, [code for code in said if code != MQTTErrorCode.MQTT_ERR_SUCCESS]


PUBLISHES = st.builds(
    lambda flags, mid, topic, payload: Publish(flags, mid if flags & 6 else 0, topic, payload),
    st.sampled_from([0, 1, 2, 3, 10, 11]),
    st.integers(1, 0xFFFF),
    st.binary(min_size=1, max_size=30),
    st.binary(max_size=20) | st.sampled_from([b"x" * 128, b"y" * 17_000]),
)


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering_client, "GATHER_S", 0)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


@given(st.lists(PUBLISHES, max_size=6), st.lists(st.integers(0, 100_000), max_size=4))
def test_messages_come_whole_and_in_order_however_the_stream_is_cut(sent: list[Publish], places: list[int]) -> None:
    assert read(cut(b"".join(map(packet, sent)), places), ours=True) == (sent, [])


@given(
    st.lists(PUBLISHES.map(packet) | st.binary(max_size=12) | st.just(bytes((0xD0, 0))), max_size=5),
    st.lists(st.integers(0, 100_000), max_size=3),
)
@example([b"\x32\x05\x00\x01a\x00\x00"], [])  # packet id 0
@example([b"\x30\x02\x00\x00"], [])  # no topic
@example([b"\x36\x05\x00\x01a\x00\x01"], [])  # QoS 3
@example([b"\x30\x80\x80\x80\x80\x01"], [])  # a length of five bytes
@example([b"\x32\x04\x00\x01a\x00"], [])  # half a packet id
@example([b"\x30\x04\x00\x09ab"], [])  # a topic longer than its packet
def test_whatever_comes_is_read_as_paho_reads_it(parts: list[bytes], places: list[int]) -> None:
    pieces = cut(b"".join(parts), places)
    assert read(pieces, ours=True) == read(pieces, ours=False)


def test_most_messages_do_not_pass_through_paho(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = [Publish(2, number, b"mines/m1/d1/up", b"{}") for number in range(1, 2000)]
    monkeypatch.setattr(mqtt.Client, "_packet_read", lambda _: pytest.fail("read by paho"))
    pieces = [b"".join(map(packet, sent[at : at + 500])) for at in range(0, 2000, 500)]
    assert read(pieces, ours=True)[0] == sent


def test_the_end_of_a_connection_is_left_to_paho() -> None:
    connection = BufferedSocket(Silent())
    connection.fill()
    assert connection.publishes() == []
    assert connection.recv(1) == b""


@pytest.mark.parametrize("name", PRIVATE_NAMES)
def test_a_paho_without_what_we_need_is_used_as_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client_class() is GatheringClient
    monkeypatch.delattr(mqtt.Client, name)
    assert client_class() is mqtt.Client


def test_without_knowing_where_paho_is_every_message_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GatheringClient, "_is_between_packets", lambda _: False)
    sent = [Publish(2, 7, b"a", b"b")]
    assert read([packet(sent[0])], ours=True) == (sent, [])


def test_paho_says_where_it_is() -> None:
    client = GatheringClient(CallbackAPIVersion.VERSION2, client_id="c", protocol=mqtt.MQTTv311)
    assert client._is_between_packets()
    client._sock = BufferedSocket(Stream([b"\x30"]))  # type: ignore[assignment]
    client.loop_read()
    assert not client._is_between_packets()
