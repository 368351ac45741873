"""How much is known of a program that was trained on some seeds only.

The fitness of program p on seed s of a task is taken to be mu_p + b_s + e_ps. The effects b of the seeds, which are the
same for everybody, and the variance of e come from programs that were trained on all seeds, the tuned baselines and
the start programs, by analysis of variance with two crossed factors (Searle, Casella, McCulloch, *Variance Components*,
1992, chapter 4). Effects are shrunk to what is not noise of these few programs, their best linear unbiased
prediction. The variance of a single program is that of all with the weight of `PRIOR` trainings, and its own: the mean
of a scaled inverse chi-squared posterior with a few degrees less (Gelman et al., *Bayesian Data Analysis*, 3rd edition,
section 2.6), as is usual for many groups with few values each (Smyth, SAGMB 2004).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from statistics import fmean
from typing import NamedTuple

from search.settings.settings import Aggregate
from search.settings.tasks import TaskSeeds

PRIOR = 8.0  # trainings that the common variance counts as, beside a program's own


class Rungs:
    """Which trainings the rungs of a race add.

    Args:
        tasks: of the search, with their seeds.
    """

    def __init__(self, tasks: Sequence[TaskSeeds]) -> None:
        self._added = [tuple(len(on.rung(rung)) for on in tasks) for rung in range(max(on.rungs for on in tasks))]
        self._known = list(accumulate(map(sum, self._added)))

    @property
    def top(self) -> int:
        """The number of the last rung; they count from 0."""
        return len(self._added) - 1

    def added(self, rung: int) -> int:
        """Return the trainings of a program that a rung adds, over all tasks."""
        return sum(self._added[rung])

    def reached(self, trainings: int) -> int:
        """Return the rung whose trainings are the last of so many."""
        return self._known.index(trainings)

    def by_task(self, values: Sequence[float]) -> list[list[float]]:
        """Return values that stand rung by rung, and task by task within a rung, as one list for each task."""
        found: list[list[float]] = [[] for _ in self._added[0]]
        place = 0
        for added in self._added:
            for task, number in enumerate(added):
                found[task] += values[place : place + number]
                place += number
            if place >= len(values):
                break
        return found

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds of each task."""
        return [sum(numbers) for numbers in zip(*self._added, strict=True)]


class Estimate(NamedTuple):
    """A fitness with its standard error, which is 0 where nothing is known of the noise."""

    fitness: float
    standard_error: float

    @property
    def lower(self) -> float:
        """The fitness less its standard error."""
        return self.fitness - self.standard_error

    @property
    def upper(self) -> float:
        """The fitness plus its standard error."""
        return self.fitness + self.standard_error


class TaskNoise(NamedTuple):
    """The effect of each seed of a task on the fitness of any program, and the standard deviation of what is left."""

    effects: tuple[float, ...]
    sigma: float


def measured_noise(references: Sequence[Sequence[float]]) -> TaskNoise | None:
    """Return the noise of a task, None if fewer than two programs or two seeds are known.

    Args:
        references: the fitness of programs on the same seeds, [programs][seeds]. The better half of them, and at least
            two, count: what trains badly is often noisier than what a search looks for.
    """
    known = sorted(references, key=lambda values: -fmean(values))
    known = known[: max(2, (len(known) + 1) // 2)]
    programs, seeds = len(known), len(known[0]) if known else 0
    if programs < 2 or seeds < 2:
        return None
    centred = [[value - fmean(values) for value in values] for values in known]
    effects = [fmean(column) for column in zip(*centred, strict=True)]
    squares = math.fsum((x - b) ** 2 for values in centred for x, b in zip(values, effects, strict=True))
    noise = squares / ((programs - 1) * (seeds - 1))
    spread = math.fsum(b * b for b in effects) / (seeds - 1)
    shrunk = max(0.0, 1 - noise / (programs * spread)) if spread > 0 else 0.0
    return TaskNoise(tuple(shrunk * b for b in effects), math.sqrt(noise))


class Estimator:
    """Estimates of fitness from what was seen on single seeds.

    Args:
        rungs: which trainings there are.
        aggregate: what decides over several tasks.
        noise: of each task; where it is None nothing is subtracted, and a program's own variance counts.
    """

    def __init__(self, rungs: Rungs, aggregate: Aggregate, noise: Sequence[TaskNoise | None]) -> None:
        self.rungs = rungs
        self._worst = aggregate == "worst"
        self._noise = noise

    def estimate(self, by_seed: Sequence[float]) -> Estimate:
        """Return the estimate of a program from its fitness on seeds, rung by rung."""
        of_tasks = [
            _of_task(values, noise) for values, noise in zip(self.rungs.by_task(by_seed), self._noise, strict=True)
        ]
        if self._worst:
            return min(of_tasks)
        error = math.hypot(*(one.standard_error for one in of_tasks)) / len(of_tasks)
        return Estimate(math.fsum(one.fitness for one in of_tasks) / len(of_tasks), error)

    def standard_error(self, by_seed: Sequence[float]) -> float | None:
        """Return the standard error of such an estimate, None where nothing is known of the noise."""
        values = self.rungs.by_task(by_seed)
        if any(noise is None and len(own) < 2 for own, noise in zip(values, self._noise, strict=True)):
            return None
        return self.estimate(by_seed).standard_error


def _of_task(values: Sequence[float], noise: TaskNoise | None) -> Estimate:
    """Return the estimate of one task from its first seeds."""
    effects = noise.effects[: len(values)] if noise is not None else [0.0] * len(values)
    free = [value - effect for value, effect in zip(values, effects, strict=True)]
    mean = fmean(free)
    squares = math.fsum((value - mean) ** 2 for value in free)
    weight = PRIOR if noise is not None else 0.0
    known = weight + len(free) - 1
    common = weight * noise.sigma**2 if noise is not None else 0.0
    variance = (common + squares) / known if known > 0 else 0.0
    return Estimate(mean, math.sqrt(variance / len(free)))
