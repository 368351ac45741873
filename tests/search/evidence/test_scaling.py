"""Best rates and what they go with, on losses whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.evidence.analysis.scaling import RateCurve, error_of_best, fit_power, fit_surge, refined

VALUES = (16.0, 32.0, 64.0, 128.0, 256.0, 512.0)


def curve(best: float, noise: float = 0.0, seed: int = 0, seeds: int = 4, reach: int = 3) -> RateCurve:
    """A parabola in the log of the rate around a best that each seed moves; the grid is around 1."""
    rng = np.random.default_rng(seed)
    rates = 2.0 ** np.arange(-reach, reach + 1)
    own = np.log10(best) + noise * rng.normal(size=seeds)
    return RateCurve(rates, 0.1 + (np.log10(rates)[:, None] - own) ** 2)


@given(st.floats(0.2, 5.0))
def test_the_best_of_a_parabola_is_found_between_the_rates(best: float) -> None:
    found = curve(best).best
    assert found is not None and not found.is_edge
    assert found.rate == pytest.approx(best, rel=1e-6)


def test_a_best_at_the_edge_is_said_to_be_one() -> None:
    for best, edge in ((100.0, 8.0), (0.001, 0.125)):
        found = curve(best).best
        assert found is not None and found.is_edge and found.rate == edge


def test_failures_beside_the_best_leave_it_on_the_grid() -> None:
    rates = np.array([0.5, 1.0, 2.0])
    found = refined(rates, np.array([0.3, 0.1, math.inf]))
    assert found is not None and not found.is_edge and found.rate == 1.0
    assert refined(rates, np.full(3, math.inf)) is None


@pytest.mark.parametrize("exponent", [-0.5, 0.25, 0.5])
def test_a_power_is_found_and_its_interval_holds_it(exponent: float) -> None:
    curves = {v: curve((v / 90) ** exponent, 0.05, seed) for seed, v in enumerate(VALUES)}
    found = fit_power(curves)
    assert found is not None and found.is_sure
    assert found.low <= exponent <= found.high and found.exponent == pytest.approx(exponent, abs=0.1)
    assert 10**found.intercept * 90**found.exponent == pytest.approx(1.0, rel=0.15)


def test_weights_are_by_how_sure_a_best_is() -> None:
    """One value far off the line, whose seeds say nothing, moves the slope less than one whose seeds agree."""
    slopes = []
    for noise in (0.0, 0.6):
        curves = {v: curve(1.0, 0.02, seed) for seed, v in enumerate(VALUES)}
        curves[VALUES[-1]] = curve(3.0, noise, 11)
        found = fit_power(curves)
        assert found is not None
        slopes.append(abs(found.exponent))
    assert slopes[1] < slopes[0] / 2


def test_without_a_slope_it_is_seldom_told_from_zero() -> None:
    """Twelve times over, with noise and four seeds."""
    found = [fit_power({v: curve(1.0, 0.1, 100 * n + i) for i, v in enumerate(VALUES)}) for n in range(12)]
    sure = [one for one in found if one is not None and one.is_sure]
    assert len(sure) <= 2


def test_bests_at_the_edge_count_for_nothing() -> None:
    curves = {v: curve((v / 90) ** 0.3) for v in VALUES}
    curves[1024.0] = curve(100.0)
    found = fit_power(curves)
    assert found is not None and found.exponent == pytest.approx(0.3, abs=1e-6)
    assert fit_power(dict(list(curves.items())[:2])) is None


def test_the_surge_is_told_from_a_power() -> None:
    """The formula of the paper, with a root written out, at a peak of 100; and a power that has none."""
    surge = {b: curve(1.5 / (0.5 * (math.sqrt(100 / b) + math.sqrt(b / 100)))) for b in VALUES}
    found, power = fit_surge(surge), fit_power(surge)
    assert found is not None and power is not None
    assert found.peak == pytest.approx(100.0, rel=0.02) and found.top == pytest.approx(1.5, rel=0.01)
    assert found.misfit < power.misfit / 10
    rising = {b: curve((b / 90) ** 0.4) for b in VALUES}
    found, power = fit_surge(rising), fit_power(rising)
    assert found is not None and power is not None and power.misfit < found.misfit


def test_the_error_of_a_best_is_that_of_the_mean_over_seeds() -> None:
    """The mean of parabolas has its lowest point at the mean of theirs."""
    one = curve(1.0, 0.1, 3, seeds=12)
    rng = np.random.default_rng(3)
    own = 0.1 * rng.normal(size=12)
    assert error_of_best(one) == pytest.approx(own.std() / math.sqrt(12), rel=0.15)
