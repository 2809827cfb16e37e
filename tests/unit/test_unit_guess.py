"""Which unit a value is really in: said only where the registered one is impossible and another is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core.metric import METRICS
from greenmine.core.unit import UNITS, convert, convertible
from greenmine.ingest.unit_guess import guess_unit


@pytest.mark.parametrize(
    ("metric", "value", "registered", "expected"),
    [
        ("pm10", 81.3, "ug/m3", None),
        ("pm10", 140_600.0, "ug/m3", "ng/m3"),
        ("pm10", 140_600.0, "ng/m3", None),
        ("tsp", 178_000.0, "mg/m3", "ng/m3"),
        ("tsp", 178_000.0, "ug/m3", "ng/m3"),
        ("pm10", 81.3, "mg/m3", "ug/m3"),
        ("pm10", 1e18, "ug/m3", None),
        ("pm10", -9999.0, "ug/m3", None),
        ("pm10", 5.0, "kPa", None),
        ("pressure", 1013.2, "kPa", "hPa"),
        ("pressure", 101_325.0, "kPa", "Pa"),
        ("pressure", 101.3, "hPa", "kPa"),
        ("air_temp", 293.15, "Cel", "K"),
        ("ph", 15.0, "1", None),
    ],
)
def test_what_is_guessed(metric: str, value: float, registered: str, expected: str | None) -> None:
    assert guess_unit(metric, value, registered) == expected


@given(st.sampled_from(sorted(METRICS)), st.floats(allow_nan=False), st.sampled_from(UNITS))
def test_a_guess_is_possible_and_the_registered_unit_is_not(metric: str, value: float, registered: str) -> None:
    ours = METRICS[metric]
    guess = guess_unit(metric, value, registered)
    if guess is not None:
        assert convertible(registered, ours.unit)
        assert not ours.low <= convert(value, registered, ours.unit) <= ours.high
        assert ours.low <= convert(value, guess, ours.unit) <= ours.high
