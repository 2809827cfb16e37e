"""Files of readings in Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenmine.core.errors import UserError
from greenmine.store import parquet
from greenmine.store.parquet import read_parquet, write_parquet
from tests.pipeline_scenes import START_NS

NAMES = ("time_ns", "mine", "device", "metric", "value", "channel", "stat", "period_s", "unit", "quality", "calibrated")


def row(time_ns: int = START_NS, value: float | None = 81.3, **more: Any) -> tuple[Any, ...]:
    given_row = dict(zip(NAMES, (time_ns, "m", "d", "pm10", value, "", "inst", 0, "ug/m3", "", None), strict=True))
    return tuple({**given_row, **more}.values())


def read(path: Path) -> list[dict[str, Any]]:
    return list(read_parquet(path))


def named(given_row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(NAMES, given_row, strict=True))


def written(path: Path, *rows: tuple[Any, ...]) -> list[dict[str, Any]]:
    assert write_parquet(path, iter(rows)) == len(rows)
    return read(path)


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [
        row(),
        row(START_NS + 1, None, quality="range late"),
        row(START_NS + 2, 81.3, calibrated=82.5),
        row(0, -0.5, channel="d20", stat="avg", period_s=3600),
    ]
    assert written(tmp_path / "r.parquet", *rows) == [named(one) for one in rows]


def test_no_rows(tmp_path: Path) -> None:
    assert written(tmp_path / "r.parquet") == []


def test_more_rows_than_a_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_CHUNK_ROWS", 10)
    rows = [row(START_NS + n, float(n)) for n in range(25)]
    assert written(tmp_path / "r.parquet", *rows) == [named(one) for one in rows]


texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=10)
some_rows = st.builds(
    row,
    st.integers(-(2**62), 2**62),
    st.none() | st.floats(allow_nan=False),
    channel=texts,
    unit=st.none() | texts,
    quality=texts,
    period_s=st.integers(0, 2**31 - 1),
    calibrated=st.none() | st.floats(allow_nan=False),
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(some_rows, max_size=12))
def test_any_rows_come_back_as_they_were(tmp_path: Path, rows: list[tuple[Any, ...]]) -> None:
    assert written(tmp_path / "r.parquet", *rows) == [named(one) for one in rows]


@pytest.mark.parametrize(
    "name",
    ["it's.parquet", "a b.parquet", "[12].parquet", "a*.parquet", "a?.parquet", "读数.parquet", "mine=x/r.parquet"],
)
def test_any_name_means_one_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    for other in ("1.parquet", "a1.parquet"):
        write_parquet(tmp_path / other, iter([row(value=1.0)]))
    assert written(path, row(value=2.0)) == [named(row(value=2.0))]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("TIMESTAMP '2026-11-22 08:00:00.123456'", {"time_ns": START_NS + 123_456_000}),
        ("TIMESTAMP_S '2026-11-22 08:00:00'", {"time_ns": START_NS}),
        ("TIMESTAMP_NS '2026-11-22 08:00:00.123456789'", {"time_ns": START_NS + 123_456_789}),
        ("TIMESTAMPTZ '2026-11-22 16:00:00+08:00'", {"time_ns": START_NS}),
        ("'2026-11-22T16:00:00+08:00'", {"time": "2026-11-22T16:00:00+08:00"}),
    ],
)
def test_times_of_other_programs(tmp_path: Path, column: str, expected: dict[str, Any]) -> None:
    path = tmp_path / "r.parquet"
    duckdb.execute(f"COPY (SELECT {column} AS time, 5.0 AS value) TO '{path}' (FORMAT parquet)")
    (found,) = read(path)
    assert {**expected, "value": 5.0} == {**found, "value": float(found["value"])}


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    path.write_text("time,value\n")
    with pytest.raises(UserError, match=r"r\.parquet: cannot be read as Parquet"):
        read(path)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path / "absent.parquet")


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        write_parquet(tmp_path / "absent" / "r.parquet", iter([row()]))
