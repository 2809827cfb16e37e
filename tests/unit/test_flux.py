"""The text of Flux: nothing from outside is code, fields are selected exactly, times are exact."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core.clock import to_rfc3339
from greenmine.core.metric import METRICS
from greenmine.core.reading import STATS, Reading, Series, field_name
from greenmine.core.reading_store import Selection
from greenmine.store import flux
from greenmine.store.flux import Catalogued
from greenmine.store.line_protocol import MAX_TIME_NS, MIN_TIME_NS

series = st.builds(
    lambda metric, statistic: Series("mine-a", "dust-1", metric, "", *statistic),
    st.sampled_from(sorted(METRICS)),
    st.just(("inst", 0)) | st.tuples(st.sampled_from(("avg", "min", "max", "sum")), st.sampled_from((0, 60, 3600))),
)
selections = st.builds(
    lambda metric, stat, period_s: Selection(metric=metric, stat=stat, period_s=period_s),
    st.none() | st.sampled_from(sorted(METRICS)),
    st.none() | st.sampled_from(STATS),
    st.none() | st.sampled_from((0, 60, 3600)),
)


def field_pattern(query: str) -> str:
    found = re.search(r"r\._field =~ /(.*?)/", query)
    assert found
    return found[1]


@given(st.text())
def test_a_literal_holds_any_text_and_nothing_gets_out(text: str) -> None:
    literal = flux.literal(text)
    assert literal.isascii()
    assert re.fullmatch(r'"([A-Za-z0-9._-]|\\x[0-9a-f]{2})*"', literal)
    raw = re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), literal[1:-1])
    assert raw.encode("latin-1") == text.encode("utf-8", "replace")


@pytest.mark.parametrize("text", ["dust-1", "greenmine_1m", "d20"])
def test_an_identifier_stays_readable(text: str) -> None:
    assert flux.literal(text) == f'"{text}"'


@given(selections, series)
def test_fields_are_selected_as_the_port_selects(selection: Selection, of: Series) -> None:
    query = flux.values("greenmine", selection)
    selected = (
        query is not None
        and re.fullmatch(field_pattern(query), field_name(of.metric, of.stat, of.period_s)) is not None
    )
    assert selected == selection.matches(Reading(of, 0, 0.0))


@given(selections, series)
def test_values_and_quality_bits_are_never_mixed(selection: Selection, of: Series) -> None:
    field = field_name(of.metric, of.stat, of.period_s)
    values, bits = flux.values("b", selection), flux.qualities("b", selection)
    if values is None or bits is None:
        assert values == bits
        return
    assert not re.fullmatch(field_pattern(values), f"{field}_q")
    assert not re.fullmatch(field_pattern(bits), field)
    assert bool(re.fullmatch(field_pattern(bits), f"{field}_q")) == bool(re.fullmatch(field_pattern(values), field))


@given(series, st.booleans())
def test_a_series_is_found_again_by_its_labels(of: Series, flagged: bool) -> None:
    field = field_name(of.metric, of.stat, of.period_s)
    rows = [("7", of.mine, of.device, of.channel, field)]
    if flagged:
        rows.insert(0, ("3", of.mine, of.device, of.channel, f"{field}_q"))
    assert flux.to_catalogue(rows) == [Catalogued(of, 7, flagged)]


catalogues = st.dictionaries(
    st.builds(
        Series,
        st.sampled_from("ab"),
        st.sampled_from("cd"),
        st.sampled_from(("pm10", "ph")),
        st.sampled_from(("", "e")),
    ),
    st.integers(1, 50),
).map(lambda counts: [Catalogued(series, counts[series], False) for series in sorted(counts)])


@given(catalogues, st.integers(1, 120), st.sampled_from([Selection(), Selection(start_ns=1, end_ns=9)]))
def test_portions_are_the_selection_in_order_and_small(
    catalogued: list[Catalogued], most: int, selection: Selection
) -> None:
    cut = [*flux.portions(catalogued, selection, most)]
    if 0 < sum(entry.readings for entry in catalogued) <= most:
        assert len(cut) == 1, "what is little takes one request"
    assert [entry for _, entries in cut for entry in entries] == catalogued
    for portion, entries in cut:
        assert len(entries) == 1 or sum(entry.readings for entry in entries) <= most
        selected = [entry for entry in catalogued if portion.matches(Reading(entry.series, 5, 0.0))]
        assert selected == list(entries), "a portion has to select its series and no other"
        assert (portion.start_ns, portion.end_ns) == (selection.start_ns, selection.end_ns)


@given(st.integers(MIN_TIME_NS, MAX_TIME_NS))
def test_times_are_read_exactly(time_ns: int) -> None:
    assert flux.to_ns(to_rfc3339(time_ns)) == time_ns


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999999999Z", -1),
        ("2026-11-22T09:55:18.300981062Z", 1_795_341_318_300_981_062),
        ("2026-11-22T09:55:18.3Z", 1_795_341_318_300_000_000),
    ],
)
def test_times_as_influxdb_writes_them(text: str, time_ns: int) -> None:
    assert flux.to_ns(text) == time_ns


@pytest.mark.parametrize("text", ["", "soon", "2026-11-22T09:55:18.xZ"])
def test_other_times_are_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        flux.to_ns(text)


def test_a_range_that_ends_before_1970_does_not_end_there_for_the_storage() -> None:
    """Its count would never come: see tests/contracts/test_influxdb.py."""
    query = flux.count("greenmine", Selection(start_ns=-100, end_ns=-10))
    assert query is not None
    assert "range(start: time(v: -100), stop: time(v: 1))" in query
    assert "r._time < time(v: -10)" in query
