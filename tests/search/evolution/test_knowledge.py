"""What a population knows of the noise of its programs and of its births, against closed forms and simulation."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_tasks import get_task

from search.evolution.estimates import Estimate, Estimator, Rungs, TaskNoise, Variance
from search.evolution.knowledge import LEAP, LEAPS, LEAST_SEEN, POOLED, UPPER, Knowledge, Prior, _deviation
from search.settings.tasks import TaskSeeds, tuning_seeds


def estimator_of(noise: TaskNoise | None, seeds: int = 16) -> Estimator:
    return Estimator(Rungs([TaskSeeds(get_task("digits_mlp"), tuning_seeds(seeds), None, 1)]), "mean", [noise])


def flat(sigma: float, perfect: float | None = None) -> TaskNoise:
    return TaskNoise((0.0,) * 16, sigma, perfect)


# --- noise -----------------------------------------------------------------------------------------------------------


def test_the_variance_is_that_of_the_latest_programs_of_the_search() -> None:
    knowledge = Knowledge(estimator_of(flat(0.5)))
    assert knowledge.seen([1.0, 2.0]) == estimator_of(flat(0.5)).estimate([1.0, 2.0])
    rng = np.random.default_rng(0)
    for number in range(POOLED + 20):
        knowledge.note_race(str(number), list(rng.normal(size=4) * (3.0 if number >= 20 else 100.0)))
    assert knowledge.seen([1.0]).standard_error == pytest.approx(3.0, rel=0.25), "not the first, nor baselines"
    knowledge.note_race("0", [1.0, 2.0])
    knowledge.note_race("0", [1.0, 2.0, 3.0])
    assert len(knowledge._raced) == POOLED, "a program counts once, as it is known now"


@given(st.lists(st.tuples(st.floats(0.01, 9), st.integers(1, 15)), min_size=1, max_size=POOLED))
def test_the_deviation_is_that_of_the_weighted_median(known: list[tuple[float, int]]) -> None:
    """Against a list in which every variance stands as often as it has degrees of freedom."""
    found = _deviation([Variance(*one) for one in known], 2.0)
    each = [(value / (1 - 2 / (9 * freedom)) ** 3, freedom) for value, freedom in known]
    spelled = sorted([4.0] * 16 + [value for value, freedom in each for _ in range(freedom)])
    assert found == pytest.approx(math.sqrt(statistics.median_low(spelled)))


@pytest.mark.parametrize("seeds", [2, 4, 8, 16])
def test_the_median_of_variances_is_that_of_the_noise_and_what_fails_on_a_seed_changes_little(seeds: int) -> None:
    """Against the variance that the numbers were drawn with, over many pools of programs on few and on many seeds."""

    def found(fails: int) -> float:
        variances = []
        for pool in range(60):
            rng, knowledge = np.random.default_rng(pool), Knowledge(estimator_of(flat(2.0)))
            for number in range(POOLED):
                values = 2.0 * rng.normal(size=seeds)
                values[-1] += 1000.0 * (number < fails)
                knowledge.note_race(str(number), values.tolist())
            variances.append(knowledge.seen([0.0]).standard_error ** 2)
        return statistics.fmean(variances)

    assert found(0) == pytest.approx(4.0, rel=0.12)
    assert found(4) < 4.0 * 1.5


def test_the_variance_is_in_shares_of_the_loss() -> None:
    """Races of programs with losses around 10 tell how noisy a program with a loss of 0.1 is."""
    knowledge = Knowledge(estimator_of(flat(0.5, perfect=0.0)))
    rng = np.random.default_rng(0)
    for number in range(POOLED):
        knowledge.note_race(str(number), (-10.0 * (1.0 + 0.02 * rng.standard_normal(8))).tolist())
    assert knowledge.seen([-0.1]).standard_error == pytest.approx(0.002, rel=0.25)


def test_without_measured_noise_races_tell_it() -> None:
    knowledge = Knowledge(estimator_of(None))
    assert knowledge.seen([1.0]) == Estimate(1.0, 0.0)
    knowledge.note_race("0", [1.0])
    assert knowledge.seen([1.0]) == Estimate(1.0, 0.0)
    knowledge.note_race("1", [1.0, 3.0])
    assert knowledge.seen([1.0]).standard_error > 1.0


# --- births ----------------------------------------------------------------------------------------------------------


def after_births(seen: list[float], error: float) -> Knowledge:
    knowledge = Knowledge(estimator_of(flat(error)))
    for fitness in seen:
        knowledge.note_birth([fitness])
    return knowledge


@given(
    st.floats(-3, 3), st.floats(0.01, 3), st.floats(0, 30), st.floats(-20, 20), st.floats(0.01, 3),
)  # fmt: skip
def test_the_mean_of_the_posterior_is_that_of_the_integral(
    mean: float, narrow: float, more: float, fitness: float, error: float
) -> None:
    """Against numerical integration over all that a birth may be worth."""
    prior = Prior(mean, narrow, narrow + more)
    worths = np.linspace(-60, 60, 200_001)

    def normal(x: np.ndarray, center: float, variance: float) -> np.ndarray:
        return np.asarray(np.exp(-0.5 * (x - center) ** 2 / variance) / np.sqrt(variance))

    density = (1 - LEAPS) * normal(worths, mean, narrow) + LEAPS * normal(worths, mean, narrow + more)
    density *= normal(worths, fitness, error**2)
    if density.sum() > 1e-200:
        expected = (density * worths).sum() / density.sum()
        assert prior.mean_given(Estimate(fitness, error)) == pytest.approx(expected, abs=1e-3)


def test_the_narrow_part_is_fitted_to_quantiles_and_leaps_are_believed() -> None:
    seen = [statistics.NormalDist(-1.0, 0.5).inv_cdf((n + 0.5) / 200) for n in range(200)]
    knowledge = after_births(seen, 0.3)
    low, high = (sorted(seen)[int(share * 200)] for share in UPPER)
    ends = [statistics.NormalDist().inv_cdf(share) for share in UPPER]
    deviation = (high - low) / (ends[1] - ends[0])
    mean, variance = low - ends[0] * deviation, deviation**2 - 0.09
    assert (mean, deviation) == (pytest.approx(-1.0, abs=0.03), pytest.approx(0.5, abs=0.03))
    prior = Prior(mean, variance, (LEAP * 0.3) ** 2)
    for by_seed in ([0.2], [0.2] * 9, [-2.0], [3.0]):
        known, found = knowledge.seen(by_seed), knowledge.worth(by_seed)
        assert found == (pytest.approx(prior.mean_given(known)), known.standard_error)
    usual, leap = knowledge.worth([-0.2]).fitness, knowledge.worth([2.0]).fitness
    assert -0.6 < usual < -0.35, "what others are worth too"
    assert leap > 1.8


def test_the_best_of_many_that_were_seen_once_is_worth_nearly_what_is_believed_of_it() -> None:
    """What racing is for: without shrinking the best of 200 is believed to be 2 sigma better than it is.

    With the narrow part of the prior alone it would be 0.23 sigma; believing leaps costs the rest.
    """
    gaps, plain = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        worth = 0.4 * rng.standard_normal(200)
        seen = worth + rng.standard_normal(200)
        best = int(np.argmax(seen))
        gaps.append(after_births(seen.tolist(), 1.0).worth([float(seen[best])]).fitness - worth[best])
        plain.append(seen[best] - worth[best])
    assert statistics.fmean(plain) > 2
    assert abs(statistics.fmean(gaps)) < 0.45


def test_few_births_give_no_prior() -> None:
    knowledge = after_births([0.0] * (LEAST_SEEN - 1), 1.0)
    assert knowledge.worth([5.0]) == knowledge.seen([5.0])
