"""How much is known of a program that was trained on some seeds only.

The fitness of program p on seed s of a task is taken to be mu_p + L_p (b_s + e_ps), where L_p is the loss that mu_p
stands for: a seed is harder for everybody by the same share of the loss, and what is left grows with the loss too. (As
differences they would hold for programs like the baselines alone: what has a third of their loss would seem better or
worse than it is by a fifth.) Where losses need not be positive, L is 1. The effects b of the seeds, which are the same
for everybody, and the variance of e come from programs that were trained on all seeds, the tuned baselines and the
start programs, by analysis of variance with two crossed factors (Searle, Casella, McCulloch, *Variance Components*,
1992, chapter 4). Effects are shrunk to what is not noise of these few programs, their best linear unbiased prediction.

The variance of a single program is that of all with the weight of `PRIOR` trainings, and its own: the mean of a scaled
inverse chi-squared posterior with a few degrees less (Gelman et al., *Bayesian Data Analysis*, 3rd edition, section
2.6), as is usual for many groups with few values each (Smyth, SAGMB 2004).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from statistics import fmean, stdev
from typing import NamedTuple

from search.settings.settings import Aggregate
from search.settings.tasks import TaskSeeds

PRIOR = 8.0  # trainings that the common variance counts as, beside a program's own
LEAST_LOSS = 1e-12  # that the noise of a program is a share of
EASIEST = 0.1  # loss on the easiest of seeds, over the mean


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
    """The effect of each seed of a task on the fitness of any program, and the standard deviation of what is left.

    Both are shares of a program's loss, if `perfect` is the fitness of a loss of zero; if it is None, of 1.
    """

    effects: tuple[float, ...]
    sigma: float
    perfect: float | None = None

    def scale(self, values: Sequence[float]) -> float:
        """Return the loss of a program, in units of fitness, from its fitness on the first seeds."""
        if self.perfect is None:
            return 1.0
        of_seeds = 1.0 - fmean(self.effects[: len(values)])
        return max(self.perfect - fmean(values), LEAST_LOSS) / max(of_seeds, EASIEST)

    def free(self, values: Sequence[float]) -> list[float]:
        """Return the fitness of a program on the first seeds without their effects."""
        scale = self.scale(values)
        return [value - scale * effect for value, effect in zip(values, self.effects, strict=False)]


def measured_noise(references: Sequence[Sequence[float]], perfect: float | None = None) -> TaskNoise | None:
    """Return the noise of a task, None if there is no program or fewer than two seeds.

    Args:
        references: the fitness of programs on the same seeds, [programs][seeds]. The better half of them, and at least
            two, count: what trains badly is often noisier than what a search looks for. Of a single program nothing
            can be told apart: all that it varies is noise.
        perfect: the fitness of a loss of zero. Unless some loss is not positive, noise is in shares of the loss.
    """
    known = sorted(references, key=lambda values: -fmean(values))
    known = known[: max(2, (len(known) + 1) // 2)]
    programs, seeds = len(known), len(known[0]) if known else 0
    if programs < 1 or seeds < 2:
        return None
    if perfect is not None:
        if any(value >= perfect for values in known for value in values):
            perfect = None
        else:
            known = [[value / (perfect - fmean(values)) for value in values] for values in known]
    if programs == 1:
        return TaskNoise((0.0,) * seeds, stdev(known[0]), perfect)
    centred = [[value - fmean(values) for value in values] for values in known]
    effects = [fmean(column) for column in zip(*centred, strict=True)]
    squares = math.fsum((x - b) ** 2 for values in centred for x, b in zip(values, effects, strict=True))
    noise = squares / ((programs - 1) * (seeds - 1))
    spread = math.fsum(b * b for b in effects) / (seeds - 1)
    shrunk = max(0.0, 1 - noise / (programs * spread)) if spread > 0 else 0.0
    return TaskNoise(tuple(shrunk * b for b in effects), math.sqrt(noise), perfect)


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
        self.noise = list(noise)

    def estimate(self, by_seed: Sequence[float], sigmas: Sequence[float | None] | None = None) -> Estimate:
        """Return the estimate of a program from its fitness on seeds, rung by rung.

        Args:
            by_seed: the fitness.
            sigmas: of each task, in place of those that were measured.
        """
        if sigmas is None:
            sigmas = [None if noise is None else noise.sigma for noise in self.noise]
        of_tasks = [_of_task(*known, sigma) for known, sigma in zip(self._known(by_seed), sigmas, strict=True)]
        if self._worst:
            return min(of_tasks)
        error = math.hypot(*(one.standard_error for one in of_tasks)) / len(of_tasks)
        return Estimate(math.fsum(one.fitness for one in of_tasks) / len(of_tasks), error)

    def standard_error(self, by_seed: Sequence[float]) -> float | None:
        """Return the standard error of such an estimate, None where nothing is known of the noise."""
        values = self.rungs.by_task(by_seed)
        if any(noise is None and len(own) < 2 for own, noise in zip(values, self.noise, strict=True)):
            return None
        return self.estimate(by_seed).standard_error

    def variances(self, by_seed: Sequence[float]) -> list[Variance | None]:
        """Return the variance of a program on each task, in shares as noise is; None where it has one seed."""
        return [
            Variance(_squares(free) / scale**2 / (len(free) - 1), len(free) - 1) if len(free) > 1 else None
            for free, scale in self._known(by_seed)
        ]

    def _known(self, by_seed: Sequence[float]) -> list[tuple[list[float], float]]:
        """Return the fitness of each task without the effects of its seeds, and what noise is a share of."""
        return [
            (own, 1.0) if noise is None else (noise.free(own), noise.scale(own))
            for own, noise in zip(self.rungs.by_task(by_seed), self.noise, strict=True)
        ]


class Variance(NamedTuple):
    """A sample variance and its degrees of freedom."""

    value: float
    freedom: int


def _squares(values: Sequence[float]) -> float:
    mean = fmean(values)
    return math.fsum((value - mean) ** 2 for value in values)


def _of_task(free: Sequence[float], scale: float, sigma: float | None) -> Estimate:
    """Return the estimate of one task from its first seeds."""
    weight, of_all = (0.0, 0.0) if sigma is None else (PRIOR, (scale * sigma) ** 2)
    freedom = weight + len(free) - 1
    variance = (weight * of_all + _squares(free)) / freedom if freedom > 0 else 0.0
    return Estimate(fmean(free), math.sqrt(variance / len(free)))
