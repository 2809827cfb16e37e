"""The sliding window and its means."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from greenmine.rules.binding import Binding, bind
from greenmine.rules.window import Window, arithmetic_mean, energy_mean
from tests.pipeline_scenes import NS, device, limit, policy


def mean_of(metric: str = "pm10", window: str = "60s", coverage: float = 0.5, **more: object) -> Binding:
    """A mean over a window, of a sensor that reports every 10 s."""
    rule = {**limit("m", metric, 150, 130), "kind": "mean", "window": window, "coverage": coverage, **more}
    noise = device("noise-1", "noise", laeq="dB")
    dust = device("dust-1", pm10="ug/m3")
    (found,) = bind(policy([rule], devices=[dust, noise]))
    return found


def filled(binding: Binding, *samples: tuple[int, float]) -> Window:
    """A window with (second, value) samples."""
    window = Window(binding.window_ns)
    for second, value in samples:
        window.add(second * NS, value)
    return window


def test_a_mean_needs_its_coverage() -> None:
    binding = mean_of(coverage=0.5)
    assert binding.due == 3
    assert filled(binding, (0, 1.0), (10, 2.0)).mean(binding) is None
    assert filled(binding, (0, 1.0), (10, 2.0), (20, 6.0)).mean(binding) == 3.0


def test_an_empty_window_has_no_mean() -> None:
    assert Window(60 * NS).mean(mean_of()) is None


def test_full_coverage_needs_every_reading() -> None:
    binding = mean_of(coverage=1.0)
    full = [(10 * n, 5.0) for n in range(6)]
    assert filled(binding, *full[1:]).mean(binding) is None
    assert filled(binding, *full).mean(binding) == 5.0


def test_the_window_is_open_at_its_old_end() -> None:
    binding = mean_of(coverage=0.1)
    window = filled(binding, (0, 100.0), (1, 10.0), (60, 20.0))
    assert window.mean(binding) == 15.0, "the reading a whole window ago is out, the one a second later is in"


def test_one_window_serves_a_shorter_rule() -> None:
    window = filled(mean_of(window="10m"), (0, 100.0), (510, 100.0), (550, 10.0), (560, 20.0), (570, 30.0))
    assert window.mean(mean_of(window="60s", coverage=0.5)) == 20.0


def test_after_a_gap_only_what_came_since_counts() -> None:
    binding = mean_of()
    window = filled(binding, (0, 900.0), (10, 900.0), (20, 900.0), (500, 5.0))
    assert window.mean(binding) is None, "what is too old is no coverage"


# Hand-computed: 10 lg((10^6 + 10^7) / 2) = 10 lg(5.5 x 10^6) = 60 + 10 lg 5.5 = 67.403627
# 10 lg((10^5 + 10^5 + 10^9) / 3) = 10 lg(3.334e8) = 80 + 10 lg 3.334 = 85.229656
@pytest.mark.parametrize(
    ("levels", "leq"),
    [
        ((60.0, 70.0), 67.40362689494244),
        ((50.0, 50.0, 90.0), 85.22965596),
        ((65.0,), 65.0),
        ((60.0, 60.0, 60.0, 60.0), 60.0),
        ((0.0, 0.0), 0.0),
    ],
)
def test_energy_mean(levels: tuple[float, ...], leq: float) -> None:
    assert energy_mean(levels) == pytest.approx(leq, abs=1e-8)


def test_noise_is_averaged_by_energy_unless_told_otherwise() -> None:
    samples = ((0, 60.0), (10, 60.0), (20, 80.0))
    by_energy, plain = mean_of("laeq"), mean_of("laeq", statistic="arithmetic")
    assert filled(by_energy, *samples).mean(by_energy) == pytest.approx(75.31479, abs=1e-5)
    assert filled(plain, *samples).mean(plain) == pytest.approx(66.66667, abs=1e-5)


@pytest.mark.parametrize("level", [65.0, 64.9, 55.3, 0.1, 119.7])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 60, 100])
def test_the_mean_of_equal_levels_is_that_level_to_the_last_bit(level: float, count: int) -> None:
    """Otherwise a steady sound on the limit would be over it."""
    assert energy_mean([level] * count) == level


levels = st.floats(-20, 200) | st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=100, deadline=None)
@given(st.lists(levels, min_size=1, max_size=30), st.randoms())
def test_an_energy_mean_lies_between_its_levels_whatever_their_order(values: list[float], any_: object) -> None:
    leq = energy_mean(values)
    span = max(values) - min(values)
    assert min(values) - 1e-9 * (1 + abs(min(values))) <= leq <= max(values) or not math.isfinite(span)
    shuffled = list(values)
    any_.shuffle(shuffled)  # type: ignore[attr-defined]
    assert energy_mean(shuffled) == leq


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
@example([1e308, 1e308, 1e308])
@example([1.7e308, -1.7e308, 1.7e308])
def test_an_arithmetic_mean_is_the_exact_one(values: list[float]) -> None:
    exact = sum((Fraction(v) for v in values), Fraction(0)) / len(values)
    assert arithmetic_mean(values) == pytest.approx(float(exact), rel=1e-12, abs=5e-324 * 40)


@pytest.mark.parametrize("value", [150.0, 0.1, 149.99999999999997])
@pytest.mark.parametrize("count", [3, 10, 60, 61])
def test_the_mean_of_equal_values_is_that_value_to_the_last_bit(value: float, count: int) -> None:
    assert arithmetic_mean([value] * count) == value


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.floats(0, 500)), min_size=1, max_size=40),
    st.sampled_from((0.1, 0.5, 0.75, 1.0)),
)
def test_the_mean_is_that_of_the_readings_in_the_window(steps: list[tuple[int, float]], coverage: float) -> None:
    binding = mean_of(coverage=coverage)
    window, sent, second = Window(binding.window_ns), [], 0
    for pause, value in steps:
        second += pause
        sent.append((second, value))
        window.add(second * NS, value)
        inside = [v for s, v in sent if second - 60 < s <= second]
        mean = window.mean(binding)
        if len(inside) < coverage * 6:
            assert mean is None
        else:
            assert mean == pytest.approx(math.fsum(inside) / len(inside), rel=1e-12)
