"""An autoencoder made of fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from proxy_tasks.checks import wholes
from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.models.dense import dense, dense_leaves
from proxy_tasks.models.model import Model


def autoencoder(dataset: Dataset, hidden: Sequence[int] = (32, 8, 32)) -> Model:
    """Return ReLU layers of the given widths that reproduce the flattened sample; the loss is the mean squared error.

    Raises:
        InputError: `hidden` is not a list of widths.
    """
    hidden = wholes("model autoencoder", "hidden", hidden)
    pixels = dataset.valid_x[0].numel()
    return Model(tuple(dense_leaves([pixels, *hidden, pixels])), _losses)


def _losses(params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:  # noqa: ARG001 - labels play no part
    """Return losses. `params`: weights [R, I, O] and biases [R, O] in turn; `x`: [1 or R, B, ...] -> [R]."""
    flat = x.flatten(2)
    return (dense(params, flat) - flat).square().mean((1, 2))
