"""A multilayer perceptron with ReLU."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from programs.errors import InputError

from proxy_tasks.checks import wholes
from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.models.classifier import classifier
from proxy_tasks.models.dense import dense, dense_leaves
from proxy_tasks.models.model import Model


def mlp(dataset: Dataset, hidden: Sequence[int] = (32,)) -> Model:
    """Return fully connected layers from the flattened input through these widths to the targets (He initialisation).

    The loss is the cross-entropy where there are classes, else the mean squared error against targets `[N, D]`.

    Raises:
        InputError: the samples are tokens, or have neither labels nor numbers as targets; `hidden` is not a list of
            widths.
    """
    hidden = wholes("model mlp", "hidden", hidden)
    x, y = dataset.valid_x, dataset.valid_y
    is_regression = dataset.classes == 0 and y.is_floating_point() and y.dim() == 2
    if not x.is_floating_point() or (dataset.classes < 2 and not is_regression):
        raise InputError("model mlp: the data set has no numeric samples with labels, or with numbers as targets")
    leaves = dense_leaves([x[0].numel(), *hidden, y.shape[1] if is_regression else dataset.classes])
    return Model(tuple(leaves), _squared_errors) if is_regression else classifier(leaves, _outputs)


def _outputs(params: Sequence[Tensor], x: Tensor) -> Tensor:
    """`params`: weights [R, I, O], biases [R, O] in turn; `x`: [1 or R, B, ...] -> [R, B, C]."""
    return dense(x.flatten(2), params)


def _squared_errors(params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Losses for `y`: [1 or R, B, D] -> [R]."""
    return (_outputs(params, x) - y).square().mean((1, 2))
