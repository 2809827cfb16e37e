"""Calibrations, replacements and moves: which statement holds for which reading."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core.errors import NotFound, Refused
from greenmine.core.fact import Fact, FactKind
from greenmine.core.reading import Reading, Series
from greenmine.ingest.calibration import Calibrations
from greenmine.ingest.device_facts import DeviceFacts
from greenmine.ingest.device_history import DeviceHistory, Instrument
from greenmine.ingest.fact_body import check_fact_body
from tests.pipeline_scenes import LI, MINE, device, pm10, policy

SOIL = Series(MINE, "soil-1", "soil_moisture", "d20")


def fact(
    id_: int, kind: FactKind, subject: str, from_ns: int, to_ns: int | None = None, mine: str = MINE, **body: Any
) -> Fact:
    return Fact(id_, mine, kind, subject, from_ns, to_ns, 1000 + id_, LI, "because", json.dumps(body))


def calibration(
    id_: int, from_ns: int, to_ns: int | None = None, slope: float = 2, offset: float = 1, subject: str = "dust-1/pm10",
    **more: Any,
) -> Fact:  # fmt: skip
    return fact(id_, FactKind.CALIBRATION, subject, from_ns, to_ns, slope=slope, offset=offset, **more)


def replacement(id_: int, from_ns: int, serial: str = "b", **more: Any) -> Fact:
    return fact(id_, FactKind.REPLACEMENT, "dust-1", from_ns, serial=serial, **more)


def values(facts: list[Fact], times: range, series: Series | None = None) -> list[float | None]:
    found = Calibrations.of(facts)
    return [found.value(series or pm10(), time_ns, 10.0) for time_ns in times]


class TestWhichCalibrationHolds:
    def test_none(self) -> None:
        assert values([], range(3)) == [None] * 3

    def test_from_its_time_until_before_its_end(self) -> None:
        assert values([calibration(1, 2, 4)], range(1, 6)) == [None, 21, 21, None, None]
        assert values([calibration(1, 2)], range(1, 4)) == [None, 21, 21]

    def test_of_two_that_hold_the_one_recorded_last_and_the_earlier_again_after_its_end(self) -> None:
        facts = [calibration(1, 2, slope=2), calibration(2, 4, 6, slope=3)]
        assert values(facts, range(1, 8)) == [None, 21, 21, 31, 31, 21, 21]

    def test_recorded_last_wins_also_where_it_begins_earlier(self) -> None:
        facts = [calibration(1, 4, slope=2), calibration(2, 2, slope=3)]
        assert values(facts, range(1, 6)) == [None, 31, 31, 31, 31]

    def test_one_that_was_corrected_is_as_if_never_said(self) -> None:
        facts = [calibration(1, 2, slope=9), calibration(2, 4, slope=3, corrects=1)]
        assert values(facts, range(1, 6)) == [None, None, None, 31, 31]
        withdrawal = fact(3, FactKind.CALIBRATION, "dust-1/pm10", 0, corrects=2, withdrawn=True)
        assert values([*facts, withdrawal], range(1, 6)) == [None] * 5

    def test_a_replacement_ends_it_unless_it_begins_there_or_later(self) -> None:
        old, new = calibration(1, 2), replacement(2, 4)
        assert values([old, new], range(1, 6)) == [None, 21, 21, None, None]
        assert values([old, new, calibration(3, 4, slope=5)], range(3, 6)) == [21, 51, 51]
        # Recorded after the replacement, but of the instrument before it.
        assert values([new, calibration(3, 1)], range(1, 6)) == [21, 21, 21, None, None]

    def test_another_device_metric_channel_or_mine_is_not_touched(self) -> None:
        facts = [calibration(1, 0, subject="soil-1/soil_moisture/d20")]
        assert values(facts, range(1), SOIL) == [21]
        for changed in ({"channel": "d40"}, {"channel": ""}, {"metric": "soil_temp"}, {"device": "x"}, {"mine": "y"}):
            assert values(facts, range(1), SOIL._replace(**changed)) == [None]

    def test_without_a_channel_it_holds_for_every_channel(self) -> None:
        facts = [calibration(1, 0, subject="soil-1/soil_moisture")]
        assert values(facts, range(1), SOIL) == values(facts, range(1), SOIL._replace(channel="")) == [21]

    @pytest.mark.parametrize("stat", ["avg", "min", "max"])
    def test_statistics_that_move_with_the_values(self, stat: str) -> None:
        assert values([calibration(1, 0)], range(1), pm10()._replace(stat=stat, period_s=60)) == [21]

    def test_a_sum_takes_a_slope_alone(self) -> None:
        total = pm10()._replace(stat="sum", period_s=60)
        assert values([calibration(1, 0, offset=0)], range(1), total) == [20]
        assert values([calibration(1, 0, offset=1)], range(1), total) == [None]

    def test_what_would_be_beyond_a_double_is_left_as_it_is(self) -> None:
        assert Calibrations.of([calibration(1, 0, slope=10)]).value(pm10(), 0, 1e308) is None


@given(
    st.lists(st.tuples(st.integers(0, 20), st.none() | st.integers(1, 10), st.booleans()), max_size=8),
    st.integers(0, 30),
)
def test_the_rule_is_the_one_that_is_written(told: list[tuple[int, int | None, bool]], time_ns: int) -> None:
    facts, wanted = [], None
    for number, (from_ns, length, is_replacement) in enumerate(told, 1):
        until_ns = None if length is None else from_ns + length
        if is_replacement:
            facts.append(replacement(number, from_ns))
        else:
            facts.append(calibration(number, from_ns, until_ns, slope=number, offset=0))
    replaced = [one.valid_from_ns for one in facts if one.kind is FactKind.REPLACEMENT]
    for one in facts:
        if one.kind is FactKind.CALIBRATION and one.valid_from_ns <= time_ns:
            if one.valid_to_ns is not None and time_ns >= one.valid_to_ns:
                continue
            if not any(one.valid_from_ns < at_ns <= time_ns for at_ns in replaced):
                wanted = one.id * 10.0
    assert Calibrations.of(facts).value(pm10(), time_ns, 10.0) == wanted
    grown = DeviceFacts()
    for one in facts:
        grown.add(one)
    assert grown.calibrations.value(pm10(), time_ns, 10.0) == wanted


def test_the_raw_value_stays_beside_the_calibrated_one() -> None:
    found = Calibrations.of([calibration(1, 5)])
    assert found.applied(Reading(pm10(), 5, 10.0, 3)) == Reading(pm10(), 5, 10.0, 3, 21.0)
    assert found.applied(Reading(pm10(), 4, 10.0)) == Reading(pm10(), 4, 10.0)
    assert found.applied(Reading(pm10(), 5, None)) == Reading(pm10(), 5, None)
    assert found.applied(Reading(pm10(), 5, 10.0)).judged_value == 21.0


class TestHistory:
    def test_instruments_and_places_over_time(self) -> None:
        history = DeviceHistory.of(
            [
                replacement(1, 10, "b", model="M2", previous_serial="a"),
                fact(2, FactKind.DEVICE_MOVE, "dust-1", 20, position=[110.5, 39.5], place="北坡"),
                replacement(3, 30, "c"),
            ]
        )
        at = [history.instrument_at(MINE, "dust-1", time_ns) for time_ns in (9, 10, 29, 30)]
        assert [one and one.serial for one in at] == [None, "b", "b", "c"]
        assert at[1] == Instrument(10, "b", "M2", "a")
        assert history.position_at(MINE, "dust-1", 19) is None
        moved = history.position_at(MINE, "dust-1", 20)
        assert moved is not None
        assert (moved.longitude, moved.latitude, moved.words) == (110.5, 39.5, "北坡")
        assert history.instrument_at(MINE, "dust-2", 30) is None

    def test_replaced_between(self) -> None:
        history = DeviceHistory.of([replacement(1, 10)])
        spans = [(8, 9), (9, 10), (10, 11), (0, 99)]
        assert [history.replaced_between(MINE, "dust-1", *span) for span in spans] == [False, True, False, True]
        assert not history.replaced_between(MINE, "dust-2", 0, 99)

    def test_the_later_word_for_one_moment_counts_and_a_date_can_be_corrected(self) -> None:
        history = DeviceHistory.of([replacement(1, 10, "b"), replacement(2, 10, "c"), replacement(3, 20, "d")])
        history.add(replacement(4, 25, "d", corrects=3))
        serials = [history.instrument_at(MINE, "dust-1", time_ns) for time_ns in (10, 20, 25)]
        assert [one and one.serial for one in serials] == ["c", "c", "d"]

    def test_facts_from_before_their_form_was_checked_do_nothing(self) -> None:
        old = [
            fact(1, FactKind.CALIBRATION, "dust-1/pm10", 0, factor=2),
            fact(2, FactKind.CALIBRATION, "dust-1", 0, slope=2, offset=0),
            fact(3, FactKind.REPLACEMENT, "dust-1", 0),
            fact(4, FactKind.DEVICE_MOVE, "dust-1", 0, position="there"),
            fact(5, FactKind.APPROVAL, "", 0, what="method"),
        ]
        found = DeviceFacts.of(old)
        assert found.calibrations.value(pm10(), 5, 1.0) is None
        assert found.history.instrument_at(MINE, "dust-1", 5) is None
        assert found.approvals == {}


POLICY = policy([], devices=[device("dust-1", pm10="ug/m3"), device("soil-1", "soil", channel="d20", ec="dS/m")])
GOOD = {"slope": 1.02, "offset": -0.4, "certificate": "JZ-2026-17"}


@pytest.mark.parametrize(
    ("kind", "subject", "body"),
    [
        (FactKind.CALIBRATION, "dust-1/pm10", GOOD),
        (FactKind.CALIBRATION, "dust-1/pm10", {"slope": 1, "offset": 0, "corrects": 3}),
        (FactKind.CALIBRATION, "soil-1/ec/d20", GOOD),
        (FactKind.CALIBRATION, "dust-1/pm10", {"corrects": 3, "withdrawn": True}),
        (FactKind.REPLACEMENT, "dust-1", {"serial": "SN 7", "model": "M", "previous_serial": "SN 6"}),
        (FactKind.DEVICE_MOVE, "dust-1", {"position": [110, 39.5]}),
        (FactKind.APPROVAL, "dust-1", {"network": "dev_eui", "address": "0011223344556677"}),
        (FactKind.APPROVAL, "anything", {"what": "a method that is equal"}),
        (FactKind.MAINTENANCE, "anything", {"free": "form"}),
    ],
)
def test_bodies_that_are_taken(kind: FactKind, subject: str, body: dict[str, Any]) -> None:
    check_fact_body(kind, subject, body, POLICY)


@pytest.mark.parametrize(
    ("kind", "subject", "body", "error"),
    [
        (FactKind.CALIBRATION, "dust-1", GOOD, Refused),
        (FactKind.CALIBRATION, "dust-1/pm10/d20/x", GOOD, Refused),
        (FactKind.CALIBRATION, "dust-9/pm10", GOOD, NotFound),
        (FactKind.CALIBRATION, "dust-1/pm25", GOOD, NotFound),
        (FactKind.CALIBRATION, "soil-1/ec/d40", GOOD, NotFound),
        (FactKind.CALIBRATION, "dust-1/pm10", {}, Refused),
        (FactKind.CALIBRATION, "dust-1/pm10", {"slope": 1}, Refused),
        (FactKind.CALIBRATION, "dust-1/pm10", {**GOOD, "slope": 0}, Refused),
        (FactKind.CALIBRATION, "dust-1/pm10", {**GOOD, "slope": -1}, Refused),
        (FactKind.CALIBRATION, "dust-1/pm10", {**GOOD, "slope": True}, Refused),
        (FactKind.CALIBRATION, "dust-1/pm10", {**GOOD, "slope": "1"}, Refused),
        (FactKind.CALIBRATION, "dust-1/pm10", {**GOOD, "slope": float("inf")}, Refused),
        (FactKind.CALIBRATION, "dust-1/pm10", {**GOOD, "offset": float("nan")}, Refused),
        (FactKind.CALIBRATION, "dust-1/pm10", {**GOOD, "offset": 10**400}, Refused),
        (FactKind.CALIBRATION, "dust-1/pm10", {**GOOD, "certificate": 7}, Refused),
        (FactKind.CALIBRATION, "dust-1/pm10", {**GOOD, "gain": 2}, Refused),
        (FactKind.CALIBRATION, "dust-1/pm10", {**GOOD, "corrects": "3"}, Refused),
        (FactKind.CALIBRATION, "dust-1/pm10", {**GOOD, "corrects": 3, "withdrawn": True}, Refused),
        (FactKind.CALIBRATION, "dust-1/pm10", {"withdrawn": True}, Refused),
        (FactKind.REPLACEMENT, "dust-1/pm10", {"serial": "7"}, Refused),
        (FactKind.REPLACEMENT, "dust-1", {}, Refused),
        (FactKind.REPLACEMENT, "dust-1", {"serial": " "}, Refused),
        (FactKind.REPLACEMENT, "dust-1", {"serial": "7" * 65}, Refused),
        (FactKind.DEVICE_MOVE, "dust-1", {"position": [39.5]}, Refused),
        (FactKind.DEVICE_MOVE, "dust-1", {"position": [39.5, 110]}, Refused),
        (FactKind.DEVICE_MOVE, "dust-1", {"position": "110,39"}, Refused),
        (FactKind.APPROVAL, "dust-1", {"network": "mqtt", "address": "x"}, Refused),
        (FactKind.APPROVAL, "dust-9", {"network": "mn", "address": "x"}, NotFound),
        (FactKind.APPROVAL, "dust-1", {"network": "mn", "address": ""}, Refused),
    ],
)
def test_bodies_that_are_refused(kind: FactKind, subject: str, body: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        check_fact_body(kind, subject, body, POLICY)
