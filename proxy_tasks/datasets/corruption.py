"""Training samples made worse: wrong labels, and classes of very different sizes. Validation is clean and balanced."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from programs.errors import InputError

from proxy_tasks.checks import real
from proxy_tasks.datasets.dataset import Dataset

SEED = 0


def check_corruption(what: str, label_noise: float, imbalance: float) -> None:
    """Raise InputError unless these are what `corrupted` takes; `what` is the data set, for messages."""
    real(what, "label_noise", label_noise, 0, 1)
    real(what, "imbalance", imbalance, 1, 1e6)


def corrupted(what: str, data: Dataset, label_noise: float, imbalance: float) -> Dataset:
    """Return the data set with fewer training samples of later classes, and some of their labels wrong.

    Args:
        what: the data set, for messages.
        data: samples with labels, in random order.
        label_noise: share of the training samples that get another label, each of the others with equal probability.
        imbalance: how many times as many training samples the first class has as the last; sizes fall off
            exponentially in between (Cui et al., arXiv:1901.05555). If it is above 1, validation keeps equally many
            samples of each class.

    Raises:
        InputError: a class would have no sample.
    """
    if imbalance > 1:
        data = _long_tailed(what, data, imbalance)
    return replace(data, train_y=_noisy(data.train_y, data.classes, label_noise)) if label_noise else data


def _long_tailed(what: str, data: Dataset, imbalance: float) -> Dataset:
    largest = int(data.train_y.bincount(minlength=data.classes).min())  # as many as there are of every class
    sizes = [round(largest * imbalance ** -(c / (data.classes - 1))) for c in range(data.classes)]
    validated = int(data.valid_y.bincount(minlength=data.classes).min())
    if sizes[-1] < 1 or validated < 1:
        raise InputError(f"{what}: a class would have no sample; lower 'imbalance', or 'train' leaves too few of it")
    chosen, kept = _first(data.train_y, sizes), _first(data.valid_y, [validated] * data.classes)
    return replace(
        data, train_x=data.train_x[chosen], train_y=data.train_y[chosen], valid_x=data.valid_x[kept],
        valid_y=data.valid_y[kept],
    )  # fmt: skip


def _first(labels: Tensor, sizes: list[int]) -> Tensor:
    """Return the places of the first so many labels of each class, in order."""
    places = [torch.nonzero(labels == c).flatten()[:size] for c, size in enumerate(sizes)]
    return torch.cat(places).sort().values


def _noisy(labels: Tensor, classes: int, share: float) -> Tensor:
    rng = np.random.default_rng(SEED)
    changed = torch.from_numpy(rng.permutation(len(labels))[: round(share * len(labels))])
    shift = torch.from_numpy(rng.integers(1, classes, len(changed)))
    noisy = labels.clone()
    noisy[changed] = (labels[changed] + shift) % classes
    return noisy
