"""What every model looks like to the trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from programs.layout import Layout


@dataclass(frozen=True)
class Leaf:
    """One parameter tensor of a single replica: drawn from N(0, std^2) at the start, or zero."""

    name: str
    shape: tuple[int, ...]
    std: float = 0.0


@dataclass(frozen=True)
class Model:
    """A model with its loss.

    `losses(params, x, y)` takes the parameters `[R, *shape]` in the order of `leaves` and a minibatch whose first axis
    is 1 (shared by all replicas) or R, and gives the mean loss of each replica, `[R]`.
    """

    leaves: tuple[Leaf, ...]
    losses: Callable[[Sequence[Tensor], Tensor, Tensor], Tensor]

    @cached_property
    def layout(self) -> Layout:
        return Layout.of_shapes([leaf.shape for leaf in self.leaves])

    def initial_row(self, seed: int) -> Tensor:
        """Initial weights, a padded row `[W]`: a function of the seed, so that all candidates start from one point."""
        rng = np.random.default_rng((seed, 0))
        padding = np.zeros(self.layout.width - self.layout.total)
        parts = [
            rng.standard_normal(size) * leaf.std for leaf, size in zip(self.leaves, self.layout.sizes, strict=True)
        ]
        return torch.from_numpy(np.concatenate([*parts, padding]).astype(np.float32))

    def parameters(self, rows: Tensor) -> list[Tensor]:
        """Views of rows `[R, W]` as the leaves `[R, *shape]`."""
        parts = torch.split(rows[:, : self.layout.total], list(self.layout.sizes), dim=1)
        return [part.view(-1, *leaf.shape) for part, leaf in zip(parts, self.leaves, strict=True)]
