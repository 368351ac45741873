"""Data sets: tensors for training and validation, with a digest that goes into the fingerprint of every task."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.datasets.digits import load_digits
from proxy_tasks.datasets.images import load_images
from proxy_tasks.datasets.markov import load_markov
from proxy_tasks.datasets.mnist1d import load_mnist1d
from proxy_tasks.datasets.pydoc import load_pydoc
from proxy_tasks.datasets.quadratic import load_quadratic
from proxy_tasks.datasets.tokens import load_tokens
from proxy_tasks.named import Args, call

DATASETS: dict[str, Callable[..., Dataset]] = {
    "digits": load_digits,
    "images": load_images,
    "markov": load_markov,
    "mnist1d": load_mnist1d,
    "pydoc": load_pydoc,
    "quadratic": load_quadratic,
    "tokens": load_tokens,
}


@lru_cache
def load_dataset(name: str, args: Args = ()) -> Dataset:
    """Return the data set called `name`, loaded once for each process."""
    return call(name, DATASETS, "data set", args=args)  # type: ignore[no-any-return]


__all__ = ["DATASETS", "Dataset", "load_dataset"]
