"""What every model looks like to the trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor

from programs.layout import Layout

from proxy_tasks.models.chunks import Losses, in_chunks


@dataclass(frozen=True)
class Leaf:
    """One parameter tensor of a single replica: drawn from N(mean, std^2) at the start.

    `transposed` says that it is `[inputs, outputs]`, the transpose of a weight of torch: then its rows, for functions
    that know rows, are those of the weight of torch, one for each output.
    """

    name: str
    shape: tuple[int, ...]
    std: float = 0.0
    mean: float = 0.0
    transposed: bool = False


@dataclass(frozen=True)
class Model:
    """A model with its loss.

    `losses(params, x, y)` takes the parameters `[R, *shape]` in the order of `leaves` and a minibatch whose first axis
    is 1 (shared by all replicas) or R, and gives the mean loss of each replica, `[R]`. `initial(seed)` gives initial
    weights in the order of `leaves` where these are not simply drawn as the leaves say. `chunk` is how many replicas
    are best computed at a time on a CPU, None for all. `is_traceable` says that torch.compile takes `losses` for any R.
    `constants` are tensors that the losses depend on and that are not trained. `metrics` gives, for samples as in
    validation, what else people want to know of each replica, `[R]`.
    """

    leaves: tuple[Leaf, ...]
    losses: Losses
    initial: Callable[[int], Sequence[Tensor]] | None = None
    chunk: int | None = None
    is_traceable: bool = True
    constants: tuple[Tensor, ...] = ()
    metrics: Losses | None = None

    @cached_property
    def losses_in_chunks(self) -> Losses:
        """`losses`, computed for a few replicas at a time."""
        return self.losses if self.chunk is None else in_chunks(self.losses, self.chunk)

    @cached_property
    def layout(self) -> Layout:
        return Layout.of_shapes([leaf.shape for leaf in self.leaves], [leaf.transposed for leaf in self.leaves])

    @property
    def digest(self) -> str:
        """SHA-256 over what a training starts from: the weights of seed 0, and the constants."""
        digest = sha256()
        for value in (self.initial_row(0), *self.constants):
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def initial_row(self, seed: int) -> Tensor:
        """Return initial weights, a padded row `[W]`; a function of the seed, the same for all programs."""
        row = torch.zeros(self.layout.width)
        parts = self._drawn(seed) if self.initial is None else self.initial(seed)
        row[: self.layout.total] = torch.cat([part.flatten().float() for part in parts])
        return row

    def _drawn(self, seed: int) -> list[Tensor]:
        rng = np.random.default_rng((seed, 0))
        return [
            torch.from_numpy(leaf.mean + leaf.std * rng.standard_normal(size))
            for leaf, size in zip(self.leaves, self.layout.sizes, strict=True)
        ]

    def parameters(self, rows: Tensor) -> list[Tensor]:
        """Return views of rows `[R, W]` as the leaves `[R, *shape]`."""
        parts = torch.split(rows[:, : self.layout.total], list(self.layout.sizes), dim=1)
        return [part.view(-1, *leaf.shape) for part, leaf in zip(parts, self.leaves, strict=True)]
