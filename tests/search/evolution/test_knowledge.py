"""What a population knows of its seeds and its births, against closed forms and simulation."""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from proxy_tasks import get_task

from search.evolution.estimates import Estimate, Estimator, Rungs, TaskNoise, measured_noise
from search.evolution.knowledge import LEAST_SEEN, POOLED, REFIT, RIDGE, UPPER, Knowledge, fitted
from search.settings.tasks import TaskSeeds, tuning_seeds


def estimator_of(noise: TaskNoise | None, seeds: int = 16) -> Estimator:
    return Estimator(Rungs([TaskSeeds(get_task("digits_mlp"), tuning_seeds(seeds), None, 1)]), "mean", [noise])


def flat(sigma: float, seeds: int = 16) -> TaskNoise:
    """Return noise without effects, as if measured."""
    return TaskNoise((0.0,) * seeds, sigma, references=((0.0,) * seeds,))


# --- seeds -----------------------------------------------------------------------------------------------------------


def test_effects_are_those_of_the_programs_that_the_population_has() -> None:
    """Seeds that are easy for the baselines and hard for what is found: one training says without bias what that is."""
    rng = np.random.default_rng(0)
    of_baselines, of_found = 0.2 * rng.standard_normal((2, 16))
    of_baselines -= of_baselines.mean()
    of_found -= of_found.mean()
    baselines = [list(-loss * (1 - of_baselines + 0.01 * rng.standard_normal(16))) for loss in (1.0, 1.1, 1.2, 1.3)]
    knowledge = Knowledge(estimator_of(measured_noise(baselines, 0.0)))
    losses = -0.3 * (1 - of_found + 0.01 * rng.standard_normal((POOLED, 16)))
    before = [knowledge.seen(losses[0][:seeds].tolist()).fitness for seeds in (1, 2, 4)]
    for number, row in enumerate(losses):
        seeds = (2, 4, 8, 16)[number % 4]
        is_new = knowledge.note_race(str(number), row[:seeds].tolist())
        assert is_new == ((number + 1) % REFIT == 0)
    after = [knowledge.seen(losses[0][:seeds].tolist()).fitness for seeds in (1, 2, 4)]
    assert max(abs(fitness + 0.3) for fitness in before) > 0.03, "what the baselines say of the seeds is wrong"
    assert after == pytest.approx([-0.3] * 3, abs=0.015)


def test_effects_are_the_ridge_solution_with_a_mean_for_each_program() -> None:
    """Against weighted least squares with dummy variables for programs and penalised ones for seeds."""
    rng = np.random.default_rng(1)
    rows = [list(rng.standard_normal(n)) for n in [2, 3, 6, 6, 4, 2] * 2]

    def reference(weights: list[float]) -> np.ndarray:
        of_programs, of_seeds, values, w = [], [], [], []
        for number, row in enumerate(rows):
            for seed, value in enumerate(row):
                of_programs.append(np.eye(12)[number])
                of_seeds.append(np.eye(6)[seed])
                values.append(value)
                w.append(weights[number])
        design = np.hstack([np.array(of_programs), np.array(of_seeds)])
        penalty = np.diag([0.0] * 12 + [RIDGE] * 6)
        weighted = design.T * np.array(w)
        return np.asarray(np.linalg.solve(weighted @ design + penalty, weighted @ np.array(values))[12:])

    first = reference([1.0] * 12)
    variances = [np.var(np.array(row) - first[: len(row)], ddof=1) for row in rows]
    ranked = sorted(
        (v / (1 - 2 / (9 * (len(row) - 1))) ** 3, len(row) - 1) for v, row in zip(variances, rows, strict=True)
    )
    passed = np.cumsum([n for _, n in ranked])
    median = ranked[int(np.searchsorted(passed, passed[-1] / 2))][0]
    found = fitted(TaskNoise((0.0,) * 6, 1.0), rows)
    assert found is not None
    assert found.effects == pytest.approx(reference([min(1.0, median / v) for v in variances]))


def test_the_variance_is_that_of_the_latest_programs_of_the_search() -> None:
    knowledge = Knowledge(estimator_of(flat(0.5)))
    rng = np.random.default_rng(0)
    for number in range(POOLED + 40):
        knowledge.note_race(str(number), list(rng.normal(size=4) * (3.0 if number >= 40 else 100.0)))
    assert knowledge.seen([1.0]).standard_error == pytest.approx(3.0, rel=0.25), "not the first, nor baselines"
    for _ in range(REFIT):
        knowledge.note_race("0", [1.0, 2.0])
    assert len(knowledge._raced) == POOLED, "a program counts once, as it is known now"


@pytest.mark.parametrize("seeds", [2, 3, 4, 8, 16])
def test_the_median_of_variances_is_that_of_the_noise_and_what_fails_on_a_seed_changes_little(seeds: int) -> None:
    """Against the variance that the numbers were drawn with, over many pools of programs on few and on many seeds."""

    def found(fails: int) -> float:
        variances = []
        for pool in range(60):
            values = 2.0 * np.random.default_rng(pool).normal(size=(POOLED, seeds))
            values[:fails, -1] += 1000.0
            noise = fitted(flat(2.0), values.tolist())
            assert noise is not None
            variances.append(noise.sigma**2)
        return statistics.fmean(variances)

    assert found(0) == pytest.approx(4.0, rel=0.15)
    assert found(4) < 4.0 * 1.6


def test_programs_that_fail_on_a_seed_say_little_of_it() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(POOLED, 8))
    plain = fitted(flat(1.0, 8), values.tolist())
    values[:3, 5] += 1000.0
    with_failures = fitted(flat(1.0, 8), values.tolist())
    assert plain is not None and with_failures is not None
    assert with_failures.effects == pytest.approx(plain.effects, abs=0.5)


def test_without_references_and_races_nothing_is_known_of_the_noise() -> None:
    knowledge = Knowledge(estimator_of(None, 4))
    assert knowledge.seen([1.0]) == Estimate(1.0, 0.0)
    for number in range(REFIT):
        knowledge.note_race(str(number), [1.0, 3.0])
    assert knowledge.seen([1.0]).standard_error > 0


# --- births ----------------------------------------------------------------------------------------------------------


def after_births(seen: list[float], error: float) -> Knowledge:
    knowledge = Knowledge(estimator_of(flat(error)))
    for fitness in seen:
        knowledge.note_birth([fitness])
    return knowledge


def test_worth_is_the_normal_posterior_with_the_fitted_prior() -> None:
    """Against the conjugate update, with the prior that the two quantiles and the noise give."""
    seen = [statistics.NormalDist(-1.0, 0.5).inv_cdf((n + 0.5) / 200) for n in range(200)]
    knowledge = after_births(seen, 0.3)
    low, high = (sorted(seen)[int(share * 200)] for share in UPPER)
    ends = [statistics.NormalDist().inv_cdf(share) for share in UPPER]
    deviation = (high - low) / (ends[1] - ends[0])
    mean, variance = low - ends[0] * deviation, deviation**2 - 0.09
    assert (mean, deviation) == (pytest.approx(-1.0, abs=0.03), pytest.approx(0.5, abs=0.03))
    for by_seed in ([0.2], [0.2] * 9, [-2.0]):
        known, found = knowledge.seen(by_seed), knowledge.worth(by_seed)
        precision = 1 / variance + 1 / known.standard_error**2
        expected = (mean / variance + known.fitness / known.standard_error**2) / precision
        assert found == (pytest.approx(expected), known.standard_error)


def test_the_best_of_many_that_were_seen_once_is_worth_what_is_believed_of_it() -> None:
    """What racing is for: without shrinking the best of 200 is believed to be 2 sigma better than it is."""
    gaps, plain = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        worth = 0.4 * rng.standard_normal(200)
        seen = worth + rng.standard_normal(200)
        best = int(np.argmax(seen))
        gaps.append(after_births(seen.tolist(), 1.0).worth([float(seen[best])]).fitness - worth[best])
        plain.append(seen[best] - worth[best])
    assert statistics.fmean(plain) > 2
    assert abs(statistics.fmean(gaps)) < 0.25


def test_few_births_give_no_prior() -> None:
    knowledge = after_births([0.0] * (LEAST_SEEN - 1), 1.0)
    assert knowledge.worth([5.0]) == knowledge.seen([5.0])


def test_births_are_seen_again_when_more_is_known_of_seeds() -> None:
    """A first seed that was easy for the baselines, and is not for what is found: what births have shown moves too."""
    easy = TaskNoise((0.5, -0.5), 0.1, references=((0.5, -0.5), (0.5, -0.5)))
    knowledge = Knowledge(estimator_of(easy, 2))
    for _ in range(LEAST_SEEN):
        knowledge.note_birth([1.0])
    assert knowledge.worth([1.0]).fitness == pytest.approx(0.5)
    for number in range(POOLED):
        knowledge.note_race(str(number), [1.0, 1.0 + 0.01 * (number % 3)])
    assert knowledge.worth([1.0]).fitness == pytest.approx(1.0, abs=0.05)
