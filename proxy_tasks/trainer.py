"""Training R replicas at once.

A replica is a program with a seed. All weights, gradients and states of a batch lie in flat buffers `[R, W]`; replicas
of one seed start from the same weights and see the same minibatches (common random numbers). What happens to one
replica never touches another: rows that diverge are dropped and the rest go on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from programs.batched import Rows, RowSource, UpdateRules, row_source
from programs.program import Program

from proxy_tasks.task import CURVE_POINTS, Task

VALIDATION_SAMPLES = 512  # in one pass; not a function of R, since the order of summation shows in the last bit


Status = Literal["ok", "diverged", "error", "lost"]


class Replica(NamedTuple):
    """One training: a program and a seed."""

    program: Program
    seed: int


class Outcome(NamedTuple):
    """What became of a replica.

    The trainer itself says ok or diverged; error (training raised) and lost (its process died) come from evaluators.
    `fitness` is minus the final validation loss, None unless `status` is ok. `curve` holds mean training losses over
    twentieths of the steps, as far as they are finite. `seconds` is the replica's share of the time of its batch.
    """

    status: Status
    fitness: float | None
    curve: list[float]
    steps: int
    seconds: float
    reason: str | None = None


def configure_process(threads: int = 1) -> None:
    """Settings for a process that trains: one thread, so that results do not depend on the machine; no denormals."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


@contextmanager
def configured_process() -> Iterator[None]:
    """`configure_process` for a while, for processes that do other things too."""
    threads = torch.get_num_threads()
    configure_process()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)


def train(task: Task, replicas: Sequence[Replica]) -> list[Outcome]:
    """Train every replica on the task; outcomes in the order given."""
    if not replicas:
        return []
    started = time.perf_counter()
    sources = [row_source(replica.program) for replica in replicas]
    order = sorted(range(len(replicas)), key=lambda i: sources[i].source)  # equal sources side by side, run as one
    batch = _Batch(task, [sources[i] for i in order], [replicas[i].seed for i in order])
    outcomes = batch.run()
    share = (time.perf_counter() - started) / len(replicas)
    in_order = sorted(zip(order, outcomes, strict=True))
    return [outcome._replace(seconds=share) for _, outcome in in_order]


class _Batch:
    """The state of one batch in training. `alive[r]` is the number, among all replicas, of the one in row r."""

    def __init__(self, task: Task, sources: list[RowSource], seeds: list[int]) -> None:
        self.task = task
        self.dataset, self.model = task.load()
        self.sources = sources
        self.seeds = seeds
        self.curves: list[list[float]] = [[] for _ in sources]
        self.outcomes: list[Outcome | None] = [None] * len(sources)
        self.alive = list(range(len(sources)))
        self.stream = {seed: torch.from_numpy(task.minibatches(seed)) for seed in set(seeds)}
        start = {seed: self.model.initial_row(seed) for seed in set(seeds)}
        w = torch.stack([start[seed] for seed in seeds])
        self._bind(Rows(w, torch.zeros_like(w), torch.zeros_like(w), torch.zeros_like(w)))

    def _bind(self, rows: Rows) -> None:
        """Take these buffers as the state; everything that views them is made anew."""
        self.rows = rows
        self.gradient = rows.g[:, : self.model.layout.total]
        self.parameters = [p.detach().requires_grad_() for p in self.model.parameters(rows.w)]
        self.rules = UpdateRules([self.sources[i] for i in self.alive], self.model.layout, rows)
        seeds = [self.seeds[i] for i in self.alive]
        distinct = seeds[:1] if len(set(seeds)) == 1 else seeds
        self.indices = torch.stack([self.stream[seed] for seed in distinct], dim=1)  # [steps, 1 or R, B]

    def run(self) -> list[Outcome]:
        schedule = torch.from_numpy(self.task.schedule()).unsqueeze(1)  # [steps, 1]
        checkpoints = np.linspace(0, self.task.steps, CURVE_POINTS + 1).round().astype(int)
        for start, stop in pairwise(checkpoints.tolist()):
            if not self.alive:
                break
            if start < stop:
                self._drop_diverged(self._segment(start, stop, schedule), stop)
        if self.alive:
            self._validate()
        return [outcome for outcome in self.outcomes if outcome is not None]

    def _segment(self, start: int, stop: int, schedule: Tensor) -> list[float]:
        """Train from step `start` to `stop`; mean training losses on the way, one for each row."""
        total = torch.zeros(len(self.alive))
        for step in range(start, stop):
            index = self.indices[step]
            losses = self.model.losses(self.parameters, self.dataset.train_x[index], self.dataset.train_y[index])
            gradients = torch.autograd.grad(losses.sum(), self.parameters)
            torch.cat([g.flatten(1) for g in gradients], dim=1, out=self.gradient)
            with torch.no_grad():
                self.rules.step(schedule[step])
                total += losses
        return (total / (stop - start)).tolist()

    def _drop_diverged(self, losses: list[float], step: int) -> None:
        keep = []
        for row, (replica, loss) in enumerate(zip(self.alive, losses, strict=True)):
            if loss <= self.task.loss_bound:
                self.curves[replica].append(loss)
                keep.append(row)
            else:
                bound = "is not finite" if not np.isfinite(loss) else f"exceeds {self.task.loss_bound:g}"
                self._finish(replica, None, step, f"training loss {bound} by step {step}")
        if len(keep) < len(self.alive):
            self.alive = [self.alive[row] for row in keep]
            if self.alive:
                self._bind(Rows(*(buffer[keep] for buffer in self.rows)))

    def _validate(self) -> None:
        losses = self._validation_losses()
        for replica, loss in zip(self.alive, losses.tolist(), strict=True):
            if loss <= self.task.loss_bound:
                self._finish(replica, -loss, self.task.steps, None)
            else:
                self._finish(replica, None, self.task.steps, "validation loss is not finite or exceeds the bound")

    @torch.no_grad()
    def _validation_losses(self) -> Tensor:
        """Mean losses over all validation samples, [R]."""
        x, y = self.dataset.valid_x, self.dataset.valid_y
        total = torch.zeros(len(self.alive), dtype=torch.float64)
        for start in range(0, len(x), VALIDATION_SAMPLES):
            chunk_x, chunk_y = x[start : start + VALIDATION_SAMPLES], y[start : start + VALIDATION_SAMPLES]
            total += self.model.losses(self.parameters, chunk_x[None], chunk_y[None]).double() * len(chunk_x)
        return total / len(x)

    def _finish(self, replica: int, fitness: float | None, steps: int, reason: str | None) -> None:
        status: Status = "diverged" if fitness is None else "ok"
        self.outcomes[replica] = Outcome(status, fitness, self.curves[replica], steps, 0.0, reason)
