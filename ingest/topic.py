"""MQTT topics: who speaks, and in which format."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from greenmine.core.errors import DecodeRefused
from greenmine.core.identifier import is_identifier

LONGEST = 256
"""Characters; our longest valid topic has 6 + 63 + 1 + 63 + 9."""


class TopicKind(StrEnum):
    """What a message is: for our own topics what follows the device, for others whose format it is."""

    UP = "up"
    SENML = "up/senml"
    HJ212 = "up/hj212"
    ACTIVITY = "activity"
    DOWN = "down"
    SPARKPLUG = "sparkplug"
    CHIRPSTACK = "chirpstack"
    TTS = "tts"
    HJ212_TCP = "hj212-tcp"

    @property
    def is_bridged(self) -> bool:
        """Whether the topic names no mine and device of ours: the policies' address maps do."""
        return self in _BRIDGED


_BRIDGED = frozenset((TopicKind.SPARKPLUG, TopicKind.CHIRPSTACK, TopicKind.TTS, TopicKind.HJ212_TCP))


class Topic(NamedTuple):
    """A parsed topic. Of a bridged kind `mine` and `device` are empty."""

    mine: str
    device: str
    kind: TopicKind


_KINDS = {kind.value: kind for kind in TopicKind if not kind.is_bridged}
_SPARKPLUG_TYPES = frozenset(f"{level}{what}" for level in "ND" for what in ("BIRTH", "DEATH", "DATA", "CMD"))


def parse_topic(topic: str) -> Topic:
    """`mines/{mine}/{device}/{kind}`, `spBv1.0/...`, `application/+/device/+/event/up`, `v3/+/devices/+/up`, or
    `hj212-tcp/{MN}`, under which the listener for HJ 212 journals a frame.

    Raises:
        DecodeRefused: `topic_too_long`, `topic_shape`, `topic_empty_level`, `device_id_charset`.
    """
    if len(topic) > LONGEST:
        raise DecodeRefused("topic_too_long", f"{len(topic)} characters; the most is {LONGEST}")
    levels = topic.split("/")
    bridged = _bridged_kind(levels)
    if bridged is not None:
        if "" in levels:
            raise DecodeRefused("topic_empty_level", "a level of the topic is empty")
        return Topic("", "", bridged)
    if not topic.startswith("mines/"):
        raise DecodeRefused("topic_shape", "a topic begins with mines/, or is one of a bridge that is known")
    if "" in levels:
        raise DecodeRefused("topic_empty_level", "a level of the topic is empty")
    for level in levels[1:3]:
        if not is_identifier(level):
            raise DecodeRefused("device_id_charset", "mine and device are 1 to 63 of a-z, 0-9 and '-'")
    kind = _KINDS.get("/".join(levels[3:]))
    if len(levels) < 4 or kind is None:
        raise DecodeRefused("topic_shape", "expected mines/{mine}/{device}/up, up/senml, up/hj212 or activity")
    return Topic(levels[1], levels[2], kind)


def _bridged_kind(levels: list[str]) -> TopicKind | None:
    match levels:
        case ["spBv1.0", "STATE", _]:
            return TopicKind.SPARKPLUG
        case ["spBv1.0", _, what, _, *device] if what in _SPARKPLUG_TYPES and len(device) == (what[0] == "D"):
            return TopicKind.SPARKPLUG
        case ["application", _, "device", _, "event", "up"]:
            return TopicKind.CHIRPSTACK
        case ["v3", _, "devices", _, "up"]:
            return TopicKind.TTS
        case ["hj212-tcp", _]:
            return TopicKind.HJ212_TCP
    return None
