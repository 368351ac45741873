"""Models with the replica axis: every parameter is `[R, *shape]`, and one call gives the losses of all R replicas."""

from __future__ import annotations

from collections.abc import Callable

from proxy_tasks.datasets import Dataset
from proxy_tasks.models.mlp import mlp
from proxy_tasks.models.model import Leaf, Model
from proxy_tasks.models.quadratic import quadratic
from proxy_tasks.named import Args, find

MODELS: dict[str, Callable[..., Model]] = {"mlp": mlp, "quadratic": quadratic}


def build_model(name: str, dataset: Dataset, args: Args = ()) -> Model:
    """The model called `name` for samples like those of the data set."""
    return find(name, MODELS, "model")(dataset, **dict(args))  # type: ignore[no-any-return]


__all__ = ["MODELS", "Leaf", "Model", "build_model"]
