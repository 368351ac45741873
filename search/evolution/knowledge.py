"""What a population knows: what seeds do to the programs that it has now, and what its births are worth.

The noise of the tasks is measured before the first birth, with baselines. What a search finds differs from them, and
what is easy for AdamW on a seed need not be for a sign of momentum: taken for granted it makes every program on one
seed better or worse than it is. So effects and variance are fitted again and again, to the baselines and to those
programs of the population that were trained on several seeds of late.

And what a program is worth is not what was seen of it: it is shrunk towards what births of the last time were worth
(an empirical Bayes estimate with a normal prior, Efron and Morris, JASA 1973).
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Sequence
from statistics import NormalDist, fmean

import numpy as np

from search.evolution.estimates import Estimate, Estimator, TaskNoise

REFERENCES = 16.0  # degrees of freedom that the variance of baselines counts as, beside programs of the search
POOLED = 40  # programs of the search that noise is fitted to, the latest
REFIT = 8  # programs on more seeds from fit to fit
RIDGE = 1.5  # variance of a training over that of the seeds' effects: these are 0.3 to 0.5 of all (docs/discovery.md)
REMEMBERED = 200  # births that trained to the end, from which the prior is fitted
LEAST_SEEN = 30  # of them, or there is none
UPPER = (0.75, 0.95)  # the quantiles to which it is fitted
LEAST_SHARE = 0.1  # of the variance of a birth, that worth has at least
_STANDARD = NormalDist()


class Knowledge:
    """What a population knows of its seeds and births.

    Args:
        estimator: with the noise of the tasks as it was measured.
    """

    def __init__(self, estimator: Estimator) -> None:
        self._estimator = estimator
        seeds = estimator.rungs.seeds
        self._measured = [noise or TaskNoise((0.0,) * n, 0.0) for noise, n in zip(estimator.noise, seeds, strict=True)]
        self._noise = list(estimator.noise)
        self._raced: OrderedDict[str, list[list[float]]] = OrderedDict()
        self._noted = 0
        self._births: deque[Sequence[float]] = deque(maxlen=REMEMBERED)
        self._seen: deque[Estimate] = deque(maxlen=REMEMBERED)  # what the births have shown, by the noise as it is

    def seen(self, by_seed: Sequence[float]) -> Estimate:
        """Return what was seen of a program, from its fitness on seeds, rung by rung."""
        return self._estimator.estimate(by_seed, self._noise)

    def worth(self, by_seed: Sequence[float]) -> Estimate:
        """Return what a program is worth; what was seen of it as long as few births are known.

        The fitness is the mean of the posterior. The standard error stays that of what was seen: the smaller one of the
        posterior holds for programs that are as noisy as the others, and what leads is often noisier.
        """
        seen, prior = self.seen(by_seed), self._prior()
        if prior is None or seen.standard_error == 0:
            return seen
        weight = prior.variance / (prior.variance + seen.standard_error**2)
        return Estimate(prior.mean + weight * (seen.fitness - prior.mean), seen.standard_error)

    def note_birth(self, by_seed: Sequence[float]) -> None:
        """Take in what a birth has shown on its first seeds; one that failed says nothing of those that do not."""
        self._births.append(by_seed)
        self._seen.append(self.seen(by_seed))

    def note_race(self, key: str, by_seed: Sequence[float]) -> bool:
        """Take in a program that was trained on more seeds; return whether all is estimated differently from now on."""
        self._raced[key] = self._estimator.rungs.by_task(by_seed)
        self._raced.move_to_end(key)
        if len(self._raced) > POOLED:
            self._raced.popitem(last=False)
        self._noted += 1
        if self._noted % REFIT:
            return False
        self._noise = [
            fitted(measured, [values[task] for values in self._raced.values()])
            for task, measured in enumerate(self._measured)
        ]
        self._seen = deque(map(self.seen, self._births), maxlen=REMEMBERED)
        return True

    def _prior(self) -> NormalDist | None:
        """Return the normal distribution of two upper quantiles of what births have shown, less the noise of seeds."""
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


def fitted(measured: TaskNoise, programs: Sequence[Sequence[float]]) -> TaskNoise | None:
    """Return the noise of a task by its references and by programs of a search on some of the seeds.

    Effects are those of least squares with all programs' own means, with a ridge, as random effects have it (Searle,
    Casella, McCulloch, *Variance Components*, 1992, chapter 7). Programs that are noisier than usual count for less.
    The variance is the weighted median of those of the programs: one that fails on a seed is noisy by itself.

    Args:
        measured: the noise as it was measured, with the references.
        programs: the fitness of programs on the first seeds.
    """
    several = [values for values in programs if len(values) > 1]
    rows = [np.array(row) for row in (*measured.references, *map(measured.shares, several))]
    if not rows:
        return None
    effects = np.zeros(len(measured.effects))
    weights: np.ndarray = np.ones(len(rows))
    for _ in range(2):
        normal, right = RIDGE * np.eye(len(effects)), np.zeros(len(effects))
        for row, weight in zip(rows, weights, strict=True):
            n = len(row)
            normal[:n, :n] += weight * (np.eye(n) - 1.0 / n)
            right[:n] += weight * (row - row.mean())
        effects = np.linalg.solve(normal, right)
        variances = np.array([(row - effects[: len(row)]).var(ddof=1) for row in rows])
        own = [(float(v), float(len(row) - 1)) for v, row in zip(variances, rows, strict=True)]
        variance = _median(own[len(measured.references) :], measured.sigma**2 if measured.references else None)
        if variance > 0:
            weights = variance / np.maximum(variances, variance)
    return measured._replace(effects=tuple(effects.tolist()), sigma=math.sqrt(variance))


def _median(variances: Sequence[tuple[float, float]], of_references: float | None) -> float:
    """Return the weighted median of variances with their degrees of freedom, each over its chi-squared's median."""
    # That over the degrees of freedom: Wilson and Hilferty, PNAS 1931.
    known = [(variance / (1 - 2 / (9 * freedom)) ** 3, freedom) for variance, freedom in variances]
    if of_references is not None:
        known.append((of_references, REFERENCES))
    known.sort()
    beyond = sum(freedom for _, freedom in known) / 2
    for variance, freedom in known:
        beyond -= freedom
        if beyond <= 0:
            return variance
    return 0.0
