"""A language model out of a gated recurrent unit (Cho et al., arXiv:1406.1078)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from programs.errors import InputError

from proxy_tasks.checks import whole
from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.models.classifier import predictor
from proxy_tasks.models.embedding import embed
from proxy_tasks.models.model import Leaf, Model
from proxy_tasks.models.recurrent import CELLS
from proxy_tasks.models.transformer import tokens_of

CHUNK = 32  # replicas at a time: a step of few is overhead; of 1 to 32, 32 were fastest at width 32, batch 16
LANES = 32  # numbers that loops of torch take at once: what remains is rounded otherwise


def gru(dataset: Dataset, width: int = 32, embedding: int = 16) -> Model:
    """Return an embedding, a GRU as torch defines it, whose state starts at zero in every sample, and a linear output.

    Samples are token numbers `[B, T]`, targets tokens `[B, T]`; the loss is the mean cross-entropy in nats per token.

    Raises:
        InputError: the data set has no vocabulary, or an argument is out of range.
    """
    _, vocabulary = tokens_of("model gru", dataset)
    if whole("model gru", "width", width, 1) % LANES:
        raise InputError(f"model gru: 'width' is {width}; give a multiple of {LANES}")
    whole("model gru", "embedding", embedding, 1)
    std = width**-0.5
    leaves = (
        Leaf("tokens", (vocabulary, embedding), std=1.0),
        Leaf("input", (embedding, 3 * width), std=embedding**-0.5, transposed=True),
        Leaf("state", (width, 3 * width), std=std, transposed=True),
        Leaf("input_bias", (3 * width,)),
        Leaf("state_bias", (3 * width,)),
        Leaf("output", (width, vocabulary), std=std, transposed=True),
        Leaf("output_bias", (vocabulary,)),
    )
    return predictor(leaves, _predictions, CHUNK)


def _predictions(params: Sequence[Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits and labels, time step by time step. `x`, `y`: [1 or R, B, T] -> [R, T B, V], [1 or R, T B]."""
    tokens, w_x, w_h, b_x, b_h, output, output_bias = params
    step = CELLS["gru"]
    # What a token adds to the gates is the same wherever it stands.
    gates = embed(torch.baddbmm(b_x.unsqueeze(1), tokens, w_x), x.mT)  # [R, T, B, 3 H]
    h = gates.new_zeros(*gates.shape[:1], gates.shape[2], w_h.shape[1])
    states = []
    for now in gates.unbind(1):
        (h,) = step(now, torch.baddbmm(b_h.unsqueeze(1), h, w_h), (h,))
        states.append(h)
    logits = torch.baddbmm(output_bias.unsqueeze(1), torch.stack(states, 1).flatten(1, 2), output)
    return logits, y.mT.flatten(1)
