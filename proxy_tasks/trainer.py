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

from programs.batched import Rows, UpdateRules
from programs.program import Program
from programs.sharing import Outlines, share

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
    outcomes = _Batch(task, replicas).run()
    share_of_each = (time.perf_counter() - started) / len(replicas)
    return [outcome._replace(seconds=share_of_each) for outcome in outcomes]


class _Batch:
    """The state of one batch in training. `alive[r]` is the number, among all replicas, of the one in row r."""

    def __init__(self, task: Task, replicas: Sequence[Replica]) -> None:
        self.task = task
        self.dataset, self.model = task.load()
        self.outlines = Outlines([replica.program for replica in replicas])
        self.seeds = [replica.seed for replica in replicas]
        self.curves: list[list[float]] = [[] for _ in replicas]
        self.outcomes: list[Outcome | None] = [None] * len(replicas)
        self.alive = list(range(len(replicas)))
        self.stream = {seed: torch.from_numpy(task.minibatches(seed)) for seed in set(self.seeds)}
        start = {seed: self.model.initial_row(seed) for seed in set(self.seeds)}
        w = torch.stack([start[seed] for seed in self.seeds])
        self._bind(Rows(w, torch.zeros_like(w), torch.zeros_like(w), torch.zeros_like(w)), self.alive)

    def _bind(self, rows: Rows, keep: Sequence[int]) -> None:
        """Go on with the replicas numbered `keep`, arranged so that those that have much in common lie together."""
        tree = share(self.outlines, keep)
        row_of = {replica: row for row, replica in enumerate(self.alive)}
        self.alive = tree.members
        self.rows = Rows(*(buffer[[row_of[replica] for replica in self.alive]] for buffer in rows))
        self.gradient = self.rows.g[:, : self.model.layout.total]
        self.parameters = [p.detach().requires_grad_() for p in self.model.parameters(self.rows.w)]
        self.rules = UpdateRules(self.outlines, tree, self.model.layout, self.rows)
        seeds = [self.seeds[replica] for replica in self.alive]
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
        for replica, loss in zip(self.alive, losses, strict=True):
            if loss <= self.task.loss_bound:
                self.curves[replica].append(loss)
                keep.append(replica)
            else:
                bound = "is not finite" if not np.isfinite(loss) else f"exceeds {self.task.loss_bound:g}"
                self._finish(replica, None, step, f"training loss {bound} by step {step}")
        if not keep:
            self.alive = []
        elif len(keep) < len(self.alive):
            self._bind(self.rows, keep)

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
