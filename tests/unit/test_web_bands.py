"""Bands of activity on charts: what is joined, what is cut, and what a chart's document says."""

from __future__ import annotations

from typing import Any

import pytest

from greenmine.core.activity import ActivityInterval, ActivityKind, EndedBy
from greenmine.web.bands import FINEST, Band, bands
from tests.web_fakes import MIN_NS, NOW_NS, make_world, running
from tests.web_intake_scenes import add_activity

START = NOW_NS - FINEST * MIN_NS
BLAST, WATERING = ActivityKind.BLAST, ActivityKind.WATERING


def interval(kind: ActivityKind, begun: int, ended: int | None, zone: str = "", latest: int = -600) -> ActivityInterval:
    """From and to so many minutes ago."""
    end_ns = None if ended is None else NOW_NS - ended * MIN_NS
    why = None if ended is None else EndedBy.END
    return ActivityInterval(
        begun, "m", "d", kind, zone, None, None, NOW_NS - begun * MIN_NS, end_ns, NOW_NS - latest * MIN_NS, why
    )


def found(*intervals: ActivityInterval) -> list[tuple[str, int, int, tuple[str, ...]]]:
    """Bands with their minutes ago."""
    return [
        (one.kind.value, (NOW_NS - one.start_ns) // MIN_NS, (NOW_NS - one.end_ns) // MIN_NS, one.zones)
        for one in bands(intervals, START, NOW_NS, NOW_NS)
    ]


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([], []),
        ([interval(BLAST, 30, 20, "north")], [("blast", 30, 20, ("north",))]),
        ([interval(BLAST, 30, 20, "north"), interval(BLAST, 25, 15, "east")], [("blast", 30, 15, ("north", "east"))]),
        ([interval(BLAST, 30, 20), interval(BLAST, 19, 15)], [("blast", 30, 15, ())]),
        ([interval(BLAST, 30, 20), interval(BLAST, 18, 15)], [("blast", 30, 20, ()), ("blast", 18, 15, ())]),
        ([interval(BLAST, 30, 20), interval(WATERING, 30, 20)], [("blast", 30, 20, ()), ("watering", 30, 20, ())]),
        ([interval(BLAST, 30, 10), interval(BLAST, 25, 20)], [("blast", 30, 10, ())]),
        ([interval(WATERING, 30, None)], [("watering", 30, 0, ())]),
        ([interval(WATERING, 300, None, latest=200)], [("watering", 300, 200, ())]),
        ([interval(WATERING, 900, 100)], [("watering", FINEST, 100, ())]),
        ([interval(WATERING, 900, 500)], []),
        ([interval(BLAST, 20, 20)], [("blast", 20, 20, ())]),
        ([interval(BLAST, 20, 20), interval(BLAST, 20, 10)], [("blast", 20, 20, ()), ("blast", 20, 10, ())]),
    ],
)
def test_bands(intervals: list[ActivityInterval], expected: list[tuple[Any, ...]]) -> None:
    assert found(*intervals) == expected


def test_many_of_a_kind_are_no_more_bands_than_can_be_seen() -> None:
    hauls = [interval(ActivityKind.HAUL, back, back - 1) for back in range(1, 5 * FINEST)]
    assert len(bands(hauls, START, NOW_NS, NOW_NS)) == 1
    assert isinstance(bands(hauls, START, NOW_NS, NOW_NS)[0], Band)


def test_a_chart_s_document_has_them_in_local_time_and_both_languages() -> None:
    world = make_world("rest", hours=1)
    add_activity(world.board.intervals, NOW_NS)
    with running(world) as site, site.logged_in() as client:
        document = client.get(
            "/api/v1/mines/demo-pit/chart", params={"panel": "chart.pm10.inst.0", "device": "dust-n1", "range": "6h"}
        ).json()
    blast = document["bands"][2]
    assert (blast["from"], blast["to"]) == ("2026-11-22 13:30:00.000", "2026-11-22 13:40:00.000")
    assert blast["zones"] == ["north"]
    assert document["bands"][0]["label"] == {"zh": "运输", "en": "haulage"}
    assert [band["kind"] for band in document["bands"]] == ["haul", "watering", "blast", "watering", "blast"]
    assert document["bands"][-1]["from"] == document["bands"][-1]["to"], "a planned moment"
