"""Samples as people have them (tensors, arrays, data sets and data loaders of torch) as two tensors."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from programs.errors import InputError

from proxy_tasks.datasets.dataset import SAMPLES

_SILENT = 3.0  # seconds of reading without a word
_GIVE = "give a pair (x, y), a torch Dataset of such pairs, or a DataLoader"


def samples_of(what: str, given: Any) -> tuple[Tensor, Tensor]:
    """Return inputs and targets, samples on the first axis: fractions as float32, targets without as int64.

    Args:
        what: they are, for messages.
        given: a pair (x, y) of tensors or arrays; a map-style `torch.utils.data.Dataset`, or a list, of pairs, each of
            which is read once; or a `DataLoader`, of which the data set and `collate_fn` are taken and nothing else.

    Raises:
        InputError: it is something else, or its samples are not pairs of numbers, all of one shape.
    """
    if isinstance(given, tuple) or (isinstance(given, list) and any(map(_is_array, given))):
        x, y = _pair(what, given)
        return _typed(x), _typed(y, is_target=True)
    in_batches = isinstance(given, DataLoader)
    dataset = given.dataset if in_batches else given
    _check_source(what, dataset)
    xs: list[Tensor] = []
    ys: list[Tensor] = []
    for place, one in _read(what, given, dataset):
        x, y = _pair(place, one)
        for part, parts in ((x, xs), (y, ys)):
            if parts and part.shape[int(in_batches) :] != parts[0].shape[int(in_batches) :]:
                raise InputError(
                    f"{place} is {list(part.shape)}, the first {list(parts[0].shape)}; make all of one shape"
                )
            parts.append(part)
    if not xs:
        raise InputError(f"{what} is empty; give samples")
    x, y = (torch.cat(parts) if in_batches else torch.stack(parts) for parts in (xs, ys))
    return _typed(x), _typed(y, is_target=True)


def _check_source(what: str, given: Any) -> None:
    """Raise InputError unless this can be asked for each of its samples."""
    is_endless = (hasattr(given, "__iter__") or hasattr(given, "__getitem__")) and not isinstance(given, Sized | type)
    if isinstance(given, IterableDataset) or is_endless:
        raise InputError(f"{what}: {_kind(given)} has no length; give a map-style data set, or list(...) of it")
    if isinstance(given, str | Mapping | type) or _is_array(given) or not hasattr(given, "__getitem__"):
        call = ", not the function that makes it" if callable(given) else ""
        raise InputError(f"{what} is {_kind(given)}; {_GIVE}{call}")


def _read(what: str, given: Any, dataset: Any) -> Iterator[tuple[str, Any]]:
    """Yield each sample of a data set, or each batch of a loader, with what it is called."""
    total, each = len(dataset), (given.batch_size or 1) if isinstance(given, DataLoader) else 1
    spoken = time.monotonic() - 1 + _SILENT
    for start in range(0, total, each):
        if isinstance(given, DataLoader):
            samples = [dataset[number] for number in range(start, min(start + each, total))]
            yield f"{what}: batch {start // each}", given.collate_fn(samples)
        else:
            yield f"{what}: sample {start}", dataset[start]
        if sys.stderr.isatty() and time.monotonic() - spoken > 1:
            spoken = time.monotonic()
            print(f"\r{what}: {start + each} of {total} samples read ", end="", file=sys.stderr)


def _pair(what: str, given: Any) -> tuple[Tensor, Tensor]:
    """Return the two parts of a sample, a batch, or of all samples."""
    if isinstance(given, Mapping):
        keys = [str(key) for key in given]
        raise InputError(
            f"{what} is a dict of {', '.join(map(repr, keys[:6]))}; give pairs, such as [(s[{keys[0]!r}],"
            f" s[{keys[-1]!r}]) for s in ...]" if keys else f"{what} is an empty dict; give pairs (x, y)"
        )  # fmt: skip
    if not isinstance(given, list | tuple) or len(given) != 2:
        size = f" of {len(given)}" if isinstance(given, list | tuple) else ""
        raise InputError(f"{what} is {_kind(given)}{size}; give a pair (x, y)")
    return _tensor(f"{what}: x", given[0]), _tensor(f"{what}: y", given[1])


def _tensor(what: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        if value.is_complex():
            raise InputError(f"{what} is a tensor of complex numbers; give torch.view_as_real(x)")
        return value.detach().cpu()
    if type(value).__module__.startswith("PIL."):
        raise InputError(f"{what} is an image; have the data set return tensors: transform=transforms.ToTensor()")
    if isinstance(value, Mapping) or callable(value):
        raise InputError(f"{what} is {_kind(value)}; give a tensor, an array or a number")
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{what} is {_kind(value)} of {array.dtype}; give numbers, samples of one shape")
    return torch.tensor(array if array.dtype.itemsize <= 8 and array.dtype.kind != "u" else _plain(array))


def _plain(array: np.ndarray) -> np.ndarray:
    """Return unsigned and long numbers as what torch computes with."""
    if array.dtype == np.uint8:
        return array
    return array.astype(np.float64 if array.dtype.kind == "f" else np.int64)


def _typed(value: Tensor, is_target: bool = False) -> Tensor:
    if value.is_floating_point():
        return value.float()
    return value.long() if is_target or value.dtype not in SAMPLES else value


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor) or hasattr(value, "__array__")


def _kind(value: Any) -> str:
    """Return what something is, for people."""
    if isinstance(value, type) or not callable(value) or isinstance(value, Tensor):
        return f"a {type(value).__name__}" if not isinstance(value, type) else f"the class {value.__name__}"
    return f"the function {getattr(value, '__name__', type(value).__name__)}"
