"""Statistics against SciPy's own tests, closed forms, tables, and simulated noise."""

from __future__ import annotations

import math
import random
import statistics

import numpy as np
import pytest
from scipy import stats

from search.training.statistics import Difference, combined, corrected, difference, p_of, standard_error

RNG = random.Random(3)
OURS = {seed: RNG.gauss(0.2, 1.0) for seed in range(1000, 1012)}
THEIRS = {seed: RNG.gauss(0.0, 2.0) for seed in range(1000, 1012)}
OTHERS = {seed: RNG.gauss(0.0, 2.0) for seed in range(2000, 2007)}


def test_standard_error_of_known_values() -> None:
    """2, 4, 4, 4, 5, 5, 7, 9 have squared deviations 32 around 5."""
    assert standard_error([2, 4, 4, 4, 5, 5, 7, 9]) == pytest.approx(math.sqrt(32 / 7 / 8))
    assert math.isnan(standard_error([1.0]))


def test_shared_seeds_are_paired_as_scipy_pairs_them() -> None:
    found = difference(OURS, dict(reversed(THEIRS.items())))
    assert found is not None and found.paired
    expected = stats.ttest_rel(list(OURS.values()), list(THEIRS.values()), alternative="greater")
    assert found.mean / found.standard_error == pytest.approx(expected.statistic)
    assert found.degrees == expected.df == 11
    assert p_of(found.z) == pytest.approx(expected.pvalue)
    assert found.interval(0.9) == pytest.approx(
        stats.ttest_rel(list(OURS.values()), list(THEIRS.values())).confidence_interval(0.9)
    )


def test_other_seeds_are_compared_as_welch_did() -> None:
    found = difference(OURS, OTHERS)
    assert found is not None and not found.paired
    expected = stats.ttest_ind(list(OURS.values()), list(OTHERS.values()), equal_var=False, alternative="greater")
    assert found.mean / found.standard_error == pytest.approx(expected.statistic)
    assert found.degrees == pytest.approx(expected.df)
    assert p_of(found.z) == pytest.approx(expected.pvalue)


def test_pairing_takes_out_what_seeds_have_in_common() -> None:
    """The same small gain on every seed, under noise that both sides share."""
    base = {seed: RNG.gauss(0.0, 1.0) for seed in range(10)}
    gain = {seed: value + 0.01 + 0.001 * (seed % 2) for seed, value in base.items()}
    moved = {seed + 100: value for seed, value in base.items()}
    paired, apart = difference(gain, base), difference(gain, moved)
    assert paired is not None and apart is not None
    assert paired.z > 5 and apart.z < 0.5
    assert paired.mean == pytest.approx(apart.mean)


def test_few_values_tell_little() -> None:
    assert difference({1: 0.5}, {1: 0.2}) is None
    two, many = ({seed: 1.0 + 0.1 * (-1) ** seed for seed in range(n)} for n in (2, 40))
    zero_two, zero_many = (dict.fromkeys(values, 0.0) for values in (two, many))
    few, enough = difference(two, zero_two), difference(many, zero_many)
    assert few is not None and enough is not None
    assert few.z < few.mean / few.standard_error  # t of one degree of freedom is no z
    assert 0 < few.z < 2.5 < 10 < enough.z


def test_without_noise_a_difference_is_certain_or_none() -> None:
    better, same = difference({1: 2.0, 2: 2.0}, {1: 1.0, 2: 1.0}), difference({1: 2.0, 2: 2.0}, {1: 2.0, 2: 2.0})
    assert better is not None and same is not None
    assert better.z == math.inf and same.z == 0.0
    far = difference({3: 2.0, 4: 2.0}, {1: 1.0, 2: 1.0})
    assert far is not None and far.z == math.inf


def test_z_keeps_its_sign_and_its_digits_far_out() -> None:
    ours = {seed: 10.0 + 0.01 * (-1) ** seed for seed in range(100)}
    zero = dict.fromkeys(ours, 0.0)
    above, below = difference(ours, zero), difference(zero, ours)
    assert above is not None and below is not None
    assert 30 < above.z == -below.z < math.inf


def test_intervals_hold_what_they_promise() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        ours = dict(enumerate(rng.normal(3.0, 2.0, size=5).tolist()))
        found = difference(ours, dict.fromkeys(ours, 0.0))
        assert found is not None
        low, high = found.interval(0.9)
        hits += low < 3.0 < high
    assert 1750 < hits < 1850  # 1800 expected, sigma 13


@pytest.mark.parametrize("candidates", [1, 2, 50, 10_000])
def test_the_best_of_many_is_corrected_as_it_is_distributed(candidates: int) -> None:
    """The distribution of the largest of n normal deviates is Phi^n; far out, Bonferroni's n p."""
    for z in (-1.0, 0.5, 2.0, 3.0):
        assert corrected(z, candidates) == pytest.approx(1 - stats.norm.cdf(z) ** candidates, rel=1e-9)
    assert corrected(9.0, candidates) == pytest.approx(candidates * p_of(9.0), rel=1e-6)
    assert corrected(-50.0, candidates) == 1.0


def test_the_best_of_noise_is_significant_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    best = rng.normal(size=(4000, 30)).max(axis=1)
    found = sum(corrected(z, 30) < 0.05 for z in best.tolist())
    assert 150 < found < 250  # 200 expected, sigma 14


def test_tasks_are_combined_as_scipy_does() -> None:
    zs = [0.3, 1.9, -0.4, 2.2]
    expected = stats.combine_pvalues([p_of(z) for z in zs], method="stouffer")
    assert combined(zs) == pytest.approx(expected.statistic)
    assert combined([1.5]) == 1.5


def test_the_mean_of_an_interval_is_its_middle() -> None:
    values = [1.0, 2.0, 4.0]
    low, high = Difference(statistics.fmean(values), standard_error(values), 2, True).interval()
    assert (low + high) / 2 == pytest.approx(statistics.fmean(values))
    assert high - low == pytest.approx(2 * 4.302653 * standard_error(values), rel=1e-6)  # t of 2 degrees, 97.5 %
