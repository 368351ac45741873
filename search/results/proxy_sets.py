"""The cheapest set of proxy tasks that tells how programs fare on a target, and how to search on it.

A set predicts by a weighted sum of the fitness on its tasks, each standardized, with weights that are not negative,
fitted to the ranks on the target. It is judged on programs that its weights were not fitted to: programs are dealt into
parts again and again, and only pairs of programs that both were left out of the fit count. The choice of the set as a
whole is judged in the same way, by programs that had no part in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from search.results.proxies import LEAST_PROGRAMS, MeasuredTask
from search.results.rank_correlation import UNKNOWN, Numbers, Pairs, Tau, estimate, pairs_of, ranked, tau_of

MOST_TASKS = 3  # of a set
PARTS = 4  # into which programs are dealt
DEALS, OUTER_DEALS = 20, 5
REACH = 3.0  # standard deviations, beyond which distances count less and less
_PER_DEVIATION = 1.4826  # of a normal distribution, over its median absolute deviation
_SEED = 0  # of the deals

Places = npt.NDArray[np.int64]


class Standard(NamedTuple):
    """The fitness on a task in units of its own: `values`, [P], are 0 at `middle` and 1 about a deviation above."""

    middle: float
    deviation: float
    values: Numbers


class ProxySet(NamedTuple):
    """A set of proxies: their weights, which sum to 1, the steps of one training on each, and how well it predicts."""

    tasks: tuple[str, ...]
    weights: tuple[float, ...]
    steps: int
    tau: Tau


class ChosenProxies(NamedTuple):
    """The sets that were tried for a target, on how many programs, and the one that was chosen.

    `singles` are all proxies by themselves, best first; `grown` the sets that come of adding the task that helps most;
    `chosen` is the cheapest within a standard error of the best; `judged` says how well a set chosen like this predicts
    programs that had no part in the choice. There are none where the target has no proxy.
    """

    target: str
    steps: int
    programs: int
    singles: list[ProxySet]
    grown: list[ProxySet]
    chosen: ProxySet | None
    judged: Tau


class _Data(NamedTuple):
    """Values of P programs on T proxies, [P, T], the steps of each, and the fitness on the target, [P]."""

    values: Numbers
    steps: list[int]
    target: Numbers

    def of(self, programs: Places) -> _Data:
        """Return the values of some programs."""
        return self._replace(values=self.values[programs], target=self.target[programs])


class _Tried(NamedTuple):
    """A set of columns, and how it compares with the target: pair by pair, and its tau."""

    columns: tuple[int, ...]
    steps: int
    pairs: Pairs
    tau: float


def choose_proxies(tasks: Sequence[MeasuredTask], target: str) -> ChosenProxies:
    """Return the set of proxies for a target.

    Args:
        tasks: all that were measured; proxies are those with fewer steps than the target.
        target: its name, one of these.
    """
    aim = next(task for task in tasks if task.name == target)
    proxies = [task for task in tasks if task.steps < aim.steps]
    programs = sorted(set(aim.by_program).intersection(*(task.by_program for task in proxies)))
    if not proxies or len(programs) < LEAST_PROGRAMS:
        return ChosenProxies(target, aim.steps, len(programs), [], [], None, UNKNOWN)
    values = np.stack([standardized(task.fitness(programs)).values for task in proxies], axis=1)
    data = _Data(values, [task.steps for task in proxies], ranked(aim.fitness(programs)))
    singles, grown = _tried(data, DEALS)
    names = [task.name for task in proxies]
    chosen = _chosen([*singles, *grown])
    return ChosenProxies(
        target, aim.steps, len(programs), [_named(one, names, data) for one in singles],
        [_named(one, names, data) for one in grown], _named(chosen, names, data), _judged(data),
    )  # fmt: skip


def standardized(fitness: Sequence[float | None]) -> Standard:
    """Return the fitness of programs on a task around its median, in units of 1.4826 median absolute deviations.

    Where more than half are equal these are ordinary standard deviations. Values are drawn in, to `REACH` tanh(x /
    `REACH`), so that no program decides alone, in an order that stays; what failed lies at the lower end.
    """
    known = np.array([one for one in fitness if one is not None])
    if not len(known):  # all failed
        return Standard(0.0, 1.0, np.full(len(fitness), -REACH))
    middle = float(np.median(known))
    deviation = float(np.median(np.abs(known - middle))) * _PER_DEVIATION or float(np.std(known)) or 1.0
    with np.errstate(over="ignore"):  # what lies infinitely far out lies at the end
        return Standard(middle, deviation, REACH * np.tanh((ranked(fitness) - middle) / deviation / REACH))


def as_settings(chosen: ProxySet, tasks: Sequence[MeasuredTask]) -> list[dict[str, Any]]:
    """Return a set as the `tasks` of a search whose score orders programs as the set does.

    With several tasks, the anchors of each make its score the weighted, standardized fitness: 0 for the program in the
    middle. Their update scales are the factors at which the measured programs trained best, over the geometric mean of
    all tasks, since a search has one factor for all.
    """
    by_name = {task.name: task for task in tasks}
    if len(chosen.tasks) == 1:
        return [_named_task(chosen.tasks[0])]
    factors = [_best_factor(by_name[name]) for name in chosen.tasks]
    mean = math.exp(math.fsum(map(math.log, factors)) / len(factors))
    found = []
    for name, weight, factor in zip(chosen.tasks, chosen.weights, factors, strict=True):
        entries = by_name[name].by_program
        standard = standardized(by_name[name].fitness(list(entries)))
        scale = {"update_scale": float(f"{factor / mean:.4g}")}
        found.append(_named_task(name) | scale | {"anchors": _anchors(-standard.middle, standard.deviation / weight)})
    return found


def _named_task(name: str) -> dict[str, Any]:
    base, _, steps = name.partition("@")
    return {"name": base} | ({"steps": int(steps)} if steps else {})


def _best_factor(task: MeasuredTask) -> float:
    """Return the geometric mean of the factors on the update with which programs trained best."""
    return math.exp(math.fsum(math.log(row.learning_rate) for row in task.by_program.values()) / len(task.by_program))


def _anchors(baseline: float, distance: float) -> list[float]:
    """Return two losses at this distance, with as many decimals as tell it to five digits."""
    decimals = 4 - math.floor(math.log10(distance))
    return [round(baseline, decimals), round(baseline - distance, decimals)]


# --- which sets ------------------------------------------------------------------------------------------------------


def _tried(data: _Data, deals: int) -> tuple[list[_Tried], list[_Tried]]:
    """Return all proxies by themselves, best first, and the sets that grow from the best, as long as each is better."""
    every = range(data.values.shape[1])
    singles = sorted((_try((column,), data, deals) for column in every), key=_best_first)
    grown, last = [], singles[0]
    while len(last.columns) < min(MOST_TASKS, len(every)):
        left = [column for column in every if column not in last.columns]
        best = min((_try((*last.columns, column), data, deals) for column in left), key=_best_first)
        if not best.tau > last.tau:
            break
        grown.append(best)
        last = best
    return singles, grown


def _best_first(one: _Tried) -> tuple[float, int]:
    return (math.inf if math.isnan(one.tau) else -one.tau), one.steps


def _chosen(tried: Sequence[_Tried]) -> _Tried:
    """Return the cheapest set within a standard error of the best (Breiman et al., Classification and Regression
    Trees, 1984)."""
    best = min(tried, key=_best_first)
    enough = best.tau - estimate(best.pairs).standard_error
    good = [one for one in tried if one is best or one.tau >= enough]
    return min(good, key=lambda one: (one.steps, *_best_first(one)))


def _try(columns: tuple[int, ...], data: _Data, deals: int) -> _Tried:
    values = data.values[:, columns]
    if len(columns) == 1:  # there is nothing to fit: all pairs count
        pairs = pairs_of(values[:, 0], data.target)
    else:
        pairs = _left_out(data._replace(values=values), lambda rest: _weights(rest.values, rest.target), deals)
    return _Tried(columns, sum(data.steps[column] for column in columns), pairs, float(tau_of(pairs)[0]))


def _judged(data: _Data) -> Tau:
    """Return how well a set that others have chosen predicts programs."""

    def learned(rest: _Data) -> Numbers:
        columns = list(_chosen([one for kind in _tried(rest, OUTER_DEALS) for one in kind]).columns)
        weights = np.zeros(rest.values.shape[1])
        weights[columns] = _weights(rest.values[:, columns], rest.target)
        return weights

    return estimate(_left_out(data, learned, OUTER_DEALS))


def _weights(values: Numbers, target: Numbers) -> Numbers:
    """Return weights, [T], that are not negative and sum to 1, unless nothing is of use: then all are 0."""
    order = np.array([np.mean(target < one) + np.mean(target <= one) - 1 for one in target])  # ranks, -1 to 1
    weights, _ = import_module("scipy.optimize").nnls(values, order)
    return np.asarray(weights / (weights.sum() or 1.0))


def _left_out(data: _Data, learn: Callable[[_Data], Numbers], deals: int) -> Pairs:
    """Return how predictions compare with the target, summed over all pairs that were left out together."""
    programs = len(data.target)
    total = Pairs(*(np.zeros((programs, programs)) for _ in range(3)))
    for part in _parts(programs, deals):
        weights = learn(data.of(np.setdiff1d(np.arange(programs), part)))
        left = data.of(part)
        here = np.ix_(part, part)
        for whole, of_part in zip(total, pairs_of(left.values @ weights, left.target), strict=True):
            whole[here] += of_part
    return total


def _parts(programs: int, deals: int) -> Iterator[Places]:
    """Yield the programs of each part, deal by deal."""
    rng = np.random.default_rng(_SEED)
    for _ in range(deals):
        yield from np.array_split(rng.permutation(programs), PARTS)


def _named(one: _Tried, names: Sequence[str], data: _Data) -> ProxySet:
    """Return a set with its weights on all programs; without what is of no use beside the others."""
    weights = _weights(data.values[:, one.columns], data.target) if len(one.columns) > 1 else np.ones(1)
    used = [(c, float(weight)) for c, weight in zip(one.columns, weights, strict=True) if weight > 0]
    used = used or [(c, 1 / len(one.columns)) for c in one.columns]  # none is of use: all alike
    tasks, shares = tuple(names[c] for c, _ in used), tuple(weight for _, weight in used)
    return ProxySet(tasks, shares, sum(data.steps[c] for c, _ in used), estimate(one.pairs))
