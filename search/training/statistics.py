"""What differences between trainings are worth: errors, tests, corrections, combinations over tasks.

All tests are one-sided, "better than"; p is the probability of such a difference where there is none, and z the
standard normal deviate with that p, so that values from few and from many seeds can be combined. Differences are kept
as mean, standard error and degrees of freedom, which SciPy's tests do not give where there is no noise.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import NamedTuple

LEVEL = 0.95  # of intervals
LARGEST_Z = 40.0


def _stats() -> ModuleType:
    """Return SciPy's distributions and tests, which take a second and 30 MiB to import: most runs need none."""
    return import_module("scipy.stats")


class Difference(NamedTuple):
    """Mean of one side minus mean of the other, with its standard error.

    `degrees` are those of Student's t; `paired` says whether the seeds were shared, so that each seed gave a difference
    of its own.
    """

    mean: float
    standard_error: float
    degrees: float
    paired: bool

    @property
    def z(self) -> float:
        """The normal deviate as improbable as t is with these degrees of freedom; infinite where there is no noise."""
        if self.standard_error == 0:
            return math.copysign(math.inf, self.mean) if self.mean else 0.0
        t = self.mean / self.standard_error
        # The tail on the side of t, where the probability is small, keeps its digits.
        return math.copysign(float(_stats().norm.isf(_stats().t.sf(abs(t), self.degrees))), t)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Return where the true difference lies with this confidence."""
        reach = float(_stats().t.isf((1 - level) / 2, self.degrees)) * self.standard_error
        return self.mean - reach, self.mean + reach


def standard_error(values: Sequence[float]) -> float:
    """Return s / sqrt(n), the standard error of the mean of independent values; NaN for fewer than two."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference | None:
    """Return what our values are above theirs; None where there are too few values.

    Args:
        ours: by seed.
        theirs: by seed. Where they have the same seeds the differences of each are tested (Student's paired test):
            replicas of one seed share their start and minibatches, and what these do to both sides cancels. Otherwise
            the means are, with variances of their own (Welch, Biometrika 1947).
    """
    if min(len(ours), len(theirs)) < 2:
        return None
    if ours.keys() == theirs.keys():
        each = [ours[seed] - theirs[seed] for seed in ours]
        return Difference(statistics.fmean(each), standard_error(each), len(each) - 1, True)
    mean = statistics.fmean(ours.values()) - statistics.fmean(theirs.values())
    first, second = (standard_error(list(values.values())) ** 2 for values in (ours, theirs))
    total = first + second
    parts = first**2 / (len(ours) - 1) + second**2 / (len(theirs) - 1)
    return Difference(mean, math.sqrt(total), total**2 / parts if parts else math.inf, False)


def p_of(z: float) -> float:
    """Return the probability of a normal deviate of at least z."""
    return float(_stats().norm.sf(z))


def corrected(z: float, candidates: int) -> float:
    """Return p of the best z among `candidates` independent ones, none of which is better (Šidák, JASA 1967)."""
    p = p_of(z)
    return -math.expm1(candidates * math.log1p(-p)) if p < 1 else 1.0


def bonferroni(z: float, tests: int) -> float:
    """Return p of a z that is one of `tests`, whether or not they depend on each other: tests x p, at most 1 (Dunn,
    JASA 1961)."""
    return min(1.0, tests * p_of(z))


def limited(z: float) -> float:
    """Return a z that can be added to others: without any noise z is infinite, and p cannot be told from zero."""
    return max(-LARGEST_Z, min(LARGEST_Z, z))


def combined(zs: Sequence[float]) -> float:
    """Return z over independent tasks of equal weight: sum / sqrt(n) (Stouffer et al., The American Soldier, 1949)."""
    return math.fsum(zs) / math.sqrt(len(zs))
