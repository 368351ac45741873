"""What is tried before a user's data or model is trained on: a step, twice, alone and beside other replicas."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from programs.errors import InputError

from proxy_tasks.datasets import Dataset, check_repeatable
from proxy_tasks.models import Model
from proxy_tasks.models.chunks import gradients
from proxy_tasks.models.module import BREAK_EVEN
from proxy_tasks.named import is_users, reason_of
from proxy_tasks.randomness import random_state
from proxy_tasks.runtime import configured_process
from proxy_tasks.task import Task
from proxy_tasks.trainer import validation_losses

CLOSE = 1e-3  # relative difference that may come of another order of sums
ROUNDING = 1e-5  # of the largest gradient
VALIDATED = 64  # validation samples that are tried


def check_task(task: Task) -> str:
    """Check that trainings on a task are functions of program and seed, and can begin; once for each process.

    Returns:
        What of the model is not computed on the replica axis, why, and what it costs; empty if everything is.

    Raises:
        InputError: data or model cannot be loaded, or one step with them is not as it must be.
    """
    _, model = task.load()
    if task.fitness == "accuracy" and model.accuracy is None:
        raise InputError(
            f"task '{task.name}': fitness is by accuracy, and its model '{task.model}' predicts no labels; leave"
            " fitness out, or give the task a metric, the share predicted right"
        )
    if is_users(task.dataset) or is_users(task.model):
        usual = {"warmup": 0.0, "update_scale": 1.0, "matmul": "float32", "schedule": "cosine", "average": 0.0,
                 "states": "float32"}  # fmt: skip
        return _check(replace(task, name="", steps=1, gradient_norm=None, **usual))  # type: ignore[arg-type]
    return ""


@lru_cache(maxsize=64)
def _check(task: Task) -> str:
    if is_users(task.dataset):
        check_repeatable(task.dataset, task.dataset_args)
    data, model = task.load()
    what = f"model '{task.model}'"
    try:
        with configured_process():
            start = _started(model)
            _check_steps(what, task, data, model, start)
            if task.fitness == "accuracy":
                _check_accuracy(what, data, model)
            return f"{model.remark}: {_cost(what, task, data, model, start)}" if model.remark else ""
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{what} cannot be trained on data set '{task.dataset}': {reason_of(error)}") from error


class _Start(NamedTuple):
    """What replicas start from: weights `[R, W]` and buffers."""

    rows: Tensor
    buffers: list[Tensor]

    def of(self, replicas: slice) -> _Start:
        return _Start(self.rows[replicas], [buffer[replicas] for buffer in self.buffers])


def _cost(what: str, task: Task, data: Dataset, model: Model, start: _Start) -> str:
    """Return how much longer a step of several replicas takes than one of one, measured once."""
    seconds = []
    for number in (1, BREAK_EVEN):
        of_some = start.of(slice(number))
        started = time.perf_counter()
        _step(what, task, data, model, of_some, range(number))
        seconds.append(time.perf_counter() - started)
    return f"{BREAK_EVEN} replicas take {seconds[1] / seconds[0]:.1f} times as long as one ({1000 * seconds[0]:.1f} ms)"


def _started(model: Model) -> _Start:
    rows, buffers = [], []
    for seed in range(BREAK_EVEN):
        rows.append(model.initial_row(seed))
        buffers.append(model.buffers(seed))
    return _Start(torch.stack(rows), [torch.stack(values) for values in zip(*buffers, strict=True)])


def _check_steps(what: str, task: Task, data: Dataset, model: Model, start: _Start) -> None:
    if not torch.equal(start.rows[0], model.initial_row(0)):
        raise InputError(f"{what}: its initial weights are others when it is built again with the same seed")
    if not bool(start.rows.isfinite().all()):
        raise InputError(f"{what}: its initial weights are not finite")
    last = BREAK_EVEN - 1
    alone = {seed: _twice(what, task, data, model, start.of(slice(seed, seed + 1)), [seed]) for seed in (0, last)}
    together = _twice(what, task, data, model, start, range(BREAK_EVEN))
    _check_first(what, task, together[0], together[1 : 1 + len(model.leaves)])
    on_one_minibatch = _step(what, task, data, model, start, [0])
    for seed, found in ((0, together), (last, together), (0, on_one_minibatch)):
        _check_alike(what, alone[seed], [value[seed] for value in found], len(model.leaves))


def _check_alike(what: str, alone: Sequence[Tensor], beside: Sequence[Tensor], leaves: int) -> None:
    """Check that a replica does beside others what it does alone."""
    # Some gradients are sums to zero, as that of a bias before a normalization: what is left of them is rounding.
    rounding = ROUNDING * max(float(one.abs().max()) for one in alone[1 : 1 + leaves])
    for one, other in zip(alone, beside, strict=True):
        if not torch.allclose(one[0], other, rtol=CLOSE, atol=CLOSE * float(one.abs().max()) + rounding):
            raise InputError(
                f"{what}: a replica trains otherwise beside others than alone; where the module checkpoints, hooks"
                " gradients or switches precision (autocast), leave that out; where the losses are your own, compute"
                " each replica by itself"
            )


def _twice(
    what: str, task: Task, data: Dataset, model: Model, start: _Start, minibatches: Sequence[int]
) -> list[Tensor]:
    """Return the losses and gradients of one step of some replicas, and validation losses, computed twice."""
    drawn = random_state()
    first, second = (_step(what, task, data, model, start, minibatches) for _ in range(2))
    if random_state() != drawn:
        raise InputError(f"{what} draws random numbers; a loss must follow from weights and samples alone")
    if not all(torch.equal(one.nan_to_num(), other.nan_to_num()) for one, other in zip(first, second, strict=True)):
        raise InputError(
            f"{what}: a step is another when it is repeated; it must follow from weights and samples alone"
        )
    return first


def _step(
    what: str, task: Task, data: Dataset, model: Model, start: _Start, minibatches: Sequence[int]
) -> list[Tensor]:
    """Take the step of replicas on the minibatches of these seeds: one for each, or one for all."""
    replicas = len(start.rows)
    index = torch.cat([torch.from_numpy(task.minibatches(seed)) for seed in minibatches])  # [1 or R, B]
    keys = torch.stack([torch.from_numpy(task.keys(seed)) for seed in minibatches])  # [1 or R, 2]
    parameters = [p.detach().requires_grad_() for p in model.parameters(start.rows.clone())]
    buffers = [buffer.clone() for buffer in start.buffers]
    inputs = model.inputs(parameters, buffers, keys[:, 0])
    losses = model.losses_in_chunks(inputs, *data.minibatch(index, keys[:, 0]))
    if losses.shape != (replicas,):
        raise InputError(f"{what}: its losses are {list(losses.shape)} for {replicas} replicas; expected one for each")
    found = gradients(losses, parameters)
    some = replace(data, valid_x=data.valid_x[:VALIDATED], valid_y=data.valid_y[:VALIDATED])
    inputs = model.inputs([p.detach() for p in parameters], buffers, keys[:, 1].expand(replicas))
    validation = validation_losses(some, model.validation_in_chunks, inputs)
    return [losses.detach(), *found, *(b.double() for b in buffers), torch.tensor(validation)]


def _check_accuracy(what: str, data: Dataset, model: Model) -> None:
    """Check that what is to be the accuracy is a share."""
    assert model.accuracy is not None, "as `check_task` has found"
    some = replace(data, valid_x=data.valid_x[:VALIDATED], valid_y=data.valid_y[:VALIDATED])
    keys = torch.zeros(1, dtype=torch.int64)
    inputs = model.inputs(model.parameters(model.initial_row(0)[None]), model.initial_buffers([0]), keys)
    (share,) = validation_losses(some, model.accuracy, inputs)
    if not 0 <= share <= 1:
        raise InputError(
            f"{what}: fitness is by accuracy, and its metric is {share:g} at the start; an accuracy is the share"
            " predicted right, from 0 to 1"
        )


def _check_first(what: str, task: Task, losses: Tensor, found: Sequence[Tensor]) -> None:
    """Check that training does not begin with what counts as having diverged."""
    if not bool(losses.isfinite().all()) or not all(bool(gradient.isfinite().all()) for gradient in found):
        raise InputError(f"{what}: its first loss, or its gradient, is not finite, so that no training could begin")
    if float(losses.min()) > task.loss_bound:
        raise InputError(
            f"{what}: its first loss is {float(losses.min()):g}, above its loss_bound of {task.loss_bound:g}, so that"
            " every training would count as diverged; raise loss_bound, or scale the loss"
        )
    if not any(bool(gradient.any()) for gradient in found):
        raise InputError(
            f"{what}: the gradients of its loss are all zero at the start, as if it did not use its parameters; a"
            " method loss(x, y) gets samples and targets, and has to call the module itself"
        )
