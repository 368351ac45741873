"""What every model looks like to the trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import Tensor

from programs.errors import InputError
from programs.layout import Layout

from proxy_tasks.fitness import Fitness
from proxy_tasks.models.chunks import Losses, in_chunks


def no_buffers(seed: int) -> Sequence[Tensor]:  # noqa: ARG001 - of the interface
    """Return nothing: what a model that keeps nothing from step to step starts with."""
    return ()


@dataclass(frozen=True)
class Leaf:
    """One parameter tensor of a single replica: drawn from N(mean, std^2) at the start.

    `transposed` says that it is `[inputs, outputs]`, the transpose of a weight of torch: then its rows, for functions
    that know rows, are those of the weight of torch, one for each output. `lr_multiplier` is a factor on its updates.
    """

    name: str
    shape: tuple[int, ...]
    std: float = 0.0
    mean: float = 0.0
    transposed: bool = False
    lr_multiplier: float = 1.0


@dataclass(frozen=True)
class Model:
    """A model with its loss.

    `losses(inputs, x, y)` takes the parameters `[R, *shape]` in the order of `leaves` and a minibatch whose first axis
    is 1 (shared by all replicas) or R, and gives the mean loss of each replica, `[R]`. `initial(seed)` gives initial
    weights in the order of `leaves` where these are not simply drawn as the leaves say. `chunk` is how many replicas
    are best computed at a time on a CPU, None for all. `is_traceable` says that torch.compile takes `losses` for any R.
    `constants` are tensors that the losses depend on and that are not trained. `metrics` takes the same as
    `evaluation`, and gives what else people want to know of each replica, `[R]`. So does `accuracy`, the share of
    labels that are predicted right, for tasks whose fitness is by it; None where nothing is predicted.

    What else a module of a user's may be:

    - `buffers(seed)` are what it keeps from step to step, at the start. `losses` takes them after the parameters,
      `[R, *shape]`, and writes to them.
    - `is_random`: it draws random numbers. `losses` takes a key after all others, int64 `[1 or R]`.
    - `evaluation` takes the same as `losses`, changes nothing, and gives the losses at validation; None if `losses`
      does.
    - `is_recordable`: a step is operations on tensors alone, so that a GPU can repeat a recording of it.
    - `held` gives what no training may change, by what it is called, to compare; None where nothing could.
    - `remark` says what is not computed on the replica axis, and why; empty if everything is.
    """

    leaves: tuple[Leaf, ...]
    losses: Losses
    initial: Callable[[int], Sequence[Tensor]] | None = None
    chunk: int | None = None
    is_traceable: bool = True
    constants: tuple[Tensor, ...] = ()
    buffers: Callable[[int], Sequence[Tensor]] = no_buffers
    is_random: bool = False
    evaluation: Losses | None = None
    is_recordable: bool = True
    held: Callable[[], Mapping[str, Any]] | None = None
    remark: str = ""
    metrics: Losses | None = None
    accuracy: Losses | None = None

    @contextmanager
    def unchanged(self, name: str) -> Iterator[None]:
        """Refuse outcomes that depend on what was trained before or beside them.

        Args:
            name: of the model.

        Raises:
            InputError: when the context ends, it has changed what replicas have in common.
        """
        before = {} if self.held is None else self.held()
        yield
        after = {} if self.held is None else self.held()
        changed = next((key for key in {**before, **after} if before.get(key) != after.get(key)), None)
        if changed is not None:
            raise InputError(
                f"model '{name}': '{changed}' changed in training, though not in the first step, so that replicas would"
                " not have their own; begin with it in the first step, also where it has no effect yet"
            )

    @cached_property
    def losses_in_chunks(self) -> Losses:
        """`losses`, computed for a few replicas at a time."""
        return self.losses if self.chunk is None else in_chunks(self.losses, self.chunk)

    @property
    def validation(self) -> Losses:
        """The losses at validation, of all replicas at once."""
        return self.evaluation or self.losses

    @property
    def validation_in_chunks(self) -> Losses:
        """The same, computed for a few replicas at a time."""
        return self.validation if self.chunk is None else in_chunks(self.validation, self.chunk)

    def measure(self, fitness: Fitness) -> Losses | None:
        """Return what is computed at validation besides the losses, if anything: fitness may be by accuracy."""
        return self.metrics if fitness == "loss" else self.accuracy

    def inputs(self, parameters: Sequence[Tensor], buffers: Sequence[Tensor], keys: Tensor) -> list[Tensor]:
        """Return what losses are computed from besides the minibatch; `keys` are int64, `[1 or R]`."""
        return [*parameters, *buffers, *([keys] if self.is_random else [])]

    def initial_buffers(self, seeds: Sequence[int]) -> list[Tensor]:
        """Return the buffers of replicas of these seeds, `[R, *shape]`."""
        of_seed = {seed: self.buffers(seed) for seed in set(seeds)}
        return [torch.stack(values) for values in zip(*(of_seed[seed] for seed in seeds), strict=True)]

    @cached_property
    def lr_multipliers(self) -> Tensor | None:
        """Factors on the updates of a row, `[W]`; None if none differs from 1."""
        factors = [leaf.lr_multiplier for leaf in self.leaves]
        if all(factor == 1 for factor in factors):
            return None
        row = torch.ones(self.layout.width)
        row[: self.layout.total] = torch.tensor(factors).repeat_interleave(torch.tensor(self.layout.sizes))
        return row

    @cached_property
    def layout(self) -> Layout:
        return Layout.of_shapes([leaf.shape for leaf in self.leaves], [leaf.transposed for leaf in self.leaves])

    @property
    def digest(self) -> str:
        """SHA-256 over what a training starts from: weights and buffers of seed 0, constants, factors on updates."""
        digest = sha256()
        factors = () if self.lr_multipliers is None else (self.lr_multipliers,)
        for value in (self.initial_row(0), *self.constants, *self.buffers(0), *factors):
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
