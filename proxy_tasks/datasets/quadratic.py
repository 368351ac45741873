"""Samples of the noisy quadratic model: the minimum as each minibatch estimates it."""

from __future__ import annotations

import numpy as np
import torch

from proxy_tasks.checks import real, whole
from proxy_tasks.datasets.dataset import Dataset


def load_quadratic(dimensions: int = 100, train: int = 4_096, noise: float = 1.0, seed: int = 0) -> Dataset:
    """Return points `[N, D]` around an optimum from N(0, 1), with deviations from N(0, noise^2) whose mean is zero.

    Validation is the one point at the optimum: its loss is the excess over it, without noise. The optimum is not zero,
    where weight decay alone would find it.

    Args:
        dimensions: D.
        train: number of points for training.
        noise: standard deviation of each coordinate.
        seed: of the random points.

    Raises:
        InputError: an argument is out of range.
    """
    what = "data set quadratic"
    shape = (whole(what, "train", train, 1), whole(what, "dimensions", dimensions, 1))
    real(what, "noise", noise, 0, 1e6)
    whole(what, "seed", seed, 0)
    rng = np.random.default_rng(seed)
    points, optimum = noise * rng.standard_normal(shape), rng.standard_normal((1, dimensions))
    x = torch.from_numpy((optimum + points - points.mean(0)).astype(np.float32))
    labels = torch.zeros(train, dtype=torch.int64)
    return Dataset(x, labels, torch.from_numpy(optimum.astype(np.float32)), labels[:1])
