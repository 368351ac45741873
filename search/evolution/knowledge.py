"""What a population knows: how noisy the programs are that it has now, and what its births are worth.

The noise of the tasks is measured before the first birth, with baselines. What a search finds is often noisier, so the
variance is the median of theirs and of those programs of the population that were trained on several seeds of late.
(Effects of seeds stay as they were measured: programs get more seeds because they were lucky on the first, and effects
that are fitted to these make the first seem easier than it is.)

And what a program is worth is not what was seen of it: the best of many was lucky. What is seen is shrunk towards what
births of the last time were worth (empirical Bayes; Efron and Morris, JASA 1973). Nearly all births are worth what
their parents are, and few are leaps, so the prior is a narrow normal distribution with a wide one of little weight, as
in the adaptive shrinkage of Stephens (Biostatistics 2017): what stands out clearly is believed.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Sequence
from statistics import NormalDist, fmean
from typing import NamedTuple

from search.evolution.estimates import Estimate, Estimator, Variance

REFERENCES = 16.0  # degrees of freedom that the variance of baselines counts as, beside programs of the search
POOLED = 40  # programs of the search that the variance is taken from, the latest
REMEMBERED = 200  # births that trained to the end, from which the prior is fitted
LEAST_SEEN = 30  # of them, or there is none
UPPER = (0.75, 0.95)  # the quantiles to which it is fitted
LEAST_SHARE = 0.1  # of the variance of a birth, that worth has at least
LEAPS = 0.005  # share of births that may be worth anything,
LEAP = 5.0  # within so many standard errors of a birth
_MOST = 700.0  # of which the exponential is finite
_STANDARD = NormalDist()


class Knowledge:
    """What a population knows of its programs.

    Args:
        estimator: with the noise of the tasks as it was measured.
    """

    def __init__(self, estimator: Estimator) -> None:
        self._estimator = estimator
        self._sigmas = [None if noise is None else noise.sigma for noise in estimator.noise]
        self._raced: OrderedDict[str, list[Variance | None]] = OrderedDict()
        self._births: deque[Estimate] = deque(maxlen=REMEMBERED)

    def seen(self, by_seed: Sequence[float]) -> Estimate:
        """Return what was seen of a program, from its fitness on seeds, rung by rung."""
        return self._estimator.estimate(by_seed, self._sigmas)

    def worth(self, by_seed: Sequence[float]) -> Estimate:
        """Return what a program is worth; what was seen of it as long as few births are known.

        The fitness is the mean of the posterior. The standard error stays that of what was seen: the smaller one of the
        posterior holds for programs that are as noisy as the others, and what leads is often noisier.
        """
        seen, prior = self.seen(by_seed), self._prior()
        if prior is None or seen.standard_error == 0:
            return seen
        return Estimate(prior.mean_given(seen), seen.standard_error)

    def note_birth(self, by_seed: Sequence[float]) -> None:
        """Take in what a birth has shown on its first seeds; one that failed says nothing of those that do not."""
        self._births.append(self.seen(by_seed))

    def note_race(self, key: str, by_seed: Sequence[float]) -> None:
        """Take in a program that was trained on more seeds."""
        self._raced[key] = self._estimator.variances(by_seed)
        self._raced.move_to_end(key)
        if len(self._raced) > POOLED:
            self._raced.popitem(last=False)
        for task, noise in enumerate(self._estimator.noise):
            known = [variance for variances in self._raced.values() if (variance := variances[task]) is not None]
            self._sigmas[task] = _deviation(known, None if noise is None else noise.sigma)

    def _prior(self) -> Prior | None:
        """Return the prior whose narrow part has two upper quantiles of what births have shown, less their noise."""
        if len(self._births) < LEAST_SEEN:
            return None
        ranked = sorted(seen.fitness for seen in self._births)
        low, high = (ranked[int(share * len(ranked))] for share in UPPER)
        noise = fmean(seen.standard_error**2 for seen in self._births if seen.fitness >= low)  # the worse are noisier
        if noise == 0:
            return None
        ends = [_STANDARD.inv_cdf(share) for share in UPPER]
        deviation = (high - low) / (ends[1] - ends[0])
        narrow = max(deviation**2 - noise, LEAST_SHARE * noise)
        return Prior(low - ends[0] * deviation, narrow, max(narrow, LEAP**2 * noise))


class Prior(NamedTuple):
    """What a birth is worth before anything is seen of it: a narrow and a wide normal distribution with one mean."""

    mean: float
    narrow: float
    wide: float

    def mean_given(self, seen: Estimate) -> float:
        """Return the mean of the posterior."""
        away, weights, means = seen.fitness - self.mean, list[float](), list[float]()
        for share, variance in ((1.0 - LEAPS, self.narrow), (LEAPS, self.wide)):
            total = variance + seen.standard_error**2
            weights.append(math.log(share) - 0.5 * (math.log(total) + away**2 / total))
            means.append(self.mean + away * variance / total)
        odds = math.exp(max(-_MOST, min(weights[1] - weights[0], _MOST)))
        return means[0] + (means[1] - means[0]) * odds / (1.0 + odds)


def _deviation(known: Sequence[Variance], of_references: float | None) -> float | None:
    """Return the root of the weighted median of variances: a program that fails on a seed is noisy by itself.

    Each is taken over the median of its chi-squared distribution divided by the degrees of freedom (Wilson and
    Hilferty, PNAS 1931).
    """
    found = [(one.value / (1 - 2 / (9 * one.freedom)) ** 3, float(one.freedom)) for one in known]
    if of_references is not None:
        found.append((of_references**2, REFERENCES))
    found.sort()
    beyond = sum(freedom for _, freedom in found) / 2
    for variance, freedom in found:
        beyond -= freedom
        if beyond <= 0:
            return math.sqrt(variance)
    return None
