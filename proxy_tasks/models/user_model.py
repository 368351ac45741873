"""The model of a `UserTask`: its module with its loss, tried on its samples, and its metric."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from programs.errors import InputError

from proxy_tasks.datasets import Dataset
from proxy_tasks.models.model import Model
from proxy_tasks.models.module import module_model
from proxy_tasks.models.module_checks import check_parameters, refuse_hooks
from proxy_tasks.models.objective import Kind, Objective
from proxy_tasks.named import Args, call_users, reason_of
from proxy_tasks.randomness import seeded
from proxy_tasks.user_task import UserTask

TRIED = 4  # samples besides those with the lowest and the highest values


class ModuleWithLoss(nn.Module):
    """A module, and a loss of its output."""

    def __init__(self, module: nn.Module, criterion: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.module = module
        self.criterion = criterion

    def forward(self, x: Tensor) -> Any:
        """Return the output of the module."""
        return self.module(x)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss of the output for these samples."""
        return self.criterion(self.module(x), y)


def user_model(name: str, given: UserTask, dataset: Dataset, args: Args) -> Model:
    """Return the model of a user's task.

    Args:
        name: of the function that returned the task.
        given: what it returned.
        dataset: its samples, on the device to train on.
        args: arguments of what makes the module.

    Raises:
        InputError: the module cannot be made or trained on these samples, or its output does not suit loss or metric.
    """
    build = _building(f"model of '{name}'", given, dataset, args)
    with seeded(0):
        module = build()
    if isinstance(module, Model) and given.loss is None and given.metric is None:
        return module
    if not isinstance(module, nn.Module):
        raise InputError(f"model of '{name}' is {type(module).__name__}; it must be an nn.Module")
    if dataset.train_x.device.type == "cpu":  # where every task is loaded first
        with seeded(0):  # it may draw
            for x, y in ((dataset.train_x, dataset.train_y), (dataset.valid_x, dataset.valid_y)):
                one = build()
                check_parameters(name, one)
                _try(name, one, given, *_telling(x, y))
    loss = given.loss

    def with_loss() -> nn.Module:
        if loss is None:
            return build()  # type: ignore[no-any-return]
        return ModuleWithLoss(build(), deepcopy(loss) if isinstance(loss, nn.Module) else loss)

    return module_model(name, with_loss, dataset, given.metric)


def _building(what: str, given: UserTask, dataset: Dataset, args: Args) -> Callable[[], Any]:
    """Return what makes a module anew; one that exists is copied."""
    model = given.model
    if isinstance(model, nn.Module):
        if args:
            raise InputError(f"{what} is a module, which takes no arguments; give its class, or a function")
        refuse_hooks(what, model)  # which copies do not have
        return lambda: call_users(what, deepcopy, [model])
    wanted = dict(args)
    if "dataset" in inspect.signature(model).parameters:
        wanted["dataset"] = dataset
    return lambda: call_users(what, model, (), tuple(wanted.items()))


def _telling(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return some samples, with the lowest and the highest whole numbers among them, which may be out of range."""
    places = set(range(min(TRIED, len(x))))
    for values in (x, y):
        if not values.is_floating_point():
            flat = values.reshape(len(values), -1)
            flat = flat.byte() if flat.dtype == torch.bool else flat
            places |= {int(flat.amin(1).argmin()), int(flat.amax(1).argmax())}
    chosen = torch.tensor(sorted(places))
    return x[chosen], y[chosen]


def _try(name: str, module: nn.Module, given: UserTask, x: Tensor, y: Tensor) -> None:
    """Compute output, loss and metric of some samples with a module that nothing else is computed with.

    Raises:
        InputError: one of them cannot be computed; says what it was computed of, and the likely fix.
    """
    objective = Objective(module)
    has_own_loss = given.loss is None and objective.kind is not Kind.OUTPUT
    if has_own_loss and given.metric is None:
        return
    compute = objective.output if has_own_loss else module
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the model is tried again, by module_model
        output = _computed(f"model of '{name}'", f"inputs {_shown(x)}", _fix_of_inputs(x), compute, x.clone())
        of = f"outputs {_shown(output)} and targets {_shown(y)}"
        fix = _fix_of_targets(output, y)
        if given.loss is not None:
            loss = _computed(f"the loss of '{name}'", of, fix, given.loss, output, y.clone())
            _refuse_sum(name, given.loss, loss, output, y)
        elif not has_own_loss and _is_no_default(output, y):
            raise InputError(f"model of '{name}': {of}{fix}")
        if given.metric is not None:
            value = _computed(f"the metric of '{name}'", of, "", given.metric, output, y.clone())
            if not isinstance(value, bool | int | float | Tensor) or torch.as_tensor(value).numel() != 1:
                raise InputError(f"the metric of '{name}' is {_shown(value)}; it must be a number")


def _refuse_sum(name: str, function: Callable[..., Any], loss: Any, output: Any, y: Tensor) -> None:
    """Refuse a loss that is twice as large where all samples are there twice: validation is in parts of other sizes.

    Raises:
        InputError: it is a sum over the samples.
    """
    if not isinstance(output, Tensor) or not isinstance(loss, Tensor) or loss.numel() != 1 or not loss:
        return
    try:
        twice = function(torch.cat([output, output]), torch.cat([y, y]))
    except Exception:  # it is for batches of one size
        return
    if torch.allclose(torch.as_tensor(twice), 2 * loss, rtol=1e-3, atol=0.0):
        raise InputError(f"the loss of '{name}' is a sum over the samples; give their mean (reduction='mean')")


def _is_no_default(output: Any, y: Tensor) -> bool:
    """Return whether neither the cross-entropy nor the mean squared error is what was meant for these targets."""
    if not isinstance(output, Tensor):
        return False  # which module_model refuses
    if y.is_floating_point():
        return output.shape == y.shape and y.dim() > 1 and y.shape[-1] > 1 and _is_one_hot(y)
    return y.dim() > 1 and (y.shape == output.shape or (y.shape[-1] == 1 and output.shape[:-1] != y.shape))


def _computed(what: str, of: str, fix: str, function: Callable[..., Any], *inputs: Any) -> Any:
    try:
        return function(*inputs)
    except Exception as error:
        raise InputError(f"{what} cannot be computed of {of}: {reason_of(error).rstrip('.')}{fix}") from error


def _fix_of_inputs(x: Tensor) -> str:
    """Return what is likely to be wrong with inputs that a module does not take."""
    if x.dtype == torch.uint8:
        return "; for images give numbers of 0 to 1: x.float() / 255"
    if x.is_floating_point():
        return ""
    return f"; they are {int(x.min())} to {int(x.max())}: an embedding needs as many rows, and others x.float()"


def _fix_of_targets(output: Any, y: Tensor) -> str:
    """Return what is likely to be wrong with targets that do not suit a loss."""
    if not isinstance(output, Tensor):
        return "; return a tensor of outputs, or give the class of the module a method loss(x, y)"
    is_one_hot = y.shape == output.shape and y.dim() > 1 and y.shape[-1] > 1 and _is_one_hot(y)
    if is_one_hot:
        return "; targets are one-hot: give numbers of classes, y.argmax(-1)"
    if y.dim() > 1 and y.shape[-1] == 1 and output.shape != y.shape:
        return f"; give targets without the last axis: y.squeeze(-1){'.long()' * y.is_floating_point()}"
    if y.is_floating_point():
        return "; if targets are numbers of classes give y.long()" if output.shape != y.shape else ""
    if output.shape == y.shape:
        return "; give targets as numbers with a fraction: y.float()"
    by_place = output.shape[2:] == y.shape[1:] and output.dim() > 1  # classes are on the second axis
    classes = output.shape[1] if by_place else output.shape[-1] if output.dim() else 0
    if output.shape[:-1] == y.shape and classes == 1:
        return "; for one output of each sample give targets of its shape: y.float().unsqueeze(-1)"
    if int(y.min()) < 0 or int(y.max()) >= classes:
        return f"; targets are {int(y.min())} to {int(y.max())}, classes count from 0 to one less than outputs"
    if output.shape[:-1] == y.shape and y.dim() > 1:
        return "; classes are on the last axis: without loss the cross-entropy is over that one"
    return ""


def _is_one_hot(y: Tensor) -> bool:
    return bool(((y == 0) | (y == 1)).all()) and bool((y.sum(-1) == 1).all())


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{list(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    return type(value).__name__
