"""What is known of a program from some seeds: rungs, seed effects, variances, against closed forms and simulation."""

from __future__ import annotations

import math
import statistics
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_tasks import get_task

from search.evolution.estimates import PRIOR, Estimate, Estimator, Rungs, TaskNoise, measured_noise
from search.settings.settings import Aggregate
from search.settings.tasks import TaskSeeds, tuning_seeds

TASK = get_task("digits_mlp")


def raced(first: int | None, most: int) -> TaskSeeds:
    return TaskSeeds(TASK, tuning_seeds(most), None, first)


races = st.integers(1, 20).flatmap(lambda first: st.tuples(st.just(first), st.integers(first, 64)))


@given(st.lists(races, min_size=1, max_size=3))
def test_rungs_use_every_seed_once_and_double(settings: list[tuple[int, int]]) -> None:
    tasks = [raced(*one) for one in settings]
    rungs = Rungs(tasks)
    for on, (first, most) in zip(tasks, settings, strict=True):
        parts = [on.rung(rung) for rung in range(rungs.top + 1)]
        assert [seed for part in parts for seed in part] == list(range(most))
        known = 0
        for part in parts[: on.rungs]:
            assert len(part) == (min(known, most - known) or first)
            known += len(part)
    total = 0
    for rung in range(rungs.top + 1):
        total += rungs.added(rung)
        assert rungs.reached(total) == rung
    assert total == sum(most for _, most in settings)


@given(races, races)
def test_values_come_back_to_their_tasks(one: tuple[int, int], other: tuple[int, int]) -> None:
    tasks = [raced(*one), raced(*other)]
    rungs = Rungs(tasks)
    told = [(task, seed) for rung in range(rungs.top + 1) for task, on in enumerate(tasks) for seed in on.rung(rung)]
    codes = [task * 1000.0 + seed for task, seed in told]
    for rung in range(rungs.top + 1):
        known = codes[: sum(rungs.added(r) for r in range(rung + 1))]
        expected = [[c for c in known if c // 1000 == task] for task in (0, 1)]
        assert rungs.by_task(known) == expected


def test_without_a_race_there_is_one_rung() -> None:
    on = raced(None, 5)
    assert (on.rungs, on.rung(0), on.rung(1)) == (1, (0, 1, 2, 3, 4), ())
    assert on == raced(2, 5).unraced


# --- noise -----------------------------------------------------------------------------------------------------------


def table(programs: int, seeds: int, effect: float, sigma: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    effects = effect * rng.standard_normal(seeds)
    return rng.normal(size=(programs, 1)) + effects + sigma * rng.standard_normal((programs, seeds))


def test_noise_is_the_mean_square_of_a_two_way_analysis() -> None:
    """Against the textbook's sums of squares, for the better half of the programs."""
    values = table(6, 7, 0.5, 0.3)
    found = measured_noise(values.tolist())
    assert found is not None
    kept = values[np.argsort(-values.mean(1))[:3]]
    residual = kept - kept.mean(1, keepdims=True) - kept.mean(0) + kept.mean()
    mean_square = (residual**2).sum() / (2 * 6)
    assert found.sigma**2 == pytest.approx(mean_square)
    columns = kept.mean(0) - kept.mean()
    shrinkage = 1 - mean_square / (7 * 0 + 3 * columns.var(ddof=1))
    assert found.effects == pytest.approx(shrinkage * columns)


def test_noise_and_effects_are_found_in_simulations() -> None:
    sigmas, errors = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        effects = rng.standard_normal(16)
        effects -= effects.mean()
        values = rng.normal(size=(8, 1)) + effects + 0.5 * rng.standard_normal((8, 16))
        found = measured_noise(values.tolist())
        assert found is not None
        sigmas.append(found.sigma**2)
        errors.append(np.mean((np.array(found.effects) - effects) ** 2))
    assert statistics.fmean(sigmas) == pytest.approx(0.25, rel=0.06)
    assert statistics.fmean(errors) < 0.25 / 4, "better than the mean of the four programs itself"


def test_effects_that_are_only_noise_are_forgotten() -> None:
    spreads = []
    for seed in range(100):
        found = measured_noise(table(4, 8, 0.0, 1.0, seed).tolist())
        assert found is not None
        spreads.append(statistics.pvariance(found.effects))
    assert statistics.fmean(spreads) < 0.25, "the plain means of two programs would have 0.44"


@pytest.mark.parametrize("values", [[], [[1.0], [2.0]]])
def test_noise_is_not_known_without_programs_or_from_one_seed(values: list[list[float]]) -> None:
    assert measured_noise(values) is None


def test_what_a_single_program_varies_is_noise() -> None:
    assert measured_noise([[1.0, 2.0, 6.0]]) == TaskNoise((0.0, 0.0, 0.0), pytest.approx(statistics.stdev([1, 2, 6])))


def test_tasks_without_noise_have_none() -> None:
    found = measured_noise([[1.0, 2.0], [3.0, 4.0]])
    assert found == TaskNoise((-0.5, 0.5), 0.0)


# --- noise in shares of the loss -------------------------------------------------------------------------------------


def test_effects_of_seeds_are_those_of_better_and_worse_programs_too() -> None:
    """Losses that are a program's own, times a seed's, times chance: one seed says without bias what a loss is."""
    rng = np.random.default_rng(0)
    of_seeds = np.exp(0.2 * rng.standard_normal(16))
    of_seeds /= of_seeds.mean()

    def fitness(loss: float) -> list[float]:
        return list(-loss * of_seeds * np.exp(0.01 * rng.standard_normal(16)))

    noise = measured_noise([fitness(1.0), fitness(1.1), fitness(1.2), fitness(1.3)], perfect=0.0)
    assert noise is not None and noise.perfect == 0.0
    assert noise.effects == pytest.approx(1.0 - of_seeds, abs=0.03)
    assert noise.sigma == pytest.approx(0.01, rel=0.5)
    estimator = Estimator(Rungs([raced(1, 16)]), "mean", [noise])
    for loss in (0.1, 1.0, 10.0):
        seen = fitness(loss)
        for seeds in (1, 2, 4, 16):
            found = estimator.estimate(seen[:seeds])
            assert found.fitness == pytest.approx(-loss, rel=0.04)
            assert found.standard_error < 0.03 * loss


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=8), st.floats(0.01, 100), st.floats(-5, 5))
def test_estimates_follow_the_unit_of_losses(losses: list[float], unit: float, perfect: float) -> None:
    """Losses in another unit, and fitness from another zero, say the same."""
    effects = (0.1, -0.1, 0.05, -0.05, 0.2, -0.2, 0.0, 0.0)

    def found(unit: float, perfect: float) -> Estimate:
        noise = TaskNoise(effects, 0.1, perfect)
        estimator = Estimator(Rungs([raced(1, 8)]), "mean", [noise])
        return estimator.estimate([perfect - unit * loss for loss in losses])

    one, other = found(1.0, 0.0), found(unit, perfect)
    assert (other.fitness - perfect) / unit == pytest.approx(one.fitness, rel=1e-6, abs=1e-6 / unit)
    assert other.standard_error / unit == pytest.approx(one.standard_error, rel=1e-6, abs=1e-6 / unit)


def test_losses_that_need_not_be_positive_have_noise_of_one_size() -> None:
    assert measured_noise([[1.0, 2.0], [3.0, 4.0]], perfect=3.5) == measured_noise([[1.0, 2.0], [3.0, 4.0]])


# --- estimates -------------------------------------------------------------------------------------------------------

values = st.lists(st.floats(-10, 10), min_size=1, max_size=16)


@given(values, st.floats(0.01, 10))
def test_an_estimate_has_the_closed_form(seen: list[float], sigma: float) -> None:
    """The mean without the effects of its seeds; the variance of a scaled inverse chi-squared posterior."""
    effects = tuple(Random(1).random() for _ in range(16))
    rungs = Rungs([raced(len(seen), 16)])
    found = Estimator(rungs, "mean", [TaskNoise(effects, sigma)]).estimate(seen)
    free = np.array(seen) - effects[: len(seen)]
    assert found.fitness == pytest.approx(free.mean(), abs=1e-9)
    squares = ((free - free.mean()) ** 2).sum()
    variance = (PRIOR * sigma**2 + squares) / (PRIOR + len(seen) - 1)
    assert found.standard_error == pytest.approx(math.sqrt(variance / len(seen)))


@given(values, values)
def test_over_several_tasks_the_mean_or_the_worst_decides(one: list[float], other: list[float]) -> None:
    tasks = [raced(len(one), 16), raced(len(other), 16)]
    noise = [TaskNoise((0.0,) * 16, 1.0)] * 2
    alone = [
        Estimator(Rungs([on]), "mean", noise[:1]).estimate(seen) for on, seen in zip(tasks, (one, other), strict=True)
    ]

    def found(aggregate: Aggregate) -> Estimate:
        return Estimator(Rungs(tasks), aggregate, noise).estimate([*one, *other])

    assert found("worst") == min(alone)
    mean = found("mean")
    assert mean.fitness == pytest.approx((alone[0].fitness + alone[1].fitness) / 2)
    assert mean.standard_error == pytest.approx(math.hypot(alone[0].standard_error, alone[1].standard_error) / 2)


def test_where_no_noise_is_known_a_program_has_its_own_or_none() -> None:
    estimator = Estimator(Rungs([raced(1, 4)]), "mean", [None])
    assert estimator.standard_error([1.0]) is None
    assert estimator.standard_error([1.0, 3.0]) == pytest.approx(1.0)
    assert estimator.estimate([1.0]) == Estimate(1.0, 0.0)
