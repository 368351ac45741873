"""MNIST-1D: ten one-dimensional shapes, stretched, shifted and noisy (Greydanus and Kobak, arXiv:2011.14439)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from proxy_tasks.checks import whole
from proxy_tasks.datasets.dataset import Dataset

SAMPLES = 14_000


def load_mnist1d(train: int = 4_000) -> Dataset:
    """Return signals of 40 values with mean 0 and deviation 1 over the whole set, `[N, 1, 40]`, within a few seconds.

    The published set has 4,000 samples for training too, but 1,000 for testing; here the rest of 14,000 are for
    validation, so that its noise is small.

    Args:
        train: signals for training.

    Raises:
        InputError: `train` leaves nothing for training or for validation.
    """
    whole("data set mnist1d", "train", train, 1, SAMPLES - 1)
    made = _generate()
    x = torch.from_numpy(np.concatenate([made["x"], made["x_test"]]).astype(np.float32)).unsqueeze(1)
    y = torch.from_numpy(np.concatenate([made["y"], made["y_test"]]).astype(np.int64))
    return Dataset(x[:train], y[:train], x[train:], y[train:], classes=10)


def _generate() -> dict[str, Any]:
    with _global_random_state_kept(), _interpolating_at_once():
        from mnist1d.data import get_dataset_args, make_dataset

        settings = get_dataset_args()
        settings.num_samples = SAMPLES
        return make_dataset(settings)  # type: ignore[no-any-return]


@contextmanager
def _interpolating_at_once() -> Iterator[None]:
    """Have the generator call NumPy's linear interpolation, as it does by way of an object of SciPy for each signal.

    Most of the seconds that it takes are for these objects; the numbers are the same to the last bit.
    """
    generator: Any = import_module("mnist1d.transform")  # here: it brings matplotlib, a second
    theirs = generator.interpolate
    generator.interpolate = lambda x, number: np.interp(_places(number), _places(len(x)), x)
    try:
        yield
    finally:
        generator.interpolate = theirs


@lru_cache
def _places(number: int) -> NDArray[np.float64]:
    """Return so many numbers from 0 to 1."""
    return np.linspace(0, 1, number)


@contextmanager
def _global_random_state_kept() -> Iterator[None]:
    """Restore the global random numbers of Python and NumPy, which the generator seeds."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
