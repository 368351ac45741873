"""Kendall's tau against SciPy's, and its intervals against samples that are drawn one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from search.results.rank_correlation import estimate, pairs_of, ranked, tau_of

FITNESS = st.one_of(st.none(), st.integers(-3, 3).map(float))  # ties and failed trainings are likely
BOTH = st.lists(st.tuples(FITNESS, FITNESS), min_size=2, max_size=20)
LOWEST = -100.0  # in place of what failed, for SciPy


def with_lowest(fitness: list[float | None]) -> list[float]:
    return [LOWEST if one is None else one for one in fitness]


@given(BOTH)
def test_tau_is_that_of_scipy(both: list[tuple[float | None, float | None]]) -> None:
    first, second = ([one[place] for one in both] for place in (0, 1))
    (tau,) = tau_of(pairs_of(ranked(first), ranked(second)))
    expected = kendalltau(with_lowest(first), with_lowest(second)).statistic
    assert tau == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(BOTH, st.data())
def test_a_sample_of_programs_is_as_good_as_its_programs_written_out(
    both: list[tuple[float | None, float | None]], data: st.DataObject
) -> None:
    counts = data.draw(st.lists(st.integers(0, 3), min_size=len(both), max_size=len(both)))
    assume(sum(counts) > 1)
    first, second = (with_lowest([one[place] for one in both]) for place in (0, 1))
    pairs = pairs_of(np.array(first), np.array(second))
    expected = kendalltau(np.repeat(first, counts), np.repeat(second, counts)).statistic
    assert tau_of(pairs, np.array([counts], float))[0] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_the_interval_is_that_of_samples_of_programs() -> None:
    rng = np.random.default_rng(3)
    first = rng.normal(size=30)
    second = first + rng.normal(size=30)
    found = estimate(pairs_of(first, second))
    samples = [rng.integers(0, 30, 30) for _ in range(2000)]
    low, high = np.quantile([kendalltau(first[s], second[s]).statistic for s in samples], [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.03)
    assert found.low < found.tau < found.high and found.standard_error == pytest.approx((high - low) / 4, rel=0.15)


def test_one_order_has_no_doubt_and_no_order_has_no_tau() -> None:
    order = ranked([0.1, 0.2, None, 0.4])
    assert estimate(pairs_of(order, order))[:3] == (1.0, 1.0, 1.0)
    assert estimate(pairs_of(order, -order))[0] < 0
    assert all(map(math.isnan, estimate(pairs_of(order, ranked([None] * 4)))))
