"""Losses and gradients of many replicas a few at a time.

The activations of a few replicas stay near the processor, those of a whole batch do not; and memory is needed for a few
only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Losses = Callable[[Sequence[Tensor], Tensor, Tensor], Tensor]


def gradients(losses: Tensor, parameters: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return the gradients of the sum of losses, like the parameters; zeros for those that the losses do not use."""
    return torch.autograd.grad(losses.sum(), parameters, allow_unused=True, materialize_grads=True)


def in_chunks(losses: Losses, replicas: int) -> Losses:
    """Return the same function of (parameters, x, y), computed for `chunk` replicas at a time.

    Where any parameter requires a gradient, the gradients of a chunk are computed along with its losses. There are none
    with respect to `x`, and none of second order.
    """

    def chunked(params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        wanted = torch.is_grad_enabled() and any(p.requires_grad for p in params)
        return _Chunked.apply(losses, replicas, wanted, x, y, *params)  # type: ignore[no-any-return, no-untyped-call]

    return chunked


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, losses: Losses, size: int, wanted: bool, x: Tensor, y: Tensor, *params: Tensor) -> Tensor:
        values, found = [], []
        for start in range(0, len(params[0]), size):
            rows = slice(start, start + size)
            some = [p[rows].detach().requires_grad_(wanted) for p in params]
            with torch.set_grad_enabled(wanted):
                value = losses(some, x if len(x) == 1 else x[rows], y if len(y) == 1 else y[rows])
                if wanted:
                    found.append(gradients(value, some))
            values.append(value.detach())
        ctx.gradients = [torch.cat(parts) for parts in zip(*found, strict=True)]
        return torch.cat(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        found = ctx.gradients
        if not bool((gradient == 1).all()):  # the trainer adds the losses up, so there is seldom anything to do
            found = [g * gradient.view(-1, *[1] * (g.dim() - 1)) for g in found]
        return (None, None, None, None, None, *found)
