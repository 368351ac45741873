"""Samples of the noisy quadratic model: where each minibatch believes the minimum to be."""

from __future__ import annotations

import numpy as np
import torch

from proxy_tasks.datasets.checks import real, whole
from proxy_tasks.datasets.dataset import Dataset


def load_quadratic(dimensions: int = 100, train: int = 4_096, noise: float = 1.0, seed: int = 0) -> Dataset:
    """Points `[N, D]` from N(0, noise^2), shifted so that their mean, the minimum over all of them, is zero exactly.

    Validation is the one point zero: its loss is the excess over the optimum, without noise.

    Args:
        dimensions: D.
        train: number of points for training.
        noise: standard deviation of each coordinate.
        seed: of the points.

    Raises:
        InputError: an argument is out of range.
    """
    what = "data set quadratic"
    shape = (whole(what, "train", train, 1), whole(what, "dimensions", dimensions, 1))
    real(what, "noise", noise, 0, 1e6)
    whole(what, "seed", seed, 0)
    points = noise * np.random.default_rng(seed).standard_normal(shape)
    x = torch.from_numpy((points - points.mean(0)).astype(np.float32))
    labels = torch.zeros(train, dtype=torch.int64)
    return Dataset(x, labels, torch.zeros(1, dimensions), labels[:1])
