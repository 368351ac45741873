"""Clicks on items of heavy-tailed categories, whose probabilities are known: no model loses less than their entropy.

A sample has one category of each of F fields. Categories are hashed into buckets that all fields share, as in large
recommender systems (Weinberger et al., arXiv:0902.2206), so that some collide. A click has the log-odds

    bias + sum_f a(b_f) / sqrt(F) + sum_{f<g} <u(b_f), u(b_g)> / sqrt(F (F - 1) / 2 * rank)

of the buckets b_1, ..., b_F, with a(b) and all entries of u(b) from N(0, 1): a factorization machine (Rendle, 2010).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from programs.errors import InputError

from proxy_tasks.checks import real, whole
from proxy_tasks.datasets.dataset import Dataset

WHAT = "data set clicks"
MOST_CATEGORIES = 2**20
MOST_VALUES = 2**27  # of all samples together

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]


def load_clicks(
    fields: int = 10,
    categories: int = 1_000,
    buckets: int = 1_000,
    exponent: float = 1.1,
    rank: int = 4,
    bias: float = -1.0,
    train: int = 100_000,
    valid: int = 10_000,
    seed: int = 0,
) -> Dataset:
    """Return buckets `[N, F]` with clicks `[N]`, 0 or 1, for training, and with their probabilities for validation.

    Validation compares with the true probabilities rather than with drawn clicks. The loss is then never below their
    mean entropy (Gibbs' inequality), which is `floor`: the excess over it has no noise.

    Args:
        fields: categories of a sample, F.
        categories: different ones in each field; the k-th most frequent has a probability proportional to k^-exponent.
        buckets: that the categories of all fields are hashed into, each with equal probability.
        exponent: of the law of Zipf; the larger, the rarer are most categories.
        rank: length of the vectors u.
        bias: log-odds of an average sample.
        train: samples for training.
        valid: samples for validation.
        seed: of categories, buckets, weights and clicks.

    Raises:
        InputError: an argument is out of range, or there would be too many values.
    """
    for name, size, least, most in (
        ("fields", fields, 2, 1_000), ("categories", categories, 2, MOST_CATEGORIES),
        ("buckets", buckets, 2, MOST_CATEGORIES), ("rank", rank, 1, 1_000), ("train", train, 1, 2**31),
        ("valid", valid, 1, 2**31), ("seed", seed, 0, 2**31),
    ):  # fmt: skip
        whole(WHAT, name, size, least, most)
    real(WHAT, "exponent", exponent, 0, 10)
    real(WHAT, "bias", bias, -30, 30)
    if (train + valid) * fields > MOST_VALUES:
        raise InputError(
            f"{WHAT}: {train + valid:,} samples of {fields} fields are too many; lower 'train', 'valid' or 'fields' to"
            f" at most {MOST_VALUES:,} values together"
        )
    hashed, weights, vectors = truth(fields, categories, buckets, rank, seed)
    drawn = np.random.default_rng((seed, 1))
    x = _drawn_buckets(drawn, train + valid, hashed, exponent)
    p = (1 / (1 + np.exp(-log_odds(x, weights, vectors, bias)))).astype(np.float32)
    clicks = (drawn.random(train) < p[:train]).astype(np.float32)
    samples = torch.from_numpy(x)
    return Dataset(
        samples[:train], torch.from_numpy(clicks), samples[train:], torch.from_numpy(p[train:]), classes=buckets,
        floor=float(entropies(p[train:].astype(np.float64)).mean()),
    )  # fmt: skip


class Truth(NamedTuple):
    """Buckets of the categories of each field, [F, categories], and the weight a and the vector u of each bucket."""

    hashed: Numbers
    weights: Array
    vectors: Array


def truth(fields: int, categories: int, buckets: int, rank: int, seed: int) -> Truth:
    """Return what clicks depend on."""
    rng = np.random.default_rng((seed, 0))
    hashed = rng.integers(buckets, size=(fields, categories))
    return Truth(hashed, rng.standard_normal(buckets), rng.standard_normal((buckets, rank)))


def log_odds(x: Numbers, weights: Array, vectors: Array, bias: float) -> Array:
    """Return the log-odds of clicks, [N], on samples [N, F], for weights [buckets] and vectors [buckets, rank]."""
    fields, rank = x.shape[1], vectors.shape[1]
    total, squares = np.zeros((len(x), rank)), np.zeros((len(x), rank))
    for field in x.T:  # the sum over pairs is half the square of the sum less the sum of squares
        total += vectors[field]
        squares += vectors[field] ** 2
    pairs = 0.5 * (total**2 - squares).sum(1)
    odds: Array = bias + weights[x].sum(1) / math.sqrt(fields) + pairs / math.sqrt(fields * (fields - 1) / 2 * rank)
    return odds


def entropies(p: Array) -> Array:
    """Return the entropy of a click with each probability, in nats; certainty has none."""
    tiny = np.finfo(np.float64).tiny
    found: Array = -(p * np.log(np.maximum(p, tiny)) + (1 - p) * np.log(np.maximum(1 - p, tiny)))
    return found


def _drawn_buckets(rng: np.random.Generator, samples: int, hashed: Numbers, exponent: float) -> Numbers:
    """Return the buckets [N, F] of categories drawn by the law of Zipf; `hashed`: [F, categories]."""
    fields, categories = hashed.shape
    p = np.arange(1, categories + 1, dtype=np.float64) ** -exponent
    bounds = np.cumsum(p / p.sum())
    bounds[-1] = 1  # rounding must not leave a gap at the end
    x = np.empty((samples, fields), dtype=np.int64)
    for field in range(fields):
        x[:, field] = hashed[field, np.searchsorted(bounds, rng.random(samples), side="right")]
    return x
