"""Topics: who speaks and in which format, or a word why nobody can say."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core.errors import DecodeRefused
from greenmine.core.identifier import is_identifier
from greenmine.ingest.topic import LONGEST, Topic, TopicKind, parse_topic

IDENTIFIERS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
WORDS = {"topic_too_long", "topic_shape", "topic_empty_level", "device_id_charset"}


@pytest.mark.parametrize(
    ("topic", "kind"),
    [
        ("mines/shifan-1/dust-n1/up", TopicKind.UP),
        ("mines/shifan-1/dust-n1/up/senml", TopicKind.SENML),
        ("mines/shifan-1/dust-n1/up/hj212", TopicKind.HJ212),
        ("mines/shifan-1/dust-n1/activity", TopicKind.ACTIVITY),
        ("mines/shifan-1/dust-n1/down", TopicKind.DOWN),
    ],
)
def test_the_topics_of_the_contract(topic: str, kind: TopicKind) -> None:
    assert parse_topic(topic) == Topic("shifan-1", "dust-n1", kind)


@pytest.mark.parametrize(
    ("topic", "kind"),
    [
        ("spBv1.0/mine-a/NBIRTH/gw01", TopicKind.SPARKPLUG),
        ("spBv1.0/mine-a/DDATA/gw01/soil07", TopicKind.SPARKPLUG),
        ("spBv1.0/STATE/host", TopicKind.SPARKPLUG),
        ("application/7/device/a84041b2c1841f3d/event/up", TopicKind.CHIRPSTACK),
        ("v3/mine-soil@tenant/devices/soil07/up", TopicKind.TTS),
        ("hj212-tcp/010000A8900016F000169DC0", TopicKind.HJ212_TCP),
    ],
)
def test_topics_of_bridges_name_no_mine(topic: str, kind: TopicKind) -> None:
    assert parse_topic(topic) == Topic("", "", kind)
    assert kind.is_bridged


@pytest.mark.parametrize(
    ("topic", "word"),
    [
        ("", "topic_shape"),
        ("mines", "topic_shape"),
        ("Mines/m1/d1/up", "topic_shape"),
        ("minesx/m1/d1/up", "topic_shape"),
        ("/mines/m1/dev1/up", "topic_shape"),
        ("spBv1.0/g/DDATA/e", "topic_shape"),
        ("spBv1.0/g/NDATA/e/d", "topic_shape"),
        ("spBv1.0/g/XDATA/e/d", "topic_shape"),
        ("application/1/device/a84041b2c1841f3d/event/join", "topic_shape"),
        ("v3/app@t/devices/d/down/ack", "topic_shape"),
        ("mines/m1", "topic_shape"),
        ("mines/m1/dev1", "topic_shape"),
        ("mines/m1/dev1/up/extra/x/y", "topic_shape"),
        ("mines/m1/dev1/up/SENML", "topic_shape"),
        ("mines/m1/dev1/UP", "topic_shape"),
        ("mines/m1/dev1/down/x", "topic_shape"),
        ("mines/", "topic_empty_level"),
        ("mines//dev1/up", "topic_empty_level"),
        ("mines/m1//up", "topic_empty_level"),
        ("mines/m1/dev1/", "topic_empty_level"),
        ("mines/m1/dev1/up/", "topic_empty_level"),
        ("mines/m1/dev1//senml", "topic_empty_level"),
        ("mines/M1/dev1/up", "device_id_charset"),
        ("mines/m1/-dev1/up", "device_id_charset"),
        ("mines/m1/dev_1/up", "device_id_charset"),
        ("mines/m1/dev.1/up", "device_id_charset"),
        ("mines/m1/" + "d" * 64 + "/up", "device_id_charset"),
        ("mines/m1/d\u202e1/up", "device_id_charset"),
        ("mines/m1/dev\uff11/up", "device_id_charset"),
        ("mines/m1/dev\u00e9/up", "device_id_charset"),
        ("mines/../admin/dev1/up", "device_id_charset"),
        ("mines/%2e%2e/dev1/up", "device_id_charset"),
        ("mines/m1/dev1 v=1 9/up", "device_id_charset"),
        ("mines/m1/dev1\n/up", "device_id_charset"),
        ("mines/m1/dev1\x00/up", "device_id_charset"),
        ("mines/m1/{{7*7}}/up", "device_id_charset"),
        ("mines/m1/<script>alert(1)</script>/up", "device_id_charset"),
        ("mines/m1/+/up", "device_id_charset"),
        ("mines/m1/#", "device_id_charset"),
        ("a/" * 10_000 + "a", "topic_too_long"),
        ("mines/m1/dev1/up" + "x" * LONGEST, "topic_too_long"),
    ],
)
def test_the_word_of_a_refused_topic(topic: str, word: str) -> None:
    with pytest.raises(DecodeRefused) as refused:
        parse_topic(topic)
    assert refused.value.word == word


def test_the_longest_valid_topic_is_within_the_limit() -> None:
    topic = f"mines/{'m' * 63}/{'d' * 63}/up/senml"
    assert parse_topic(topic).device == "d" * 63
    assert len(topic) <= LONGEST


@given(IDENTIFIERS, IDENTIFIERS, st.sampled_from([kind for kind in TopicKind if not kind.is_bridged]))
def test_every_topic_of_the_form_is_taken_apart_as_it_was_put_together(mine: str, device: str, kind: TopicKind) -> None:
    assert parse_topic(f"mines/{mine}/{device}/{kind.value}") == Topic(mine, device, kind)


def parsed_or_refused(topic: str) -> Topic | DecodeRefused:
    try:
        return parse_topic(topic)
    except DecodeRefused as refused:
        return refused


ANYTHING = st.text(max_size=300)
NEARLY = st.lists(
    st.sampled_from(["mines", "m1", "d1", "up", "senml", "hj212", "activity", "down", "", "..", "+", "\x00", "M"])
    | st.text(string.printable, max_size=4),
    max_size=8,
).map("/".join)


@given(ANYTHING | NEARLY | ANYTHING.map("mines/".__add__))
def test_only_a_refusal_with_a_known_word_leaves_the_parser(topic: str) -> None:
    parsed = parsed_or_refused(topic)
    if isinstance(parsed, DecodeRefused):
        assert parsed.word in WORDS
        assert len(parsed.detail) < 200
    else:
        assert topic == f"mines/{parsed.mine}/{parsed.device}/{parsed.kind.value}"
        assert is_identifier(parsed.mine)
        assert is_identifier(parsed.device)
