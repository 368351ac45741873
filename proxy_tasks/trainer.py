"""Training R replicas at once.

A replica is a program with a seed. All weights, gradients and states of a cohort lie in flat buffers `[R, W]`; replicas
of one seed start from the same weights and see the same minibatches (common random numbers). What happens to one
replica never touches another: rows that diverge or fail a hurdle are dropped and the rest go on.

As many replicas are trained at once as fit the memory; what is left of several cohorts at a hurdle goes on as fewer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from programs.batched import Rows, UpdateRules
from programs.sharing import Outlines, share

from proxy_tasks.datasets import Dataset
from proxy_tasks.models import Model
from proxy_tasks.outcome import CURVE_POINTS, Hurdle, Outcome, Replica, astray, checkpoint, dropped, fallen, validated
from proxy_tasks.task import Task

VALIDATION_SAMPLES = 512  # in one pass; not a function of R, since the order of summation shows in the last bit
MEMORY_MIB = 2048.0
SCRATCH_ROWS = 10  # rows of values that update rules keep for each replica, as a rule fewer


def train(
    task: Task,
    replicas: Sequence[Replica],
    hurdles: Sequence[Hurdle] = (),
    rows: int | None = None,
    memory_mib: float = MEMORY_MIB,
) -> list[Outcome]:
    """Train every replica on the task.

    Args:
        task: what to train on.
        replicas: what to train.
        hurdles: by rising point; replicas that fail one are dropped there.
        rows: most replicas at once; the others wait for their turn, and join what hurdles leave.
        memory_mib: what training may take, about; the replicas that do not fit wait too.

    Returns:
        Outcomes in the order of the replicas.
    """
    if not replicas:
        return []
    started = time.perf_counter()
    outcomes = _Training(task, replicas, hurdles).run(min(rows or len(replicas), replicas_within(memory_mib, task)))
    each = (time.perf_counter() - started) / len(replicas)
    return [outcome._replace(seconds=each) for outcome in outcomes]


def replicas_within(memory_mib: float, task: Task) -> int:
    """How many replicas of a task can be trained at once in so much memory; at least one."""
    return max(1, int(memory_mib * 2**20 / _bytes_of_replica(task)))


@lru_cache
def _bytes_of_replica(task: Task) -> int:
    """Its rows, and twice what autograd keeps for the backward pass, whose results have about the same size."""
    data, model = task.load()
    kept: dict[int, int] = {}

    def note(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    rows = model.initial_row(0)[None]
    parameters = [p.requires_grad_() for p in model.parameters(rows)]
    index = torch.zeros((1, task.batch_size), dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        model.losses(parameters, data.train_x[index], data.train_y[index])
    return (5 + SCRATCH_ROWS) * rows.nbytes + 2 * sum(kept.values())


class _Training:
    """What the cohorts of one call have in common, and what has become of the replicas."""

    def __init__(self, task: Task, replicas: Sequence[Replica], hurdles: Sequence[Hurdle]) -> None:
        self.task = task
        self.dataset, self.model = task.load()
        self.hurdles = {hurdle.point: hurdle for hurdle in hurdles}
        self.outlines = Outlines([replica.program for replica in replicas])
        self.seeds = [replica.seed for replica in replicas]
        self.minibatches = {seed: torch.from_numpy(task.minibatches(seed)) for seed in set(self.seeds)}
        self.schedule = torch.from_numpy(task.schedule()).unsqueeze(1)  # [steps, 1]
        self.curves: list[list[float]] = [[] for _ in replicas]
        self.outcomes: list[Outcome | None] = [None] * len(replicas)

    def run(self, most: int) -> list[Outcome]:
        """Train all, at most so many at once, up to each hurdle in turn."""
        cohorts = [self._start(numbers) for numbers in _parts(range(len(self.seeds)), most)]
        stops = sorted({*self.hurdles, CURVE_POINTS})
        for start, stop in zip([0, *stops], stops, strict=False):
            for cohort in cohorts:
                cohort.advance(start, stop)
            cohorts = self._regrouped(cohorts, most) if stop < CURVE_POINTS else cohorts
        for cohort in cohorts:
            cohort.validate()
        return [outcome for outcome in self.outcomes if outcome is not None]

    def _start(self, numbers: Sequence[int]) -> _Cohort:
        initial = {seed: self.model.initial_row(seed) for seed in {self.seeds[i] for i in numbers}}
        w = torch.stack([initial[self.seeds[i]] for i in numbers])
        return _Cohort(self, list(numbers), Rows(w, *(torch.zeros_like(w) for _ in range(3))))

    def _regrouped(self, cohorts: list[_Cohort], most: int) -> list[_Cohort]:
        """The replicas left, in as few cohorts as possible."""
        left = sum(len(cohort.numbers) for cohort in cohorts)
        if math.ceil(left / most) == len(cohorts) or not left:
            return [cohort for cohort in cohorts if cohort.numbers]
        numbers = [i for cohort in cohorts for i in cohort.numbers]
        rows = Rows(*(torch.cat(buffers) for buffers in zip(*(c.rows for c in cohorts if c.numbers), strict=True)))
        return [
            _Cohort(self, [numbers[i] for i in part], Rows(*(buffer[list(part)] for buffer in rows)))
            for part in _parts(range(left), most)
        ]

    def judge(self, number: int, loss: float, point: int) -> bool:
        """Take in the mean loss of a replica over the last twentieth; whether it goes on."""
        diverged = astray(loss, self.task.loss_bound, checkpoint(point, self.task.steps))
        if diverged is not None:
            self.finish(number, diverged)
            return False
        self.curves[number].append(loss)
        hurdle = self.hurdles.get(point)
        if hurdle is not None and fallen(self.curves[number], [hurdle]):
            self.finish(number, dropped(self.curves[number], hurdle, self.task.steps))
            return False
        return True

    def finish(self, number: int, outcome: Outcome) -> None:
        """What became of a replica; its curve is added."""
        self.outcomes[number] = outcome._replace(curve=self.curves[number])


def _parts(numbers: Sequence[int], most: int) -> Iterable[Sequence[int]]:
    """The numbers in parts of nearly equal size, none larger than `most`."""
    parts = math.ceil(len(numbers) / most)
    return (numbers[len(numbers) * i // parts : len(numbers) * (i + 1) // parts] for i in range(parts))


class _Cohort:
    """Replicas trained together. `numbers[r]` is the number, among all replicas, of the one in row r."""

    def __init__(self, training: _Training, numbers: list[int], rows: Rows) -> None:
        self.training = training
        self.task, self.dataset, self.model = training.task, training.dataset, training.model
        self.numbers = numbers
        self._bind(rows, numbers)

    def _bind(self, rows: Rows, keep: Sequence[int]) -> None:
        """Go on with the replicas numbered `keep`, arranged so that those that have much in common lie together."""
        tree = share(self.training.outlines, keep)
        row_of = {number: row for row, number in enumerate(self.numbers)}
        self.numbers = tree.members
        self.rows = Rows(*(buffer[[row_of[number] for number in self.numbers]] for buffer in rows))
        self.gradient = self.rows.g[:, : self.model.layout.total]
        self.parameters = [p.detach().requires_grad_() for p in self.model.parameters(self.rows.w)]
        self.rules = UpdateRules(self.training.outlines, tree, self.model.layout, self.rows, self.task.update_scale)
        seeds = [self.training.seeds[number] for number in self.numbers]
        distinct = seeds[:1] if len(set(seeds)) == 1 else seeds
        self.indices = torch.stack([self.training.minibatches[seed] for seed in distinct], dim=1)  # [steps, 1 or R, B]

    def advance(self, start: int, stop: int) -> None:
        """Train from twentieth `start` to `stop`, or until nobody is left."""
        for point in range(start + 1, stop + 1):
            first, last = checkpoint(point - 1, self.task.steps), checkpoint(point, self.task.steps)
            if not self.numbers or first == last:
                continue
            losses = self._segment(first, last)
            keep = [n for n, loss in zip(self.numbers, losses, strict=True) if self.training.judge(n, loss, point)]
            if not keep:
                self.numbers = []
            elif len(keep) < len(self.numbers):
                self._bind(self.rows, keep)

    def _segment(self, start: int, stop: int) -> list[float]:
        """Train from step `start` to `stop`; mean training losses on the way, one for each row."""
        total = torch.zeros(len(self.numbers))
        x, y = self.dataset.train_x, self.dataset.train_y
        for step in range(start, stop):
            index = self.indices[step]
            losses = self.model.losses(self.parameters, x[index], y[index])
            gradients = torch.autograd.grad(losses.sum(), self.parameters)
            torch.cat([g.flatten(1) for g in gradients], dim=1, out=self.gradient)
            with torch.no_grad():
                self.rules.step(self.training.schedule[step])
                total += losses
        return (total / (stop - start)).tolist()

    def validate(self) -> None:
        """Finish the replicas left with their validation losses."""
        losses = validation_losses(self.dataset, self.model, self.parameters) if self.numbers else ()
        for number, loss in zip(self.numbers, losses, strict=True):
            self.training.finish(number, validated(loss, self.task.loss_bound, self.task.steps))


@torch.no_grad()
def validation_losses(dataset: Dataset, model: Model, parameters: Sequence[Tensor]) -> list[float]:
    """Mean losses over all validation samples, one for each replica of the parameters `[R, *shape]`."""
    x, y = dataset.valid_x, dataset.valid_y
    total = torch.zeros(len(parameters[0]), dtype=torch.float64)
    for start in range(0, len(x), VALIDATION_SAMPLES):
        chunk_x, chunk_y = x[start : start + VALIDATION_SAMPLES], y[start : start + VALIDATION_SAMPLES]
        total += model.losses(parameters, chunk_x[None], chunk_y[None]).double() * len(chunk_x)
    return (total / len(x)).tolist()
