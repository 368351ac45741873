"""A classification data set with something about it changed: noise in the labels, another split, or fewer samples."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from programs.errors import InputError

from proxy_tasks.checks import real, whole
from proxy_tasks.datasets.dataset import Dataset

WHAT = "data set changed"
_NOISE = 7  # the seed of wrong labels


def changed(data: Dataset, label_noise: float = 0.0, split: int = 0, share: float = 1.0) -> Dataset:
    """Return a data set with changes: a split, then a share, then noise. Validation labels stay as they are.

    Args:
        data: with a label for each sample.
        split: 0 for that of the data set; another number draws as many samples for training anew, out of all.
        share: of the training samples, from the first on.
        label_noise: the share of the training labels that are replaced by one of the other classes at random.

    Raises:
        InputError: samples have no labels or are cut from one text, or an argument is out of range.
    """
    real(WHAT, "label_noise", label_noise, 0, 1)
    real(WHAT, "share", share, 0, 1)
    whole(WHAT, "split", split, 0)
    if data.classes < 2 or data.train_y.dim() != 1 or data.train_y.dtype != torch.int64 or data.content:
        raise InputError(f"{WHAT}: it has no label for each sample; name one of a classification, such as digits")
    if split:
        data = _split_anew(data, split)
    kept = max(1, round(share * len(data.train_x)))
    return replace(data, train_x=data.train_x[:kept], train_y=_noisy(data.train_y[:kept], data.classes, label_noise))


def _split_anew(data: Dataset, split: int) -> Dataset:
    order = torch.randperm(len(data.train_x) + len(data.valid_x), generator=torch.Generator().manual_seed(split))
    x, y = (torch.cat(parts)[order] for parts in ((data.train_x, data.valid_x), (data.train_y, data.valid_y)))
    training = len(data.train_x)
    return replace(data, train_x=x[:training], train_y=y[:training], valid_x=x[training:], valid_y=y[training:])


def _noisy(labels: Tensor, classes: int, share: float) -> Tensor:
    generator = torch.Generator().manual_seed(_NOISE)
    wrong = torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]
    found = labels.clone()
    found[wrong] = (labels[wrong] + torch.randint(1, classes, (len(wrong),), generator=generator)) % classes
    return found
