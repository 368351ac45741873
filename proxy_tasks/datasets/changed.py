"""A classification data set with something about it changed: its labels, its classes, its split or its size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from programs.errors import InputError

from proxy_tasks.checks import real, whole
from proxy_tasks.datasets.dataset import Dataset

WHAT = "data set changed"
_NOISE = 0  # the seed of wrong labels


def changed(
    data: Dataset, label_noise: float = 0.0, imbalance: float = 1.0, split: int = 0, share: float = 1.0
) -> Dataset:
    """Return a data set with changes: a split, then a share, then fewer samples of some classes, then wrong labels.

    Args:
        data: with a label for each sample, in random order.
        label_noise: share of the training samples that get another label, each of the others with equal probability.
            Labels for validation stay as they are.
        imbalance: how many times as many training samples the first class has as the last; sizes fall off
            exponentially in between (Cui et al., arXiv:1901.05555). If it is above 1, validation keeps equally many
            samples of each class.
        split: 0 for that of the data set; another number draws as many samples for training anew, out of all.
        share: of the training samples, from the first on.

    Raises:
        InputError: samples have no labels or are cut from one text, an argument is out of range, or a class would have
            no sample.
    """
    real(WHAT, "label_noise", label_noise, 0, 1)
    real(WHAT, "imbalance", imbalance, 1, 1e6)
    real(WHAT, "share", share, 0, 1)
    whole(WHAT, "split", split, 0)
    if data.classes < 2 or data.train_y.dim() != 1 or data.train_y.dtype != torch.int64 or data.content:
        raise InputError(f"{WHAT}: it has no label for each sample; name one of a classification, such as digits")
    if split:
        data = _split_anew(data, split)
    if share < 1:
        kept = max(1, round(share * len(data.train_x)))
        data = replace(data, train_x=data.train_x[:kept], train_y=data.train_y[:kept])
    if imbalance > 1:
        data = _long_tailed(data, imbalance)
    return replace(data, train_y=_noisy(data.train_y, data.classes, label_noise))


def _split_anew(data: Dataset, split: int) -> Dataset:
    order = torch.randperm(len(data.train_x) + len(data.valid_x), generator=torch.Generator().manual_seed(split))
    x, y = (torch.cat(parts)[order] for parts in ((data.train_x, data.valid_x), (data.train_y, data.valid_y)))
    training = len(data.train_x)
    return replace(data, train_x=x[:training], train_y=y[:training], valid_x=x[training:], valid_y=y[training:])


def _long_tailed(data: Dataset, imbalance: float) -> Dataset:
    largest = int(data.train_y.bincount(minlength=data.classes).min())  # as many as there are of every class
    sizes = [round(largest * imbalance ** -(c / (data.classes - 1))) for c in range(data.classes)]
    validated = int(data.valid_y.bincount(minlength=data.classes).min())
    if sizes[-1] < 1 or validated < 1:
        raise InputError(f"{WHAT}: a class would have no sample; lower 'imbalance' or take more samples")
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
    rng = np.random.default_rng(_NOISE)
    wrong = torch.from_numpy(rng.permutation(len(labels))[: round(share * len(labels))])
    shift = torch.from_numpy(rng.integers(1, classes, len(wrong)))
    noisy = labels.clone()
    noisy[wrong] = (labels[wrong] + shift) % classes
    return noisy
