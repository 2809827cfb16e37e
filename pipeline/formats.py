"""The one way from a journalled message to readings, whatever its format: topic, decoder, address, codec."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from greenmine.core.errors import DecodeRefused, UnknownAddress
from greenmine.ingest.codec import apply_codec
from greenmine.ingest.decode_chirpstack import decode_chirpstack
from greenmine.ingest.decode_json import decode_json
from greenmine.ingest.decode_senml import decode_senml
from greenmine.ingest.decode_sparkplug import SparkplugMessage, decode_sparkplug
from greenmine.ingest.decode_tts import decode_tts
from greenmine.ingest.decoded import Decoded, RefusedItem
from greenmine.ingest.record import Batch, StoredRecord
from greenmine.ingest.sparkplug import MessageType, SparkplugTopic, sparkplug_topic
from greenmine.ingest.topic import Topic, TopicKind
from greenmine.pipeline.edge_gaps import EdgeGaps
from greenmine.pipeline.effects import Effects
from greenmine.pipeline.gaps import Gaps
from greenmine.pipeline.hj212_reader import Hj212Reader
from greenmine.pipeline.sparkplug_session import EdgeNode, ask_rebirth, next_session
from greenmine.pipeline.state import JudgeState


class Understood(NamedTuple):
    """What a message says, and which device of which mine says it. Both are '' where it says nothing of a device."""

    mine: str
    device: str
    decoded: Decoded
    dead: tuple[tuple[str, str], ...] = ()
    """Mine and device of those that the message says are gone: what they said last is stale."""


class Formats:
    """Reads messages by the registry and the sessions of a state. A `live` message moves its session; one that is read
    again later (a dead letter) does not."""

    def __init__(self, state: JudgeState, hj212: Hj212Reader, gaps: Gaps) -> None:
        self._state = state
        self._hj212_reader = hj212
        self._edge_gaps = EdgeGaps(state, gaps)
        self._readers: dict[TopicKind, Callable[[Topic, StoredRecord, Batch, Effects, bool], Understood]] = {
            TopicKind.UP: self._own_json,
            TopicKind.SENML: self._senml,
            TopicKind.CHIRPSTACK: self._chirpstack,
            TopicKind.TTS: self._tts,
            TopicKind.SPARKPLUG: self._sparkplug,
            TopicKind.HJ212: self._hj212,
            TopicKind.HJ212_TCP: self._hj212,
        }

    def read(self, topic: Topic, stored: StoredRecord, batch: Batch, fx: Effects, live: bool) -> Understood:
        """Decode one message of a kind that carries readings.

        Raises:
            DecodeRefused: the message as a whole; its decoder's words, `unknown_address`, `ambiguous_address`, `scope`,
                `no_codec`, and `format_not_supported`.
        """
        reader = self._readers.get(topic.kind)
        if reader is None:
            raise DecodeRefused("format_not_supported", f"no decoder for {topic.kind.value} is installed")
        return reader(topic, stored, batch, fx, live)

    def _own_json(self, topic: Topic, stored: StoredRecord, _: Batch, __: Effects, ___: bool) -> Understood:
        return Understood(topic.mine, topic.device, decode_json(stored.record.payload))

    def _senml(self, topic: Topic, stored: StoredRecord, batch: Batch, _: Effects, __: bool) -> Understood:
        decoded = decode_senml(stored.record.payload, batch.received_ns)
        named, addresses = (topic.mine, topic.device), self._state.registry.addresses
        own = {name for item in decoded.items if addresses.get(("dev_eui", name := item.device or "")) == named}
        return self._in_our_words(*named, scoped(decoded, own | {topic.device}))

    def _hj212(self, topic: Topic, stored: StoredRecord, batch: Batch, fx: Effects, live: bool) -> Understood:
        return Understood(*self._hj212_reader.read(topic, stored, batch, fx, live))

    def _chirpstack(self, _: Topic, stored: StoredRecord, __: Batch, ___: Effects, ____: bool) -> Understood:
        decoded = decode_chirpstack(stored.record.payload, stored.record.source.split("/")[3])
        return self._bridged("dev_eui", _one_device(decoded), decoded, "deviceInfo.devEui")

    def _tts(self, _: Topic, stored: StoredRecord, __: Batch, ___: Effects, ____: bool) -> Understood:
        decoded = decode_tts(stored.record.payload, stored.record.source.split("/")[3])
        return self._bridged("dev_eui", _one_device(decoded), decoded, "end_device_ids")

    def _sparkplug(self, _: Topic, stored: StoredRecord, batch: Batch, fx: Effects, live: bool) -> Understood:
        topic = sparkplug_topic(stored.record.source)
        if topic is None or topic.type.is_command:
            return Understood("", "", Decoded())
        registry = self._state.registry
        node = self._state.edge_nodes.get(topic.node) or EdgeNode(topic.node)
        message = decode_sparkplug(stored.record.payload, topic.address, node.aliases(topic.device, stored.id))
        if topic.node not in registry.edge_nodes:
            return self._bridged("edge", topic.address, message.decoded)  # which says that it is unknown
        ignored = self._follow(node, topic, message, stored.id, batch, fx) if live else ""
        if ignored:
            return Understood("", "", Decoded(notes=[ignored]))
        if topic.type in (MessageType.NDEATH, MessageType.DDEATH):
            return Understood("", "", Decoded(), registry.behind(topic.address) if live else ())
        decoded = message.decoded
        if message.unnamed:
            shown = ", ".join(str(alias) for alias, _ in message.unnamed[:8])
            detail = f"no birth that is known has named alias {shown}"
            decoded.refused.append(RefusedItem("sparkplug_alias", detail, message.unnamed[0][1].place))
        if not topic.device and ("edge", topic.node) not in registry.addresses:
            # A gateway speaks of itself, and only devices behind it are ours.
            return Understood("", "", Decoded(notes=["the edge node itself is no device of ours"]))
        return self._bridged("edge", topic.address, decoded)

    def _follow(
        self,
        before: EdgeNode,
        topic: SparkplugTopic,
        message: SparkplugMessage,
        record_id: int,
        batch: Batch,
        fx: Effects,
    ) -> str:
        """Take the message into its node's session; why it is not to be used, '' where it is."""
        ours = ("edge", topic.address) in self._state.registry.addresses
        step = next_session(before, topic, message, record_id, ours)
        node = step.node
        if step.rebirth:
            node, request = ask_rebirth(node, batch.clock_ns)
            if request is not None:
                fx.downlinks.append(request)
        self._edge_gaps.follow(before, node, message, batch, fx)
        if node is not before:
            self._state.edge_nodes[node.node] = fx.edge_nodes[node.node] = node
        return step.ignored

    def _bridged(self, network: str, address: str, decoded: Decoded, place: str = "") -> Understood:
        try:
            named = self._state.registry.device_at(network, address)
        except UnknownAddress as unknown:
            unknown.items, unknown.field = decoded.items, place
            raise
        return self._in_our_words(*named, decoded)

    def _in_our_words(self, mine: str, device: str, decoded: Decoded) -> Understood:
        return Understood(mine, device, apply_codec(decoded, self._state.registry.codecs.get((mine, device))))


def scoped(decoded: Decoded, own: set[str]) -> Decoded:
    """The same pack without what it says for another device than its sender, whose names are `own` (`senml_scope`)."""
    kept = []
    for item in decoded.items:
        if item.device is None or item.device in own:
            kept.append(item)
        else:
            detail = f"{item.metric} is of {item.device}; a device speaks for itself, whatever a name says"
            decoded.refused.append(RefusedItem("senml_scope", detail, item.place))
    decoded.items = kept
    return decoded


def _one_device(decoded: Decoded) -> str:
    """The network's name of the device that an uplink is from."""
    assert decoded.sender is not None
    assert decoded.sender.device is not None
    return decoded.sender.device
