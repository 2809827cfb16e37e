"""The library of limits against the tables it was typed from, and which edition holds when."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from greenmine.core.errors import NotFound
from greenmine.core.unit import convertible
from greenmine.core.verdict import LimitBinding
from greenmine.policy.applicable import applicable_limits
from greenmine.policy.library import shipped_library
from greenmine.policy.limit import JUDGED_UNITS, LimitRow, LimitStatus, Standard, Statistic, WindowKind
from greenmine.policy.model import Policy
from tests.unit.test_policy_check import good

LIBRARY = shipped_library()
Y, D, H = WindowKind.YEAR, WindowKind.DAY, WindowKind.HOUR

AMBIENT_2012 = """
pm25-annual 15 35 | pm25-24h 35 75 | pm10-annual 40 70 | pm10-24h 50 150 | tsp-annual 80 200 | tsp-24h 120 300
so2-annual 20 60 | so2-24h 50 150 | so2-1h 150 500 | no2-annual 40 40 | no2-24h 80 80 | no2-1h 200 200
nox-annual 50 50 | nox-24h 100 100 | nox-1h 250 250 | co-24h 4 4 | co-1h 10 10 | o3-8h 100 160 | o3-1h 160 200
pb-season 1 1 | pb-annual 0.5 0.5 | bap-24h 0.0025 0.0025 | bap-annual 0.001 0.001
"""
TRANSITION = AMBIENT_2012.replace("15 35", "15 30").replace("35 75", "35 60").replace("40 70", "40 60")
TRANSITION = TRANSITION.replace("pm10-24h 50 150", "pm10-24h 50 120")
FINAL = """
pm25-annual 10 25 | pm25-24h 25 50 | pm10-annual 20 50 | pm10-24h 50 100 | tsp-annual 80 200 | tsp-24h 120 300
so2-annual 20 20 | so2-24h 50 50 | so2-1h 150 150 | no2-annual 30 30 | no2-24h 50 50 | no2-1h 200 200
nox-annual 40 40 | nox-24h 70 70 | nox-1h 250 250 | co-24h 4 4 | co-1h 10 10 | o3-8h 100 160 | o3-1h 160 200
pb-season 1 1 | pb-annual 0.5 0.5 | bap-24h 0.0025 0.0025 | bap-annual 0.001 0.001
"""
SURFACE = """
do 7.5 6 5 3 2 | cod-mn 2 4 6 10 15 | cod 15 15 20 30 40 | bod5 3 3 4 6 10 | nh3n 0.15 0.5 1.0 1.5 2.0
tp 0.02 0.1 0.2 0.3 0.4 | tp-lake 0.01 0.025 0.05 0.1 0.2 | tn-lake 0.2 0.5 1.0 1.5 2.0 | cu 0.01 1 1 1 1
zn 0.05 1 1 2 2 | f 1 1 1 1.5 1.5 | as 0.05 0.05 0.05 0.1 0.1 | hg 0.00005 0.00005 0.0001 0.001 0.001
cd 0.001 0.005 0.005 0.005 0.01 | cr6 0.01 0.05 0.05 0.05 0.1 | pb 0.01 0.01 0.05 0.05 0.1
oil 0.05 0.05 0.05 0.5 1.0 | sulfide 0.05 0.1 0.2 0.5 1.0
"""
GROUND = """
turbidity 3 3 3 10 | hardness 150 300 450 650 | tds 300 500 1000 2000 | sulfate 50 150 250 350
chloride 50 150 250 350 | fe 0.1 0.2 0.3 2.0 | mn 0.05 0.05 0.10 1.50 | al 0.01 0.05 0.20 0.50 | na 100 150 200 400
cod-mn 1 2 3 10 | nh3n 0.02 0.10 0.50 1.50 | sulfide 0.005 0.01 0.02 0.10 | nitrite-n 0.01 0.10 1.00 4.80
nitrate-n 2 5 20 30 | f 1 1 1 2 | as 0.001 0.001 0.01 0.05 | hg 0.0001 0.0001 0.001 0.002
cd 0.0001 0.001 0.005 0.01 | cr6 0.005 0.01 0.05 0.10 | pb 0.005 0.005 0.01 0.10
"""
AIR, WATER = ["1", "2"], ["I", "II", "III", "IV", "V"]

TABLES: dict[str, tuple[str, str, date, str, list[str]]] = {
    "A1 2012": ("GB 3095-2012", "ambient-air", date(2020, 7, 1), AMBIENT_2012, AIR),
    "A1 transition": ("GB 3095-2026", "ambient-air", date(2026, 3, 1), TRANSITION, AIR),
    "A1 transition's last day": ("GB 3095-2026", "ambient-air", date(2030, 12, 31), TRANSITION, AIR),
    "A1 final": ("GB 3095-2026", "ambient-air", date(2031, 1, 1), FINAL, AIR),
    "A3 drainage existing": (
        "GB 20426-2006", "mine-drainage", date(2026, 1, 1), "ss 70 | cod 70 | oil 10", ["existing"],
    ),
    "A3 drainage new": ("GB 20426-2006", "mine-drainage", date(2026, 1, 1), "ss 50 | cod 50 | oil 5", ["new"]),
    "A3 acid": ("GB 20426-2006", "acid-mine-drainage", date(2026, 1, 1), "fe 7 6 | mn 4 4", ["existing", "new"]),
    "A3 toxic": (
        "GB 20426-2006", "toxic", date(2026, 1, 1),
        "hg 0.05 | cd 0.1 | cr 1.5 | cr6 0.5 | pb 0.5 | as 0.5 | zn 2.0 | f 10 | alpha 1 | beta 10", [""],
    ),
    "A3 washing": (
        "GB 20426-2006", "coal-washing-water", date(2026, 1, 1), "ss 70 | cod 70 | oil 5 | fe 6 | mn 4", [""],
    ),
    "A3 extraction": ("GB 20426-2006", "dust-extraction", date(2026, 1, 1), "particulates 80", [""]),
    "A3 fugitive": ("GB 20426-2006", "fugitive-tsp", date(2026, 1, 1), "tsp 1.0", [""]),
    "A3 fugitive SO2": ("GB 20426-2006", "fugitive-so2", date(2026, 1, 1), "so2 0.4", [""]),
    "A4 stack new": (
        "GB 16297-1996", "stack", date(2026, 1, 1), "particulates 120 | quartz-dust 60 | carbon-black 18", ["new"],
    ),
    "A4 stack existing": ("GB 16297-1996", "stack", date(2026, 1, 1), "particulates 150", ["existing"]),
    "A4 fugitive new": ("GB 16297-1996", "fugitive-particulates", date(2026, 1, 1), "tsp 1.0", ["new"]),
    "A4 fugitive existing": ("GB 16297-1996", "fugitive-particulates", date(2026, 1, 1), "tsp 5.0", ["existing"]),
    "A5": (
        "GB 12348-2008", "boundary", date(2026, 1, 1),
        "day 50 55 60 65 70 | night 40 45 50 55 55 | night-sudden-frequent 50 55 60 65 65 | "
        "night-sudden-occasional 55 60 65 70 70", list("01234"),
    ),
    "A5 indoors": (
        "GB 12348-2008", "boundary-indoor", date(2026, 1, 1), "day 40 45 50 55 60 | night 30 35 40 45 45",
        list("01234"),
    ),
    "A5 construction": (
        "GB 12523-2025", "construction", date(2026, 1, 1), "day 70 | night 55 | night-lmax 70", [""],
    ),
    "A6": ("GB 3838-2002", "surface-water", date(2026, 1, 1), SURFACE, WATER),
    "A6 drinking": (
        "GB 3838-2002", "drinking-source", date(2026, 1, 1),
        "sulfate 250 | chloride 250 | nitrate-n 10 | fe 0.3 | mn 0.1", [""],
    ),
    "A7": ("GB/T 14848-2017", "groundwater", date(2026, 1, 1), GROUND, WATER[:4]),
    "A8": ("soil-moisture", "relative-grade", date(2026, 1, 1), "drought 60", [""]),
    "A10": ("DB13/2934-2019", "hourly-difference", date(2026, 1, 1), "pm10 80", [""]),
}  # fmt: skip


@pytest.mark.parametrize(("code", "part", "on", "table", "classes"), TABLES.values(), ids=TABLES.keys())
def test_values_are_those_of_the_table(code: str, part: str, on: date, table: str, classes: list[str]) -> None:
    expected = {}
    for cell in table.replace("\n", "|").split("|"):
        if cell.strip():
            name, *values = cell.split()
            assert len(values) == len(classes), name
            expected[name] = [float(value) for value in values]
    found: dict[str, list[Any]] = {}
    for row in LIBRARY.standards[code].rows(part, on):
        bounds = [row.bounds(one or None) for one in classes]
        if row.item != "ph" and None not in bounds:
            found[row.id] = [
                most if most is not None else least for least, most in (one or (None, None) for one in bounds)
            ]
    assert found == expected


@pytest.mark.parametrize(
    ("code", "part", "name", "low", "high"),
    [
        ("GB 20426-2006", "mine-drainage", None, 6, 9),
        ("GB 20426-2006", "coal-washing-water", None, 6, 9),
        ("GB 3838-2002", "surface-water", "V", 6, 9),
        ("GB/T 14848-2017", "groundwater", "III", 6.5, 8.5),
        ("GB/T 14848-2017", "groundwater", "IV", 5.5, 9.0),
    ],
)
def test_ph_is_a_range_of_worst_values(code: str, part: str, name: str | None, low: float, high: float) -> None:
    (row,) = (row for row in LIBRARY.standards[code].rows(part, date(2026, 1, 1)) if row.item == "ph")
    assert row.bounds(name) == (low, high)
    assert row.statistic is Statistic.WORST


def test_bands_and_steps() -> None:
    (drought,) = LIBRARY.standards["soil-moisture"].limits
    assert [(band.id, band.at_least) for band in drought.bands] == [
        ("extreme", 0), ("severe", 30), ("moderate", 40), ("light", 50), ("none", 60),
    ]  # fmt: skip
    (steps,) = LIBRARY.standards["operating-steps"].limits
    assert steps.steps == {"notice": 150, "warning": 250, "critical": 420}
    (difference,) = LIBRARY.standards["DB13/2934-2019"].limits
    assert (difference.cap_reference, difference.allowed_a_day) == (150, 2)


def all_rows() -> list[tuple[Standard, LimitRow]]:
    return [(standard, row) for standard in LIBRARY.standards.values() for row in standard.limits]


@pytest.mark.parametrize(
    ("standard", "row"), all_rows(), ids=lambda one: getattr(one, "standard", getattr(one, "id", ""))
)
def test_every_row_can_be_cited(standard: Standard, row: LimitRow) -> None:
    assert row.clause
    assert row.source
    assert row.part in standard.parts
    if row.measured:
        assert convertible(row.unit, JUDGED_UNITS[row.item])
        # What sensors report is judged: a window needs a rule of how much data make it valid.
        operating = standard.parts[row.part].binding is LimitBinding.OPERATING
        assert operating or (row.validity or standard.parts[row.part].validity) is not None
    if row.status is LimitStatus.SOURCED:
        assert "widely known" not in row.source
    for level in (row.at_most, row.at_least):
        for value in level.values() if isinstance(level, dict) else [] if level is None else [level]:
            assert round(value, row.digits) == value, "a value is given to the digits it is compared with"


def test_there_is_no_hourly_limit_of_particulates_in_the_air_and_none_of_turbidity_in_rivers() -> None:
    for code in ("GB 3095-2012", "GB 3095-2026"):
        hourly = {row.item for row in LIBRARY.standards[code].limits if row.window is H}
        assert hourly == {"so2", "no2", "nox", "co", "o3"}
    assert {row.item for row in LIBRARY.standards["GB 3838-2002"].limits}.isdisjoint({"turbidity", "conductivity"})


@pytest.mark.parametrize(
    ("on", "edition"),
    [
        (date(2015, 12, 31), None),
        (date(2016, 1, 1), "GB 3095-2012"),
        (date(2026, 2, 28), "GB 3095-2012"),
        (date(2026, 3, 1), "GB 3095-2026"),
        (date(2040, 1, 1), "GB 3095-2026"),
    ],
)
@pytest.mark.parametrize("named", ["GB 3095-2012", "GB 3095-2026"])
def test_whichever_edition_is_named_the_day_decides(named: str, on: date, edition: str | None) -> None:
    found = LIBRARY.edition(LIBRARY.standards[named], on)
    assert (found and found.standard) == edition


def test_an_edition_ends_the_day_before_its_successor() -> None:
    assert LIBRARY.valid_to(LIBRARY.standards["GB 3095-2012"]) == date(2026, 2, 28)
    assert LIBRARY.valid_to(LIBRARY.standards["GB 3095-2026"]) is None


def policy_with(*standards: Any, limits: Any = ()) -> Policy:
    return Policy.model_validate({**good(), "standards": list(standards), "limits": list(limits)})


def test_the_mine_s_own_class_chooses_the_value() -> None:
    policy = policy_with("GB 3095-2026/ambient-air", "GB 12348-2008/boundary")
    limits = {one.id: one for one in applicable_limits(policy, date(2026, 11, 27), LIBRARY).limits}
    assert limits["GB 3095-2026/ambient-air/pm10-24h"].at_most == 120
    assert limits["GB 3095-2026/ambient-air/pm10-24h"].valid_to == date(2030, 12, 31)
    assert limits["GB 12348-2008/boundary/night"].at_most == 55
    assert "the edition" not in limits["GB 3095-2026/ambient-air/pm10-24h"].why.en
    older = applicable_limits(policy, date(2020, 1, 1), LIBRARY).limits
    (pm10,) = (one for one in older if one.item == "pm10" and one.window is D)
    assert (pm10.id, pm10.at_most, pm10.valid_to) == ("GB 3095-2012/ambient-air/pm10-24h", 150, date(2026, 2, 28))
    assert "the edition in force that day is GB 3095-2012" in pm10.why.en
    assert next(one for one in older if one.window is Y and one.item == "tsp").at_most == 200


def test_what_no_edition_covers_is_named() -> None:
    found = applicable_limits(policy_with("GB 12523-2025/construction"), date(2025, 12, 31), LIBRARY)
    assert (found.limits, found.not_in_force) == ([], ["GB 12523-2025/construction"])


OWN = {
    "id": "dw001-cod", "basis": "permit", "document": "P-1", "clause": "3", "metric": "pm10", "devices": ["d1"],
    "statistic": "mean", "window": "day", "unit": "ug/m3", "digits": 0, "at_most": 100,
    "valid_from": "2026-02-01", "valid_to": "2026-12-31",
}  # fmt: skip


@pytest.mark.parametrize(
    ("on", "there"),
    [
        (date(2026, 1, 31), False),
        (date(2026, 2, 1), True),
        (date(2026, 12, 31), True),
        (date(2027, 1, 1), False),
    ],
)
def test_a_permit_s_limit_holds_on_its_days(on: date, there: bool) -> None:
    found = applicable_limits(policy_with(limits=[OWN]), on, LIBRARY).limits
    assert [one.id for one in found] == (["permit/dw001-cod"] if there else [])
    assert all(one.binding is LimitBinding.PERMIT for one in found)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("GB 3095-2026", "is a whole standard; name a part of it: GB 3095-2026/ambient-air"),
        ("GB 3095-2026/ambient", "has no part 'ambient'; did you mean 'ambient-air'?"),
        ("GB 3095-2027/ambient-air", "did you mean 'GB 3095-2026/ambient-air'?"),
        ("nonsense", "there is no 'nonsense' in the library of limits"),
    ],
)
def test_an_unknown_part_is_answered_with_what_there_is(name: str, says: str) -> None:
    with pytest.raises(NotFound) as refused:
        LIBRARY.part(name)
    assert says in str(refused.value)
