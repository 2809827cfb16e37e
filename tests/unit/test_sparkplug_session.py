"""The sessions of Sparkplug edge nodes: births, deaths, numbers, what is asked for, and what strangers cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core.clock import NS_PER_S
from greenmine.core.downlink import Downlink, DownlinkKind
from greenmine.ingest.decode_sparkplug import Alias, SparkplugMessage, decode_sparkplug
from greenmine.ingest.decoded import Decoded, Item
from greenmine.ingest.sparkplug import MessageType, SparkplugTopic, sparkplug_topic
from greenmine.pipeline.sparkplug_session import (
    REBIRTH_EVERY_NS,
    Birth,
    EdgeNode,
    SessionStep,
    ask_rebirth,
    next_session,
)

NODE = "g/e"
FLOW = {1: Alias("Flow", 9)}
ITEM = Item("g/e/pump", "", "", "inst", 0, 0, 1.0, None, 0)


def said(
    seq: int | None = None, bd_seq: int | None = None, unnamed: bool = False, born: bool = False
) -> SparkplugMessage:
    return SparkplugMessage(Decoded(), seq, bd_seq, FLOW if born else {}, [(9, ITEM)] if unnamed else [])


def step(
    node: EdgeNode, kind: str, message: SparkplugMessage, device: str = "", record: int = 10, ours: bool = True
) -> SessionStep:
    return next_session(node, SparkplugTopic(MessageType(kind), NODE, device), message, record, ours)


def living(seq: int = 5, bd_seq: int | None = 3) -> EdgeNode:
    return EdgeNode(NODE, True, bd_seq, seq, None, {"": Birth(1, FLOW), "pump": Birth(2, FLOW)})


def test_a_birth_begins_a_session_and_forgets_the_one_before() -> None:
    after = step(living(200), "NBIRTH", said(0, 4, born=True))
    assert after == SessionStep(EdgeNode(NODE, True, 4, 0, None, {"": Birth(10, FLOW)}))


@pytest.mark.parametrize(
    ("before", "sent", "gap"), [(5, 6, 0), (255, 0, 0), (5, 5, 0), (5, 7, 1), (255, 1, 1), (0, 255, 1), (5, None, 1)]
)
@pytest.mark.parametrize("kind", ["NDATA", "DDATA", "DBIRTH", "DDEATH"])
def test_numbers_follow_each_other_modulo_256(before: int, sent: int | None, gap: int, kind: str) -> None:
    after = step(living(before), kind, said(sent), "pump" if kind[0] == "D" else "")
    assert after.rebirth == ("its sequence has a gap" if gap else "")
    assert after.node.seq == (before if sent is None else sent), "the next one follows what came"
    assert after.ignored == ""


@pytest.mark.parametrize(
    ("born", "died", "believed"), [(3, 3, True), (3, 2, False), (3, None, False), (None, None, True), (None, 3, False)]
)
def test_a_death_is_of_the_session_that_its_birth_began(born: int | None, died: int | None, believed: bool) -> None:
    after = step(living(bd_seq=born), "NDEATH", said(bd_seq=died))
    assert after.node.online is not believed
    assert (after.ignored == "") is believed
    assert (after.node.births == {}) is believed


def test_a_second_death_is_ignored() -> None:
    dead = step(living(), "NDEATH", said(bd_seq=3)).node
    again = step(dead, "NDEATH", said(bd_seq=3))
    assert again.node is dead
    assert again.ignored


@pytest.mark.parametrize("kind", ["NDATA", "DDATA", "DBIRTH", "DDEATH"])
def test_whatever_comes_before_the_birth_asks_for_it(kind: str) -> None:
    unborn = EdgeNode(NODE)
    after = step(unborn, kind, said(7, born=True), "pump" if kind[0] == "D" else "")
    assert (after.node, after.rebirth) == (unborn, "its birth is not known"), "and nothing of it is remembered"


def test_a_device_has_a_birth_of_its_own() -> None:
    assert step(living(), "DDATA", said(6), "other").rebirth == "the birth of its device is not known"
    born = step(living(), "DBIRTH", said(6, born=True), "other").node
    assert step(born, "DDATA", said(7), "other").rebirth == ""
    gone = step(born, "DDEATH", said(7), "other").node
    assert step(gone, "DDATA", said(8), "other").rebirth == "the birth of its device is not known"
    assert set(gone.births) == {"", "pump"}


def test_an_alias_that_nobody_named() -> None:
    assert step(living(), "DDATA", said(6, unnamed=True), "pump").rebirth == "it uses an alias that no birth has named"


def test_aliases_are_those_of_the_devices_own_birth_that_came_before() -> None:
    node = EdgeNode(NODE, True, 0, 0, None, {"": Birth(5, {1: Alias("Level", 9)}), "pump": Birth(7, FLOW)})
    assert node.aliases("pump", 8) == FLOW
    assert node.aliases("", 8) == {1: Alias("Level", 9)}
    assert node.aliases("pump", 7) == {}, "a dead letter of before is not read with names of after"
    assert node.aliases("other", 8) == {}


@given(st.lists(st.tuples(st.sampled_from(("DBIRTH", "DDATA", "DDEATH", "NDATA")), st.text(max_size=5)), max_size=40))
def test_strangers_behind_a_node_cost_nothing_and_are_asked_nothing(sent: list[tuple[str, str]]) -> None:
    node = living(0)
    for number, (kind, name) in enumerate(sent, 1):
        after = step(node, kind, said(number, born=True, unnamed=True), f"x{name}", ours=False)
        assert after.rebirth == ""
        node = after.node
    assert set(node.births) == {"", "pump"}
    assert node.seq == len(sent), "their messages are numbered like the others'"


def test_a_gateway_that_is_no_device_of_ours_keeps_no_aliases() -> None:
    assert step(EdgeNode(NODE), "NBIRTH", said(0, 1, born=True), ours=False).node.births == {"": Birth(10, {})}


def test_a_node_is_asked_once_a_minute() -> None:
    node, asked = ask_rebirth(living(), 1_000)
    assert isinstance(asked, Downlink)
    assert (asked.kind, asked.target, asked.created_ns) == (DownlinkKind.REBIRTH, "spBv1.0/g/NCMD/e", 1_000)
    assert ask_rebirth(node, 1_000 + REBIRTH_EVERY_NS - 1) == (node, None)
    later, again = ask_rebirth(node, 1_000 + REBIRTH_EVERY_NS)
    assert again is not None
    assert again.id != asked.id
    assert later.rebirth_asked_ns == again.created_ns


def test_what_is_asked_is_the_command_of_the_specification() -> None:
    _, asked = ask_rebirth(living(), 1_767_225_600 * NS_PER_S)
    assert asked is not None
    assert asked.payload == bytes.fromhex(
        "0880d0eab6b733"  # timestamp (1), ms
        "1221"  # one metric (2)
        "0a144e6f646520436f6e74726f6c2f52656269727468"  # name (1) Node Control/Rebirth
        "1880d0eab6b733"  # timestamp (3)
        "200b"  # data type (4) Boolean
        "7001"  # boolean_value (14) true
    )
    assert decode_sparkplug(asked.payload, "g/e", {}).decoded.items == [], "a command is no reading"


@pytest.mark.parametrize(
    ("topic", "parsed"),
    [
        ("spBv1.0/g/NBIRTH/e", (MessageType.NBIRTH, "g/e", "", "g/e")),
        ("spBv1.0/g/DDATA/e/pump", (MessageType.DDATA, "g/e", "pump", "g/e/pump")),
    ],
)
def test_topics(topic: str, parsed: tuple[object, ...]) -> None:
    found = sparkplug_topic(topic)
    assert found is not None
    assert (*found, found.address) == parsed
    assert sparkplug_topic("spBv1.0/STATE/host") is None
