"""Training R replicas at once.

A replica is a program with a seed. All weights, gradients and states of a cohort lie in flat buffers `[R, W]`; replicas
of one seed start from the same weights and see the same minibatches (common random numbers). Replicas do not affect
each other: rows that diverge or fail a hurdle are dropped and the rest go on.

As many replicas are trained at once as fit the memory; at a hurdle the replicas left are regrouped into fewer cohorts.

What differs between a CPU and a GPU is left to a `Backend`.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from programs.graph import M, V
from programs.run.batched import Rows
from programs.run.sharing import Skeletons, share

from proxy_tasks.backend import Backend, one_by_one
from proxy_tasks.datasets import Dataset
from proxy_tasks.devices import open_backend
from proxy_tasks.models import Model
from proxy_tasks.models.chunks import Losses, gradients
from proxy_tasks.outcome import (
    CURVE_POINTS,
    Hurdle,
    Outcome,
    Replica,
    checkpoint,
    diverged_outcome,
    dropped,
    failed_hurdle,
    validated,
)
from proxy_tasks.runtime import precision
from proxy_tasks.state_forms import keep_states
from proxy_tasks.task import Task

log = logging.getLogger("optsearch.trainer")

VALIDATION_SAMPLES = 512  # in one pass; not a function of R, since the order of summation shows in the last bit
AVERAGE, NORMS = "average", "norms"
SCRATCH_ROWS = 10  # the most rows of values that update rules usually keep for each replica


class Resources(NamedTuple):
    """Where to train, and how much at once.

    Attributes:
        rows: the most replicas at once, None for as many as fit; the others wait.
        memory_mib: approximate memory for training, None for what the device has; what does not fit waits.
        device: `cpu` or `cuda`.
        share: the share of the memory of a GPU.
    """

    rows: int | None = None
    memory_mib: float | None = None
    device: str = "cpu"
    share: float = 1.0


DEFAULT_RESOURCES = Resources()


def train(
    task: Task, replicas: Sequence[Replica], hurdles: Sequence[Hurdle] = (), resources: Resources = DEFAULT_RESOURCES
) -> list[Outcome]:
    """Train every replica on the task. Where memory runs out on a GPU, half as many at once are tried from the start.

    Args:
        task: what to train on.
        replicas: what to train.
        hurdles: in the order of their points; replicas that fail one are dropped there.
        resources: where to train, and how much at once.

    Returns:
        Outcomes in the order of the replicas.

    Raises:
        InputError: the device is missing, or the model changes after its first step what replicas have in common.
        torch.OutOfMemoryError: a GPU lacks memory for a single replica.
    """
    if not replicas:
        return []
    started = time.perf_counter()
    backend = open_backend(resources.device, resources.share)
    memory = backend.memory_mib() if resources.memory_mib is None else resources.memory_mib
    most = min(resources.rows or len(replicas), len(replicas), replicas_within(memory, task))
    with task.load(backend.device)[1].unchanged(task.model):
        while (outcomes := _outcomes(task, replicas, hurdles, backend, most)) is None:
            backend.release()
            log.info("out of memory with %d replicas of task %s at once; again by %d", most, task.name, most // 2)
            most //= 2
    each = (time.perf_counter() - started) / len(replicas)
    return [outcome._replace(seconds=each, device=backend.name) for outcome in outcomes]


def _outcomes(
    task: Task, replicas: Sequence[Replica], hurdles: Sequence[Hurdle], backend: Backend, most: int
) -> list[Outcome] | None:
    """Return the outcomes of the replicas; None if `most`, more than one, do not fit a GPU at once."""
    try:
        return TrainingCohorts(task, replicas, hurdles, backend).run(most)
    except RuntimeError as error:
        if most == 1 or not _is_out_of_memory(error):
            raise
        return None


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether a GPU lacks memory: libraries have errors of their own, and so have recordings that end early."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError) or "CUDA error: out of memory" in str(error):
            return True
        if "CUBLAS_STATUS_ALLOC_FAILED" in str(error):
            return True
        error = error.__context__
    return False


def replicas_within(memory_mib: float, task: Task) -> int:
    """Return how many replicas of a task can be trained at once in this memory; at least one."""
    return max(1, int(memory_mib * 2**20 / _bytes_of_replica(task)))


@lru_cache
def _bytes_of_replica(task: Task) -> int:
    """Return the bytes of its rows and twice what autograd keeps; results of the backward pass are as large."""
    data, model = task.load()
    kept: dict[int, int] = {}

    def note(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    rows, buffers = model.initial_row(0)[None], model.initial_buffers([0])
    parameters = [p.requires_grad_() for p in model.parameters(rows)]
    index = torch.zeros((1, task.batch_size), dtype=torch.int64)
    keys = index[0, :1]
    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        model.losses(model.inputs(parameters, buffers, keys), *data.minibatch(index, keys))
    kept_rows = 5 + SCRATCH_ROWS + (task.average > 0)
    return kept_rows * rows.nbytes + 2 * sum(kept.values()) + 2 * sum(b.nbytes for b in buffers)


class TrainingCohorts:
    """What the cohorts of one call share, and the outcomes of the replicas."""

    def __init__(self, task: Task, replicas: Sequence[Replica], hurdles: Sequence[Hurdle], backend: Backend) -> None:
        self.task = task
        self.backend = backend
        self.dataset, self.model = task.load(backend.device)
        self.losses = backend.losses(self.model)
        self.hurdles = {hurdle.point: hurdle for hurdle in hurdles}
        self.programs = [replica.program for replica in replicas]
        self.skeletons = Skeletons(self.programs)
        self.bind_rules = backend.compiled(self.skeletons)
        self.seeds = [replica.seed for replica in replicas]
        self.streams = {seed: number for number, seed in enumerate(dict.fromkeys(self.seeds))}
        minibatches = [torch.from_numpy(task.minibatches(seed)) for seed in self.streams]
        self.minibatches = torch.stack(minibatches, dim=1).to(backend.device)  # [steps, S, B]
        keys = [torch.from_numpy(task.keys(seed)) for seed in self.streams]
        self.keys = torch.stack(keys, dim=1).to(backend.device)  # [steps + 1, S]
        self.schedule = torch.from_numpy(task.learning_rates()).to(backend.device)  # [steps]
        self.averaging = torch.from_numpy(task.averaging()).to(backend.device)  # [steps]
        factors = self.model.lr_multipliers
        self.lr_multipliers = None if factors is None else factors.to(backend.device)  # [W]
        self.curves: list[list[float]] = [[] for _ in replicas]
        self.outcomes: list[Outcome | None] = [None] * len(replicas)

    def run(self, most: int) -> list[Outcome]:
        """Train all, at most `most` at once, up to each hurdle in turn."""
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
        w = torch.stack([initial[self.seeds[i]] for i in numbers]).to(self.backend.device)
        widths = (self.skeletons.state_width(slot, self.model.layout) for slot in (M, V))
        states = (w.new_zeros(len(w), width) for width in widths)
        buffers = [b.to(self.backend.device) for b in self.model.initial_buffers([self.seeds[i] for i in numbers])]
        return _Cohort(self, list(numbers), Kept.begun(self.task, Rows(w, torch.zeros_like(w), *states), buffers))

    def _regrouped(self, cohorts: list[_Cohort], most: int) -> list[_Cohort]:
        """Return the replicas left, in as few cohorts as possible."""
        cohorts = [cohort for cohort in cohorts if cohort.left]
        left = sum(len(cohort.left) for cohort in cohorts)
        if not left or math.ceil(left / most) == len(cohorts):
            return cohorts
        numbers = [cohort.numbers[row] for cohort in cohorts for row in cohort.left]
        kept = Kept.joined([cohort.survivors() for cohort in cohorts])
        return [_Cohort(self, [numbers[i] for i in part], kept.picked(part)) for part in _parts(range(left), most)]

    def judge(self, number: int, loss: float, point: int) -> bool:
        """Take in the mean loss of a replica over the last twentieth; return whether it goes on."""
        diverged = diverged_outcome(loss, self.task.loss_bound, checkpoint(point, self.task.steps))
        if diverged is not None:
            self.finish(number, diverged)
            return False
        self.curves[number].append(loss)
        hurdle = self.hurdles.get(point)
        if hurdle is not None and failed_hurdle(self.curves[number], [hurdle]):
            self.finish(number, dropped(self.curves[number], hurdle, self.task.steps))
            return False
        return True

    def finish(self, number: int, outcome: Outcome) -> None:
        """Keep the outcome of a replica, with its curve."""
        self.outcomes[number] = outcome._replace(curve=self.curves[number])


def _parts(numbers: Sequence[int], most: int) -> Iterable[Sequence[int]]:
    """Return the numbers in parts of nearly equal size, none larger than `most`."""
    parts = math.ceil(len(numbers) / most)
    return (numbers[len(numbers) * i // parts : len(numbers) * (i + 1) // parts] for i in range(parts))


class Kept(NamedTuple):
    """What is kept of R replicas from step to step, first axis R.

    Attributes:
        rows: their weights, gradients and states.
        buffers: of their modules.
        noted: by name what the task asks for: AVERAGE, of their weights `[R, W]`, and NORMS, of gradients `[R, steps]`.
    """

    rows: Rows
    buffers: Sequence[Tensor]
    noted: Mapping[str, Tensor]

    @staticmethod
    def begun(task: Task, rows: Rows, buffers: Sequence[Tensor]) -> Kept:
        """Return what is kept of replicas that have taken no step."""
        noted = {AVERAGE: rows.w.clone()} if task.average else {}
        if task.gradient_norm is not None:
            noted[NORMS] = rows.w.new_zeros(len(rows.w), task.steps)
        return Kept(rows, buffers, noted)

    def picked(self, which: Sequence[int]) -> Kept:
        """Return copies of some replicas, in this order."""
        index = torch.tensor(which).to(self.rows.w.device)
        return Kept(
            Rows(*(row.index_select(0, index) for row in self.rows)),
            [buffer.index_select(0, index) for buffer in self.buffers],
            {name: value.index_select(0, index) for name, value in self.noted.items()},
        )

    @staticmethod
    def joined(parts: Sequence[Kept]) -> Kept:
        """Return all replicas of several parts."""
        rows = Rows(*(torch.cat(some) for some in zip(*(part.rows for part in parts), strict=True)))
        buffers = [torch.cat(some) for some in zip(*(part.buffers for part in parts), strict=True)]
        return Kept(rows, buffers, {name: torch.cat([part.noted[name] for part in parts]) for name in parts[0].noted})


class _Cohort:
    """Replicas trained together.

    Attributes:
        numbers: of the replica in each row, among all replicas.
        left: the rows of replicas that are still trained; the other rows are idle until a move is worth it.
    """

    def __init__(self, training: TrainingCohorts, numbers: list[int], kept: Kept) -> None:
        self.training = training
        self.task, self.dataset, self.model = training.task, training.dataset, training.model
        self.numbers = numbers
        self._bind(kept, numbers)

    def _bind(self, kept: Kept, keep: Sequence[int]) -> None:
        """Go on with the replicas numbered `keep`, arranged so that programs that share statements lie together."""
        training, device = self.training, kept.rows.w.device
        tree = share(training.skeletons, keep)
        row_of = {number: row for row, number in enumerate(self.numbers)}
        self.numbers = tree.programs
        self.left = list(range(len(self.numbers)))
        self.kept = kept.picked([row_of[number] for number in self.numbers])
        self.rows = self.kept.rows
        self.gradient = self.rows.g[:, : self.model.layout.total]
        self.parameters = [p.detach().requires_grad_() for p in self.model.parameters(self.rows.w)]
        self.total = torch.zeros(len(self.numbers), device=device)
        self.rules = training.bind_rules(tree, self.model.layout, self.rows, self.total, self.task)
        programs = [training.programs[number] for number in self.numbers]
        self.keep_states = keep_states(self.task.states, programs, self.model.layout, self.rows)
        streams = [training.streams[training.seeds[number]] for number in self.numbers]
        # Replicas of one seed share their minibatches.
        self.streams = torch.tensor(streams[:1] if len(set(streams)) == 1 else streams).to(device)
        self.now = torch.zeros(1, dtype=torch.int64, device=device)

    def survivors(self) -> Kept:
        """Return what is kept of the replicas left."""
        return self.kept.picked(self.left)

    def advance(self, start: int, stop: int) -> None:
        """Train from twentieth `start` to `stop`, or until no replica is left.

        What repeats the steps may hold the memory of a step, so only the cohort that is being trained has it.
        """
        backend = self.training.backend
        repeat = self._repeated()
        for point in range(start + 1, stop + 1):
            first, last = checkpoint(point - 1, self.task.steps), checkpoint(point, self.task.steps)
            if not self.left or first == last:
                continue
            losses = self._segment(first, last, repeat)
            self.left = [row for row in self.left if self.training.judge(self.numbers[row], losses[row], point)]
            if self.left and backend.is_worth_a_move(len(self.left), len(self.numbers)):
                self._bind(self.kept, [self.numbers[row] for row in self.left])
                repeat = self._repeated()

    def _repeated(self) -> Callable[[int], None]:
        """Return what takes several steps."""
        return self.training.backend.repeated(self._step) if self.model.is_recordable else one_by_one(self._step)

    def _segment(self, start: int, stop: int, repeat: Callable[[int], None]) -> list[float]:
        """Train from step `start` to `stop`; return mean training losses, one for each row."""
        is_out = torch.ones(len(self.numbers), dtype=torch.bool)
        is_out[self.left] = False
        self.total.copy_(torch.where(is_out, torch.inf, 0.0))
        self.now.fill_(start)
        repeat(stop - start)
        return (self.total / (stop - start)).tolist()

    def _step(self) -> None:
        """Take one step, on tensors at fixed addresses, so that it can be recorded."""
        training = self.training
        index = training.minibatches.index_select(0, self.now)[0].index_select(0, self.streams)  # [1 or R, B]
        keys = training.keys.index_select(0, self.now)[0].index_select(0, self.streams)  # [1 or R]
        x, y = self.dataset.minibatch(index, keys)
        with precision(self.task.matmul, x.device):
            losses = training.losses(self.model.inputs(self.parameters, self.kept.buffers, keys), x, y)
            found = gradients(losses, self.parameters)
        torch.cat([g.reshape(len(g), -1) for g in found], dim=1, out=self.gradient)
        with torch.no_grad():
            self.total += losses
            factors = training.lr_multipliers
            before = self.rows.w if factors is None else self.rows.w.clone()
            self.rules.step(training.schedule.index_select(0, self.now), self.now)
            self.keep_states()
            if factors is not None:
                torch.lerp(before, self.rows.w, factors, out=self.rows.w)
            if self.kept.noted:
                self._note(self.kept.noted)
            self.now += 1

    def _note(self, noted: Mapping[str, Tensor]) -> None:
        """Note what the task asks for of this step."""
        if AVERAGE in noted:
            noted[AVERAGE].lerp_(self.rows.w, self.training.averaging.index_select(0, self.now))
        if NORMS in noted:
            norms = gradient_norms(self.task, self.gradient)
            noted[NORMS].index_copy_(1, self.now, norms[:, None])

    def validate(self) -> None:
        """Finish the replicas left with their validation losses."""
        if not self.left:
            return
        left = self.survivors()
        keys = self.training.keys[-1].index_select(0, self.streams).expand(len(self.numbers))[self.left]
        weights = left.noted.get(AVERAGE, left.rows.w)
        inputs = self.model.inputs(self.model.parameters(weights), left.buffers, keys)
        losses = self._validated(self.model, inputs)
        measure = self.model.measure(self.task.fitness)
        metrics: Sequence[float | None] = [None] * len(losses)
        if measure is not None:
            metrics = self._validated(replace(self.model, evaluation=measure), inputs)
        norms = left.noted[NORMS].tolist() if NORMS in left.noted else [None] * len(losses)
        for row, *found in zip(self.left, losses, metrics, norms, strict=True):
            self.training.finish(self.numbers[row], validated(self.task, *found))

    def _validated(self, model: Model, inputs: Sequence[Tensor]) -> list[float]:
        in_training = len(self.numbers) * self.task.batch_size
        compute = self.training.backend.losses_without_gradient(model, in_training, VALIDATION_SAMPLES)
        return validation_losses(self.dataset, compute, inputs)


def gradient_norms(task: Task, gradients: Tensor) -> Tensor:
    """Return the norms of gradients `[R, P]` that a task asks for, over all weights -> [R].

    They are summed in float64, so that the order of summation, which may depend on R, hardly ever shows.
    """
    order = 1 if task.gradient_norm == "l1" else 2
    norms: Tensor = torch.linalg.vector_norm(gradients, order, dim=1, dtype=torch.float64)
    return norms.float()


@torch.no_grad()
def validation_losses(dataset: Dataset, losses: Losses, inputs: Sequence[Tensor]) -> list[float]:
    """Return mean losses, or metrics, over all validation samples for each replica of the inputs `[R, *shape]`."""
    x, y = dataset.valid_x, dataset.valid_y
    total = torch.zeros(len(inputs[0]), dtype=torch.float64, device=x.device)
    for start in range(0, len(x), VALIDATION_SAMPLES):
        chunk_x, chunk_y = x[start : start + VALIDATION_SAMPLES], y[start : start + VALIDATION_SAMPLES]
        with precision("float32", x.device):
            total += losses(inputs, chunk_x[None], chunk_y[None]).double() * len(chunk_x)
    return (total / len(x)).tolist()
