"""A deep linear network (Saxe et al., arXiv:1312.6120): a product of matrices, whose best loss is known."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from programs.errors import InputError

from proxy_tasks.checks import wholes
from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.models.model import Leaf, Model


def deep_linear(dataset: Dataset, hidden: Sequence[int] = (32, 32)) -> Model:
    """Return layers without biases or activations through these widths; the loss is half the squared error.

    It is the sum over outputs, the mean over samples. Weights are from N(0, 1 / inputs). Where no width is below that
    of samples and targets, the network can be any matrix.

    Raises:
        InputError: samples and targets are no vectors of numbers, or `hidden` is not a list of widths.
    """
    hidden = wholes("model deep_linear", "hidden", hidden)
    x, y = dataset.train_x, dataset.train_y
    if x.dim() != 2 or y.dim() != 2 or not (x.is_floating_point() and y.is_floating_point()):
        raise InputError(
            "model deep_linear: the data set has no vectors [N, D] with vectors [N, O], such as linear has"
        )
    sizes = enumerate(pairwise([x.shape[1], *hidden, y.shape[1]]), start=1)
    leaves = [Leaf(f"weight{i}", size, std=size[0] ** -0.5, transposed=True) for i, size in sizes]
    return Model(tuple(leaves), _losses)


def _losses(params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Losses of `params`: weights [R, I, O]; `x`: [1 or R, B, D]; `y`: [1 or R, B, O] -> [R]."""
    h = x.expand(len(params[0]), -1, -1)
    for weight in params:
        h = torch.bmm(h, weight)
    return 0.5 * (h - y).square().sum(2).mean(1)
