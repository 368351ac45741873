"""Data sets: tensors for training and validation, with a digest that goes into the fingerprint of every task."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from programs.errors import InputError

from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.datasets.digits import load_digits

DATASETS: dict[str, Callable[[], Dataset]] = {"digits": load_digits}


@lru_cache
def load_dataset(name: str) -> Dataset:
    """The data set called `name`, loaded once for each process."""
    if name not in DATASETS:
        raise InputError(f"unknown data set '{name}'; there are {', '.join(sorted(DATASETS))}")
    return DATASETS[name]()


__all__ = ["DATASETS", "Dataset", "load_dataset"]
