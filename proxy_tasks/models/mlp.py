"""A multilayer perceptron with ReLU and cross-entropy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from programs.errors import InputError

from proxy_tasks.checks import wholes
from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.models.classifier import classifier
from proxy_tasks.models.model import Leaf, Model


def mlp(dataset: Dataset, hidden: Sequence[int] = (32,)) -> Model:
    """Return fully connected layers from the flattened input through these widths to the classes (He initialisation).

    Raises:
        InputError: the samples are tokens or have no labels, or `hidden` is not a list of widths.
    """
    hidden = wholes("model mlp", "hidden", hidden)
    if dataset.classes < 2 or not dataset.train_x.is_floating_point():
        raise InputError("model mlp: the data set has no numeric samples with labels")
    widths = [dataset.train_x[0].numel(), *hidden, dataset.classes]
    leaves = []
    for i, (n_in, n_out) in enumerate(pairwise(widths), start=1):
        leaves += [
            Leaf(f"weight{i}", (n_in, n_out), std=math.sqrt(2 / n_in), transposed=True),
            Leaf(f"bias{i}", (n_out,)),
        ]
    return classifier(leaves, _logits)


def _logits(params: Sequence[Tensor], x: Tensor) -> Tensor:
    """`params`: weights [R, I, O], biases [R, O] in turn; `x`: [1 or R, B, ...] -> [R, B, C]."""
    replicas = len(params[0])
    h = x.flatten(2).expand(replicas, -1, -1)  # [R, B, I]
    for i in range(0, len(params), 2):
        if i > 0:
            h = torch.relu_(h)
        h = torch.baddbmm(params[i + 1].unsqueeze(1), h, params[i])  # [R, B, O]
    return h
