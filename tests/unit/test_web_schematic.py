"""The schematic map: to scale, north up, everything inside, nothing on top of anything else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenmine.core.metric import SensorKind
from greenmine.dashboards.panel import Marker, Words
from greenmine.web.schematic import draw, text_width
from greenmine.web.state import State


def _marker(name: str, position: tuple[float, float] | None) -> Marker:
    title = Words.same(name)
    return Marker(mine="m", device=name, title=title, kinds=[SensorKind.DUST], position=position, link=f"/x/{name}")


def _draw(*positions: tuple[float, float] | None, labelled: bool = True):  # type: ignore[no-untyped-def]
    markers = [_marker(f"d{i}", position) for i, position in enumerate(positions)]
    labels = {marker.device: marker.device for marker in markers}
    return draw(markers, {m.device: State.OK for m in markers}, labels, 800, 500, labelled)


def test_north_is_up_and_east_is_right() -> None:
    south_west, north_east = _draw((110.0, 39.8), (110.02, 39.81)).spots
    assert south_west.x < north_east.x
    assert south_west.y > north_east.y


def test_distances_keep_their_ratio_at_this_latitude() -> None:
    drawing = _draw((110.0, 60.0), (110.02, 60.0), (110.0, 60.01))
    origin, east, north = drawing.spots
    assert (east.x - origin.x) / (origin.y - north.y) == pytest.approx(1.0, rel=0.02), "60° north: cos is a half"
    assert drawing.bar_px / drawing.bar_m == pytest.approx((east.x - origin.x) / (0.02 * 111_320 * 0.5), rel=0.02)


def test_devices_without_a_position_are_listed_apart() -> None:
    drawing = _draw((110.0, 39.8), None)
    assert [spot.marker.device for spot in drawing.unplaced] == ["d1"]
    assert len(drawing.spots) == 1


def test_one_device_stands_in_the_middle_and_there_is_no_scale() -> None:
    drawing = _draw((110.0, 39.8))
    assert (drawing.spots[0].x, drawing.spots[0].y, drawing.bar_m) == (400, 250, 0)
    assert _draw().spots == []


def test_an_unknown_device_is_no_data_not_good() -> None:
    drawing = draw([_marker("d", (1.0, 1.0))], {}, {}, 100, 100)
    assert drawing.spots[0].state is State.NO_DATA


def test_wide_characters_are_wide() -> None:
    assert text_width("示范") > text_width("ab")


positions = st.tuples(st.floats(110.0, 110.02), st.floats(39.80, 39.82))


@settings(deadline=None, max_examples=60)
@given(st.lists(positions, min_size=1, max_size=12))
def test_symbols_stay_inside_and_do_not_cover_each_other(places: list[tuple[float, float]]) -> None:
    drawing = _draw(*places, labelled=False)
    for spot in drawing.spots:
        assert 0 <= spot.x <= 800
        assert 0 <= spot.y <= 500
    for i, a in enumerate(drawing.spots):
        for b in drawing.spots[i + 1 :]:
            assert abs(a.x - b.x) > 16 or abs(a.y - b.y) > 16
    assert drawing == _draw(*places, labelled=False), "the same sensors are drawn at the same places"
