"""Images from the disk: folders of classes, or parquet files with a column of images and one of labels."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from programs.errors import InputError

from proxy_tasks.checks import real, whole
from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.datasets.files import divide, existing, extra, files_of, named_part, parquet_rows, part_of, read_rows

WHAT = "data set images"
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}

Indices = NDArray[np.int64]


def load_images(
    path: str, size: int = 32, share: float = 1.0, valid: int = 10_000, image: str = "image", label: str = "label"
) -> Dataset:
    """Return images resized to `size` x `size` pixels by averaging, values in -1..1, `[N, 3, size, size]`.

    `path` is a folder whose sub-folders are the classes, such a folder for `train` and one for `valid` (or `val`,
    `validation`, `test`), a parquet file, or a folder of parquet files. Without images for validation some of those for
    training are set aside, always the same ones. An image takes 12 size^2 bytes of memory: 50,000 of 32x32 take 0.6 GB,
    128,000 of 64x64 (a tenth of ImageNet) 6.3 GB, and a quarter more while they are read.

    Args:
        path: file or folder.
        size: height and width in pixels.
        share: share of the images for training that are used, always the same ones.
        valid: the most images for validation that are used; as many are set aside where there are none.
        image: name of the column with encoded images in parquet files.
        label: name of the column with class numbers or names in parquet files.

    Raises:
        InputError: an argument is out of range; nothing usable is there; an image is broken; there is only one class.
    """
    whole(WHAT, "size", size, 1, 4096)
    real(WHAT, "share", share, 1e-6, 1)
    whole(WHAT, "valid", valid, 1)
    extra("PIL.Image", WHAT)
    train_source, valid_source = _sources(existing(path, WHAT), (image, label))
    rng = np.random.default_rng(0)
    order = rng.permutation(train_source.count)
    if valid_source is None:
        if valid >= len(order):
            raise InputError(
                f"{WHAT}: '{path}' has {len(order)} images and none for validation; set 'valid' to fewer than these"
            )
        valid_source, chosen, order = train_source, order[:valid], order[valid:]
    else:
        chosen = rng.permutation(valid_source.count)[:valid]
    used = order[: max(1, round(share * len(order)))]
    x, labels = _decode_all(train_source, used, size)
    valid_x, valid_labels = _decode_all(valid_source, chosen, size)
    classes = _classes(labels, valid_labels, path)
    y, valid_y = (torch.tensor([classes[label] for label in part]) for part in (labels, valid_labels))
    return Dataset(x, y, valid_x, valid_y, classes=len(classes))


class _Encoded(NamedTuple):
    """An image in a file: its bytes or its path, its class, and its place for messages."""

    data: bytes | Path
    label: int | str
    where: str


class _Source(Protocol):
    """Images that can be counted without being read."""

    @property
    def count(self) -> int: ...

    def read(self) -> Iterator[_Encoded]: ...


@dataclass(frozen=True)
class _Folder:
    files: Sequence[Path]
    classes: Sequence[str]

    @property
    def count(self) -> int:
        return len(self.files)

    def read(self) -> Iterator[_Encoded]:
        return (_Encoded(f, c, f"'{f}'") for f, c in zip(self.files, self.classes, strict=True))


@dataclass(frozen=True)
class _Parquet:
    files: Sequence[Path]
    columns: tuple[str, str]

    @property
    def count(self) -> int:
        return sum(parquet_rows(file, self.columns, WHAT) for file in self.files)

    def read(self) -> Iterator[_Encoded]:
        image, label = self.columns
        for file in self.files:
            for i, row in enumerate(read_rows(file, self.columns, WHAT), start=1):
                yield _checked(row[image], row[label], f"'{file}', row {i}")


def _checked(data: Any, label: Any, where: str) -> _Encoded:
    if isinstance(data, dict):
        data = data.get("bytes")
    if not isinstance(data, bytes):
        raise InputError(f"{WHAT}: {where} holds no encoded image; name the column of images with 'image'")
    if not isinstance(label, int | str):
        raise InputError(f"{WHAT}: {where} has the label {label!r}; name the column of class numbers with 'label'")
    return _Encoded(data, label, where)


def _sources(root: Path, columns: tuple[str, str]) -> tuple[_Source, _Source | None]:
    """Return the images for training, and those for validation, if any."""
    source: _Parquet | _Folder
    if parquets := files_of(root, {".parquet"}):
        train, valid = divide(parquets, named_part(root), WHAT)
        return _Parquet(train, columns), _Parquet(valid, columns) if valid else None
    images = files_of(root, SUFFIXES) if root.is_dir() else []
    if not images:
        raise InputError(f"{WHAT}: '{root}' is neither a parquet file nor a folder with parquet files or images")
    train, valid = divide(images, lambda file: part_of(file.relative_to(root).parts[0]), WHAT)
    source = _folder(train, root)
    return source, _folder(valid, root) if valid else None


def _folder(files: Sequence[Path], root: Path) -> _Folder:
    classes = []
    for file in files:
        folders = file.relative_to(root).parts[:-1]
        if folders and part_of(folders[0]):
            folders = folders[1:]
        if not folders:
            raise InputError(f"{WHAT}: '{file}' is in no folder of a class; put each image into one")
        classes.append(folders[0])
    return _Folder(files, classes)


def _decode_all(source: _Source, chosen: Indices, size: int) -> tuple[Tensor, list[int | str]]:
    """Return the chosen images [n, 3, size, size] in the order of the source, and their labels."""
    wanted = np.zeros(source.count, dtype=bool)
    wanted[chosen] = True
    pixels = np.empty((len(chosen), size, size, 3), dtype=np.uint8)
    labels: list[int | str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about files that it reads nevertheless
        for encoded, want in zip(source.read(), wanted, strict=True):
            if want:
                pixels[len(labels)] = _decode(encoded, size)
                labels.append(encoded.label)
    x = torch.empty(len(chosen), 3, size, size)
    x.copy_(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    return x.div_(127.5).sub_(1), labels


def _decode(encoded: _Encoded, size: int) -> NDArray[np.uint8]:
    """Return pixels [size, size, 3]."""
    from PIL import Image

    data = encoded.data
    try:
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as opened:
            mode, image = opened.mode, opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{WHAT}: {encoded.where} is not an image that can be read; replace or remove it") from error
    if mode[0] in "IF":  # conversion cuts them off at 255
        raise InputError(
            f"{WHAT}: {encoded.where} has more than 8 bits for a pixel; save it with 8, scaled as you want"
        )
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BOX)
    return np.asarray(image)


def _classes(train: Sequence[int | str], valid: Sequence[int | str], path: str) -> dict[int | str, int]:
    kinds = {type(label) for label in (*train, *valid)}
    labels: list[Any] = list({*train})
    if len(kinds) > 1:
        raise InputError(f"{WHAT}: '{path}' has numbers as labels and names as well; use one of them")
    if len(labels) < 2:
        raise InputError(f"{WHAT}: '{path}' has only the class {labels[0]!r} for training; at least two are needed")
    if unknown := set(valid) - set(train):
        first = min(unknown, key=str)
        raise InputError(f"{WHAT}: '{path}' has the class {first!r} in validation, but not in the training images")
    return {label: i for i, label in enumerate(sorted(labels))}
