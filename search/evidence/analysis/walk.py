"""Trainings whose weights and gradients are seen at every step: nothing of them is kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from programs.graph import M, V
from programs.program import Program
from programs.run.batched import Rows, UpdateRules
from programs.run.sharing import Skeletons, share

from proxy_tasks import Task
from proxy_tasks.models.chunks import gradients
from proxy_tasks.trainer import validation_losses

MOST_SAMPLES = 4096  # of the training samples, on which losses are computed


class Moment(NamedTuple):
    """A step of all programs: the schedule, the gradients that it was taken with, and weights after it, `[R, P]`."""

    step: int
    rate: float
    g: np.ndarray
    w: np.ndarray


def start(task: Task, seed: int) -> np.ndarray:
    """Return the weights `[P]` with which trainings of a seed begin."""
    model = task.load()[1]
    return np.asarray(model.initial_row(seed)[: model.layout.total].numpy(), float)


def walk(task: Task, programs: Sequence[Program], seed: int) -> Iterator[Moment]:
    """Train programs on the same minibatches and yield every step. To be read in a configured process."""
    data, model = task.load()
    skeletons = Skeletons(programs)
    tree = share(skeletons, range(len(programs)))
    w = model.initial_row(seed).repeat(len(programs), 1)
    states = (w.new_zeros(len(w), skeletons.state_width(slot, model.layout)) for slot in (M, V))
    rows = Rows(w, torch.zeros_like(w), *states)
    rules = UpdateRules(skeletons, tree, model.layout, rows, task.update_scale, task.steps)
    parameters = [p.detach().requires_grad_() for p in model.parameters(w)]
    buffers, factors = model.initial_buffers([seed] * len(programs)), model.lr_multipliers
    order = np.argsort(tree.programs)
    minibatches, keys = torch.from_numpy(task.minibatches(seed)), torch.from_numpy(task.keys(seed))
    total = model.layout.total
    for step, rate in enumerate(task.learning_rates()):
        key = keys[step][None]
        minibatch = data.minibatch(minibatches[step][None], key)
        found = gradients(model.losses(model.inputs(parameters, buffers, key), *minibatch), parameters)
        rows.g[:, :total] = torch.cat([g.reshape(len(g), -1) for g in found], dim=1)
        with torch.no_grad():
            before = w.clone()
            rules.step(torch.tensor([rate]), torch.tensor([step]))
            if factors is not None:
                torch.lerp(before, w, factors, out=w)
        yield Moment(step, float(rate), *(x[:, :total].double().numpy()[order] for x in (rows.g, w)))


def trained(task: Task, programs: Sequence[Program], seed: int) -> np.ndarray:
    """Return the weights at the end of trainings, `[R, P]`. To be called in a configured process."""
    (last,) = deque(walk(task, programs, seed), maxlen=1)
    return last.w


def training_losses(task: Task, weights: np.ndarray) -> np.ndarray:
    """Return the mean losses over training samples of weights `[N, P]`.

    They are computed as in training: where a module draws random numbers, they are the same for all weights, and what
    it keeps from step to step is that of an untrained one.
    """
    data, model = task.load()
    index, key = torch.arange(min(len(data.train_x), MOST_SAMPLES))[None], torch.zeros(1, dtype=torch.int64)
    (x,), (y,) = data.minibatch(index, key)
    train = replace(data, valid_x=x, valid_y=y)
    inputs = (
        model.inputs(model.parameters(_row(part)), model.initial_buffers([0]), key)
        for part in weights.astype("float32")
    )
    return np.array([validation_losses(train, model.losses, of_one) for of_one in inputs]).ravel()


def _row(weights: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(weights))[None]
