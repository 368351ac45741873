"""Fully connected layers with ReLU between them, with the replica axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from proxy_tasks.models.model import Leaf


def dense_leaves(widths: Sequence[int]) -> list[Leaf]:
    """Return weights and biases of layers from each width to the next (He initialisation)."""
    leaves = []
    for i, (n_in, n_out) in enumerate(pairwise(widths), start=1):
        leaves += [
            Leaf(f"weight{i}", (n_in, n_out), std=math.sqrt(2 / n_in), transposed=True),
            Leaf(f"bias{i}", (n_out,)),
        ]
    return leaves


def dense(params: Sequence[Tensor], x: Tensor) -> Tensor:
    """Apply the layers: weights [R, I, O] and biases [R, O] in turn, `x` [1 or R, B, I] -> [R, B, O]."""
    h = x.expand(len(params[0]), -1, -1)
    for i in range(0, len(params), 2):
        if i > 0:
            h = torch.relu_(h)
        h = torch.baddbmm(params[i + 1].unsqueeze(1), h, params[i])
    return h
