"""What is trained, what becomes of it, and the hurdles that stop it early."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from programs.program import Program

if TYPE_CHECKING:
    from proxy_tasks.task import Task

CURVE_POINTS = 20
TORCH_OPTIMIZERS_VERSION = 1  # increased with every change that alters what these optimizers do


class Status(StrEnum):
    """What became of a program. The trainer gives the first three, evaluators the last three."""

    OK = "ok"
    DIVERGED = "diverged"
    DROPPED = "dropped"
    """It failed a hurdle."""
    REJECTED = "rejected"
    """It was not trained, because its fingerprint shows that it cannot learn."""
    TIMEOUT = "timeout"
    ERROR = "error"
    """Training raised an exception."""
    LOST = "lost"
    """The processes that trained it died."""


class Replica(NamedTuple):
    """One training: a program and a seed."""

    program: Program
    seed: int


class TorchOptimizer(NamedTuple):
    """An optimizer of `torch_optimizers.TORCH_OPTIMIZERS` with the constants that are tuned."""

    name: str
    learning_rate: float
    weight_decay: float

    @property
    def key(self) -> str:
        """The key of its trainings; 32 hex digits."""
        return blake2b(json.dumps([TORCH_OPTIMIZERS_VERSION, *self]).encode(), digest_size=16).hexdigest()

    def __str__(self) -> str:
        return f"{self.name}(learning_rate={self.learning_rate!r}, weight_decay={self.weight_decay!r})"


class TorchReplica(NamedTuple):
    """One training: an optimizer of torch in the place of a program, and a seed."""

    program: TorchOptimizer
    seed: int


class Outcome(NamedTuple):
    """What became of a replica.

    `fitness` is minus the validation loss or error rate at the end, None unless `status` is ok. `curve` holds mean
    training losses over twentieths of the steps, as far as they are finite. `seconds` is the replica's share of the
    time of its batch, `device` what it was trained on, `host` and `pid` the machine and the process; None where no
    worker can say.
    `metric` is that of the task on the validation samples, if it has one, and the accuracy where fitness is by it.
    `gradient_norms` are those of all steps where the task asks for them and training was ok.
    """

    status: Status
    fitness: float | None
    curve: list[float]
    steps: int
    seconds: float
    reason: str | None = None
    device: str = "cpu"
    host: str | None = None
    pid: int | None = None
    metric: float | None = None
    gradient_norms: Sequence[float] | None = None


class Hurdle(NamedTuple):
    """A bound on the mean loss over the twentieth of the steps that ends at `point`: replicas above it are dropped."""

    point: int
    bound: float


def diverged_outcome(loss: float, bound: float, step: int) -> Outcome | None:
    """Return the outcome of a replica whose mean training loss over the last twentieth is not finite or above a bound.

    Args:
        loss: the mean training loss.
        bound: the loss above which a replica counts as diverged.
        step: the last step of the twentieth.

    Returns:
        None if the loss is within the bound.
    """
    if math.isfinite(loss) and loss <= bound:
        return None
    problem = f"exceeds {bound:g}" if math.isfinite(loss) else "is not finite"
    return Outcome(Status.DIVERGED, None, [], step, 0.0, f"training loss {problem} by step {step}")


def validated(task: Task, loss: float, metric: float | None, norms: Sequence[float] | None) -> Outcome:
    """Return the outcome of a replica trained to the end; its curve is still to be added.

    Args:
        task: what it was trained on.
        loss: on the validation samples.
        metric: there, the accuracy where fitness is by it.
        norms: of the gradients of all steps, where the task asks for them.
    """
    if not (math.isfinite(loss) and loss <= task.loss_bound):
        reason = "validation loss is not finite or exceeds the bound"
        return Outcome(Status.DIVERGED, None, [], task.steps, 0.0, reason)
    if task.fitness == "loss":
        return Outcome(Status.OK, -loss, [], task.steps, 0.0, metric=metric, gradient_norms=norms)
    if metric is None or not 0 <= metric <= 1:
        return Outcome(Status.DIVERGED, None, [], task.steps, 0.0, f"validation accuracy is {metric}, not 0 to 1")
    return Outcome(Status.OK, metric - 1, [], task.steps, 0.0, metric=metric, gradient_norms=norms)


def failed_hurdle(curve: Sequence[float], hurdles: Sequence[Hurdle]) -> Hurdle | None:
    """Return the first hurdle that a curve fails, as far as the curve goes."""
    return next((h for h in hurdles if h.point <= len(curve) and curve[h.point - 1] > h.bound), None)


def dropped(curve: Sequence[float], hurdle: Hurdle, steps: int) -> Outcome:
    """Return the outcome of a replica that fails this hurdle in a training of `steps` steps."""
    reason = f"training loss above the hurdle at {hurdle.point / CURVE_POINTS:.0%} of the steps"
    return Outcome(Status.DROPPED, None, list(curve[: hurdle.point]), checkpoint(hurdle.point, steps), 0.0, reason)


def apply_hurdles(outcome: Outcome, hurdles: Sequence[Hurdle], steps: int) -> Outcome | None:
    """Return what a known outcome would have been with these hurdles.

    Returns:
        None if it was dropped where these hurdles would let it pass, or comes from a training of another length.
    """
    if outcome.status == Status.OK and outcome.steps != steps:
        return None
    hurdle = failed_hurdle(outcome.curve, hurdles)
    if hurdle is not None:
        return dropped(outcome.curve, hurdle, steps)._replace(seconds=outcome.seconds)
    return None if outcome.status == Status.DROPPED else outcome


def checkpoint(point: int, steps: int) -> int:
    """Return the step at which `point` twentieths of the steps are done."""
    return round(point * steps / CURVE_POINTS)
