"""An autoencoder made of fully connected layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from proxy_tasks.checks import wholes
from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.models.model import Leaf, Model


def autoencoder(dataset: Dataset, hidden: Sequence[int] = (32, 8, 32)) -> Model:
    """Return ReLU layers of the given widths that reproduce the flattened sample; the loss is the mean squared error.

    Raises:
        InputError: `hidden` is not a list of widths.
    """
    hidden = wholes("model autoencoder", "hidden", hidden)
    pixels = dataset.train_x[0].numel()
    leaves = []
    for i, (n_in, n_out) in enumerate(pairwise([pixels, *hidden, pixels]), start=1):
        leaves += [
            Leaf(f"weight{i}", (n_in, n_out), std=math.sqrt(2 / n_in), transposed=True),
            Leaf(f"bias{i}", (n_out,)),
        ]
    return Model(tuple(leaves), _losses)


def _losses(params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:  # noqa: ARG001 - labels play no part
    """Return losses. `params`: weights [R, I, O] and biases [R, O] in turn; `x`: [1 or R, B, ...] -> [R]."""
    flat = x.flatten(2)
    h = flat.expand(len(params[0]), -1, -1)  # [R, B, I]
    for i in range(0, len(params), 2):
        if i > 0:
            h = torch.relu_(h)
        h = torch.baddbmm(params[i + 1].unsqueeze(1), h, params[i])  # [R, B, O]
    return (h - flat).square().mean((1, 2))
