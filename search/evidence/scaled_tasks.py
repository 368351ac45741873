"""How much worse a changed program trains than the original: paired trainings, at a scale at which the original trains.

A program tuned for one kind of model may hardly move the weights of another, and then nothing in it seems to matter. So
the whole update is multiplied by a factor, the update scale, in all trainings on a task; the program stays as it is.

Differences are measured in standard deviations of the original's loss between seeds: what is little on a task whose
losses are all alike, such as those of language models, is nothing on another.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from programs.errors import InputError
from programs.program import Program, Statement

from proxy_tasks import Task

from search.settings.tasks import TaskSeeds
from search.training import statistics as tests
from search.training.service import TrainingService

UPDATE_SCALES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
SCALE_SEEDS = 8  # for scales that lie half a decade apart

_NEARLY = 2.0  # standard deviations from the lowest loss: the program trains, and stays near its own scale
_LEAST_DEVIATION = 1e-3  # of the loss: where seeds hardly matter, this is the unit; and itself where all losses are 0


class ScaledTask(NamedTuple):
    """A task and the factor by which all updates are multiplied on it."""

    task: Task
    update_scale: float


class LossIncrease(NamedTuple):
    """A loss less the original's, mean over seeds paired, and its standard error; infinite where a training failed.

    Both in standard deviations of the original's loss between seeds.
    """

    task: str
    mean: float
    standard_error: float

    @property
    def bound(self) -> float:
        """What is compared with the tolerance: the standard error counts against the change."""
        return self.mean + self.standard_error


def losses(
    programs: Sequence[Program], on: ScaledTask, seeds: Sequence[int], service: TrainingService
) -> list[list[float]]:
    """[programs][seeds] validation losses, infinite where training failed; all programs see the same minibatches."""
    return _losses([_times(program, on.update_scale) for program in programs], on.task, seeds, service)


def _times(program: Program, update_scale: float) -> Program:
    return (
        program
        if update_scale == 1.0
        else Program((*program.statements, Statement("update", "mul", ("update", update_scale))))
    )


def _losses(
    programs: Sequence[Program], task: Task, seeds: Sequence[int], service: TrainingService
) -> list[list[float]]:
    return [on.losses(seeds) for (on,) in service.train(programs, [TaskSeeds(task, tuple(seeds))])]


def scaled_task(program: Program, task: Task, seeds: Sequence[int], service: TrainingService) -> ScaledTask:
    """Return the scale nearest to 1 of those at which the loss is nearly the lowest and every training goes well.

    The first `SCALE_SEEDS` decide what is nearly the lowest.

    Raises:
        InputError: a training of the program fails at every scale.
    """
    first = seeds[:SCALE_SEEDS]
    of_scales = _losses([_times(program, scale) for scale in UPDATE_SCALES], task, first, service)
    trains = {scale: row for scale, row in zip(UPDATE_SCALES, of_scales, strict=True) if all(map(math.isfinite, row))}
    while trains:
        best = min(trains.values(), key=statistics.fmean)
        good = [scale for scale, row in trains.items() if difference(task.name, row, best).bound <= _NEARLY]
        nearest = min(good, key=lambda scale: abs(math.log(scale)))
        (row,) = _losses([_times(program, nearest)], task, seeds, service)
        if all(map(math.isfinite, row)):
            return ScaledTask(task, nearest)
        del trains[nearest]
    raise InputError(
        f"task '{task.name}': the program diverges at every scale of its update, so that nothing can be compared;"
        " name another --task, or simplify by algebra alone with --no-training"
    )


def difference(task: str, row: Sequence[float], original: Sequence[float]) -> LossIncrease:
    """Return how losses differ from those of the original.

    Args:
        task: its name.
        row: of the changed program, on two seeds at least.
        original: on the same seeds, and perhaps on more, from which the standard deviation is known better.
    """
    if not all(map(math.isfinite, (*row, *original))):
        return LossIncrease(task, math.inf, 0.0)
    found = tests.difference(dict(enumerate(row)), dict(enumerate(original[: len(row)])))
    assert found is not None, "two seeds at least"
    unit = max(statistics.stdev(original), _LEAST_DEVIATION * abs(statistics.fmean(original))) or _LEAST_DEVIATION
    return LossIncrease(task, found.mean / unit, found.standard_error / unit)


def differences(
    original: Program,
    changed: Sequence[Program],
    on: Sequence[ScaledTask],
    seeds: Sequence[int],
    count: int,
    service: TrainingService,
) -> list[list[LossIncrease]]:
    """Return for each changed program how it compares on every task.

    Args:
        original: is trained on all seeds.
        changed: are trained on the first of them.
        on: the tasks.
        seeds: all of them.
        count: how many the changed programs get, two at least.
        service: that trains.
    """
    of_tasks = []
    for task in on:
        (first,) = losses([original], task, seeds, service)
        rows = losses(changed, task, seeds[:count], service)
        of_tasks.append([difference(task.task.name, row, first) for row in rows])
    return [list(of_program) for of_program in zip(*of_tasks, strict=True)]
