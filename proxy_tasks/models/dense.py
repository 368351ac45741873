"""Fully connected layers with the replica axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import pad

from proxy_tasks.models.model import Leaf


def dense_leaves(widths: Sequence[int]) -> list[Leaf]:
    """Return weights and biases in turn of layers between these widths, as He et al. (arXiv:1502.01852) start them."""
    leaves = []
    for i, (n_in, n_out) in enumerate(pairwise(widths), start=1):
        leaves += [
            Leaf(f"weight{i}", (n_in, n_out), std=math.sqrt(2 / n_in), transposed=True),
            Leaf(f"bias{i}", (n_out,)),
        ]
    return leaves


def dense(x: Tensor, params: Sequence[Tensor], activation: Callable[[Tensor], Tensor] = torch.relu_) -> Tensor:
    """Apply layers with ReLU, or another activation, between them.

    `x`: [1 or R, B, I]; `params`: weights [R, I, O] and biases [R, O] in turn -> [R, B, O].
    """
    h = x.expand(len(params[0]), -1, -1)
    for i in range(0, len(params), 2):
        if i > 0:
            h = activation(h)
        h = product(h, params[i], params[i + 1].unsqueeze(1))  # [R, B, O]
    return h


def product(x: Tensor, weight: Tensor, summand: Tensor | None = None) -> Tensor:
    """Return `torch.bmm`, or `torch.baddbmm` with a summand, which rounds alike for any number of replicas.

    A single column gets a second one, of zeros: a matrix times a vector is rounded in another way for one replica than
    for several on some processors (those of AMD), whatever `MKL_CBWR` says.
    """
    if weight.shape[2] == 1:
        found = torch.bmm(x, pad(weight, (0, 1)))[:, :, :1]
        return found if summand is None else found + summand
    return torch.bmm(x, weight) if summand is None else torch.baddbmm(summand, x, weight)
