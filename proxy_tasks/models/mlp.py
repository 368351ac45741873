"""A multilayer perceptron with ReLU and cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from programs.errors import InputError

from proxy_tasks.checks import wholes
from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.models.dense import dense, dense_leaves
from proxy_tasks.models.losses import cross_entropy
from proxy_tasks.models.model import Model


def mlp(dataset: Dataset, hidden: Sequence[int] = (32,)) -> Model:
    """Return fully connected layers from the flattened input through these widths to the classes (He initialisation).

    Raises:
        InputError: the samples are tokens or have no labels, or `hidden` is not a list of widths.
    """
    hidden = wholes("model mlp", "hidden", hidden)
    if dataset.classes < 2 or dataset.train_x.dim() < 2 or not dataset.train_x.is_floating_point():
        raise InputError("model mlp: the data set has no numeric samples with labels")
    widths = [dataset.train_x[0].numel(), *hidden, dataset.classes]
    return Model(tuple(dense_leaves(widths)), _losses)


def _losses(params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Losses of `params`: weights [R, I, O], biases [R, O] in turn; `x`: [1 or R, B, ...]; `y`: [1 or R, B] -> [R]."""
    return cross_entropy(dense(x.flatten(2), params), y)
