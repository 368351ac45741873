"""The handwritten digits that come with scikit-learn: 1,797 images of 8x8 pixels (UCI; Alpaydin and Kaynak, 1998)."""

from __future__ import annotations

import numpy as np
import torch

from proxy_tasks.checks import whole
from proxy_tasks.datasets.corruption import check_corruption, corrupted
from proxy_tasks.datasets.dataset import Dataset

IMAGES = 1_797


def load_digits(train: int = 1000, label_noise: float = 0.0, imbalance: float = 1.0) -> Dataset:
    """Return pixels scaled to 0..1, `[N, 64]`, in a fixed shuffled split, since the file is ordered by writer.

    Args:
        train: images for training; the rest of the 1,797 are for validation.
        label_noise: share of them that get a wrong label, see `corrupted`.
        imbalance: of their classes, see there.

    Raises:
        InputError: `train` leaves nothing for training or for validation, or another argument is out of range.
    """
    whole("data set digits", "train", train, 1, IMAGES - 1)
    check_corruption("data set digits", label_noise, imbalance)
    from sklearn import datasets  # imported here: it takes a second, and other data sets do not need it

    bunch = datasets.load_digits()
    order = np.random.RandomState(0).permutation(len(bunch.target))
    x = torch.from_numpy(bunch.data[order].astype(np.float32) / 16)
    y = torch.from_numpy(bunch.target[order].astype(np.int64))
    data = Dataset(x[:train], y[:train], x[train:], y[train:], classes=10)
    return corrupted("data set digits", data, label_noise, imbalance)
