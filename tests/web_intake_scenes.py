"""What came of the invented mine `demo-pit` and what did not: strangers, losses, activity."""

from __future__ import annotations

import json
import random
from typing import Any, Protocol

from greenmine.core.account import HOUR_NS, Account, DeviceHour
from greenmine.core.activity import ActivityInterval, ActivityKind, EndedBy
from greenmine.core.gap import Gap, GapReason, Stream, all_of
from greenmine.core.waiting import Network
from greenmine.policy.model import Policy
from greenmine.store.dead_letters import DeadLetterRow
from greenmine.store.hours import ReasonKey

MIN_NS = 60 * 1_000_000_000


class WaitingDevices(Protocol):
    """The waiting list of the fakes."""

    def add(self, network: Network, address: str, mine: str = "", ago_s: float = 30.0, **more: Any) -> None:
        """Somebody waits."""
        ...


class Intakes(Protocol):
    """The lists of the fakes."""

    known_gaps: list[Gap]
    known_hours: list[DeviceHour]
    known_letters: list[tuple[DeadLetterRow, bytes | None]]


def add_strangers(devices: WaitingDevices, now_ns: int) -> None:
    """Devices on the waiting list: one on an own topic, one of each other network."""
    payload = json.dumps({"ts": "2026-11-22T15:59:30+08:00", "values": {"pm10": 64, "pm25": 31.5, "vibration": 0.2}})
    sent = [("pm10", 64.0, None), ("pm25", 31.5, None), ("vibration", 0.2, None)]
    devices.add(Network.MQTT, "demo-pit/dust-x9", "demo-pit", 30, values=sent, sample=payload)
    soil = [("soil_moisture@d20", 18.4, "%"), ("battery", None, None)]
    devices.add(Network.DEV_EUI, "a84041ffff1c2d3e", "", 95, values=soil, sample='{"deviceInfo":{"devEui":"a84"}}')
    frame = "##0101QN=20261122155800000;ST=22;CN=2011;PW=123456;MN=A110000_0001;Flag=5;CP=&&a34004-Rtd=48.3&&1C80"
    devices.add(Network.MN, "A110000_0001", "", 130, values=[("a34004", 48.3, None)], sample=frame)
    devices.add(Network.EDGE, "north/gw-7", "", 400, sample="hex: 08 c4 86 89 83 d3 2e 12 17")


def add_losses(intakes: Intakes, policy: Policy, now_ns: int) -> None:
    """What did not come of demo-pit: hours that lack readings, gaps in the numbers, dead letters of several reasons."""
    rest = random.Random(4)
    hour_ns = now_ns - now_ns % HOUR_NS
    for device in policy.devices[:-1]:
        asked = sum(3600 // one.interval for series, one in policy.series().items() if series.device == device.id)
        for back in range(24 if asked else 0):
            share = {"dust-s1": 0.0 if back in (3, 4) else 0.7 if back == 5 else 1.0, "soil-p1": 0.96}.get(
                device.id, 1.0
            )
            came = round((asked if back else asked // 60) * share)
            odd = (
                Account(came + 2, came - back % 2, back % 2, 1, 1, 0, 0) if rest.random() < 0.2 else Account(came, came)
            )
            expected = asked if back else asked // 60
            intakes.known_hours.append(DeviceHour("demo-pit", device.id, hour_ns - back * HOUR_NS, expected, odd))
    intakes.known_hours.append(DeviceHour("demo-pit", "", hour_ns, 0, Account(received=7, dead=7)))
    stream = Stream("demo-pit", "dust-s1", "seq")
    for number, (reason, left) in enumerate([(GapReason.OPEN, all_of(1042, 1160)), (GapReason.FILLED, 0)]):
        from_ns = now_ns - (5 + 9 * number) * HOUR_NS
        closed_ns = None if left else from_ns + 2 * HOUR_NS
        intakes.known_gaps.append(
            Gap(f"g{number}", stream, "a1", 1042 - 400 * number, 1160 - 400 * number, from_ns, from_ns + 2 * HOUR_NS,
                from_ns, from_ns + 2 * HOUR_NS, 0 if left else 119, left, 2, now_ns + HOUR_NS, closed_ns, reason)
        )  # fmt: skip
    letters = [
        ("dust-road", "ts_zone", "ts '2026-11-22 16:00:00' has no offset", 6),
        ("water-out", "not_finite", "values.do: NaN is no number", 2),
        ("", "unknown_address", 'dev_eui "a84041ffff1c2d3e": no policy maps it to a device', 7),
        ("met-1", "store_rejected", "the store refused wind_speed at 15:20", 1),
    ]
    for device_id, word, detail, times in letters:
        for _ in range(times):
            number = len(intakes.known_letters) + 1
            topic = f"mines/demo-pit/{device_id}/up" if device_id else "application/1/device/a84041ffff1c2d3e/event/up"
            row = DeadLetterRow(
                number, now_ns - number * MIN_NS, 0 if word == "store_rejected" else 500 + number, topic,
                "demo-pit.gw-1", word, "", detail, None, "demo-pit" if device_id else "", device_id, 90,
            )  # fmt: skip
            intakes.known_letters.append((row, b"{}"))

    for device_id, kind, word, count in (
        ("dust-road", "quarantined", "sentinel", 12), ("dust-s1", "flagged", "range", 3),
        ("soil-p1", "flagged", "late", 40),
        ("dust-n1", "flagged", "late", 2), ("water-out", "quarantined", "missing", 9),
        ("dust-road", "refused", "ts_zone", 6),
    ):  # fmt: skip
        intakes.known_reasons[ReasonKey("demo-pit", device_id, kind, word)] = count


def add_activity(intervals: list[ActivityInterval], now_ns: int) -> None:
    """What demo-pit did this afternoon."""
    did = [
        (ActivityKind.HAUL, "ramp", 300, 60, EndedBy.END), (ActivityKind.WATERING, "ramp", 230, 205, EndedBy.END),
        (ActivityKind.BLAST, "north", 150, 140, EndedBy.END), (ActivityKind.WATERING, "yard", 45, None, None),
        (ActivityKind.BLAST, "north", 20, 20, EndedBy.PLANNED),
    ]  # fmt: skip
    for number, (kind, zone, begun, ended, why) in enumerate(did):
        start_ns = now_ns - begun * MIN_NS
        end_ns = None if ended is None else now_ns - ended * MIN_NS
        intervals.append(
            ActivityInterval(number, "demo-pit", "gw-1", kind, zone, None, None, start_ns, end_ns,
                             start_ns + 12 * HOUR_NS, why)
        )  # fmt: skip
