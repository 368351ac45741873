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
        values, gradients = [], []
        for start in range(0, len(params[0]), size):
            rows = slice(start, start + size)
            some = [p[rows].detach().requires_grad_(wanted) for p in params]
            with torch.set_grad_enabled(wanted):
                value = losses(some, x if len(x) == 1 else x[rows], y if len(y) == 1 else y[rows])
                if wanted:
                    gradients.append(torch.autograd.grad(value.sum(), some))
            values.append(value.detach())
        ctx.gradients = [torch.cat(parts) for parts in zip(*gradients, strict=True)]
        return torch.cat(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.gradients
        if not bool((gradient == 1).all()):  # the trainer adds the losses up, so there is seldom anything to do
            gradients = [g * gradient.view(-1, *[1] * (g.dim() - 1)) for g in gradients]
        return (None, None, None, None, None, *gradients)
