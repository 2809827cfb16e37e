"""How values are shown: units of the limits, digits, no minus nought."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenmine.core.metric import METRICS
from greenmine.core.unit import convert
from greenmine.dashboards.shown import (
    limit_number,
    limit_text,
    number_text,
    shown_digits,
    shown_unit,
    shown_value,
    unit_symbol,
    value_text,
)


@pytest.mark.parametrize(
    ("metric", "value", "unit", "text"),
    [
        ("tsp", 1420.0, None, "1.42 mg/m³"),
        ("tsp", 0.8, "mg/m3", "0.80 mg/m³"),
        ("pm10", 81.3, None, "81 µg/m³"),
        ("pm10", 0.25, "mg/m3", "250 µg/m³"),
        ("ph", 7.4, None, "7.40"),
        ("air_temp", -0.04, None, "0.0 °C"),
        ("air_temp", 273.15, "K", "0.0 °C"),
        ("laeq", 65.25, "dB", "65.2 dB"),
        ("wind_dir", 200.4, None, "200 °"),
        ("turbidity", 12345678.0, None, "1.235e+07 NTU"),
    ],
)
def test_values_are_shown_in_the_unit_of_the_limits(metric: str, value: float, unit: str | None, text: str) -> None:
    assert value_text(metric, value, unit) == text


@pytest.mark.parametrize(
    ("metric", "value", "unit", "text"),
    [("tsp", 1.0, "mg/m3", "1 mg/m³"), ("tsp", 1000.0, None, "1 mg/m³"), ("ph", 6.2, None, "6.2")],
)
def test_limits_are_as_short_as_they_were_written(metric: str, value: float, unit: str | None, text: str) -> None:
    assert limit_text(metric, value, unit) == text


def test_a_value_whose_unit_no_longer_fits_its_metric_is_left_alone() -> None:
    assert shown_value("pm10", 7.0, "NTU") == 7.0
    assert shown_value("gone", 7.0, "ug/m3") == 7.0
    assert (shown_unit("gone"), shown_digits("gone")) == ("", 2)


@given(st.sampled_from(sorted(METRICS)), st.floats(-1e6, 1e6))
def test_shown_and_canonical_differ_only_by_the_unit(name: str, value: float) -> None:
    metric = METRICS[name]
    assert convert(shown_value(name, value), metric.shown_unit, metric.unit) == pytest.approx(value, abs=1e-6)


@given(st.floats(-1e6, 1e6), st.integers(0, 3))
def test_the_number_is_within_half_a_digit_and_never_minus_nought(value: float, digits: int) -> None:
    text = number_text(value, digits)
    assert abs(float(text) - value) <= 0.5000001 * 10.0**-digits
    assert float(text) != 0 or not text.startswith("-")


@given(st.floats(1e-3, 9.9e5))
def test_a_limit_keeps_six_digits(value: float) -> None:
    assert float(limit_number(value)) == pytest.approx(value, rel=1e-5)


def test_every_unit_of_every_metric_has_a_printable_symbol() -> None:
    for metric in METRICS.values():
        assert unit_symbol(metric.shown_unit).isprintable()
        assert "ug" not in unit_symbol(metric.shown_unit)
        assert "m3" not in unit_symbol(metric.shown_unit)
