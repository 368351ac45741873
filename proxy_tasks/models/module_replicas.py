"""The losses of the replicas of a module: together through vmap, or one after another."""

from __future__ import annotations

import re
import traceback
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from proxy_tasks.models.chunks import Losses, gradients
from proxy_tasks.models.equivalents import Equivalents
from proxy_tasks.models.module_checks import Nature, described
from proxy_tasks.models.module_state import slots
from proxy_tasks.models.objective import Objective
from proxy_tasks.named import reason_of
from proxy_tasks.randomness import seeded

# vmap says so of each operation that it computes for one replica after another; `fit` takes it in.
_FALLBACK = re.compile(r"performance drop .*batching rule for aten::(\w+)")
warnings.filterwarnings("ignore", message="There is a performance drop because we have not yet implemented")


def trained(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name; one that has several names has its first."""
    return {key: p for key, p in module.named_parameters() if p.requires_grad and p.numel()}


class _Inputs(NamedTuple):
    """What losses are computed from besides the minibatch: parameters and state `[R, *shape]`, keys `[1 or R]`."""

    parameters: Sequence[Tensor]
    state: Sequence[Tensor]
    keys: Tensor


class Replicas(ABC):
    """Replicas of a module.

    Args:
        objective: the module with its loss, for these replicas alone.
        nature: what the loss depends on.

    Attributes:
        module: the module.
    """

    def __init__(self, objective: Objective, nature: Nature) -> None:
        self.module = objective.module
        self._objective = objective
        self._nature = nature
        self._names = list(trained(objective.module))

    def losses(self, inputs: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        """Return the losses of a step, `[R]`, and write to the state what it keeps for the next one."""
        return self._computed(self._split(inputs, x), x, y, is_training=True)

    def evaluation(self, inputs: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        """Return the losses at validation, `[R]`, and change nothing."""
        return self._computed(self._split(inputs, x), x, y, is_training=False)

    def _split(self, inputs: Sequence[Tensor], x: Tensor) -> _Inputs:
        number = len(self._names)
        keys = inputs[-1] if self._nature.is_random else torch.zeros(1, dtype=torch.int64, device=x.device)
        return _Inputs(inputs[:number], inputs[number : number + len(self._nature.kept)], keys)

    def _set(self, is_training: bool) -> None:
        if self._objective.training is not is_training:
            self._objective.train(is_training)

    @abstractmethod
    def _computed(self, inputs: _Inputs, x: Tensor, y: Tensor, is_training: bool) -> Tensor:
        """Return the losses, and write the state in training."""


class Together(Replicas):
    """All replicas at once."""

    def _computed(self, inputs: _Inputs, x: Tensor, y: Tensor, is_training: bool) -> Tensor:
        self._set(is_training)
        shared = [None if len(z) == 1 else 0 for z in (inputs.keys, x, y)]
        args = [z[0] if dim is None else z for z, dim in zip((inputs.keys, x, y), shared, strict=True)]
        batched = vmap(self._of_one, in_dims=(0, 0, *shared))
        losses, state = batched(list(inputs.parameters), list(inputs.state), *args)
        if is_training:
            for kept, value in zip(inputs.state, state, strict=True):
                kept.copy_(value.detach())
        return losses

    def _of_one(
        self, parameters: Sequence[Tensor], state: Sequence[Tensor], key: Tensor, x: Tensor, y: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the loss of one replica, and its state after it."""
        # Copies, which modules may write to: autograd may need the values of before.
        values = dict(zip(self._names, parameters, strict=True))
        values |= dict(zip(self._nature.kept, (value.clone() for value in state), strict=True))
        values = {f"module.{path}": value for path, value in values.items()}
        with Equivalents(key, is_batched=True):
            loss = functional_call(self._objective, values, (x, y))  # leaves in `values` what a module puts there
        return loss, [values[f"module.{path}"] for path in self._nature.kept]


class Alone(Replicas):
    """One replica after another, in a third of the time of `functional_call`.

    Parameters are replaced where modules keep them, wherever each is used.
    """

    def __init__(self, objective: Objective, nature: Nature) -> None:
        super().__init__(objective, nature)
        kept = [(part._parameters, key) for part in objective.modules() for key in part._parameters]
        self._places = [
            [(table, key) for table, key in kept if table[key] is parameter]
            for parameter in trained(objective.module).values()
        ]
        found = slots(objective.module)
        self._slots = [found[path] for path in nature.kept]

    def _computed(self, inputs: _Inputs, x: Tensor, y: Tensor, is_training: bool) -> Tensor:
        self._set(is_training)
        replicas = len(inputs.parameters[0])
        each = (z.expand(replicas, *z.shape[1:]) for z in (inputs.keys, x, y))
        parameters = zip(*(p.unbind(0) for p in inputs.parameters), strict=True)
        losses = []
        for r, (of_one, key, of_x, of_y) in enumerate(zip(parameters, *each, strict=True)):
            self._place(of_one)
            for slot, value in zip(self._slots, inputs.state, strict=True):
                slot.write(value[r].clone())
            with self._drawing(key):
                losses.append(self._objective(of_x, of_y))
            if is_training:
                for slot, value in zip(self._slots, inputs.state, strict=True):
                    value[r].copy_(slot.read())  # type: ignore[arg-type]  # of the same kind as before
        return torch.stack(losses)

    def _place(self, parameters: Sequence[Tensor]) -> None:
        for places, parameter in zip(self._places, parameters, strict=True):
            for table, key in places:
                table[key] = parameter  # type: ignore[assignment]  # any tensor will do

    @contextmanager
    def _drawing(self, key: Tensor) -> Iterator[None]:
        """Have all random numbers follow from a key until the context ends."""
        if not self._nature.is_random:
            yield
            return
        generators = seeded(int(key)) if self._nature.draws_unknown else nullcontext()
        with generators, Equivalents(key, is_batched=False):
            yield


class Fit(NamedTuple):
    """Whether vmap takes replicas: what is in its way, empty if nothing, and what it computes one after another."""

    obstacle: str
    one_by_one: list[str]


def fit(module: nn.Module, losses: Losses, inputs: Sequence[Tensor], x: Tensor, y: Tensor) -> Fit:
    """Try to compute the losses of replicas of a module, with their gradients where inputs require some."""
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            value = losses(inputs, x, y)
            if value.requires_grad:
                gradients(value, [one for one in inputs if one.requires_grad])
    except Exception as error:
        return Fit(f"{_layer_of(error, module)}: {reason_of(error)}", [])
    found = (_FALLBACK.search(str(one.message)) for one in warned)
    return Fit("", sorted({one[1] for one in found if one}))


def _layer_of(error: BaseException, module: nn.Module) -> str:
    """Return the innermost layer that was computing when the error was raised."""
    names = {id(part): described(key, part) for key, part in module.named_modules()}
    found = described("", module)
    for frame, _ in traceback.walk_tb(error.__traceback__):
        found = names.get(id(frame.f_locals.get("self")), found)
    return found
