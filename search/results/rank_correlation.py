"""How alike two orders of the same programs are: Kendall's tau, with what chance in the choice of programs does to it.

Tau is that with ties (tau-b; Kendall, *The treatment of ties in ranking problems*, Biometrika 1945): over all pairs of
programs, those that both orders have in the same order less those that they have in opposite ones, over the geometric
mean of the pairs that each order tells apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

SAMPLES = 1000  # of programs drawn with replacement
LEVEL = 0.95  # of intervals
_SEED = 0  # of the draws: the same data give the same interval


class Pairs(NamedTuple):
    """Two orders of P programs, pair by pair; all are [P, P] and zero on the diagonal.

    `agree` is 1 where both orders have a pair in the same order, -1 where they have it in opposite ones, 0 where one of
    them has a tie; `first` and `second` are 1 where that order tells a pair apart.
    """

    agree: Numbers
    first: Numbers
    second: Numbers


class Tau(NamedTuple):
    """Kendall's tau, -1 to 1, with an interval and a standard error over the choice of programs.

    All are NaN where an order tells no pair apart.
    """

    tau: float
    low: float
    high: float
    standard_error: float


UNKNOWN = Tau(math.nan, math.nan, math.nan, math.nan)


def ranked(fitness: Sequence[float | None]) -> Numbers:
    """Return the fitness of programs, [P], in which those whose training failed are tied below all others."""
    return np.array([-math.inf if one is None else one for one in fitness])


def pairs_of(first: Numbers, second: Numbers) -> Pairs:
    """Return how two orders compare pair by pair; both are [P], the higher the better, -inf for what failed."""
    signs = _signs(first), _signs(second)
    return Pairs(signs[0] * signs[1], np.abs(signs[0]), np.abs(signs[1]))


def _signs(values: Numbers) -> Numbers:
    """Return which of each pair is better, [P, P]; comparisons, since infinities cannot be subtracted."""
    above = values[:, None] > values[None, :]
    return above.astype(float) - above.T


def tau_of(pairs: Pairs, counts: Numbers | None = None) -> Numbers:
    """Return Kendall's tau of samples of programs, [B]; NaN where an order tells no pair of a sample apart.

    Args:
        pairs: of all programs.
        counts: [B, P], how often each program is in each sample; once in one sample without it. A program is tied with
            itself.
    """
    counts = np.ones((1, len(pairs.agree))) if counts is None else counts
    agree, first, second = (np.sum(counts @ matrix * counts, axis=1) for matrix in pairs)
    told = first * second
    return np.where(told > 0, agree / np.sqrt(np.where(told > 0, told, 1.0)), np.nan)


def estimate(pairs: Pairs) -> Tau:
    """Return tau with a percentile interval (Efron, *Bootstrap methods*, Annals of Statistics 1979) over programs."""
    (tau,) = tau_of(pairs)
    if np.isnan(tau):
        return UNKNOWN
    programs = len(pairs.agree)
    rng = np.random.default_rng(_SEED)
    counts = rng.multinomial(programs, np.full(programs, 1 / programs), SAMPLES).astype(float)
    drawn = tau_of(pairs, counts)
    drawn = drawn[~np.isnan(drawn)]
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Tau(float(tau), float(low), float(high), float(np.std(drawn)))
