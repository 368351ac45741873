"""What an `nn.Module` must be so that its training is a function of program and seed, and what is said if it is not."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any
from warnings import WarningMessage

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from programs.errors import InputError

from proxy_tasks.randomness import random_state

IGNORED_LABEL = -100  # by torch's cross-entropy
_DEEPEST = 5  # levels of objects within an attribute that are compared
_OF_EVERY_MODULE = frozenset(vars(nn.Module())) - {"training"}


def check_parameters(name: str, module: nn.Module) -> None:
    """Check that a module has parameters that can be trained, and no layer that is known to be unfit.

    Raises:
        InputError: it has not; names the parameter or the layer.
    """
    for key, p in module.named_parameters():
        if is_lazy(p):
            raise InputError(
                f"model '{name}': parameter '{key}' has no shape yet; call the module once on"
                " dataset.train_x[:1] before it is returned"
            )
        if p.requires_grad and p.dtype != torch.float32:
            raise InputError(f"model '{name}': parameter '{key}' is {p.dtype}; parameters must be float32")
    if not any(p.requires_grad and p.numel() for p in module.parameters()):
        raise InputError(f"model '{name}': the module has no parameters to train")
    for key, part in module.named_modules():
        at = _described(key, part)
        if getattr(part, "track_running_stats", False):
            raise InputError(f"model '{name}': {at} gathers statistics; use track_running_stats=False or GroupNorm")
        chance = part.p if isinstance(part, nn.modules.dropout._DropoutNd) else getattr(part, "dropout", 0.0)
        if isinstance(chance, int | float) and chance > 0:
            raise InputError(
                f"model '{name}': {at} drops with p = {chance:g}; replicas must be comparable, set it to 0"
            )


def check_output(name: str, output: Any, y: Tensor, labels: Tensor) -> None:
    """Check what a module without a loss of its own returns, against the targets of the same samples.

    Args:
        name: of the model.
        output: for some samples.
        y: the targets of these samples.
        labels: all targets.

    Raises:
        InputError: no loss can be computed of it, or only by broadcasting.
    """
    if not isinstance(output, Tensor) or not output.is_floating_point():
        kind = output.dtype if isinstance(output, Tensor) else type(output).__name__
        raise InputError(
            f"model '{name}': its output is {kind}; return a tensor of numbers, or give the class of the module a"
            " method loss(x, y)"
        )
    shapes = f"outputs {list(output.shape)}", f"{list(y.shape)}"
    if y.is_floating_point():
        if output.shape != y.shape:
            raise InputError(f"model '{name}': {shapes[0]} and targets {shapes[1]}: the shapes must be the same")
        return
    if output.shape[:-1] != y.shape:
        raise InputError(
            f"model '{name}': {shapes[0]} and labels {shapes[1]}: expected outputs of {[*y.shape, 'classes']}"
        )
    least, most, classes = int(labels.min()), int(labels.max()), output.shape[-1]
    if most >= classes or (least < 0 and bool(((labels < 0) & (labels != IGNORED_LABEL)).any())):
        raise InputError(
            f"model '{name}': outputs for {classes} classes, but labels from {least} to {most}; labels count from 0"
        )


def check_step(name: str, module: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> None:
    """Compute a loss with its gradient, and check that nothing is drawn, and nothing changed, on the way.

    Args:
        name: of the model.
        module: the module.
        loss: computes its loss.
        x, y: some samples.

    Raises:
        InputError: the loss is no scalar, it draws random numbers, or something has changed; names the layer.
    """
    before, samples = _states(module), (x.clone(), y.clone())
    drawn = random_state()
    with _drawing(module) as drawing:
        value = loss(x, y)
    if not isinstance(value, Tensor) or value.shape != () or not value.is_floating_point():
        is_tensor = isinstance(value, Tensor)
        kind = f"of shape {list(value.shape)}, {value.dtype}" if is_tensor else type(value).__name__
        raise InputError(f"model '{name}': its loss is {kind}; it must be a scalar, such as the mean over the samples")
    if random_state() != drawn:
        at = drawing[0] if drawing else _described("", module)
        raise InputError(f"model '{name}': {at} draws random numbers; a loss must follow from weights and samples")
    if value.requires_grad:
        value.backward()  # type: ignore[no-untyped-call]
        module.zero_grad(set_to_none=True)
    for (key, part), was, now in zip(module.named_modules(), before, _states(module), strict=True):
        changed = sorted(one for one in was.keys() | now.keys() if was.get(one) != now.get(one))
        if changed:
            raise InputError(
                f"model '{name}': {_described(key, part)} changes '{changed[0]}' when it computes; a loss must follow"
                " from weights and samples alone, so keep nothing between two calls"
            )
    if not (torch.equal(x, samples[0]) and torch.equal(y, samples[1])):
        raise InputError(f"model '{name}': it changes its samples in place; work on a copy: x = x.clone()")


def refuse_broadcasting(name: str, warned: Sequence[WarningMessage]) -> None:
    """Refuse a loss that torch has warned of: it takes the mean over all pairs of outputs and targets.

    Raises:
        InputError: torch has warned.
    """
    for one in warned:
        if "Using a target size" in str(one.message):
            sizes = " ".join(str(one.message).partition(". ")[0].split())
            raise InputError(f"model '{name}': its loss fits its targets by broadcasting only ({sizes}); reshape one")


def _described(key: str, part: nn.Module) -> str:
    return f"{type(part).__name__} '{key}'" if key else f"the module, {type(part).__name__},"


@contextmanager
def _drawing(module: nn.Module) -> Iterator[list[str]]:
    """Yield a list of the layers that draw random numbers until the context ends, innermost first."""
    found: list[str] = []
    started: list[Any] = []
    handles = []

    def begin(*_: Any) -> None:
        started.append(random_state())

    for key, part in module.named_modules():

        def end(part: nn.Module, *_: Any, key: str = key) -> None:
            if random_state() != started.pop():
                found.append(_described(key, part))

        handles += [part.register_forward_pre_hook(begin), part.register_forward_hook(end)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _states(module: nn.Module) -> list[dict[str, Any]]:
    """Return for every layer, by name, what it keeps besides its layers: parameters, buffers and attributes."""
    return [
        {key: _plain(value, _DEEPEST) for key, value in (part._parameters | part._buffers).items()}
        | {key: _plain(value, _DEEPEST) for key, value in vars(part).items() if key not in _OF_EVERY_MODULE}
        for part in module.modules()
    ]


def _plain(value: Any, depth: int) -> Any:
    """Return what can be compared with what the same object is later."""
    if isinstance(value, Tensor):
        data = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        return str(value.dtype), tuple(value.shape), sha256(data.data).digest()
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, sha256(value.tobytes()).digest()
    if isinstance(value, torch.Generator):
        return value.get_state().numpy().tobytes()
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, np.random.RandomState | random.Random):
        return repr(value.get_state() if isinstance(value, np.random.RandomState) else value.getstate())
    if value is None or isinstance(value, str | bytes | int | float | complex):
        return repr(value)
    if depth == 0 or isinstance(value, nn.Module | type) or callable(value):
        return type(value).__name__
    if isinstance(value, Mapping):
        return {repr(key): _plain(one, depth - 1) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset | deque):
        return [_plain(one, depth - 1) for one in value]
    return {key: _plain(one, depth - 1) for key, one in getattr(value, "__dict__", {}).items()}
