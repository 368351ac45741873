"""Any `nn.Module` as a model with the replica axis, through `torch.func`."""

from __future__ import annotations

import fnmatch
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from programs.errors import InputError

from proxy_tasks.checks import real
from proxy_tasks.datasets import Dataset
from proxy_tasks.models.chunks import Losses
from proxy_tasks.models.model import Leaf, Model
from proxy_tasks.models.module_checks import (
    Nature,
    check_output,
    check_parameters,
    check_step,
    refuse_broadcasting,
)
from proxy_tasks.models.module_replicas import Alone, Fit, Together, fit, trained
from proxy_tasks.models.module_state import held, slots
from proxy_tasks.models.objective import Kind, Measured, Metric, Objective, accuracy_of_labels
from proxy_tasks.named import reason_of
from proxy_tasks.randomness import random_state, seeded

# Replicas from which vmap beats a loop over them. Measured (ms for a step of one replica, loop | vmap), batch 128, one
# thread: MLP 64-32-10 at 4: 0.20 | 0.26, at 8: 0.19 | 0.16, at 64: 0.16 | 0.08; CNN of three 1-D convolutions at 1:
# 1.6 | 2.3, at 4: 1.3 | 0.9, at 64: 1.4 | 0.7; CNN of two 2-D convolutions at 4, 8 and 64: equal within noise.
BREAK_EVEN = 8
TRIED = 4  # samples that a module is tried on


def module_model(name: str, build: Callable[[], nn.Module], dataset: Dataset, metric: Metric | None = None) -> Model:
    """Return a model of the modules that `build` makes, trained as replicas.

    Initial weights, and buffers that a step changes, are those of a module built under the seed of the replica; other
    buffers, and parameters that require no gradient, are those of seed 0. Where the loss comes from: see `Kind`.
    Training is in `train()` mode, validation in `eval()` mode; `metric` is a number of the output there and the
    targets. It is the accuracy too, for tasks whose fitness is by that; without it that of the largest outputs is.

    Raises:
        InputError: the module cannot be trained as replicas on this data set: it has no parameters to train, or some
            that are not float32, it has no loss, or it keeps what cannot be told apart by replica.
    """
    objective, another, third = (Objective(_built(build, 0).to(dataset.train_x.device)) for _ in range(3))
    check_parameters(name, objective.module)
    if objective.kind is Kind.OUTPUT:
        _check_output(name, third.module, dataset)
    nature = _explored(name, objective, another, dataset)
    model = model_of(name, build, dataset, [objective, another], nature)
    if metric is None and dataset.train_y.is_floating_point():
        return model

    @lru_cache(maxsize=1)
    def measured() -> Alone:
        module = _built(build, 0).to(dataset.train_x.device)
        return Alone(Measured(module, metric or accuracy_of_labels), nature)

    def measure(inputs: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        return measured().evaluation(inputs, x, y)

    return replace(model, accuracy=measure, metrics=None if metric is None else measure)


def model_of(
    name: str, build: Callable[[], nn.Module], dataset: Dataset, objectives: Sequence[Objective], nature: Nature
) -> Model:
    """Return the model of a module whose nature is known, given with its loss, twice; see `module_model`."""
    objective, another = objectives
    module = objective.module
    leaves = {key: tuple(p.shape) for key, p in trained(module).items()}
    factors = _lr_multipliers(name, module)

    @lru_cache(maxsize=1)
    def start(seed: int) -> _Start:
        found = _started(_built(build, seed), nature)
        if {key: tuple(p.shape) for key, p in found.parameters.items()} != leaves:
            raise InputError(f"model '{name}': under seed {seed} it has other parameters than under seed 0")
        return found

    alone, together = Alone(another, nature), Together(objective, nature)
    training, validation = (_fit(together, nature, start(0), dataset, is_trained) for is_trained in (True, False))
    return Model(
        tuple(Leaf(key, shape, lr_multiplier=factors.get(key, 1.0)) for key, shape in leaves.items()),
        _by_number(alone.losses, together.losses, training),
        lambda seed: list(start(seed).parameters.values()),
        is_traceable=False,  # vmap is traced anew for every number of replicas
        constants=_constants(module, nature),
        buffers=lambda seed: start(seed).state,
        is_random=nature.is_random,
        evaluation=_by_number(alone.evaluation, together.evaluation, validation),
        is_recordable=not nature.alone,
        held=lambda: _held([one.module for one in objectives], nature),
        remark=_remark(name, training),
    )


def _held(modules: Sequence[nn.Module], nature: Nature) -> dict[str, Any]:
    """Return what no training may change: global random numbers, and what no step has been seen to change."""
    known = {*nature.kept, *nature.loose}
    of_each = [held(module, known) for module in modules]
    paths = dict.fromkeys(path for of_one in of_each for path in of_one)
    return {"random numbers": random_state(), **{path: [of_one.get(path) for of_one in of_each] for path in paths}}


class _Start(NamedTuple):
    """What a replica starts from: parameters by name, and what a step changes besides, on the CPU."""

    parameters: dict[str, Tensor]
    state: list[Tensor]


def _started(module: nn.Module, nature: Nature) -> _Start:
    found = slots(module)
    state = [found[path].read().cpu() for path in nature.kept]  # type: ignore[union-attr]  # as in `slots`
    return _Start({key: p.detach().cpu() for key, p in trained(module).items()}, state)


def _constants(module: nn.Module, nature: Nature) -> tuple[Tensor, ...]:
    """Return what a module depends on besides what is trained and what a step changes."""
    ours = {id(p) for p in trained(module).values()}
    buffers = (b for path, b in module.named_buffers() if path not in nature.kept)
    return (*(p for p in module.parameters() if id(p) not in ours), *buffers)


def _by_number(alone: Losses, together: Losses, fit: Fit) -> Losses:
    """Return losses that are computed in the way that is faster for the number of replicas."""
    break_even = math.inf if fit.obstacle else BREAK_EVEN

    def losses(inputs: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        return (alone if len(inputs[0]) < break_even else together)(inputs, x, y)

    return losses


def _fit(together: Together, nature: Nature, start: _Start, dataset: Dataset, is_trained: bool) -> Fit:
    """Try to compute two replicas together, which draw different numbers.

    In training they may see samples of their own or the same, which vmap is given otherwise; at validation the same.
    """
    if nature.alone:
        return Fit(nature.alone, [])
    device = dataset.train_x.device
    parameters = [torch.stack([p, p]).to(device) for p in start.parameters.values()]
    state = [torch.stack([value, value]).to(device) for value in start.state]
    keys = [torch.arange(2, device=device)] if nature.is_random else []
    inputs = [*(p.requires_grad_(is_trained) for p in parameters), *state, *keys]
    losses = together.losses if is_trained else together.evaluation
    index = (torch.arange(2 * TRIED, device=device) % len(dataset.train_x)).view(2, TRIED)
    one_by_one: set[str] = set()
    for samples in (index, index[:1]) if is_trained else (index[:1],):
        found = fit(together.module, losses, inputs, dataset.train_x[samples], dataset.train_y[samples])
        if found.obstacle:
            return found
        one_by_one.update(found.one_by_one)
    return Fit("", sorted(one_by_one))


def _remark(name: str, fit: Fit) -> str:
    if fit.obstacle:
        return f"model '{name}' is trained one replica at a time ({fit.obstacle})"
    if fit.one_by_one:
        return f"model '{name}': torch computes {', '.join(fit.one_by_one)} one replica at a time"
    return ""


def _built(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    with seeded(seed):
        return build().train()


def _check_output(name: str, module: nn.Module, dataset: Dataset) -> None:
    """Check that what a module returns for a few samples fits their targets.

    Raises:
        InputError: it does not, or it cannot be computed.
    """
    try:
        with torch.no_grad():
            output = module.eval()(dataset.train_x[:TRIED].clone())
    except Exception as error:
        raise _incomputable(name, Kind.OUTPUT, error) from error
    for labels in (dataset.train_y, dataset.valid_y):
        check_output(name, output, dataset.train_y[:TRIED], labels)


def _explored(name: str, objective: Objective, another: Objective, dataset: Dataset) -> Nature:
    """Take steps of a module on a few samples, check all that has to hold, and return what was found.

    Args:
        name: of the model.
        objective: of a module that nothing was computed with so far.
        another: the same, built again.
        dataset: the samples.

    Raises:
        InputError: it does not hold, or the loss cannot be computed.
    """
    parts = slice(TRIED), slice(-TRIED, None)
    samples = [z[part].clone() for part in parts for z in (dataset.train_x, dataset.train_y)]
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            nature = check_step(name, objective, another, samples)
    except InputError:
        raise
    except Exception as error:
        raise _incomputable(name, objective.kind, error) from error
    refuse_broadcasting(name, warned)
    return nature


def _incomputable(name: str, kind: Kind, error: Exception) -> InputError:
    return InputError(f"model '{name}': its {kind} cannot be computed on the samples: {reason_of(error)}")


def _lr_multipliers(name: str, module: nn.Module) -> dict[str, float]:
    """Return the factors on the updates of parameters that an attribute `lr_multipliers` of a layer names.

    The attribute is a dictionary from patterns of names, as the layer has them, to factors; of several patterns the
    first that fits counts, and what several layers say is multiplied.

    Raises:
        InputError: it is not, or no parameter that is trained fits a pattern.
    """
    factors = dict.fromkeys(trained(module), 1.0)
    for layer, part in module.named_modules():
        said = getattr(part, "lr_multipliers", None)
        if said is None:
            continue
        if not isinstance(said, Mapping):
            raise InputError(
                f"model '{name}': lr_multipliers is {type(said).__name__}; give a dictionary from names to factors"
            )
        prefix = f"{layer}." if layer else ""
        left = [key.removeprefix(prefix) for key in factors if key.startswith(prefix)]
        for pattern, factor in said.items():
            real(f"model '{name}': lr_multipliers", str(pattern), factor, 1e-30, 1e30)
            fitting = fnmatch.filter(left, str(pattern))
            if not fitting:
                raise InputError(
                    f"model '{name}': lr_multipliers: '{pattern}' fits no parameter that is trained, or none that is"
                    " left by the patterns before it"
                )
            left = [key for key in left if key not in fitting]
            factors |= {prefix + key: factors[prefix + key] * factor for key in fitting}
    return factors
