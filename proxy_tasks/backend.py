"""What training does differently on each kind of device, behind one interface.

All of it is for the trainer alone: outcomes do not depend on the device except by rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from programs.layout import Layout
from programs.run.batched import Rows, UpdateRules
from programs.run.sharing import SharingTree, Skeletons

from proxy_tasks.models import Model
from proxy_tasks.models.chunks import Losses
from proxy_tasks.task import Task
from proxy_tasks.torch_state import CPU

MEMORY_MIB = 2048.0  # for training on a CPU, if not set otherwise


class Rules(Protocol):
    """The update rules of a cohort, bound to its rows."""

    def step(self, lr: Tensor, taken: Tensor) -> None:
        """Compute `w <- w - scale * update` in place, and the new states.

        Args:
            lr: the schedule at this step, `[1]`.
            taken: the number of steps taken before, `[1]`.
        """


Bind = Callable[[SharingTree, Layout, Rows, Tensor, Task], Rules]
"""Binds the rules of a tree of programs to rows: `(tree, layout, rows, total, task)`. `total` `[R]` is the sum of each
row's losses so far; the rules may skip a row where it is not finite, since that row has diverged. The task tells the
scale of updates and the number of steps."""


class Backend(Protocol):
    """A device, and how to train on it.

    Attributes:
        device: where weights and data lie.
        name: the name of the device, which is kept with outcomes.
    """

    device: torch.device
    name: str

    def memory_mib(self) -> float:
        """Return the memory that training may take now."""

    def release(self) -> None:
        """Release memory that is kept for later."""

    def losses(self, model: Model) -> Losses:
        """Return the losses of a model in the form whose gradients are fastest to compute."""

    def losses_without_gradient(self, model: Model, in_training: int, samples: int) -> Losses:
        """Return the losses at validation on `samples` samples a replica; memory is enough for `in_training` in all."""

    def compiled(self, skeletons: Skeletons) -> Bind:
        """Return the update rules of these programs, ready to be bound to rows."""

    def repeated(self, step: Callable[[], None]) -> Callable[[int], None]:
        """Return a function that repeats a step, which works on tensors at fixed addresses and reads no value."""

    def is_worth_a_move(self, left: int, rows: int) -> bool:
        """Return whether to move the replicas left, of `rows` rows, together rather than keep the idle rows."""


def one_by_one(step: Callable[[], None]) -> Callable[[int], None]:
    """Return a function that takes as many steps as it is told, one after another."""

    def repeat(times: int) -> None:
        for _ in range(times):
            step()

    return repeat


class Cpu:
    """Training on one core."""

    device = CPU
    name = "cpu"

    def memory_mib(self) -> float:
        """Return the default: how much is free cannot be known on a machine with other processes."""
        return MEMORY_MIB

    def release(self) -> None:
        """Do nothing, since nothing is kept."""

    def losses(self, model: Model) -> Losses:
        """Return the losses of a few replicas at a time, whose activations stay in the cache."""
        return model.losses_in_chunks

    def losses_without_gradient(self, model: Model, in_training: int, samples: int) -> Losses:  # noqa: ARG002
        """Return those at validation, likewise."""
        return model.validation_in_chunks

    def compiled(self, skeletons: Skeletons) -> Bind:
        """Return calls of torch, one for each statement that programs share."""
        return lambda tree, layout, rows, _, task: UpdateRules(
            skeletons, tree, layout, rows, task.update_scale, task.steps
        )

    def repeated(self, step: Callable[[], None]) -> Callable[[int], None]:
        """Return a function that takes one step after another."""
        return one_by_one(step)

    def is_worth_a_move(self, left: int, rows: int) -> bool:
        """Return True if any row is idle: rows cost time, a move hardly any."""
        return left < rows
