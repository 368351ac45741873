"""Samples as people have them (tensors, arrays, data sets and data loaders of torch) as two tensors."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler

from programs.errors import InputError

from proxy_tasks.datasets.dataset import SAMPLES

_SILENT = 3.0  # seconds of reading without a word
# What dictionaries of samples call them, as far as it is told from the name.
_INPUTS = ("input_ids", "inputs", "pixel_values", "image", "img", "x")
_TARGETS = ("labels", "label", "targets", "target", "y")
_GIVE = "give a pair (x, y), a torch Dataset of such pairs, or a DataLoader"


def samples_of(what: str, given: Any) -> tuple[Tensor, Tensor]:
    """Return inputs and targets, samples on the first axis: fractions as float32, targets without as int64.

    Args:
        what: they are, for messages.
        given: a pair (x, y) of tensors or arrays; a map-style `torch.utils.data.Dataset`, or a list, of pairs, each of
            which is read once; or a `DataLoader`, of which the data set and `collate_fn` are taken and nothing else.

    Raises:
        InputError: it is something else, a loader with a sampler of its own, which may leave samples out, or its
            samples are not pairs of numbers, all of one shape.
    """
    if isinstance(given, tuple) or (isinstance(given, list) and any(map(_is_array, given))):
        _refuse_several(what, given)
        x, y = _pair(what, given)
        return _typed(x), _typed(y, is_target=True)
    in_batches = isinstance(given, DataLoader) and given.batch_sampler is not None
    dataset = given.dataset if isinstance(given, DataLoader) else given
    _check_source(what, dataset)
    if isinstance(given, DataLoader):
        _refuse_sampler(what, given)
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


def _refuse_several(what: str, given: list[Any] | tuple[Any, ...]) -> None:
    """Raise InputError if the inputs are several tensors, each of as many samples as there are targets."""
    x, y = given if len(given) == 2 else ((), ())
    if isinstance(x, list | tuple) and len(x) > 1 and all(map(_is_array, [*x, y])):
        lengths = {len(part) for part in (*x, y) if len(np.shape(part))}
        if lengths == {len(y)} != {len(x)}:
            raise InputError(
                f"{what}: x is a {type(x).__name__} of {len(x)} tensors; models have one input: make one tensor of"
                " them, which forward splits"
            )


def _check_source(what: str, given: Any) -> None:
    """Raise InputError unless this can be asked for each of its samples."""
    is_endless = (hasattr(given, "__iter__") or hasattr(given, "__getitem__")) and not isinstance(given, Sized | type)
    if isinstance(given, IterableDataset) or is_endless:
        raise InputError(f"{what}: {_kind(given)} has no length; give a map-style data set, or list(...) of it")
    if isinstance(given, str | Mapping | type) or _is_array(given) or not hasattr(given, "__getitem__"):
        call = ", not the function that makes it" if callable(given) else ""
        raise InputError(f"{what} is {_kind(given)}; {_GIVE}{call}")


def _refuse_sampler(what: str, loader: DataLoader[Any]) -> None:
    """Raise InputError if a loader does not draw all samples alike, as the trainer does."""
    sampler = loader.sampler if loader.batch_sampler is None else getattr(loader.batch_sampler, "sampler", None)
    if not isinstance(sampler, SequentialSampler | RandomSampler):
        which = type(loader.batch_sampler if sampler is None else sampler).__name__
        raise InputError(
            f"{what}: the DataLoader has a {which}, which is not used: the trainer draws minibatches from all samples"
            " alike; for a part of them give torch.utils.data.Subset(dataset, indices)"
        )


def _read(what: str, given: Any, dataset: Any) -> Iterator[tuple[str, Any]]:
    """Yield each sample of a data set, or each batch of a loader, with what it is called."""
    in_batches = isinstance(given, DataLoader) and given.batch_sampler is not None
    total, each = len(dataset), (given.batch_size or 1) if in_batches else 1
    spoken = time.monotonic() - 1 + _SILENT
    for start in range(0, total, each):
        if in_batches:
            samples = [dataset[number] for number in range(start, min(start + each, total))]
            yield f"{what}: batch {start // each}", given.collate_fn(samples)
        else:
            one = dataset[start]
            yield f"{what}: sample {start}", given.collate_fn(one) if isinstance(given, DataLoader) else one
        if sys.stderr.isatty() and time.monotonic() - spoken > 1:
            spoken = time.monotonic()
            print(f"\r{what}: {start + each} of {total} samples read ", end="", file=sys.stderr)


def _pair(what: str, given: Any) -> tuple[Tensor, Tensor]:
    """Return the two parts of a sample, a batch, or of all samples."""
    if isinstance(given, Mapping):
        raise InputError(f"{what} is {_of_keys([str(key) for key in given])}")
    if not isinstance(given, list | tuple) or len(given) != 2:
        size = f" of {len(given)}" if isinstance(given, list | tuple) else ""
        raise InputError(f"{what} is {_kind(given)}{size}; give a pair (x, y)")
    return _tensor(f"{what}: x", given[0]), _tensor(f"{what}: y", given[1])


def _of_keys(keys: list[str]) -> str:
    """Return what a dictionary with these keys is, and what to give in its place."""
    if not keys:
        return "an empty dict; give pairs (x, y)"
    said = f"a dict of {', '.join(map(repr, keys[:6]))}; give pairs (x, y)"
    x, y = (next((name for name in names if name in keys), None) for names in (_INPUTS, _TARGETS))
    if x is None or y is None:
        return said
    said += f", such as [(s[{x!r}], s[{y!r}]) for s in ...]"
    others = [key for key in keys if key not in (x, y)]
    return f"{said}, and have forward make what else it needs, such as {others[0]!r}" if others else said


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
