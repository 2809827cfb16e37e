"""What happens at a mine beside its readings: what it does, an instrument that fails for a moment, and a probe of
another network that nobody has registered. The demonstration shows it on charts, in quarantine and on the waiting list.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

from greenmine.core.activity import ActivityKind, ActivityState
from greenmine.core.clock import NS_PER_MS, NS_PER_S
from greenmine.core.metric import SensorKind
from greenmine.policy.model import Policy
from greenmine.simulator.encode import encode_one, reading_object, timestamp
from greenmine.simulator.encode_chirpstack import chirpstack_topic, chirpstack_uplink
from greenmine.simulator.message import TimedMessage, account, up_topic

BRIDGE = "lorawan"
"""The account of the network server that brings the stranger's uplinks."""
STRANGER = "a84041b2c1841fff"
_MINUTE_NS = 60 * NS_PER_S


class _Report(NamedTuple):
    minute: int
    kind: ActivityKind
    state: ActivityState
    zone: str
    at_minute: int


_ROAD, _BENCH = "南运输道路 south haul road", "二号台阶 bench 2"
_BLAST_AT = 40
_REPORTS = (
    _Report(5, ActivityKind.BLAST, ActivityState.PLANNED, _BENCH, _BLAST_AT),
    _Report(7, ActivityKind.HAUL, ActivityState.START, _ROAD, 7),
    _Report(20, ActivityKind.WATERING, ActivityState.START, _ROAD, 20),
    _Report(30, ActivityKind.HAUL, ActivityState.END, _ROAD, 30),
    _Report(33, ActivityKind.WATERING, ActivityState.END, _ROAD, 33),
    _Report(_BLAST_AT, ActivityKind.BLAST, ActivityState.START, _BENCH, _BLAST_AT),
    _Report(42, ActivityKind.BLAST, ActivityState.END, _BENCH, 42),
    _Report(46, ActivityKind.STOP, ActivityState.START, "", 46),
    _Report(52, ActivityKind.STOP, ActivityState.END, "", 52),
)
"""An hour in which a convoy runs on a road that is watered late: what the dust episode is the dust of."""
_FAULTS = (3, 36)
_UPLINKS = (1, 21, 41)
"""Minutes."""


def doings(policy: Policy, start_ns: int, end_ns: int) -> Iterator[TimedMessage]:
    """Messages of an hour from `start_ns` on, those before `end_ns`, in time order. A mine without a dust device that
    sends by itself does nothing."""
    speaker = next((d for d in policy.devices if d.gateway is None and d.sensors and _is_dust(d.sensors[0].kind)), None)
    if speaker is None:
        return
    mine, zone = policy.mine.id, policy.mine.zone
    client = account(mine, speaker.id)
    found = []
    for report in _REPORTS:
        body = {
            "ts": timestamp(start_ns + report.at_minute * _MINUTE_NS, zone),
            "kind": report.kind.value,
            "state": report.state.value,
            **({"zone": report.zone} if report.zone else {}),
        }
        payload = json.dumps(body, ensure_ascii=False).encode()
        time_ns = start_ns + report.minute * _MINUTE_NS
        found.append(TimedMessage(time_ns, mine, speaker.id, f"mines/{mine}/{speaker.id}/activity", payload, client))
    metric = next(iter(speaker.sensors[0].metrics))
    for minute in _FAULTS:
        # Between two samples, so that it takes no good reading's place.
        time_ns = start_ns + minute * _MINUTE_NS + 777 * NS_PER_MS
        payload = encode_one(reading_object(timestamp(time_ns, zone), {metric: -9999.0}))
        topic = up_topic(mine, speaker.id)
        found.append(TimedMessage(time_ns, mine, speaker.id, topic, payload, client, readings=1))
    for counter, minute in enumerate(_UPLINKS, 1):
        time_ns = start_ns + minute * _MINUTE_NS
        fields = {"soil_moisture@d20": 18.4 + counter / 10, "soil_temp@d20": 6.2}
        payload = chirpstack_uplink(STRANGER, time_ns, counter=time_ns // (20 * _MINUTE_NS) % 65_536, fields=fields)
        found.append(TimedMessage(time_ns, "", "", chirpstack_topic("soil", STRANGER), payload, BRIDGE, readings=1))
    yield from (message for message in sorted(found) if message.time_ns < end_ns)


def _is_dust(kind: SensorKind) -> bool:
    return kind is SensorKind.DUST
