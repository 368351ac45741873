"""Masked tokens, as BERT is trained on (Devlin et al., arXiv:1810.04805)."""

from __future__ import annotations

import torch
from torch import Tensor

from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.draws import Draws

MASKED, REPLACED = 0.8, 0.1  # of the tokens to be predicted: shares that become the mask, or a random token


def masked(dataset: Dataset, share: float) -> Dataset:
    """Return a data set of tokens `[N, T]` of which a share, K in every sample and at least one, is to be predicted.

    Of these, 80 % become the mask, token V of a vocabulary of V, 10 % a random token, and the rest stay. Targets are
    the K positions and the tokens that belong there, `[N, 2, K]`.
    """
    vocabulary, tokens = dataset.classes, dataset.train_x.shape[1]
    chosen = max(1, round(share * tokens))

    def transform(draws: Draws, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG001 - next tokens
        """Return [B, T] and [B, 2, K]."""
        positions = draws.bits(x.shape).topk(chosen, dim=1).indices
        targets = x.gather(1, positions)
        kind = draws.uniform(positions.shape)
        others = (draws.uniform(positions.shape) * vocabulary).long()
        shown = torch.where(kind < MASKED + REPLACED, others, targets)
        shown = torch.where(kind < MASKED, vocabulary, shown)
        return x.scatter(1, positions, shown), torch.stack((positions, targets), dim=1)

    return dataset.transformed(transform)
