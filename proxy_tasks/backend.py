"""What training does in its own way on each kind of device, behind one interface.

All of it is for the trainer alone: what a program comes to does not depend on the device but for rounding.
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
from proxy_tasks.task import CPU

MEMORY_MIB = 2048.0  # what training may take on a CPU, where nothing else is said


class Rules(Protocol):
    """The update rules of a cohort, bound to its rows."""

    def step(self, lr: Tensor) -> None:
        """`w <- w - scale * update` in place, and the new states. `lr`: the schedule at this step, `[1]`."""


Bind = Callable[[SharingTree, Layout, Rows, Tensor, float], Rules]
"""Binds the rules of a tree of programs to rows: `(tree, layout, rows, total, scale)`. `total` `[R]` is the sum of each
row's losses so far; the rules may leave alone a row where it is not finite, since that row has diverged."""


class Backend(Protocol):
    """A device, and how to train on it.

    Attributes:
        device: where weights and data lie.
        name: of the device, to be kept with outcomes.
    """

    device: torch.device
    name: str

    def memory_mib(self) -> float:
        """What training may take now."""

    def release(self) -> None:
        """Give back memory that is kept for later."""

    def losses(self, model: Model) -> Losses:
        """The losses of a model, in the way that is quickest to compute with their gradients."""

    def losses_without_gradient(self, model: Model, in_training: int, samples: int) -> Losses:
        """The losses of a model on so many samples for each replica, where training has room for `in_training`."""

    def compiled(self, skeletons: Skeletons) -> Bind:
        """The update rules of these programs, ready to be bound to any rows of them."""

    def repeated(self, step: Callable[[], None]) -> Callable[[int], None]:
        """A function that takes so many steps. A step works on tensors of fixed places alone, without a look at any."""

    def is_worth_a_move(self, left: int, rows: int) -> bool:
        """Whether to move the replicas left together, of so many rows, rather than to carry the others along."""


class Cpu:
    """Training on one core."""

    device = CPU
    name = "cpu"

    def memory_mib(self) -> float:
        """What is said to be usual: how much is free is nobody's to say on a machine with other processes."""
        return MEMORY_MIB

    def release(self) -> None:
        """Nothing is kept."""

    def losses(self, model: Model) -> Losses:
        """A few replicas at a time, whose activations stay in the cache."""
        return model.losses_in_chunks

    def losses_without_gradient(self, model: Model, in_training: int, samples: int) -> Losses:  # noqa: ARG002
        """The same way."""
        return model.losses_in_chunks

    def compiled(self, skeletons: Skeletons) -> Bind:
        """Calls of torch, one for each statement that programs have in common."""
        return lambda tree, layout, rows, _, scale: UpdateRules(skeletons, tree, layout, rows, scale)

    def repeated(self, step: Callable[[], None]) -> Callable[[int], None]:
        """One step after another."""

        def repeat(times: int) -> None:
            for _ in range(times):
                step()

        return repeat

    def is_worth_a_move(self, left: int, rows: int) -> bool:
        """Always: rows cost time, a move next to none."""
        return left < rows
