"""Tables of vectors with the replica axis."""

from __future__ import annotations

import torch
from torch import Tensor


def embed(table: Tensor, x: Tensor) -> Tensor:
    """Return rows of a table [R, V, D] for numbers [1 or R, B, T] -> [R, B, T, D]."""
    replicas, vocabulary, width = table.shape
    index = (torch.arange(replicas, device=x.device) * vocabulary).view(-1, 1, 1) + x
    return table.reshape(-1, width).index_select(0, index.flatten()).view(*index.shape, width)
