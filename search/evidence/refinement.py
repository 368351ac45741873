"""Schedules refined from gradient norms, and compared with those that tasks know by name.

The refinement is that of Defazio et al. (arXiv 2310.07831, section 3, algorithms 1 and 2): what a bound on the last
iterate asks of the learning rate if the gradients have the norms that a training had.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.ndimage import median_filter

from programs.analysis.laws import SCALE_OF_G, Law, law_of_update
from programs.analysis.properties import Subject
from programs.analysis.samples import sampled_degree
from programs.hyperparameters import scaled
from programs.program import Program
from programs.schedules import NAMES

from proxy_tasks import Task
from proxy_tasks.task import Norm

from search.errors import RunError
from search.settings.seeds import fresh_seeds, tuning_seeds
from search.settings.tasks import TaskSeeds
from search.training.service import Trainings, TrainingService
from search.training.statistics import Difference

SMOOTHED = 0.1  # of the steps, the width of the median filter
POINTS = 41  # of a refined schedule: one for every fortieth of what follows the warm-up
DIGITS = 4
FACTOR = 2.0  # between neighbouring learning rates of the grid
REACH = 3  # learning rates to each side of the program's own, at first
MOST_REACH = 12  # to each side
RECORDED_WITH = "linear"
"""The schedule of the first recorded training, which is what the bound asks for without knowing the norms."""
_LEAST = 1e-6  # of the largest norm: smaller ones, as where a training has come to rest, count as this

Form = str | tuple[float, ...]


def refined(norms: Sequence[float], norm: Norm) -> np.ndarray:
    """Return the schedule that follows from the gradient norms of a training: factors `[T]`, the largest 1, the last 0.

    With weights w_t = G_t^-2 of smoothed norms, or G_t^-1 for l1 norms, which suit updates of the size of Adam's,
    it is w_t (w_{t+1} + .. + w_T), over its largest value. Equal norms give a straight line.

    Args:
        norms: `[T]`, two at least, not all of them zero.
        norm: what they are.
    """
    found = np.asarray(norms, dtype=np.float64)
    width = 2 * (int(SMOOTHED * len(found)) // 2) + 1
    padding = min(2 * width, len(found) - 1)  # reflected at the end, where norms change most; continued at the start
    smooth = median_filter(np.pad(found, (0, padding), mode="reflect"), size=width, mode="nearest")[: len(found)]
    largest = float(smooth.max()) or float(found.max())
    weights = (np.maximum(smooth, _LEAST * largest) / largest) ** (-1.0 if norm == "l1" else -2.0)
    later = np.append(np.cumsum(weights[::-1])[::-1][1:], 0.0)
    rates = weights * later
    return np.asarray(rates / rates.max())


def as_points(rates: np.ndarray) -> tuple[float, ...]:
    """Return a schedule as `POINTS` factors at equal distances, rounded, the largest 1."""
    found = np.interp(np.linspace(0, len(rates) - 1, POINTS), np.arange(len(rates)), rates)
    return tuple(round(float(factor), DIGITS) for factor in found / found.max())


def suitable_norm(program: Program) -> Norm:
    """Return `l2` for programs whose updates grow as gradients do, such as SGD, and `l1` for all others."""
    bare = Subject(program).bare
    law = law_of_update(bare.dataflow, SCALE_OF_G)
    degree = law.degree if isinstance(law, Law) else sampled_degree(bare, SCALE_OF_G)
    return "l2" if degree == 1 else "l1"


class OnSchedule(NamedTuple):
    """How a program trains with a schedule: at the best of the common learning rates, as a factor on the program's own.

    `trained` are the trainings on fresh seeds, `ahead` is how far their fitness is above that with the task's own
    schedule, paired by seed; None where trainings failed. `is_edge`: there was no learning rate beyond it to try.
    """

    name: str
    form: Form
    factor: float
    is_edge: bool
    trained: Trainings
    ahead: Difference | None


class Refinement(NamedTuple):
    """All schedules that were compared, the refined ones last; the norm that was recorded, and the name of the base."""

    norm: Norm
    base: str
    compared: list[OnSchedule]


def refine(
    program: Program, task: Task, norm: Norm, rounds: int, seeds: int, service: TrainingService, tuning: int = 3
) -> Refinement:
    """Refine the schedule of a program on a task, and compare it with the others on fresh seeds.

    The first refinement is from the norms with a linear decay, each further one from those with the one before, at the
    learning rate that suited it best. All schedules are trained at the same learning rates.

    Args:
        program: what is trained.
        task: on which; differences are to its own schedule.
        norm: the norm of gradients to record.
        rounds: refinements.
        seeds: the number of fresh seeds.
        service: that trains.
        tuning: the number of seeds on which learning rates are chosen, and norms recorded.

    Raises:
        RunError: the program fails at every learning rate, or its gradients are all zero.
    """
    base = task.lr_schedule.name
    forms: dict[str, Form] = {base: task.schedule} | {name: name for name in NAMES}
    grid = _Grid(program, task, tuning_seeds(tuning), service)
    source = RECORDED_WITH
    for number in range(1, rounds + 1):
        best = grid.best(forms)[source]
        norms = _recorded(grid.at(best), grid.on(forms[source], norm), service)
        source = f"refined {number}"
        forms[source] = as_points(refined(norms, norm))
    factors = grid.best(forms)
    trained = {
        name: service.train([grid.at(factors[name])], [grid.on(form)._replace(seeds=fresh_seeds(seeds))])[0][0]
        for name, form in forms.items()
    }
    compared = [
        OnSchedule(
            name, form, FACTOR ** factors[name], abs(factors[name]) == MOST_REACH, trained[name],
            None if name == base else trained[name].ahead_of(trained[base]),
        )
        for name, form in forms.items()
    ]  # fmt: skip
    return Refinement(norm, base, compared)


class _Grid:
    """Learning rates, as powers of `FACTOR`, that are widened for all schedules until the best of none is at an end."""

    def __init__(self, program: Program, task: Task, seeds: tuple[int, ...], service: TrainingService) -> None:
        self._program, self._task, self._seeds, self._service = program, task, seeds, service
        self._low, self._high = -REACH, REACH

    def at(self, power: int) -> Program:
        """Return the program with its learning rate times a power of `FACTOR`."""
        return scaled(self._program, FACTOR**power)

    def on(self, form: Form, norm: Norm | None = None) -> TaskSeeds:
        """Return the task with a schedule, on the seeds of tuning."""
        return TaskSeeds(replace(self._task, schedule=form, gradient_norm=norm), self._seeds)

    def best(self, forms: Mapping[str, Form]) -> dict[str, int]:
        """Return the best power for each schedule.

        Raises:
            RunError: no training with one of them ended well on all seeds.
        """
        while True:
            found = {name: self._best(name, form) for name, form in forms.items()}
            low, high = min(found.values()), max(found.values())
            wider = max(self._low - (low == self._low), -MOST_REACH), min(self._high + (high == self._high), MOST_REACH)
            if wider == (self._low, self._high):
                return found
            self._low, self._high = wider

    def _best(self, name: str, form: Form) -> int:
        powers = range(self._low, self._high + 1)
        trained = self._service.train([self.at(power) for power in powers], [self.on(form)])
        means = [-math.inf if of.failures else of.mean for (of,) in trained]
        if max(means) == -math.inf:
            raise RunError(
                f"task '{self._task.name}': with schedule {name} the program fails at every learning rate that was"
                f" tried, {FACTOR**self._low:g} to {FACTOR**self._high:g} times its own; give one that trains there"
            )
        return powers[means.index(max(means))]


def _recorded(program: Program, on: TaskSeeds, service: TrainingService) -> Sequence[float]:
    """Return the gradient norms of each step after the warm-up, the mean over seeds.

    Raises:
        RunError: they are all zero.
    """
    ((trained,),) = service.train([program], [on])
    after = on.task.lr_schedule.warm_steps(on.task.steps)
    norms = np.mean(trained.gradient_norms, axis=0)[after:]
    if len(norms) < 2:
        raise RunError(f"task '{on.task.name}': {on.task.steps} steps are too few to refine a schedule")
    if not norms.any():
        raise RunError(f"task '{on.task.name}': its gradients are all zero, so that no schedule follows from them")
    return [float(norm) for norm in norms]
