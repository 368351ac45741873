"""The locked sets of tasks, which are kept for final proofs: no funnel may train on them."""

from __future__ import annotations

from typing import NamedTuple

from programs.errors import InputError

from proxy_tasks.named import is_users
from proxy_tasks.tasks import get_task


class LockedSet(NamedTuple):
    """Tasks that a proof trains on, and on which nothing is chosen before."""

    name: str
    families: tuple[tuple[str, str], ...]
    """Pairs of a data set and a model: all tasks with these are locked, in whatever variant."""
    tasks: tuple[str, ...]
    """What the proof trains on."""
    openings: int
    """For how many finalists the set was opened while this project was built: no database knows of these."""

    def finalists(self, recorded: int) -> int:
        """Return for how many finalists the set was ever opened.

        Args:
            recorded: the finalists in the database, the one in question included.
        """
        return self.openings + recorded


LOCKED_SETS = (
    LockedSet(
        "first",
        # Data and models of their own: convolutions over MNIST-1D, and text of Python's documentation.
        (("mnist1d", "cnn"), ("pydoc", "transformer")),
        # Both families at two lengths, and one with large batches.
        (
            "mnist1d_cnn_short", "mnist1d_cnn_large_batch", "mnist1d_cnn",
            "pydoc_transformer_short", "pydoc_transformer",
        ),
        openings=4,  # for program 28671 of docs/discovery.md, root_scion, two_signs and root_normuon of docs/gallery.md
    ),
    LockedSet(
        "second",
        # A language model of code, the removal of noise, a differential equation, fine-tuning at low rank.
        (("stdlib", "transformer"), ("noisy_digits", "mlp"), ("poisson", "pinn"), ("transfer_digits", "lora")),
        ("stdlib_transformer_short", "stdlib_transformer", "digits_diffusion", "poisson_pinn", "digits_lora"),
        openings=3,  # for root_scion, two_signs and root_normuon
    ),
)  # fmt: skip


def is_locked(name: str) -> bool:
    """Return whether a task, in whatever variant, belongs to a locked family."""
    if is_users(name):
        return False
    task = get_task(name)
    return any((task.dataset, task.model) in locked.families for locked in LOCKED_SETS)


def refuse_locked(name: str) -> None:
    """Refuse a locked task.

    Raises:
        InputError: it is locked, or unknown.
    """
    if is_locked(name):
        raise InputError(f"'{name}' is one of the locked tasks, which are kept for a final proof; take another")
