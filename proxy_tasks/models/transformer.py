"""A decoder-only Transformer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from programs.errors import InputError

from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.models.blocks import block_leaves, blocks, normed_linear
from proxy_tasks.models.embedding import embed
from proxy_tasks.models.losses import cross_entropy
from proxy_tasks.models.model import Leaf, Model

# Replicas at a time. Of 1, 2, 4, 8 and 64, 2 and 4 were fastest at width 32, context 32, batch 32; 64 a third slower.
CHUNK = 2


def transformer(dataset: Dataset, layers: int = 2, width: int = 32, heads: int = 4) -> Model:
    """Return a causal pre-norm Transformer with learned positions, a ReLU MLP of four widths and an untied output.

    Samples are token numbers `[B, T]`. Targets are tokens `[B, T']` or probabilities `[B, T', V]` of the last T'
    positions; the loss is their mean cross-entropy in nats per token.

    Raises:
        InputError: the data set has no vocabulary, or an argument is out of range.
    """
    x, y = dataset.train_x, dataset.train_y
    if dataset.classes < 1 or x.is_floating_point() or x.dim() != 2 or y.dim() < 2:
        raise InputError("the transformer needs a data set of tokens [N, T] with a vocabulary, such as a text")
    tokens, vocabulary = dataset.train_x.shape[1], dataset.classes
    mask = torch.full((tokens, tokens), -torch.inf, device=dataset.train_x.device).triu(1)
    leaves = [
        Leaf("tokens", (vocabulary, width), std=0.02),
        Leaf("positions", (tokens, width), std=0.02),
        *block_leaves("model transformer", layers, width, heads),
        Leaf("norm", (width,), mean=1.0),
        Leaf("output", (width, vocabulary), std=width**-0.5, transposed=True),
    ]

    def losses(params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        embedding, positions, *middle, gain, output = params
        h = embed(embedding, x).add_(positions.unsqueeze(1))  # [R, B, T, D]
        h = blocks(h.flatten(1, 2), middle, heads, mask)
        if y.shape[2] < tokens:
            h = h.view(len(h), -1, tokens, width)[:, :, -y.shape[2] :].flatten(1, 2)
        logits = normed_linear(h, gain, output)
        return cross_entropy(logits.view(len(h), *y.shape[1:3], vocabulary), y)

    return Model(tuple(leaves), losses, chunk=CHUNK)
