"""A decoder-only Transformer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from programs.errors import InputError

from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.models.blocks import block_leaves, blocks, normed_linear
from proxy_tasks.models.classifier import classifier
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
    is_text = dataset.train_x.dim() == 2 <= dataset.train_y.dim() and not dataset.train_x.is_floating_point()
    if dataset.classes < 1 or not is_text:
        raise InputError(
            "the transformer needs a data set of tokens [N, T] with targets [N, T'] and a vocabulary, such as a text"
        )
    tokens, predicted, vocabulary = dataset.train_x.shape[1], dataset.train_y.shape[1], dataset.classes
    mask = torch.full((tokens, tokens), -torch.inf, device=dataset.train_x.device).triu(1)
    leaves = [
        Leaf("tokens", (vocabulary, width), std=0.02),
        Leaf("positions", (tokens, width), std=0.02),
        *block_leaves("model transformer", layers, width, heads),
        Leaf("norm", (width,), mean=1.0),
        Leaf("output", (width, vocabulary), std=width**-0.5, transposed=True),
    ]

    def logits(params: Sequence[Tensor], x: Tensor) -> Tensor:
        embedding, positions, *middle, gain, output = params
        h = _embed(embedding, x).add_(positions.unsqueeze(1))  # [R, B, T, D]
        h = blocks(h.flatten(1, 2), middle, heads, mask)
        if predicted < tokens:
            h = h.view(len(h), -1, tokens, width)[:, :, -predicted:].flatten(1, 2)
        return normed_linear(h, gain, output).view(len(h), x.shape[1], predicted, vocabulary)

    return classifier(leaves, logits, CHUNK)


def _embed(embedding: Tensor, x: Tensor) -> Tensor:
    """Return rows of [R, V, D] for tokens [1 or R, B, T] -> [R, B, T, D]."""
    replicas, vocabulary, width = embedding.shape
    index = (torch.arange(replicas, device=x.device) * vocabulary).view(-1, 1, 1) + x
    return embedding.reshape(-1, width).index_select(0, index.flatten()).view(*index.shape, width)
