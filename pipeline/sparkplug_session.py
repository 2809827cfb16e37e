"""What is known of each Sparkplug edge node: its births, its sequence, and whether it has to be asked for them again.

A function of the messages in the order of the journal and of the journal's clock. Only nodes that are a device of ours
or have one behind them are followed, and of what is behind them only devices of ours: nobody else is asked for
anything, and strangers, whose names anybody may invent, cost no memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from greenmine.core.downlink import Downlink, DownlinkKind, downlink_id
from greenmine.ingest.decode_sparkplug import Alias, SparkplugMessage
from greenmine.ingest.sparkplug import MessageType, SparkplugTopic, rebirth_topic
from greenmine.ingest.sparkplug_protobuf import rebirth_command

REBIRTH_EVERY_NS = 60 * 1_000_000_000
"""A node is asked at most this often."""
REBIRTH_EXPIRES_NS = 300 * 1_000_000_000
SEQ_VALUES = 256
"""How many sequence numbers there are before they begin again at 0."""


@dataclass(frozen=True, slots=True)
class Birth:
    """What a node (device '') or a device behind it said of itself in the journal's record `record_id`."""

    record_id: int
    aliases: Mapping[int, Alias]


@dataclass(frozen=True, slots=True)
class EdgeNode:
    """An edge node. `births` has the node under '' and the devices behind it that live. After the node's death it has
    none, and is not online: what it had said is stale."""

    node: str
    online: bool = False
    bd_seq: int | None = None
    seq: int | None = None
    rebirth_asked_ns: int | None = None
    births: Mapping[str, Birth] = field(default_factory=dict)

    def aliases(self, device: str, before_record: int) -> Mapping[int, Alias]:
        """Aliases in force for a message of a device in the journal's record `before_record`: those of its own birth,
        if that came before. An alias is one metric's over the whole node (Sparkplug 3.0 section 6.4.6), but where a
        node breaks that rule, or a birth was lost, another device's name would make a reading of something else."""
        birth = self.births.get(device)
        return birth.aliases if birth is not None and birth.record_id < before_record else {}


@dataclass(frozen=True, slots=True)
class SessionStep:
    """The node after a message. `rebirth` says why it has to be asked for its births, '' where it has not; `ignored`
    why the message is not to be used, '' where it is."""

    node: EdgeNode
    rebirth: str = ""
    ignored: str = ""


def next_session(
    before: EdgeNode, topic: SparkplugTopic, message: SparkplugMessage, record_id: int, ours: bool
) -> SessionStep:
    """What a message says of its node's session. Where its sender is not `ours`, it is followed for its number alone.

    A message that comes twice (QoS 1) has the number of the last one, and is no gap.
    """
    kind = topic.type
    if kind is MessageType.NBIRTH:
        births = {"": Birth(record_id, message.defined if ours else {})}
        born = replace(before, online=True, bd_seq=message.bd_seq, seq=message.seq, births=births)
        return SessionStep(born)
    if kind is MessageType.NDEATH:
        if not before.online or message.bd_seq != before.bd_seq:
            return SessionStep(before, ignored="a death of another session than that of the last birth")
        return SessionStep(replace(before, online=False, seq=None, births={}))
    if not before.online:
        return SessionStep(before, rebirth="its birth is not known")
    follows = before.seq is None or message.seq == (before.seq + 1) % SEQ_VALUES
    repeated = message.seq is not None and message.seq == before.seq
    trouble = "" if follows or repeated else "its sequence has a gap"
    births = dict(before.births)
    if kind is MessageType.DBIRTH:
        births.pop(topic.device, None)  # the births stand in the order in which they came
        if ours:
            births[topic.device] = Birth(record_id, message.defined)
    elif kind is MessageType.DDEATH:
        births.pop(topic.device, None)
    elif not ours:
        pass
    elif topic.device not in births:
        trouble = trouble or "the birth of its device is not known"
    elif message.unnamed:
        trouble = trouble or "it uses an alias that no birth has named"
    after = replace(before, seq=before.seq if message.seq is None else message.seq, births=births)
    return SessionStep(after, trouble)


def ask_rebirth(node: EdgeNode, clock_ns: int) -> tuple[EdgeNode, Downlink | None]:
    """The request for births, unless the node was asked a moment ago."""
    asked_ns = node.rebirth_asked_ns
    if asked_ns is not None and clock_ns - asked_ns < REBIRTH_EVERY_NS:
        return node, None
    target, payload = rebirth_topic(node.node), rebirth_command(clock_ns)
    key = downlink_id(DownlinkKind.REBIRTH, target, clock_ns, payload)
    request = Downlink(key, DownlinkKind.REBIRTH, target, payload, clock_ns, clock_ns + REBIRTH_EXPIRES_NS)
    return replace(node, rebirth_asked_ns=clock_ns), request
