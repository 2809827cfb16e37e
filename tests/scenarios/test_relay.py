"""What is forwarded to another platform, through the real pipeline: which readings, as which messages and QN."""

from __future__ import annotations

from typing import Any

import pytest

from greenmine.core.relay import RelayTotals
from greenmine.ingest.decode_hj212 import decode_hj212
from greenmine.ingest.hj212_frame import build_frame
from greenmine.pipeline.pipeline import Pipeline
from greenmine.policy.check import check_policy
from greenmine.policy.model import Policy
from greenmine.store import relay
from tests.pipeline_scenes import (
    MINE,
    NS,
    SPARE,
    START_NS,
    HeldJournal,
    Scene,
    activation,
    commits_of,
    device,
    entry,
    imported,
    message,
    policy,
    scene,
    service,
)  # fmt: skip

MN = "CITY_1"
AT = "DataTime=20261122160010"


def station(device_id: str = "dust-1", mn: str = MN, **more: Any) -> dict[str, Any]:
    return {"device": device_id, "mn": mn, "password": "secret:city", **more}


def forwarding(*stations: dict[str, Any], devices: list[dict[str, Any]] | None = None, **more: Any) -> Policy:
    section = {"host": "192.0.2.7", "port": 9212, "stations": list(stations) or [station()], **more}
    return policy([], relay=section, **({} if devices is None else {"devices": devices}))


def sent(here: Scene) -> list[tuple[str, str, str, int, str]]:
    return [(row["mn"], row["st"], row["cn"], row["flag"], row["cp"]) for row in here.rows("relay_outbox")]


def qns(here: Scene) -> list[str]:
    return [row["qn"] for row in here.rows("relay_outbox")]


def test_what_was_measured_at_one_second_is_one_message_in_the_units_of_the_standard() -> None:
    with scene(forwarding()) as here:
        here.wait(10).batch(message(entry(here.now_ns, {"pm10": 81.3, "pm25": 40.07})))
        cp = f"{AT};a34002-Rtd=81300,a34002-Flag=N;a34004-Rtd=40070,a34004-Flag=N"
        assert sent(here) == [(MN, "22", "2011", 5, cp)]
        assert qns(here) == ["20261122160010000"]


def test_the_units_of_the_platform_hold() -> None:
    chosen = station(units={"pm10": "mg/m3", "pm25": "ug/m3"}, st="39")
    with scene(forwarding(chosen, version=2025)) as here:
        here.wait(10).batch(message(entry(here.now_ns, {"pm10": 81.3, "pm25": 0.00001})))
        cp = f"{AT};a34002-Rtd=0.0813,a34002-Flag=N;a34004-Rtd=0.00001,a34004-Flag=N"
        assert sent(here) == [(MN, "39", "2011", 9, cp)]


def test_statistics_are_sent_as_what_they_are() -> None:
    metrics = {"pm10": {"unit": "ug/m3", "interval": "1h", "stat": "avg", "period": "1h"}}
    minimum = {"pm10": {"unit": "ug/m3", "interval": "1h", "stat": "min", "period": "1h"}}
    ten = {"pm10": {"unit": "ug/m3", "interval": "10m", "stat": "avg", "period": "10m"}}
    odd = {"pm10": {"unit": "ug/m3", "interval": "10m", "stat": "avg", "period": "7m"}}
    sensors = [{"kind": "dust", "principle": "beta", "metrics": one} for one in (metrics, minimum, ten, odd)]
    with scene(forwarding(devices=[{"id": "dust-1", "sensors": sensors}])) as here:
        here.wait(10).batch(
            *(
                message(entry(here.now_ns, {"pm10": value}, stat=stat, period_s=period_s))
                for value, stat, period_s in ((80, "avg", 3600), (70, "min", 3600), (60, "avg", 600), (50, "avg", 420))
            )
        )
        assert [(cn, cp) for _, _, cn, _, cp in sent(here)] == [
            ("2061", f"{AT};a34002-Avg=80000,a34002-Min=70000,a34002-Flag=N"),
            ("2051", f"{AT};a34002-Avg=60000,a34002-Flag=N"),
        ]


@pytest.mark.parametrize(("letter", "said"), [("N", "N"), ("D", "D"), ("F", "D"), ("M", "M"), ("C", "C"), ("S", "S")])
def test_a_flag_goes_with_its_value(letter: str, said: str) -> None:
    with scene(forwarding()) as here:
        here.wait(10).batch(message(entry(here.now_ns, {"pm10": 81, "pm25": 40}, flags={"pm10": letter})))
        (cp,) = [cp for *_, cp in sent(here)]
        assert cp == f"{AT};a34002-Rtd=81000,a34002-Flag={said};a34004-Rtd=40000,a34004-Flag=N"


def test_the_gravest_letter_of_a_factor_is_said() -> None:
    metrics = [
        {"pm10": {"unit": "ug/m3", "interval": "1h", "stat": stat, "period": "1h"}} for stat in ("avg", "min", "max")
    ]
    sensors = [{"kind": "dust", "principle": "beta", "metrics": one} for one in metrics]
    with scene(forwarding(devices=[{"id": "dust-1", "sensors": sensors}])) as here:
        here.wait(10).batch(
            *(
                message(entry(here.now_ns, {"pm10": 1}, stat=stat, period_s=3600, flags={"pm10": letter}))
                for stat, letter in (("avg", "S"), ("min", "D"), ("max", "N"))
            )
        )
        assert [cp for *_, cp in sent(here)] == [f"{AT};a34002-Avg=1000,a34002-Min=1000,a34002-Max=1000,a34002-Flag=D"]


def test_only_new_live_readings_of_the_named_devices_are_forwarded() -> None:
    other = device("dust-2", pm10="ug/m3")
    soil = device("soil-1", kind="soil", soil_moisture="%")
    north = device("dust-3", channel="north", pm10="ug/m3")
    devices = [device("dust-1", pm10="ug/m3"), other, soil, north]
    stations = [station(), station("soil-1", "CITY_2"), station("dust-3", "CITY_3")]
    with scene(forwarding(*stations, devices=devices)) as here:
        here.wait(10)
        first = message(entry(here.now_ns, {"pm10": 1}))
        here.batch(
            first,
            first,
            message(entry(here.now_ns, {"pm10": 2})),
            message(entry(here.now_ns, {"pm10": 3}), "dust-2"),
            message(entry(here.now_ns, {"soil_moisture": 20}), "soil-1"),
            message(entry(here.now_ns, {"pm10@north": 4}), "dust-3"),
            message(entry(here.now_ns + 3600 * NS, {"pm10": 5})),
            imported([[MINE, "dust-1", "pm10", "", "inst", 0, here.now_ns - NS, 6.0, None, 0]]),
        )
        assert [cp for *_, cp in sent(here)] == [f"{AT};a34002-Rtd=1000,a34002-Flag=N"]
        here.batch(message(entry(here.now_ns - 9 * NS, {"pm10": 7})))
        assert [cp for *_, cp in sent(here)][1:] == ["DataTime=20261122160001;a34002-Rtd=7000,a34002-Flag=N"], "late"


def test_a_station_on_channels_sends_the_one_that_is_named() -> None:
    devices = [device("dust-1", channel="north", pm10="ug/m3")]
    with scene(forwarding(station(channel="north"), devices=devices)) as here:
        here.wait(10).batch(message(entry(here.now_ns, {"pm10@north": 4})))
        assert len(sent(here)) == 1


def test_no_qn_is_used_twice_not_even_after_a_restart() -> None:
    with scene(forwarding()) as here:
        for second in range(1, 4):
            here.batch(*(message(entry(START_NS - (10 * second + n) * NS, {"pm10": 1})) for n in range(3)))
            here.restart()
        waiting = here.rows("relay_outbox")
        assert len({row["qn"] for row in waiting}) == 9
        with here.state.writing() as connection:
            relay.settle(connection, MINE, [row["id"] for row in waiting])
        here.restart()
        here.batch(message(entry(START_NS, {"pm10": 1})))
        assert here.rows("relay_station") == [{"mine": MINE, "mn": MN, "qn_ms": START_NS // 1_000_000 + 9}]
        assert qns(here) == ["20261122160000009"]


def test_long_messages_are_split_and_every_one_can_be_read() -> None:
    units = {"ph": "1", "do": "mg/L", "cod": "mg/L", "nh3n": "mg/L", "oil": "mg/L", "fe": "mg/L", "mn": "mg/L"}
    units |= {"ss": "mg/L", "turbidity": "NTU", "conductivity": "uS/cm", "water_temp": "Cel"}
    sensors = [
        {
            "kind": "water",
            "principle": "x",
            "metrics": {m: {"unit": u, "interval": "1h", "stat": stat, "period": "1h"} for m, u in units.items()},
        }
        for stat in ("avg", "min", "max")
    ]
    value = 1.23456789012345
    with scene(forwarding(devices=[{"id": "dust-1", "sensors": sensors}])) as here:
        here.wait(10).batch(
            *(
                message(entry(here.now_ns, dict.fromkeys(units, value), stat=stat, period_s=3600))
                for stat in ("avg", "min", "max")
            )
        )
        rows = here.rows("relay_outbox")
        assert len(rows) == 2
        found = []
        for row in rows:
            assert len(row["cp"]) <= 950
            head = f"QN={row['qn']};ST={row['st']};CN={row['cn']};PW=123456;MN={row['mn']};Flag={row['flag']}"
            decoded = decode_hj212(build_frame(f"{head};CP=&&{row['cp']}&&".encode()))
            assert not decoded.refused
            found += [(item.metric, item.stat, item.period_s, item.value) for item in decoded.items]
        assert sorted(found) == sorted((m, stat, 3600, value) for m in units for stat in ("avg", "min", "max"))
        assert len({row["qn"] for row in rows}) == 2


def test_messages_do_not_depend_on_which_batches_are_committed_together() -> None:
    stamped = [
        (START_NS, START_NS, [service("start")]),
        (START_NS, START_NS, [activation(forwarding())]),
        *(
            (at, at, [message(entry(at - n * NS, {"pm10": float(n), "pm25": 1.0})) for n in range(2)])
            for at in range(START_NS + 10 * NS, START_NS + 90 * NS, 2 * NS)
        ),
    ]
    found = []
    for records in (1, 7, 5000):
        with SPARE.state() as state, commits_of(records):
            here = Scene(state)
            here.journal = here.reader = HeldJournal(stamped)
            here.pipeline = Pipeline(here.reader, state)
            here.pipeline.run_available()
            found.append([here.rows("relay_outbox"), here.rows("relay_station")])
    assert len(found[0][0]) == 80
    assert found[0] == found[1] == found[2]


def test_a_mine_that_forwards_nothing_queues_nothing() -> None:
    with scene(policy([])) as here:
        here.say(81.3)
        assert sent(here) == []


def test_the_quota_drops_the_oldest_and_counts_them() -> None:
    with scene(forwarding()) as here:
        for n in range(5):
            here.wait(10).batch(message(entry(here.now_ns, {"pm10": float(n)})))
        with here.state.writing() as connection:
            assert relay.trim(connection, {MINE: 5}) == {}
            assert relay.trim(connection, {MINE: 3}) == {MINE: 2}
            left = [one.frame.cp.split("Rtd=")[1].split(",")[0] for one in relay.waiting(connection, MINE, 0, 10)]
            assert left == ["2000", "3000", "4000"]
            relay.settle(connection, MINE, [3], [4, 4])
            assert relay.totals(connection) == {MINE: RelayTotals(1, 1, 2)}
            assert relay.trim(connection, {}) == {MINE: 1}, "a mine that forwards no more"
            assert relay.depths(connection) == {}


@pytest.mark.parametrize(
    ("stations", "where"),
    [
        ([station("nobody")], ("relay", "stations", 0, "device")),
        ([station(), station("dust-2")], ("relay", "stations", 1, "mn")),
        ([station(), station(mn="CITY_2")], ("relay", "stations", 1, "device")),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(stations: list[dict[str, Any]], where: tuple[Any, ...]) -> None:
    devices = [device("dust-1", pm10="ug/m3"), device("dust-2", pm10="ug/m3")]
    assert [path for path, _ in check_policy(forwarding(*stations, devices=devices))] == [where]


@pytest.mark.parametrize(
    "wrong", [{"password": "123456"}, {"mn": "a b"}, {"units": {"pm10": "mg/L"}}, {"st": "2"}, {"units": {"pm99": "1"}}]
)
def test_a_station_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="relay"):
        forwarding(station(**wrong))
