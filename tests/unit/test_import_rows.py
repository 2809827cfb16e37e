"""Rows of readings on their way into the journal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core.errors import Refused
from greenmine.core.reading import STATS
from greenmine.import_rows import FIELDS, import_record
from greenmine.ingest.record import RecordKind

ROW: dict[str, Any] = {
    "mine": "shifan-1",
    "device": "dust-n1",
    "metric": "pm10",
    "channel": "",
    "stat": "inst",
    "period_s": 0,
    "time_ns": 1_800_000_000_000_000_000,
    "value": 81.3,
    "unit": "ug/m3",
    "quality": 0,
}


def row(**changed: Any) -> list[Any]:
    return [(ROW | changed)[name] for name in FIELDS]


def test_rows_become_one_record_of_their_principal() -> None:
    rows = [row(), row(value=None, unit=None), row(stat="avg", period_s=3600, channel="d20", value=3)]
    record = import_record(rows, "person:li")
    assert (record.kind, record.source) == (RecordKind.IMPORT, "person:li")
    assert json.loads(record.payload) == rows


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"mine": "Shifan"}, "mine and device"),
        ({"mine": None}, "mine and device"),
        ({"device": ""}, "mine and device"),
        ({"device": "a/b"}, "mine and device"),
        ({"device": "x" * 64}, "mine and device"),
        ({"metric": "pm11"}, "unknown metric 'pm11'"),
        ({"metric": None}, "unknown metric"),
        ({"metric": ["pm10"]}, "unknown metric"),
        ({"metric": {}}, "unknown metric"),
        ({"channel": None}, "channel"),
        ({"channel": "D20"}, "channel"),
        ({"stat": "mean"}, "stat is inst"),
        ({"stat": ["inst"]}, "stat is inst"),
        ({"stat": "avg"}, "stat is inst"),
        ({"period_s": 60}, "stat is inst"),
        ({"period_s": "0"}, "stat is inst"),
        ({"period_s": False}, "stat is inst"),
        ({"stat": "avg", "period_s": -60}, "period_s"),
        ({"stat": "avg", "period_s": 10**30}, "period_s"),
        ({"time_ns": None}, "time"),
        ({"time_ns": 1.5}, "time"),
        ({"time_ns": 2**63}, "time"),
        ({"time_ns": -(2**63)}, "time"),
        ({"value": "81.3"}, "value"),
        ({"value": True}, "value"),
        ({"value": float("nan")}, "value"),
        ({"value": float("-inf")}, "value"),
        ({"value": 10**400}, "value"),
        ({"unit": "furlong"}, "unknown unit 'furlong'"),
        ({"unit": 3}, "unknown unit"),
        ({"quality": ["range"]}, "quality"),
        ({"quality": -1}, "quality"),
        ({"quality": 2**14}, "quality"),
        ({"quality": True}, "quality"),
    ],
)
def test_a_malformed_row_is_named_by_number_and_field(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused) as refused:
        import_record([row(), row(**changed)], "person:li")
    assert refused.value.word == "row"
    assert refused.value.detail.startswith("row 2: ")
    assert said in refused.value.detail


@pytest.mark.parametrize("broken", [None, {}, "row", [], row()[:-1], [*row(), 1]])
def test_what_is_no_row(broken: Any) -> None:
    with pytest.raises(Refused, match=f"row 1: expected {len(FIELDS)} fields"):
        import_record([broken], "person:li")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(STATS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=3))
def test_whatever_comes_is_a_record_or_a_refusal(changed: dict[str, Any]) -> None:
    try:
        record = import_record([row(**changed)], "person:li")
    except Refused:
        return
    (written,) = json.loads(record.payload)
    assert len(written) == len(FIELDS)
    assert all(value is None or isinstance(value, str | int | float) for value in written)
