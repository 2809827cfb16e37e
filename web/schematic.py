"""A schematic map: where the sensors of a mine stand to each other, drawn to scale and then spread until no symbol
covers another. Pure geometry; the template draws it."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from greenmine.dashboards.panel import Marker
from greenmine.web.state import State

_M_PER_DEG_LAT = 110_574.0
_M_PER_DEG_LON = 111_320.0
_ROUNDS = 120


class XY(NamedTuple):
    """A point of the drawing, from its upper left corner."""

    x: float
    y: float


@dataclass(frozen=True)
class Spot:
    """A marker at its place, with its state."""

    marker: Marker
    state: State
    x: float
    y: float
    label: str


@dataclass(frozen=True)
class Drawing:
    """A map of `width` by `height`. `outline` is the area around the sensors; `bar_px` is the length of the scale bar
    that stands for `bar_m` metres (0 where the map has no extent); `unplaced` have no position."""

    width: int
    height: int
    spots: list[Spot]
    outline: list[XY]
    bar_m: int
    bar_px: float
    unplaced: list[Spot]


def draw(
    markers: Sequence[Marker],
    states: Mapping[str, State],
    labels: Mapping[str, str],
    width: int,
    height: int,
    with_labels: bool = True,
) -> Drawing:
    """The map of some markers; `states` and `labels` by device id (by mine id for markers of mines)."""

    def spot(marker: Marker, x: float, y: float) -> Spot:
        key = marker.device or marker.mine
        return Spot(marker, states.get(key, State.NO_DATA), round(x, 1), round(y, 1), labels.get(key, key))

    placed = [(marker, marker.position) for marker in markers if marker.position is not None]
    boxes = tuple(_box(labels.get(m.device or m.mine, ""), with_labels) for m, _ in placed)
    margin = XY(90.0, 56.0) if with_labels else XY(30.0, 30.0)
    spread, outline, px_per_m = _layout(tuple(position for _, position in placed), boxes, width, height, margin)
    spots = [spot(marker, *xy) for (marker, _), xy in zip(placed, spread, strict=True)]
    unplaced = [spot(marker, 0, 0) for marker in markers if marker.position is None]
    bar_m = _round_length(width * 0.2 / px_per_m) if px_per_m else 0
    return Drawing(width, height, spots, list(outline), bar_m, round(bar_m * px_per_m, 1), unplaced)


def text_width(text: str) -> float:
    """Rough width of a label in px at 13 px: wide characters 13, others 7."""
    return sum(13.0 if unicodedata.east_asian_width(char) in "WF" else 7.2 for char in text)


@lru_cache(maxsize=1024)
def _layout(
    positions: tuple[tuple[float, float], ...], boxes: tuple[XY, ...], width: int, height: int, margin: XY
) -> tuple[list[XY], list[XY], float]:
    """Spread places, outline and px a metre; remembered, for a map is drawn anew whenever a state changes."""
    places, px_per_m = _fit(positions, width, height, margin)
    return _spread(places, boxes, width, height), _hull(places), px_per_m


def _fit(positions: Sequence[tuple[float, float]], width: int, height: int, margin: XY) -> tuple[list[XY], float]:
    """Places and px a metre; 0 px a metre where all stand on one spot."""
    if not positions:
        return [], 0.0
    middle_lat = sum(lat for _, lat in positions) / len(positions)
    east = [lon * _M_PER_DEG_LON * math.cos(math.radians(middle_lat)) for lon, _ in positions]
    north = [lat * _M_PER_DEG_LAT for _, lat in positions]
    span_east, span_north = max(east) - min(east), max(north) - min(north)
    if max(span_east, span_north) < 1.0:
        return [XY(width / 2, height / 2) for _ in positions], 0.0
    room_x, room_y = width - 2 * margin.x, height - 2 * margin.y
    scale = min(room_x / max(span_east, 1e-9), room_y / max(span_north, 1e-9))
    middle_e, middle_n = (max(east) + min(east)) / 2, (max(north) + min(north)) / 2
    places = [
        XY(width / 2 + (e - middle_e) * scale, height / 2 - (n - middle_n) * scale)
        for e, n in zip(east, north, strict=True)
    ]
    return places, scale


def _box(label: str, with_labels: bool) -> XY:
    """Room that a symbol with its label needs."""
    return XY(max(44.0, text_width(label) + 8), 62.0) if with_labels else XY(32.0, 32.0)


def _spread(places: Sequence[XY], boxes: Sequence[XY], width: int, height: int) -> list[XY]:
    """Push overlapping boxes apart along the axis where they overlap least, a little in each round."""
    spots = [[x, y] for x, y in places]
    for _ in range(_ROUNDS):
        moved = False
        for i in range(len(spots)):
            for j in range(i + 1, len(spots)):
                moved = _push(spots[i], spots[j], boxes[i], boxes[j], j) or moved
        for spot, box in zip(spots, boxes, strict=True):
            spot[0] = min(max(spot[0], box.x / 2), max(width - box.x / 2, box.x / 2))
            spot[1] = min(max(spot[1], box.y / 2), max(height - box.y / 2, box.y / 2))
        if not moved:
            break
    return [XY(x, y) for x, y in spots]


def _push(a: list[float], b: list[float], box_a: XY, box_b: XY, turn: int) -> bool:
    over_x = (box_a.x + box_b.x) / 2 - abs(a[0] - b[0])
    over_y = (box_a.y + box_b.y) / 2 - abs(a[1] - b[1])
    if over_x <= 0.5 or over_y <= 0.5:
        return False
    axis, over = (0, over_x) if over_x < over_y else (1, over_y)
    sign = math.copysign(1.0, b[axis] - a[axis]) if a[axis] != b[axis] else (1.0 if turn % 2 else -1.0)
    a[axis] -= sign * over / 2
    b[axis] += sign * over / 2
    return True


def _hull(places: Sequence[XY]) -> list[XY]:
    """Convex hull, counted around; fewer than three points are returned as they are."""
    points = sorted(set(places))
    if len(points) < 3:
        return points

    def half(ordered: Sequence[XY]) -> list[XY]:
        chain: list[XY] = []
        for point in ordered:
            while len(chain) >= 2 and _turn(chain[-2], chain[-1], point) <= 0:
                chain.pop()
            chain.append(point)
        return chain[:-1]

    return [XY(round(x, 1), round(y, 1)) for x, y in half(points) + half(points[::-1])]


def _turn(a: XY, b: XY, c: XY) -> float:
    return (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x)


def _round_length(metres: float) -> int:
    """The greatest of 1, 2, 5 times a power of ten that is not above `metres`; at least 1."""
    if metres < 1:
        return 1
    power = 10 ** math.floor(math.log10(metres))
    return int(next(step * power for step in (5, 2, 1) if step * power <= metres))
