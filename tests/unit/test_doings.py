"""What the demonstration shows beside readings: activity, an instrument's fault code, a stranger's uplinks."""

from __future__ import annotations

import json

import pytest

from greenmine.core.activity import ActivityKind
from greenmine.ingest.decode_activity import decode_activity
from greenmine.ingest.decode_chirpstack import decode_chirpstack
from greenmine.ingest.decode_json import decode_json
from greenmine.policy.load import EXAMPLES, load_policy
from greenmine.simulator.doings import BRIDGE, STRANGER, doings
from greenmine.simulator.message import TimedMessage

START_NS = 1_795_334_400 * 10**9
HOUR_NS = 3600 * 10**9
SPEAKS = load_policy(EXAMPLES / "shifan-1.yaml").policy
SILENT = load_policy(EXAMPLES / "networks" / "shifan-3.yaml").policy


def hour(end_ns: int = START_NS + HOUR_NS) -> list[TimedMessage]:
    return list(doings(SPEAKS, START_NS, end_ns))


def test_an_hour_has_everything_in_order_of_time_and_by_its_own_account() -> None:
    found = hour()
    assert [one.time_ns for one in found] == sorted(one.time_ns for one in found)
    reports = [decode_activity(one.payload) for one in found if one.topic.endswith("/activity")]
    assert {one.kind for one in reports} == {
        ActivityKind.BLAST, ActivityKind.HAUL, ActivityKind.WATERING, ActivityKind.STOP,
    }  # fmt: skip
    assert all(START_NS <= one.time_ns < START_NS + HOUR_NS for one in reports)
    faults = [decode_json(one.payload).items[0] for one in found if one.topic.endswith("/up") and one.mine]
    assert {one.value for one in faults} == {-9999.0}
    assert set(SPEAKS.quality.sentinels) == {-9999.0}, "or the demonstration would store them"
    uplinks = [one for one in found if one.client == BRIDGE]
    assert {decode_chirpstack(one.payload, one.topic.split("/")[3]).items[0].device for one in uplinks} == {STRANGER}
    assert {one.client for one in found} == {BRIDGE, "shifan-1.dust-n1"}
    assert all(json.loads(one.payload) for one in found)


@pytest.mark.parametrize("minutes", [0, 10, 45])
def test_only_what_is_before_the_end(minutes: int) -> None:
    end_ns = START_NS + minutes * 60 * 10**9
    assert hour(end_ns) == [one for one in hour() if one.time_ns < end_ns]


def test_a_mine_without_dust_does_nothing() -> None:
    assert list(doings(SILENT, START_NS, START_NS + HOUR_NS)) == []
