"""Transformers over tokens: one that predicts the next token, and one that predicts masked tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from programs.errors import InputError

from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.models.blocks import block_leaves, blocks, normed_linear
from proxy_tasks.models.classifier import classifier, predictor
from proxy_tasks.models.embedding import embed
from proxy_tasks.models.model import Leaf, Model

# Replicas at a time. Of 1, 2, 4, 8 and 64, 2 and 4 were fastest at width 32, context 32, batch 32; 64 a third slower.
CHUNK = 2
MASKED_CHUNK = 8  # the same at width 24, batch 16: 8 take two thirds of the time of 2, and more are hardly faster


def transformer(dataset: Dataset, layers: int = 2, width: int = 32, heads: int = 4) -> Model:
    """Return a causal pre-norm Transformer with learned positions, a ReLU MLP of four widths and an untied output.

    Samples are token numbers `[B, T]`. Targets are tokens `[B, T']` or probabilities `[B, T', V]` of the last T'
    positions; the loss is their mean cross-entropy in nats per token.

    Raises:
        InputError: the data set has no vocabulary, or an argument is out of range.
    """
    tokens, vocabulary = tokens_of("the transformer", dataset)
    leaves = _leaves("model transformer", (vocabulary, tokens, vocabulary), layers, width, heads)
    mask = torch.full((tokens, tokens), -torch.inf, device=dataset.train_x.device).triu(1)

    predicted = dataset.valid_y.shape[1]

    def logits(params: Sequence[Tensor], x: Tensor) -> Tensor:
        h = _encoded(params, x, heads, mask)
        h = h if predicted == tokens else h[:, :, -predicted:]
        return normed_linear(h.flatten(1, 2), *params[-2:]).view(len(h), x.shape[1], predicted, vocabulary)

    return classifier(leaves, logits, CHUNK)


def masked_transformer(dataset: Dataset, layers: int = 2, width: int = 32, heads: int = 4) -> Model:
    """Return the same Transformer, but every position sees all others, and some of their tokens are masked.

    As BERT (Devlin et al., arXiv:1810.04805). Samples are token numbers `[B, T]`, of which V stands for a mask. Targets
    are K masked positions and the tokens that belong there, `[B, 2, K]`; the loss is the mean cross-entropy of these
    tokens in nats.

    Raises:
        InputError: the data set has no masked tokens, or an argument is out of range.
    """
    tokens, vocabulary = tokens_of("the masked transformer", dataset, is_masked=True)
    leaves = _leaves("model masked_transformer", (vocabulary + 1, tokens, vocabulary), layers, width, heads)
    mask = torch.zeros(tokens, tokens, device=dataset.train_x.device)

    def predictions(params: Sequence[Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and labels of the masked positions, [R, B K, V] and [1 or R, B K]."""
        h = _encoded(params, x, heads, mask)
        positions, targets = y.unbind(2)  # [1 or R, B, K]
        index = positions.unsqueeze(3).expand(len(h), -1, -1, width)
        return normed_linear(h.gather(2, index).flatten(1, 2), *params[-2:]), targets.flatten(1)

    return predictor(leaves, predictions, MASKED_CHUNK)


def tokens_of(what: str, dataset: Dataset, is_masked: bool = False) -> tuple[int, int]:
    """Return how many tokens a sample has, and how many different ones there are.

    Raises:
        InputError: samples are no tokens, or masked where they should not be; the message names the model, `what`.
    """
    if dataset.classes < 1 or dataset.train_x.is_floating_point() or dataset.train_x.dim() != 2:
        raise InputError(f"{what} needs a data set of tokens [N, T] with a vocabulary, such as a text")
    y = dataset.valid_y
    if y.dim() < 2:
        raise InputError(f"{what} needs a data set with tokens as targets, [N, T], such as a text")
    if is_masked != (y.dim() == 3 and not y.is_floating_point()):
        kind = "masked tokens, such as masked_stdlib" if is_masked else "tokens that are not masked, such as stdlib"
        raise InputError(f"{what} needs a data set of {kind}")
    return dataset.train_x.shape[1], dataset.classes


def _leaves(what: str, sizes: tuple[int, int, int], layers: int, width: int, heads: int) -> tuple[Leaf, ...]:
    """Return the parameters for so many tokens to read, positions, and tokens to predict."""
    read, positions, predicted = sizes
    return (
        Leaf("tokens", (read, width), std=0.02),
        Leaf("positions", (positions, width), std=0.02),
        *block_leaves(what, layers, width, heads),
        Leaf("norm", (width,), mean=1.0),
        Leaf("output", (width, predicted), std=width**-0.5, transposed=True),
    )


def _encoded(params: Sequence[Tensor], x: Tensor, heads: int, mask: Tensor) -> Tensor:
    """Return what the last block gives for tokens [1 or R, B, T] -> [R, B, T, D]; `mask` is that of the blocks."""
    embedding, positions, *middle, _, _ = params
    h = embed(embedding, x).add_(positions.unsqueeze(1))
    return blocks(h.flatten(1, 2), middle, heads, mask).view(h.shape)
