"""Models with the replica axis: every parameter is `[R, *shape]`, and one call gives the losses of all R replicas."""

from __future__ import annotations

from collections.abc import Callable

from proxy_tasks.models.mlp import mlp
from proxy_tasks.models.model import Leaf, Model

MODELS: dict[str, Callable[..., Model]] = {"mlp": mlp}

__all__ = ["MODELS", "Leaf", "Model"]
