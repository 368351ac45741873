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
2.6), as is usual for many groups with few values each (Smyth, SAGMB 2004). The common variance follows what a search
finds, since programs far from the baselines are often noisier: it is the median of the baselines' and of those programs
of the search that were trained on several seeds of late.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from statistics import NormalDist, fmean, stdev
from typing import NamedTuple

from search.settings.settings import Aggregate
from search.settings.tasks import TaskSeeds

PRIOR = 8.0  # trainings that the common variance counts as, beside a program's own
REFERENCES = 16.0  # degrees of freedom that the variance of baselines counts as, beside programs of the search
POOLED = 40  # programs of the search whose variance is pooled, the latest
REMEMBERED = 200  # births that trained to the end, from which the prior is fitted
LEAST_SEEN = 30  # of them, or there is none
UPPER = (0.75, 0.95)  # the quantiles to which it is fitted
LEAST_SHARE = 0.1  # of the variance of a birth, that worth has at least
LEAST_LOSS = 1e-12  # that the noise of a program is a share of
EASIEST = 0.1  # loss on the easiest of seeds, over the mean
_STANDARD = NormalDist()


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
        self._noise = list(noise)

    def estimate(self, by_seed: Sequence[float], spread: Spread | None = None) -> Estimate:
        """Return the estimate of a program from its fitness on seeds, rung by rung.

        Args:
            by_seed: the fitness.
            spread: of programs of the search, which the common variance is pooled with.
        """
        sigmas = [None if noise is None else noise.sigma for noise in self._noise] if spread is None else spread.sigmas
        of_tasks = [_of_task(known, sigma) for known, sigma in zip(self._known(by_seed), sigmas, strict=True)]
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

    def spread(self) -> Spread:
        """Return the variances of all tasks as they are before any program of the search is known."""
        return Spread([None if noise is None else noise.sigma for noise in self._noise])

    def squares(self, by_seed: Sequence[float]) -> list[Squares]:
        """Return the squares of a program around its own mean, in the shares that the noise of each task has."""
        return [Squares(_squares(free) / scale**2, len(free) - 1) for free, scale in self._known(by_seed)]

    def _known(self, by_seed: Sequence[float]) -> list[tuple[list[float], float]]:
        """Return the fitness of each task without the effects of its seeds, and what noise is a share of."""
        return [
            (own, 1.0) if noise is None else (noise.free(own), noise.scale(own))
            for own, noise in zip(self.rungs.by_task(by_seed), self._noise, strict=True)
        ]


class Squares(NamedTuple):
    """A sum of squares and its degrees of freedom."""

    total: float
    freedom: int


class Spread:
    """The standard deviation of fitness between seeds: of baselines, pooled with the latest programs of a search.

    Args:
        sigmas: of the baselines on each task, None where they are not known.
    """

    def __init__(self, sigmas: Sequence[float | None]) -> None:
        self._baselines = sigmas
        self._latest: OrderedDict[str, list[Squares]] = OrderedDict()
        self.sigmas = list(sigmas)

    def note(self, key: str, squares: list[Squares]) -> None:
        """Take in a program that was trained on several seeds."""
        self._latest[key] = squares
        self._latest.move_to_end(key)
        if len(self._latest) > POOLED:
            self._latest.popitem(last=False)
        self.sigmas = [self._pooled(task, sigma) for task, sigma in enumerate(self._baselines)]

    def _pooled(self, task: int, sigma: float | None) -> float | None:
        """Return the root of the weighted median of variances: a program that fails on one seed is noisy by itself."""
        known = [squares[task] for squares in self._latest.values() if squares[task].freedom > 0]
        # The median of a chi-squared distribution over its degrees of freedom (Wilson and Hilferty, PNAS 1931).
        found = [(one.total / one.freedom / (1 - 2 / (9 * one.freedom)) ** 3, float(one.freedom)) for one in known]
        if sigma is not None:
            found.append((sigma**2, REFERENCES))
        found.sort()
        beyond = sum(weight for _, weight in found) / 2
        for variance, weight in found:
            beyond -= weight
            if beyond <= 0:
                return math.sqrt(variance)
        return None


def _squares(values: Sequence[float]) -> float:
    mean = fmean(values)
    return math.fsum((value - mean) ** 2 for value in values)


def _of_task(known: tuple[list[float], float], sigma: float | None) -> Estimate:
    """Return the estimate of one task from its first seeds."""
    free, scale = known
    weight = 0.0 if sigma is None else PRIOR
    freedom = weight + len(free) - 1
    variance = (weight * (scale * (sigma or 0.0)) ** 2 + _squares(free)) / freedom if freedom > 0 else 0.0
    return Estimate(fmean(free), math.sqrt(variance / len(free)))


class Prior:
    """What programs of a population are worth before anything is seen of them: normal, as far as its upper part goes.

    Two upper quantiles of what the latest births have shown give a normal distribution; less the noise of seeds, it is
    that of their worth.
    """

    def __init__(self) -> None:
        self._seen: deque[Estimate] = deque(maxlen=REMEMBERED)

    def note(self, seen: Estimate) -> None:
        """Take in what a birth has shown on its first seeds; one that failed says nothing of those that do not."""
        self._seen.append(seen)

    def shrunk(self, seen: Estimate) -> Estimate:
        """Return the estimate of a program of which this was seen; the same as long as few births are known.

        The fitness is the mean of the posterior. The standard error stays that of what was seen: the smaller one of the
        posterior holds for programs that are as noisy as the others, and what leads is often noisier.
        """
        prior = self._fitted()
        if prior is None or seen.standard_error == 0:
            return seen
        weight = prior.variance / (prior.variance + seen.standard_error**2)
        return Estimate(prior.mean + weight * (seen.fitness - prior.mean), seen.standard_error)

    def _fitted(self) -> NormalDist | None:
        if len(self._seen) < LEAST_SEEN:
            return None
        ranked = sorted(seen.fitness for seen in self._seen)
        low, high = (ranked[int(share * len(ranked))] for share in UPPER)
        noise = fmean(seen.standard_error**2 for seen in self._seen if seen.fitness >= low)  # the worse are noisier
        if noise == 0:
            return None
        ends = [_STANDARD.inv_cdf(share) for share in UPPER]
        deviation = (high - low) / (ends[1] - ends[0])
        return NormalDist(low - ends[0] * deviation, math.sqrt(max(deviation**2 - noise, LEAST_SHARE * noise)))
