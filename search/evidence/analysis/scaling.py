"""How the best learning rate goes with something else: refined bests, powers, and the curve of the surge.

Losses are means over seeds; how sure a number is, is told by drawing the seeds again, with replacement (the bootstrap:
Efron and Tibshirani, 1993). A draw takes the same seeds at all values, since what a seed decides is common to them. As
draws of few seeds vary too little, intervals are wider than theirs, by Student's t with one degree less than seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from search.training.statistics import Difference

DRAWS = 300
LEVEL = 0.95
LEAST_VALUES = 3  # for an exponent
LEAST_ERROR = 0.02  # of a best rate, in decades: a parabola through three points knows no better


class Best(NamedTuple):
    """The best learning rate; at an edge of the rates that were tried it may be beyond."""

    rate: float
    is_edge: bool


class RateCurve(NamedTuple):
    """Losses at learning rates: `rates` [K], rising, and `losses` [K, S] on S seeds, infinite for failures."""

    rates: np.ndarray
    losses: np.ndarray

    @property
    def best(self) -> Best | None:
        """The best rate by the mean over seeds, None where nothing trained on all."""
        return refined(self.rates, self.losses.mean(axis=1))

    def drawn(self, seeds: np.ndarray) -> Best | None:
        """Return the best rate by the mean over these seeds, numbers of columns."""
        return refined(self.rates, self.losses[:, seeds].mean(axis=1))


class Power(NamedTuple):
    """A best rate that goes as a power of a value, `10^intercept value^exponent`; the interval is of `LEVEL`."""

    exponent: float
    low: float
    high: float
    intercept: float
    misfit: float

    @property
    def is_sure(self) -> bool:
        """Whether the exponent can be told from zero."""
        return self.low > 0 or self.high < 0

    def in_words(self) -> str:
        """Return the exponent with its interval."""
        return f"{self.exponent:.2f} ({LEVEL:.0%} from {self.low:.2f} to {self.high:.2f})"


class Surge(NamedTuple):
    """The curve of the surge: `top / cosh(ln(value / peak) / 2)`, which rises as a root and falls as one.

    That is `top / (0.5 (sqrt(peak / B) + sqrt(B / peak)))` for the batch size B, as *Surge Phenomenon in Optimal
    Learning Rate and Batch Size Scaling* (Li et al., arXiv 2405.14578) derives it for the sign of the gradient.
    """

    peak: float
    top: float
    misfit: float


def refined(rates: np.ndarray, losses: np.ndarray) -> Best | None:
    """Return the lowest point of the parabola through the best loss and its neighbours, over the log of the rate.

    Where the best has no neighbour on a side, or one that failed, it is the best of the rates itself.
    """
    if not np.isfinite(losses).any():
        return None
    k = int(np.argmin(losses))
    if k in (0, len(rates) - 1):
        return Best(float(rates[k]), True)
    x, y = np.log10(rates[k - 1 : k + 2]), losses[k - 1 : k + 2]
    if not np.isfinite(y).all():
        return Best(float(rates[k]), False)
    left, right = (x[1] - x[0]) * (y[2] - y[1]), (x[2] - x[1]) * (y[0] - y[1])
    if left + right == 0:  # all three alike
        return Best(float(rates[k]), False)
    moved = ((x[2] - x[1]) * right - (x[1] - x[0]) * left) / (2 * (left + right))
    return Best(float(10 ** (x[1] + moved)), False)


def fit_power(curves: Mapping[float, RateCurve]) -> Power | None:
    """Return the power law through the best rates of some values, None for fewer than three of them.

    By least squares over logarithms, weighted by how sure each best is; values whose best is at an edge are left out.
    """
    seen = _bests(curves)
    if seen is None:
        return None
    x, y, draws, weights = seen.values, seen.rates, seen.draws, seen.weights
    slope, intercept = _line(x, y, weights)
    slopes = np.array([_line(x, drawn, weights)[0] for drawn in draws])
    reach = seen.widening * _student(curves) * (np.quantile(slopes, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - slope)
    low, high = slope + reach
    misfit = float(weights @ (y - slope * x - intercept) ** 2)
    return Power(slope, float(low), float(high), intercept, misfit)


def fit_surge(curves: Mapping[float, RateCurve]) -> Surge | None:
    """Return the curve of the surge through the same bests, with the same weights."""
    seen = _bests(curves)
    if seen is None:
        return None
    x, y, weights = seen.values, seen.rates, seen.weights
    best = None
    for peak in np.linspace(x.min() - 2, x.max() + 2, 601):
        shape = -np.log10(np.cosh((x - peak) * np.log(10) / 2))
        top = float(weights @ (y - shape) / weights.sum())
        misfit = float(weights @ (y - shape - top) ** 2)
        if best is None or misfit < best.misfit:
            best = Surge(float(10**peak), float(10**top), misfit)
    return best


def error_of_best(curve: RateCurve) -> float:
    """Return the standard error of the best rate of a curve, in decades."""
    seeds = curve.losses.shape[1]
    bests = [curve.drawn(drawn) for drawn in _draws(seeds)]
    rates = [best.rate for best in bests if best is not None]
    return _widening(seeds) * float(np.std(np.log10(rates))) if rates else float("nan")


class _Bests(NamedTuple):
    """Decimal logarithms of values [V], of their best rates [V], and of those of each draw of seeds [D, V].

    `widening` is for what is told by draws: of n seeds they vary less than new seeds would, by the root of n / (n - 1).
    """

    values: np.ndarray
    rates: np.ndarray
    draws: np.ndarray
    widening: float

    @property
    def weights(self) -> np.ndarray:
        """One over the square of the error of each best rate."""
        return np.asarray(1 / np.maximum(self.widening * self.draws.std(axis=0), LEAST_ERROR) ** 2)


def _bests(curves: Mapping[float, RateCurve]) -> _Bests | None:
    bests = {value: best for value, curve in curves.items() if (best := curve.best) is not None and not best.is_edge}
    if len(bests) < LEAST_VALUES:
        return None
    rates = np.log10([best.rate for best in bests.values()])
    seeds = next(iter(curves.values())).losses.shape[1]
    draws = []
    for drawn in _draws(seeds):
        found = [curves[value].drawn(drawn) for value in bests]
        draws.append([own if one is None else np.log10(one.rate) for one, own in zip(found, rates, strict=True)])
    return _Bests(np.log10(list(bests)), rates, np.array(draws), _widening(seeds))


def _student(curves: Mapping[float, RateCurve]) -> float:
    """Return the reach of Student's t over that of the normal distribution: few seeds know little of their spread."""
    seeds = next(iter(curves.values())).losses.shape[1]
    few, many = (Difference(0.0, 1.0, degrees, True).interval(LEVEL)[1] for degrees in (max(1, seeds - 1), math.inf))
    return few / many


def _widening(seeds: int) -> float:
    return float(np.sqrt(seeds / (seeds - 1))) if seeds > 1 else 1.0


def _draws(seeds: int) -> np.ndarray:
    """Return draws of seeds with replacement, `[DRAWS, seeds]`, always the same."""
    return np.random.default_rng(0).integers(seeds, size=(DRAWS, seeds))


def _line(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    slope, intercept = np.polyfit(x, y, 1, w=np.sqrt(weights))
    return float(slope), float(intercept)
