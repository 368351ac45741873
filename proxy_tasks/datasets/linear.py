"""A linear map to be learned from ill-conditioned samples; the loss of every other map is known exactly."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from proxy_tasks.checks import real, whole
from proxy_tasks.datasets.dataset import Dataset

WHAT = "data set linear"

Array = NDArray[np.float64]


def load_linear(
    dimensions: int = 32, power: float = 1.5, noise: float = 0.5, train: int = 4_096, seed: int = 0
) -> Dataset:
    """Return samples x `[N, D]` with targets `[N, D]`, A x and noise, for a matrix A with entries from N(0, 1/D).

    The covariance of all training samples is exactly S, with eigenvalues i^-power in directions that are no axes, and
    their noise is exactly uncorrelated with them: so A is the optimum of training, too. Validation samples are D, with
    the same covariance and without noise. There half the squared error of a matrix W is, as a mean,
    1/2 tr((W - A) S (W - A)^T): the excess over the optimum, on training samples as well. Its `floor` is 0.

    Args:
        dimensions: of samples and targets, D. The condition number of S is D^power.
        power: see above.
        noise: standard deviation of each target in training.
        train: samples for training, more than D.
        seed: of everything random.

    Raises:
        InputError: an argument is out of range.
    """
    whole(WHAT, "dimensions", dimensions, 1, 2_000)
    real(WHAT, "power", power, 0, 10)
    real(WHAT, "noise", noise, 0, 1e6)
    whole(WHAT, "train", train, dimensions + 1)
    whole(WHAT, "seed", seed, 0)
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((dimensions, dimensions)) / np.sqrt(dimensions)
    directions = np.linalg.qr(rng.standard_normal((dimensions, dimensions)))[0]
    root = np.arange(1, dimensions + 1) ** (-power / 2) * directions  # [D, D]: root @ root.T is S
    columns = np.linalg.qr(rng.standard_normal((train, dimensions)))[0]  # [N, D], orthonormal
    drawn = noise * rng.standard_normal((train, dimensions))
    uncorrelated = drawn - columns @ (columns.T @ drawn)
    x, valid_x = np.sqrt(train) * columns @ root.T, np.sqrt(dimensions) * root.T
    y, valid_y = x @ matrix.T + uncorrelated, valid_x @ matrix.T
    return Dataset(_float(x), _float(y), _float(valid_x), _float(valid_y))


def _float(x: Array) -> torch.Tensor:
    return torch.from_numpy(x.astype(np.float32))
