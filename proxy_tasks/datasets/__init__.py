"""Data sets: tensors for training and validation, with a digest that goes into the fingerprint of every task."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from programs.errors import InputError

from proxy_tasks.datasets.changed import changed
from proxy_tasks.datasets.clicks import load_clicks
from proxy_tasks.datasets.communities import load_communities
from proxy_tasks.datasets.dataset import Dataset
from proxy_tasks.datasets.digits import load_digits, load_noisy_digits, load_paired_digits, load_transfer_digits
from proxy_tasks.datasets.images import load_images
from proxy_tasks.datasets.linear import load_linear
from proxy_tasks.datasets.markov import load_markov
from proxy_tasks.datasets.mnist1d import load_mnist1d
from proxy_tasks.datasets.poisson import load_poisson
from proxy_tasks.datasets.pydoc import load_pydoc
from proxy_tasks.datasets.quadratic import load_quadratic
from proxy_tasks.datasets.stdlib import load_masked_stdlib, load_stdlib
from proxy_tasks.datasets.tokens import load_tokens
from proxy_tasks.named import Args, call, is_users
from proxy_tasks.user_task import UserTask, made_again, made_by


def _load_changed(
    dataset: str,
    arguments: Args = (),
    label_noise: float = 0.0,
    imbalance: float = 1.0,
    split: int = 0,
    share: float = 1.0,
) -> Dataset:
    return changed(load_dataset(dataset, arguments), label_noise, imbalance, split, share)


DATASETS: dict[str, Callable[..., Dataset]] = {
    "changed": _load_changed,
    "clicks": load_clicks,
    "communities": load_communities,
    "digits": load_digits,
    "images": load_images,
    "linear": load_linear,
    "markov": load_markov,
    "masked_stdlib": load_masked_stdlib,
    "mnist1d": load_mnist1d,
    "noisy_digits": load_noisy_digits,
    "paired_digits": load_paired_digits,
    "poisson": load_poisson,
    "pydoc": load_pydoc,
    "quadratic": load_quadratic,
    "stdlib": load_stdlib,
    "tokens": load_tokens,
    "transfer_digits": load_transfer_digits,
}


@lru_cache
def load_dataset(name: str, args: Args = ()) -> Dataset:
    """Return the data set called `name`, loaded once for each process.

    Raises:
        InputError: there is none, it does not take these arguments, or what a user's function returns cannot be trained
            on.
    """
    if not is_users(name):
        return call(name, DATASETS, "data set", args=args)  # type: ignore[no-any-return]
    data, what = _data_of(made_by("data set", name, args)), f"data set '{name}'"
    if not isinstance(data, Dataset):
        raise InputError(f"{what} returned {type(data).__name__}; it must return a Dataset")
    data.check(what)
    return data


def check_repeatable(name: str, args: Args = ()) -> None:
    """Check that a user's function returns the same data set when it is called again.

    Raises:
        InputError: it does not.
    """
    if _data_of(made_again("data set", name, args)).digest != load_dataset(name, args).digest:
        raise InputError(f"data set '{name}' returns other samples when it is called again; seed its random numbers")


def _data_of(made: Any) -> Any:
    return made.data if isinstance(made, UserTask) else made


__all__ = ["DATASETS", "Dataset", "check_repeatable", "load_dataset"]
