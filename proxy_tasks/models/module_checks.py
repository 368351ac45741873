"""What an `nn.Module` must be so that its training is a function of program and seed, and what is said if it is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from warnings import WarningMessage

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from programs.errors import InputError

from proxy_tasks.models.equivalents import Equivalents
from proxy_tasks.models.module_state import Slot, slots, states
from proxy_tasks.models.objective import Objective
from proxy_tasks.randomness import random_state, seeded

IGNORED_LABEL = -100  # by torch's cross-entropy


def check_parameters(name: str, module: nn.Module) -> None:
    """Check that a module has parameters that can be trained.

    Raises:
        InputError: it has not; names the parameter.
    """
    for key, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule) or type(part).__name__ == "OptimizedModule":
            raise InputError(
                f"model '{name}': {described(key, part)} is compiled, and replicas are computed with weights of their"
                " own; give the module as it was before torch.compile or torch.jit"
            )
    refuse_hooks(name, module)
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


def refuse_hooks(name: str, module: nn.Module) -> None:
    """Refuse hooks on gradients of parameters: trainings ask for gradients in a way that does not call them.

    Raises:
        InputError: there is one.
    """
    for key, p in module.named_parameters():
        if p.requires_grad and (p._backward_hooks or getattr(p, "_post_accumulate_grad_hooks", None)):
            raise InputError(
                f"model '{name}': parameter '{key}' has a hook, which trainings would not call; freeze it,"
                " requires_grad_(False), or put what the hook does into forward"
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


class Nature(NamedTuple):
    """What the loss of a module depends on besides weights and samples, as a step has shown.

    Attributes:
        kept: paths of what a step changes, and the next one may need.
        loose: paths of what it changes besides, which the next one does not need.
        is_random: whether it draws random numbers.
        draws_unknown: whether some of them follow from no key, but from a generator of the process.
        alone: why its replicas must be computed one after another; empty if that is not known.
    """

    kept: tuple[str, ...]
    loose: tuple[str, ...]
    is_random: bool
    draws_unknown: bool
    alone: str


class _Step(NamedTuple):
    """What came of a step: its loss, gradients, and whether it drew, and from a generator, and where."""

    loss: Tensor
    gradients: list[Tensor | None]
    drew: bool
    drew_unknown: bool
    where: str


def check_step(name: str, objective: Objective, another: Objective, samples: Sequence[Tensor]) -> Nature:
    """Take a step, and find what it keeps for the next one and whether it draws.

    Args:
        name: of the model.
        objective: of a module that nothing was computed with so far.
        another: the same, built again.
        samples: x and y of a step, and others for a second one.

    Raises:
        InputError: the loss is no scalar, parameters or samples have changed, or something that cannot be told apart
            by replica matters for the second step; names the layer.
    """
    module, (x, y, *others) = objective.module, samples
    found, before, copies = slots(module), states(module), (x.clone(), y.clone())
    storages = _storages(found)
    versions = _versions(module)
    start = {path: slot.read().clone() for path, slot in found.items()}  # type: ignore[union-attr]  # as in `slots`
    first = _step(name, objective, x, y)
    if not (torch.equal(x, copies[0]) and torch.equal(y, copies[1])):
        raise InputError(f"model '{name}': it changes its samples in place; work on a copy: x = x.clone()")
    changed = _changed(name, module, before)
    written = (path for path, version in _versions(module).items() if versions.get(path, version) != version)
    changed = sorted({*changed, *written})
    kept = tuple(path for path in changed if path in found and _is_like(found[path].read(), start[path]))
    loose = [path for path in changed if path not in kept]
    for path in kept:
        found[path].write(start[path])
    if loose and not _are_equal(_step(name, objective, *others), _step(name, another, *others)):
        raise InputError(
            f"model '{name}': {_owner(module, loose[0])} changes '{_last(loose[0])}' when it computes, and its next"
            " loss depends on it; keep it as a tensor of one shape: self.register_buffer(...)"
        )
    _refuse_second_names(name, objective, x, y)
    for path in kept:
        found[path].write(start[path])
        _refuse_shared(name, path, storages)
    attribute = next((path for path in kept if not found[path].is_buffer), None)
    alone = f"{first.where} draws from a generator that no replica axis has" if first.drew_unknown else ""
    if attribute is not None:
        alone = f"{_owner(module, attribute)} keeps '{_last(attribute)}' as an attribute, not as a buffer"
    # What an attribute counts may decide later steps, which may draw then.
    drew_unknown = first.drew_unknown or attribute is not None
    return Nature(kept, tuple(loose), first.drew or drew_unknown, drew_unknown, alone)


def _storages(found: Mapping[str, Slot]) -> dict[str, int]:
    """Return where the tensors are that a module keeps."""
    tensors = {path: slot.read() for path, slot in found.items() if slot.is_tensor}
    return {path: t.untyped_storage().data_ptr() for path, t in tensors.items() if t is not None and t.numel()}


def _refuse_shared(name: str, path: str, storages: Mapping[str, int]) -> None:
    """Refuse a tensor that a step changes under several names: replicas have one of their own under each.

    Raises:
        InputError: it has another name.
    """
    other = next((p for p, at in storages.items() if p != path and at == storages.get(path)), None)
    if other is not None:
        raise InputError(
            f"model '{name}': '{path}' and '{other}' are one tensor, which it changes when it computes; keep it under"
            " one name"
        )


def _refuse_second_names(name: str, objective: Objective, x: Tensor, y: Tensor) -> None:
    """Refuse a module that reads parameters elsewhere than where modules keep them: replicas have weights of their own.

    Raises:
        InputError: it computes with a parameter that is no longer its own.
    """
    originals = {key: p for key, p in objective.module.named_parameters() if p.requires_grad}
    copies = {id(p): p.detach().clone().requires_grad_() for p in originals.values()}
    places = [
        (part._parameters, key, p)
        for part in objective.modules()
        for key, p in part._parameters.items()
        if p is not None
    ]
    try:
        for table, key, p in places:
            table[key] = copies.get(id(p), p)  # type: ignore[assignment]  # any tensor will do
        with seeded(0), Equivalents(torch.zeros((), dtype=torch.int64, device=x.device), is_batched=False):
            loss = objective(x, y)
        needed = loss.requires_grad and torch.autograd.grad(loss, list(originals.values()), allow_unused=True)
    finally:
        for table, key, p in places:
            table[key] = p
    for key, gradient in zip(originals, needed or (), strict=False):
        if gradient is not None:
            raise InputError(
                f"model '{name}': parameter '{key}' is read elsewhere than in its layer, as from a list or a function"
                " that was made with it, and replicas have weights of their own; read it from the layer in forward"
            )


def _versions(module: nn.Module) -> dict[str, tuple[int, int]]:
    """Return which tensor each buffer is and how often it was written: it may have the value that it had, by chance."""
    return {path: (id(b), b._version) for path, b in module.named_buffers(remove_duplicate=False)}


def _changed(name: str, module: nn.Module, before: dict[str, Any]) -> list[str]:
    """Return the paths of what is not as it was in the states of before.

    Raises:
        InputError: a parameter is among it.
    """
    after = states(module)
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    parameters = dict(module.named_parameters(remove_duplicate=False))
    for path in changed:
        if path in parameters:
            raise InputError(
                f"model '{name}': {_owner(module, path)} changes '{_last(path)}' when it computes; parameters are"
                " changed by programs alone"
            )
    return changed


def _step(name: str, objective: Objective, x: Tensor, y: Tensor) -> _Step:
    """Compute a loss with its gradients.

    Raises:
        InputError: the loss is no scalar.
    """
    key = torch.zeros((), dtype=torch.int64, device=x.device)
    with seeded(0):
        drawn = random_state()
        with _drawing(objective.module) as where, Equivalents(key, is_batched=False) as equivalents:
            loss = objective(x, y)
        drew_unknown = random_state() != drawn
    if not isinstance(loss, Tensor) or loss.shape != () or not loss.is_floating_point():
        is_tensor = isinstance(loss, Tensor)
        kind = f"of shape {list(loss.shape)}, {loss.dtype}" if is_tensor else type(loss).__name__
        raise InputError(f"model '{name}': its loss is {kind}; it must be a scalar, such as the mean over the samples")
    if loss.requires_grad:
        _take_gradients(name, objective.module, loss)
    found = [p.grad for p in objective.module.parameters()]
    objective.module.zero_grad(set_to_none=True)
    at = where[0] if where else described("", objective.module)
    return _Step(loss.detach(), found, equivalents.draws.number > 0, drew_unknown, at)


def _take_gradients(name: str, module: nn.Module, loss: Tensor) -> None:
    """Have parameters get their gradients.

    Raises:
        InputError: trainings would not find them, or they are sparse.
    """
    if any(node.name() == "CheckpointFunctionBackward" for node in _nodes(loss)):
        raise InputError(
            f"model '{name}': it checkpoints, and trainings would not take the backward pass within; leave checkpoints"
            " out, which small models do not need"
        )
    module.zero_grad(set_to_none=True)  # it may have been trained before
    loss.backward()  # type: ignore[no-untyped-call]
    for key, p in module.named_parameters():
        if p.grad is not None and p.grad.layout != torch.strided:
            raise InputError(f"model '{name}': the gradient of parameter '{key}' is sparse; give sparse=False")


def _nodes(loss: Tensor) -> Iterator[Any]:
    """Yield what the backward pass of a loss consists of."""
    seen, left = set(), [loss.grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            left += [following for following, _ in node.next_functions]


def _are_equal(one: _Step, other: _Step) -> bool:
    pairs = zip([one.loss, *one.gradients], [other.loss, *other.gradients], strict=True)
    return all(a is b or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)


def _is_like(now: Tensor | None, before: Tensor) -> bool:
    return now is not None and (now.shape, now.dtype) == (before.shape, before.dtype)


def refuse_broadcasting(name: str, warned: Sequence[WarningMessage]) -> None:
    """Refuse a loss that torch has warned of: it takes the mean over all pairs of outputs and targets.

    Raises:
        InputError: torch has warned.
    """
    for one in warned:
        if "Using a target size" in str(one.message):
            sizes = " ".join(str(one.message).partition(". ")[0].split())
            raise InputError(f"model '{name}': its loss fits its targets by broadcasting only ({sizes}); reshape one")


def described(key: str, part: nn.Module) -> str:
    """Return the name of a layer for messages."""
    return f"{type(part).__name__} '{key}'" if key else f"the module, {type(part).__name__},"


def _owner(module: nn.Module, path: str) -> str:
    key = path.rpartition(".")[0]
    return described(key, module.get_submodule(key))


def _last(path: str) -> str:
    return path.rpartition(".")[2]


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
                found.append(described(key, part))

        handles += [part.register_forward_pre_hook(begin), part.register_forward_hook(end)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
