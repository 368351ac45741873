"""The handwritten digits that come with scikit-learn: 1,797 images of 8x8 pixels (UCI; Alpaydin and Kaynak, 1998)."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from proxy_tasks.checks import whole
from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.draws import Draws

IMAGES, SIDE, CLASSES = 1_797, 8, 10
SHIFT = 1  # pixels up, down, left or right that a view may be moved
ERASED = 3  # the side of the square that is erased in a view
NOISE = 0.1  # the standard deviation of a view's pixels


def load_digits(train: int = 1000) -> Dataset:
    """Return pixels scaled to 0..1, `[N, 64]`, in a fixed shuffled split, since the file is ordered by writer.

    Args:
        train: images for training; the rest of the 1,797 are for validation.

    Raises:
        InputError: `train` leaves nothing for training or for validation.
    """
    return _load("data set digits", train)


def load_noisy_digits(train: int = 1000) -> Dataset:
    """Return noisy digits and the noise in them, at random levels: what a diffusion model is trained on.

    Of pixels p, scaled to -1..1, and noise e from N(0, 1), a sample is p cos(a) + e sin(a) `[64]`, with cos(a) and
    sin(a) behind it, and e is the target `[64]`. The level a is uniform between 0 and pi/2, which is the cosine
    schedule (Nichol and Dhariwal, arXiv:2102.09672) in continuous time. At validation levels and noise are always the
    same.

    Args:
        train: images for training; the rest of the 1,797 are for validation.

    Raises:
        InputError: `train` leaves nothing for training or for validation.
    """
    return replace(_load("data set noisy_digits", train), classes=0).transformed(_noisy)


def load_paired_digits(train: int = IMAGES - 512) -> Dataset:
    """Return two random views of every digit, `[N, 2, 64]`: shifted by a pixel, a square erased, noise added.

    Args:
        train: images for training; the rest of the 1,797 are for validation.

    Raises:
        InputError: `train` leaves nothing for training or for validation.
    """
    return _load("data set paired_digits", train).transformed(_paired)


def load_transfer_digits(train: int = 500) -> Dataset:
    """Return the digits 5 to 9, with labels 0 to 4, and as their source the digits 0 to 4.

    Args:
        train: images for training; the rest of the digits 5 to 9 are for validation.

    Raises:
        InputError: `train` leaves nothing for training or for validation.
    """
    what = "data set transfer_digits"
    half, every = CLASSES // 2, _load(what, IMAGES - 1)
    x, y = torch.cat((every.train_x, every.valid_x)), torch.cat((every.train_y, every.valid_y))
    source, target = ((x[part], y[part] % half) for part in (y < half, y >= half))
    whole(what, "train", train, 1, len(target[0]) - 1)
    return replace(_split(*target, train, half), source=_split(*source, train, half))


def _load(what: str, train: int) -> Dataset:
    whole(what, "train", train, 1, IMAGES - 1)
    pixels, labels = _file()
    order = np.random.RandomState(0).permutation(len(labels))
    x = torch.from_numpy(pixels[order].astype(np.float32) / 16)
    y = torch.from_numpy(labels[order].astype(np.int64))
    return _split(x, y, train, CLASSES)


def _file() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return pixels `[N, 64]` from 0 to 16 and labels `[N]`, without importing scikit-learn, which takes a second."""
    found = find_spec("sklearn")
    assert found is not None
    assert found.submodule_search_locations
    table = np.loadtxt(Path(found.submodule_search_locations[0], "datasets", "data", "digits.csv.gz"), delimiter=",")
    return table[:, :-1], table[:, -1]


def _split(x: Tensor, y: Tensor, train: int, classes: int) -> Dataset:
    return Dataset(x[:train], y[:train], x[train:], y[train:], classes=classes)


def _noisy(draws: Draws, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG001 - labels play no part
    """Return noisy images with their levels, [B, 66], and the noise, [B, 64]."""
    noise, level = draws.normal(x.shape), draws.uniform((len(x), 1)) * (math.pi / 2)
    signal, amount = level.cos(), level.sin()
    return torch.cat(((2 * x - 1) * signal + noise * amount, signal, amount), dim=1), noise


def _paired(draws: Draws, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return two views of each image, [B, 2, 64], and the labels."""
    return torch.stack((_view(draws, x), _view(draws, x)), dim=1), y


def _view(draws: Draws, x: Tensor) -> Tensor:
    """Return images [B, 64], each shifted, with a square erased, and with noise."""
    places = torch.arange(SIDE, device=x.device)

    def drawn(values: int) -> Tensor:
        """Return whole numbers from 0, of so many, for rows and columns: [B, 1] each."""
        return (draws.uniform((2, len(x), 1)) * values).long()

    rows, columns = places + drawn(2 * SHIFT + 1) - SHIFT  # [B, 8]: where the pixels come from
    corner = drawn(SIDE - ERASED + 1)
    (hidden_rows, hidden_columns) = (places >= corner) & (places < corner + ERASED)
    is_inside = _both((rows >= 0) & (rows < SIDE), (columns >= 0) & (columns < SIDE))
    is_shown = is_inside & ~_both(hidden_rows, hidden_columns)
    source = rows.clamp(0, SIDE - 1).unsqueeze(2) * SIDE + columns.clamp(0, SIDE - 1).unsqueeze(1)
    return x.gather(1, source.flatten(1)) * is_shown + NOISE * draws.normal(x.shape)


def _both(rows: Tensor, columns: Tensor) -> Tensor:
    """[B, 8], [B, 8] -> [B, 64]"""
    return (rows.unsqueeze(2) & columns.unsqueeze(1)).flatten(1)
