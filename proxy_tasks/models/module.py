"""Any `nn.Module` as a model with the replica axis, through `torch.func`."""

from __future__ import annotations

import inspect
import logging
import math
import warnings
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional

from programs.errors import InputError

from proxy_tasks.datasets import Dataset
from proxy_tasks.models.chunks import Losses, gradients
from proxy_tasks.models.model import Leaf, Model
from proxy_tasks.models.module_checks import check_output, check_parameters, check_step, refuse_broadcasting
from proxy_tasks.named import reason_of
from proxy_tasks.randomness import seeded

log = logging.getLogger("optsearch.models")

# Replicas from which vmap beats a loop over them. Measured (ms for a step of one replica, loop | vmap), batch 128, one
# thread: MLP 64-32-10 at 4: 0.20 | 0.26, at 8: 0.19 | 0.16, at 64: 0.16 | 0.08; CNN of three 1-D convolutions at 1:
# 1.6 | 2.3, at 4: 1.3 | 0.9, at 64: 1.4 | 0.7; CNN of two 2-D convolutions at 4, 8 and 64: equal within noise.
BREAK_EVEN = 8
TRIED = 4  # samples that a module is tried on


def module_model(name: str, build: Callable[[], nn.Module], dataset: Dataset) -> Model:
    """Return a model of the modules that `build` makes, trained as replicas.

    Initial weights are those of a module built under the seed of the replica; buffers, and parameters that require no
    gradient, are those of seed 0. The loss is what a method `loss(x, y)` of the module's class returns, a scalar, if it
    has one; otherwise the mean cross-entropy of its outputs `[B, .., C]` against whole numbers `[B, ..]`, or the mean
    squared error against numbers of the shape of the outputs.

    Raises:
        InputError: the module cannot be trained as replicas on this data set: its loss is no function of weights and
            samples, or it has no parameters to train, or some that are not float32.
    """
    device = dataset.train_x.device
    module = _built(build, 0).to(device)
    check_parameters(name, module)
    objective, another = (_Objective(one) for one in (module, _built(build, 0).to(device)))
    if device.type == "cpu":  # where every task is loaded first
        _try(name, objective, another.module, dataset)
    alone = _Alone(another)
    trained = _trained(module)

    def loss_of(params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        values = {f"module.{key}": p for key, p in zip(trained, params, strict=True)}
        loss: Tensor = functional_call(objective, values, (x, y))
        return loss

    def one_by_one(params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        replicas = len(params[0])
        xs, ys = x.expand(replicas, *x.shape[1:]), y.expand(replicas, *y.shape[1:])
        each = zip(zip(*(p.unbind(0) for p in params), strict=True), xs, ys, strict=True)
        return torch.stack([alone.loss(*one) for one in each])

    def together(params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        dims = (0, None if len(x) == 1 else 0, None if len(y) == 1 else 0)
        batched = vmap(loss_of, in_dims=dims)
        return batched(list(params), *(z[0] if dim is None else z for z, dim in zip((x, y), dims[1:], strict=True)))

    def losses(params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        return one_by_one(params, x, y) if len(params[0]) < break_even else together(params, x, y)

    def initial(seed: int) -> Sequence[Tensor]:
        found = _trained(_built(build, seed))
        if {key: p.shape for key, p in found.items()} != {key: p.shape for key, p in trained.items()}:
            raise InputError(f"model '{name}': under seed {seed} it has other parameters than under seed 0")
        return [p.detach().cpu() for p in found.values()]

    leaves = tuple(Leaf(key, tuple(p.shape)) for key, p in trained.items())
    constants = (*(p for p in module.parameters() if p not in set(trained.values())), *module.buffers())
    break_even = BREAK_EVEN if _takes(together, trained.values(), dataset, name) else math.inf
    # Not traceable: vmap is traced anew for every number of replicas.
    return Model(leaves, losses, initial, is_traceable=False, constants=constants)


def _trained(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name; one that has several names has its first."""
    return {key: p for key, p in module.named_parameters() if p.requires_grad and p.numel()}


class _Objective(nn.Module):
    """A module and its loss as one function of (x, y)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        # What an instance keeps under that name, such as a layer nn.CrossEntropyLoss(), takes outputs and labels.
        self.has_own_loss = inspect.isfunction(inspect.getattr_static(type(module), "loss", None))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if self.has_own_loss:
            return self.module.loss(x, y)  # type: ignore[operator, no-any-return]
        output = self.module(x)
        if y.is_floating_point():
            return functional.mse_loss(output, y)
        return functional.cross_entropy(output.flatten(0, -2), y.flatten())


class _Alone:
    """A module that computes the loss of one replica at a time, in a third of the time of `functional_call`.

    Its parameters are replaced where modules keep them, wherever each is used.
    """

    def __init__(self, objective: _Objective) -> None:
        self._objective = objective
        kept = [(part._parameters, key) for part in objective.modules() for key in part._parameters]
        self._places = [
            [(table, key) for table, key in kept if table[key] is parameter]
            for parameter in _trained(objective.module).values()
        ]

    def loss(self, params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        """Return the loss with these parameters, in the order of `parameters()`."""
        for places, parameter in zip(self._places, params, strict=True):
            for table, key in places:
                table[key] = parameter  # type: ignore[assignment]  # any tensor will do
        return self._objective(x, y)  # type: ignore[no-any-return]


def _built(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    with seeded(seed):
        return build().train()


def _try(name: str, objective: _Objective, another: nn.Module, dataset: Dataset) -> None:
    """Compute the loss of a module on a few samples, and check all that it has to hold.

    Args:
        name: of the model.
        objective: of a module that nothing was computed with so far.
        another: such module.
        dataset: the samples.

    Raises:
        InputError: it does not hold, or the loss cannot be computed.
    """
    x, y = dataset.train_x[:TRIED].clone(), dataset.train_y[:TRIED].clone()
    try:
        if not objective.has_own_loss:
            with torch.no_grad():
                output = another(x)
            for labels in (dataset.train_y, dataset.valid_y):
                check_output(name, output, y, labels)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            check_step(name, objective.module, objective, x, y)
        refuse_broadcasting(name, warned)
    except InputError:
        raise
    except Exception as error:
        how = "loss(x, y)" if objective.has_own_loss else "output"
        raise InputError(f"model '{name}': its {how} cannot be computed on the samples: {reason_of(error)}") from error


def _takes(losses: Losses, trained: Iterable[Tensor], dataset: Dataset, name: str) -> bool:
    """Return whether replicas of a module can be computed together through vmap; without it they take turns."""
    parameters = [p.detach().expand(2, *p.shape).requires_grad_() for p in trained]
    try:
        gradients(losses(parameters, dataset.train_x[None, :TRIED], dataset.train_y[None, :TRIED]), parameters)
    except Exception as error:
        log.info("model '%s' is trained one replica at a time: %s", name, reason_of(error))
        return False
    return True
