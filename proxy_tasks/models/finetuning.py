"""Fine-tuning: a network trained on the source of a data set goes on with the data set itself, and a new last layer.

Three ways to go on: with all weights, with low-rank updates of them, or in a random subspace.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from programs.errors import InputError

from proxy_tasks.checks import whole
from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.models.chunks import Losses
from proxy_tasks.models.cnn import cnn
from proxy_tasks.models.mlp import mlp
from proxy_tasks.models.model import Leaf, Model
from proxy_tasks.models.pretraining import pretrained
from proxy_tasks.named import call, frozen

NETWORKS: dict[str, Callable[..., Model]] = {"cnn": cnn, "mlp": mlp}
HEAD = 2  # leaves of the last layer, which is new: its weight and its bias
SEED = 0  # of a subspace
BLOCK = 32  # replicas whose coordinates are multiplied with the directions at once


def finetuned(dataset: Dataset, network: str = "mlp", **sizes: Any) -> Model:
    """Return a pretrained network of which all weights are trained.

    Args:
        dataset: with a source.
        network: `mlp` or `cnn`.
        sizes: arguments of the network.

    Raises:
        InputError: the data set has no source; there is no such network, or it does not take these arguments.
    """
    model, body = _pretrained("model finetuned", dataset, network, sizes)

    def initial(seed: int) -> Sequence[Tensor]:
        return [*body, *_new_head(model, seed)]

    return replace(model, initial=initial)


def lora(dataset: Dataset, rank: int = 4, network: str = "mlp", **sizes: Any) -> Model:
    """Return a pretrained network of which low-rank updates are trained: LoRA (Hu et al., arXiv:2106.09685).

    A weight W `[I, O]` becomes W + A B, with A `[I, rank]` random and B `[rank, O]` zero at the start. The last layer
    is trained as it is, and the other biases are not.

    Args:
        dataset: with a source.
        rank: of the updates.
        network: `mlp` or `cnn`.
        sizes: arguments of the network.

    Raises:
        InputError: the same as for `finetuned`, or `rank` is out of range.
    """
    what = "model lora"
    whole(what, "rank", rank, 1)
    model, body = _pretrained(what, dataset, network, sizes)
    frozen_weights = [w.to(dataset.train_x.device) for w in body]
    leaves = []
    for leaf in model.leaves[:-HEAD]:
        if len(leaf.shape) == 2:
            n_in, n_out = leaf.shape
            leaves += [
                Leaf(f"{leaf.name}_down", (n_in, rank), std=1 / math.sqrt(n_in), transposed=True),
                Leaf(f"{leaf.name}_up", (rank, n_out), transposed=True),
            ]

    def weights(params: Sequence[Tensor]) -> Sequence[Tensor]:
        replicas, factors = len(params[0]), iter(params[:-HEAD])
        kept = [w.expand(replicas, *w.shape) for w in frozen_weights]
        updated = [torch.baddbmm(w, next(factors), next(factors)) if w.dim() == 3 else w for w in kept]
        return [*updated, *params[-HEAD:]]

    return _of_weights(model, (*leaves, *model.leaves[-HEAD:]), weights, tuple(body))


def subspace(dataset: Dataset, dimensions: int = 50, network: str = "mlp", **sizes: Any) -> Model:
    """Return a pretrained network of which the coordinates in a random subspace are trained.

    All weights together, those of the new last layer too, are t_0 + P z with z `[dimensions]` zero at the start and P
    random with columns of a length of about 1 (Li et al., arXiv:1804.08838, on the intrinsic dimension of a task).
    t_0 and P are the same for all seeds.

    Args:
        dataset: with a source.
        dimensions: of the subspace.
        network: `mlp` or `cnn`.
        sizes: arguments of the network.

    Raises:
        InputError: the same as for `finetuned`, or `dimensions` is out of range.
    """
    what = "model subspace"
    whole(what, "dimensions", dimensions, 1)
    model, body = _pretrained(what, dataset, network, sizes)
    total, device = model.layout.total, dataset.train_x.device
    start = torch.cat([w.flatten() for w in (*body, *_new_head(model, SEED))])
    basis = np.random.default_rng(SEED).standard_normal((dimensions, total), np.float32) / math.sqrt(total)
    constants = start, torch.from_numpy(basis)
    origin, directions = (constant.to(device) for constant in constants)

    def weights(params: Sequence[Tensor]) -> Sequence[Tensor]:
        (z,) = params  # [R, D]
        # In blocks of one size: how a product is rounded depends on the number of rows on some processors.
        blocks = pad(z, (0, 0, 0, -len(z) % BLOCK)).view(-1, BLOCK, dimensions)
        moved = torch.bmm(blocks, directions.expand(len(blocks), -1, -1))
        return model.parameters(origin + moved.flatten(0, 1)[: len(z)])

    return _of_weights(model, (Leaf("coordinates", (dimensions,)),), weights, constants)


def _of_weights(
    model: Model,
    leaves: tuple[Leaf, ...],
    weights: Callable[[Sequence[Tensor]], Sequence[Tensor]],
    constants: tuple[Tensor, ...],
) -> Model:
    """Return a model with these parameters, of which the weights of another follow."""

    def of(compute: Losses) -> Losses:
        return lambda params, x, y: compute(weights(params), x, y)

    accuracy = None if model.accuracy is None else of(model.accuracy)
    return Model(leaves, of(model.losses), chunk=model.chunk, constants=constants, accuracy=accuracy)


def _pretrained(what: str, dataset: Dataset, network: str, sizes: dict[str, Any]) -> tuple[Model, list[Tensor]]:
    """Return a network for the data set, and the weights of all its layers but the last from training on the source."""
    if dataset.source is None:
        raise InputError(f"{what}: the data set has no source to pretrain on; take transfer_digits")
    arguments = frozen(sizes)
    build = partial(call, network, NETWORKS, f"{what}: network", args=arguments)
    return build(dataset), pretrained(repr((network, arguments)), build, dataset.source)[:-HEAD]


def _new_head(model: Model, seed: int) -> list[Tensor]:
    """Return the weight and the bias of a last layer that is not trained yet."""
    return [weight[0] for weight in model.parameters(model.initial_row(seed)[None])[-HEAD:]]
