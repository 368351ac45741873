"""Any `nn.Module` as a model with the replica axis, through `torch.func`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional

from programs.errors import InputError

from proxy_tasks.models.model import Leaf, Model

# Replicas from which vmap beats a loop over them. Measured (ms for a step of one replica, loop | vmap), batch 128, one
# thread: MLP 64-32-10 at 4: 0.20 | 0.26, at 8: 0.19 | 0.16, at 64: 0.16 | 0.08; CNN of three 1-D convolutions at 1:
# 1.6 | 2.3, at 4: 1.3 | 0.9, at 64: 1.4 | 0.7; CNN of two 2-D convolutions at 4, 8 and 64: equal within noise.
BREAK_EVEN = 8
CPU = torch.device("cpu")


def module_model(name: str, build: Callable[[], nn.Module], device: torch.device = CPU) -> Model:
    """Return a model of the modules that `build` makes, trained as replicas.

    Initial weights are those of a module built under the seed of the replica. The loss is what the module's own method
    `loss(x, y)` returns, a scalar, if it has one; otherwise the mean cross-entropy of its outputs `[B, .., C]` against
    whole numbers `[B, ..]`, or the mean squared error against numbers of the shape of the outputs. Buffers of the
    module are on the device.

    Raises:
        InputError: the module cannot be trained as replicas: it has no parameters, parameters that are not float32,
            dropout, or statistics that it gathers in training.
    """
    module = _built(build, 0).to(device)
    _check(name, module)
    objective = _Objective(module)
    shapes = {key: p.shape for key, p in objective.named_parameters()}
    alone = _Alone(_Objective(_built(build, 0).to(device)))

    def loss_of(params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        loss: Tensor = functional_call(objective, dict(zip(shapes, params, strict=True)), (x, y))
        return loss

    def losses(params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        replicas = len(params[0])
        if replicas < BREAK_EVEN:
            xs, ys = x.expand(replicas, *x.shape[1:]), y.expand(replicas, *y.shape[1:])
            each = zip(zip(*(p.unbind(0) for p in params), strict=True), xs, ys, strict=True)
            return torch.stack([alone.loss(*one) for one in each])
        dims = (0, None if len(x) == 1 else 0, None if len(y) == 1 else 0)
        batched = vmap(loss_of, in_dims=dims)
        return batched(list(params), *(z[0] if dim is None else z for z, dim in zip((x, y), dims[1:], strict=True)))

    def initial(seed: int) -> Sequence[Tensor]:
        return [p.detach().cpu() for p in _built(build, seed).parameters()]

    leaves = tuple(Leaf(key.removeprefix("module."), tuple(shape)) for key, shape in shapes.items())
    return Model(leaves, losses, initial, is_traceable=False)  # vmap is traced anew for every number of replicas


class _Objective(nn.Module):
    """A module and its loss as one function of (x, y)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        own = getattr(self.module, "loss", None)
        if callable(own):
            return own(x, y)  # type: ignore[no-any-return]
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
            [(table, key) for table, key in kept if table[key] is parameter] for parameter in objective.parameters()
        ]

    def loss(self, params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
        """Return the loss with these parameters, in the order of `parameters()`."""
        for places, parameter in zip(self._places, params, strict=True):
            for table, key in places:
                table[key] = parameter  # type: ignore[assignment]  # any tensor will do
        return self._objective(x, y)  # type: ignore[no-any-return]


def _built(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().train()


def _check(name: str, module: nn.Module) -> None:
    if not list(module.parameters()):
        raise InputError(f"model '{name}': the module has no parameters to train")
    for key, p in module.named_parameters():
        if p.dtype != torch.float32:
            raise InputError(f"model '{name}': parameter '{key}' is {p.dtype}; parameters must be float32")
        if not p.numel():
            raise InputError(f"model '{name}': parameter '{key}' is empty; leave it out")
        if not p.requires_grad:
            raise InputError(f"model '{name}': parameter '{key}' is frozen; make it a buffer")
    for key, part in module.named_modules():
        at = f"{type(part).__name__} '{key}'"
        if getattr(part, "track_running_stats", False):
            raise InputError(f"model '{name}': {at} gathers statistics; use track_running_stats=False or GroupNorm")
        chance = part.p if isinstance(part, nn.modules.dropout._DropoutNd) else getattr(part, "dropout", 0.0)
        if isinstance(chance, int | float) and chance > 0:
            raise InputError(
                f"model '{name}': {at} drops with p = {chance:g}; replicas must be comparable, set it to 0"
            )
