"""MQTT topics: who speaks, and in which format."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from greenmine.core.errors import DecodeRefused
from greenmine.core.identifier import is_identifier

LONGEST = 256
"""Characters; our longest valid topic has 6 + 63 + 1 + 63 + 9."""


class TopicKind(StrEnum):
    """What follows the device in the topic."""

    UP = "up"
    SENML = "up/senml"
    HJ212 = "up/hj212"
    ACTIVITY = "activity"
    DOWN = "down"


class Topic(NamedTuple):
    """A parsed topic."""

    mine: str
    device: str
    kind: TopicKind


_KINDS = {kind.value: kind for kind in TopicKind}


def parse_topic(topic: str) -> Topic:
    """`mines/{mine}/{device}/{kind}`.

    Raises:
        DecodeRefused: `topic_too_long`, `topic_shape`, `topic_empty_level`, `device_id_charset`.
    """
    if len(topic) > LONGEST:
        raise DecodeRefused("topic_too_long", f"{len(topic)} characters; the most is {LONGEST}")
    if not topic.startswith("mines/"):
        raise DecodeRefused("topic_shape", "a topic begins with mines/")
    levels = topic.split("/")
    if "" in levels:
        raise DecodeRefused("topic_empty_level", "a level of the topic is empty")
    for level in levels[1:3]:
        if not is_identifier(level):
            raise DecodeRefused("device_id_charset", "mine and device are 1 to 63 of a-z, 0-9 and '-'")
    kind = _KINDS.get("/".join(levels[3:]))
    if len(levels) < 4 or kind is None:
        raise DecodeRefused("topic_shape", "expected mines/{mine}/{device}/up, up/senml, up/hj212 or activity")
    return Topic(levels[1], levels[2], kind)
