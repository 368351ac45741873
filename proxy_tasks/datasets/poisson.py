"""The equation of Poisson in one dimension, -u'' = f with u = 0 at both ends, made from a solution that is known."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from proxy_tasks.checks import whole
from proxy_tasks.datasets.dataset import Dataset

WHAT = "data set poisson"
ENDS = (-math.pi / 2, math.pi / 2)

Array = NDArray[np.float64]


def load_poisson(modes: int = 8, train: int = 1_024, valid: int = 256, seed: int = 0) -> Dataset:
    """Return points in (-pi/2, pi/2), `[N, 1]`, with f there for training and with the solution u for validation.

    u(x) = sum_k c_k k^-2 sin(k (x + pi/2)) over k = 1 to `modes`, so that f(x) = sum_k c_k sin(k (x + pi/2)), with c_k
    from N(0, 1). All modes have a like share in f, and those of high frequency a small one in u. `shared` has the two
    ends, `[2, 1]`, where u is 0. Points for validation are evenly spaced. The `floor` is 0.

    Args:
        modes: of the solution.
        train: points for training, drawn uniformly.
        valid: points for validation.
        seed: of the solution and of the points.

    Raises:
        InputError: an argument is out of range.
    """
    whole(WHAT, "modes", modes, 1, 1_000)
    whole(WHAT, "train", train, 1)
    whole(WHAT, "valid", valid, 1)
    whole(WHAT, "seed", seed, 0)
    rng = np.random.default_rng(seed)
    coefficients = rng.standard_normal(modes)
    x = rng.uniform(*ENDS, train)
    grid = ENDS[0] + (np.arange(valid) + 0.5) * (ENDS[1] - ENDS[0]) / valid
    k = np.arange(1, modes + 1)
    return Dataset(
        _column(x), _series(x, coefficients), _column(grid), _series(grid, coefficients / k**2),
        shared=(_column(np.array(ENDS)),),
    )  # fmt: skip


def _series(x: Array, coefficients: Array) -> torch.Tensor:
    """Return the sum of c_k sin(k (x + pi/2)) at points [N] -> [N]."""
    k = np.arange(1, len(coefficients) + 1)
    return torch.from_numpy((np.sin(np.outer(x - ENDS[0], k)) @ coefficients).astype(np.float32))


def _column(x: Array) -> torch.Tensor:
    return torch.from_numpy(x.astype(np.float32)).unsqueeze(1)
