"""Contrastive learning of representations: SimCLR (Chen et al., arXiv:2002.05709)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from programs.errors import InputError

from proxy_tasks.checks import real, wholes
from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.models.dense import dense, dense_leaves
from proxy_tasks.models.losses import cross_entropy
from proxy_tasks.models.model import Leaf, Model

CHUNK = 4  # replicas at a time: similarities of all views take more memory than the layers
LEAST_LENGTH = 1e-6  # of a representation, before it is divided by its length


def contrastive(dataset: Dataset, hidden: Sequence[int] = (32, 32, 16), temperature: float = 0.2) -> Model:
    """Return ReLU layers of these widths, the last of which is the representation, and the loss of SimCLR.

    Samples are pairs of views of one thing, `[N, 2, ...]`. With the representations z of the 2 B views of a minibatch,
    of length 1, the loss is the mean over all views i, with the other view j of the same thing, of

        -log(exp(z_i . z_j / temperature) / sum over k != i of exp(z_i . z_k / temperature))

    which is InfoNCE (van den Oord et al., arXiv:1807.03748) with all other views as negatives.

    Raises:
        InputError: the samples are no pairs of numeric views, or an argument is out of range.
    """
    hidden = wholes("model contrastive", "hidden", hidden, least=1)
    real("model contrastive", "temperature", temperature, 1e-3, 1e3)
    x = dataset.valid_x
    if not x.is_floating_point() or x.dim() < 3 or x.shape[1] != 2:
        raise InputError(
            f"model contrastive: samples of shape {list(x.shape[1:])} are no pairs of views [2, ...]; take the data set"
            " paired_digits"
        )

    def losses(params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:  # noqa: ARG001 - labels play no part
        """Return losses. `x`: [1 or R, B, 2, ...] -> [R]."""
        z = dense(x.flatten(3).flatten(1, 2), params)  # [R, 2 B, D], the views of a thing side by side
        z = z / z.norm(dim=2, keepdim=True).clamp_min(LEAST_LENGTH)
        views = torch.arange(z.shape[1], device=z.device)
        itself = torch.zeros(len(views), len(views), device=z.device).fill_diagonal_(-torch.inf)
        similar = torch.baddbmm(itself, z, z.mT, alpha=1 / temperature)
        return cross_entropy(similar, (views ^ 1)[None])

    leaves: list[Leaf] = dense_leaves([x[0, 0].numel(), *hidden])
    return Model(tuple(leaves), losses, chunk=CHUNK)
