"""The locked tasks, which are kept for a final proof: no funnel may train on them."""

from __future__ import annotations

from proxy_tasks import get_task
from proxy_tasks.named import is_users

# Data and models of their own: text of Python's documentation, and convolutions over MNIST-1D.
FAMILIES = (("pydoc", "transformer"), ("mnist1d", "cnn"))
# What the proof trains on: both families at two lengths, and one with large batches.
LOCKED = ("mnist1d_cnn_short", "mnist1d_cnn_large_batch", "mnist1d_cnn", "pydoc_transformer_short", "pydoc_transformer")


def is_locked(name: str) -> bool:
    """Return whether a task, in whatever variant, belongs to the locked families."""
    if is_users(name):
        return False
    task = get_task(name)
    return (task.dataset, task.model) in FAMILIES


def refuse_locked(name: str) -> None:
    """Raise ValueError if a task is locked."""
    if is_locked(name):
        raise ValueError(f"'{name}' is one of the locked tasks, which are kept for a final proof; take another")
