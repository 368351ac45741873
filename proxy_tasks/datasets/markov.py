"""Text of a Markov chain, whose optimum is known exactly: no model predicts better than the chain's own probabilities.

A state is the last `order` tokens, read as a number in base `vocabulary`, oldest digit first. A table `[S, V]` gives
the probabilities of the next token in each of the S = V^order states.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from programs.errors import InputError

from proxy_tasks.checks import real, whole
from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.datasets.windows import LONGEST_CONTEXT, language_dataset

WHAT = "data set markov"
LARGEST_TABLE = 2**22  # entries

Array = NDArray[np.float64]


def load_markov(
    order: int = 2,
    vocabulary: int = 16,
    concentration: float = 0.3,
    context: int = 32,
    train: int = 200_000,
    valid: int = 20_000,
    seed: int = 0,
) -> Dataset:
    """Return Markov text in windows whose last T' = context - order + 1 positions, which see all of their state, count.

    Validation compares with the true probabilities `[N, T', V]` rather than with drawn tokens. The loss is then never
    below their mean entropy (Gibbs' inequality), which is `floor`: the excess over it has no noise.

    Args:
        order: tokens that the next one depends on.
        vocabulary: number of different tokens, V.
        concentration: of the Dirichlet distribution of transitions; the smaller, the more predictable the text.
        context: tokens in a window.
        train: tokens for training.
        valid: tokens for validation; targets take 4 V bytes for each.
        seed: of transitions and text.

    Raises:
        InputError: an argument is out of range.
    """
    table = transition_table(order, vocabulary, concentration, seed)
    whole(WHAT, "context", context, order, LONGEST_CONTEXT)
    for name, size in (("train", train), ("valid", valid)):
        whole(WHAT, name, size, context + 1)
    tokens = torch.from_numpy(_draw(table, train + valid, np.random.default_rng((seed, 1))))
    hard = language_dataset(WHAT, tokens[:train], tokens[train:], context, vocabulary)
    state = _states(hard.valid_x, order, vocabulary)  # [N, T']
    targets = torch.from_numpy(table.astype(np.float32))[state]
    return replace(
        hard,
        train_y=hard.train_y[:, order - 1 :],
        valid_y=targets,
        floor=float(_entropies(table)[state].mean()),
        content=(hard.content[0], hard.valid_x, targets),
    )


def transition_table(order: int, vocabulary: int, concentration: float, seed: int) -> Array:
    """Return probabilities `[S, V]` of the next token in each state, drawn from a symmetric Dirichlet distribution.

    Raises:
        InputError: an argument is out of range, or the table would be too large.
    """
    whole(WHAT, "order", order, 1, 64)
    whole(WHAT, "vocabulary", vocabulary, 2, LARGEST_TABLE)
    # Below 0.1 the chain stays in loops that it hardly ever leaves.
    real(WHAT, "concentration", concentration, 0.1, 1e6)
    whole(WHAT, "seed", seed, 0)
    if vocabulary ** (order + 1) > LARGEST_TABLE:
        raise InputError(
            f"{WHAT}: a table of vocabulary^(order+1) = {vocabulary}^{order + 1} entries is too large; "
            f"lower 'order' or 'vocabulary' to at most {LARGEST_TABLE:,} entries"
        )
    table: Array = np.random.default_rng((seed, 0)).dirichlet([concentration] * vocabulary, size=vocabulary**order)
    return table


def stationary(table: Array) -> Array:
    """Return the stationary probability of each state, `[S]`: the fixed point of one step, found by stepping."""
    states, vocabulary = table.shape
    step = table.reshape(vocabulary, states // vocabulary, vocabulary)  # [oldest token, the others, next token]
    p = np.full(states, 1 / states)
    for _ in range(100_000):
        after: Array = np.einsum("as,asj->sj", p.reshape(step.shape[:2]), step).ravel()
        after /= after.sum()
        if np.abs(after - p).sum() < 1e-14:
            break
        p = after
    return after


def entropy_rate(table: Array) -> float:
    """Return the entropy of the next token given the state, in nats: the sum of p(s) H(s) over all states."""
    return float(stationary(table) @ _entropies(table))


def _entropies(table: Array) -> Array:
    """Return the entropy of each row, in nats, [S]; a probability of zero adds nothing."""
    entropies: Array = -(table * np.log(np.maximum(table, np.finfo(np.float64).tiny))).sum(1)
    return entropies


def _draw(table: Array, length: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return tokens `[length]` of a chain that starts from its stationary distribution."""
    states, vocabulary = table.shape
    bounds = np.cumsum(table, axis=1)
    bounds[:, -1] = 1  # rounding must not leave a gap at the end
    rows = bounds.tolist()
    state = int(rng.choice(states, p=stationary(table)))
    tokens = []
    for u in rng.random(length).tolist():
        token = bisect_right(rows[state], u)
        tokens.append(token)
        state = (state * vocabulary + token) % states
    return np.array(tokens)


def _states(x: Tensor, order: int, vocabulary: int) -> Tensor:
    """Return states `[N, T']` after the tokens `[N, T]`, from the first position that has seen `order` of them."""
    digits = torch.tensor([vocabulary ** (order - 1 - i) for i in range(order)])
    return (x.unfold(1, order, 1) * digits).sum(-1)
