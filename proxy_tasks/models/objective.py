"""The loss of a module as one function of (x, y)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from programs.errors import InputError

from proxy_tasks.models.classifier import share_right

Metric = Callable[[Any, Tensor], Any]


class Kind(StrEnum):
    """Where the loss of a module comes from; the values say it in messages."""

    OWN = "loss(x, y)"
    """A method of the class of the module."""
    LABELS = "forward(x, labels=y)"
    """The module returns it, as those of Hugging Face do."""
    OUTPUT = "output"
    """The cross-entropy or the squared error of what the module returns."""


class Objective(nn.Module):
    """A module and its loss.

    Attributes:
        module: the module.
        kind: where the loss comes from.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._parameters_of_forward = list(inspect.signature(module.forward).parameters)
        # What an instance keeps under that name, such as a layer nn.CrossEntropyLoss(), takes outputs and labels.
        if inspect.isfunction(inspect.getattr_static(type(module), "loss", None)):
            self.kind = Kind.OWN
        else:
            self.kind = Kind.LABELS if "labels" in self._parameters_of_forward else Kind.OUTPUT

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if self.kind is Kind.OWN:
            return self.module.loss(x, y)  # type: ignore[operator, no-any-return]
        if self.kind is Kind.LABELS:
            return _loss_of(self.module(**{self._name_of(x): x, "labels": y}))  # type: ignore[no-any-return]
        output = self.module(x)
        if y.is_floating_point():
            return functional.mse_loss(output, y)
        return functional.cross_entropy(output.flatten(0, -2), y.flatten())

    def output(self, x: Tensor) -> Any:
        """Return what the module returns for samples alone."""
        return self.module(**{self._name_of(x): x}) if self.kind is Kind.LABELS else self.module(x)

    def _name_of(self, x: Tensor) -> str:
        """Return the parameter of `forward` that takes samples."""
        first = self._parameters_of_forward[0]
        if first == "input_ids" and x.is_floating_point() and "inputs_embeds" in self._parameters_of_forward:
            return "inputs_embeds"
        return first


class Measured(Objective):
    """A module and a metric of its output, in place of the loss."""

    def __init__(self, module: nn.Module, metric: Metric) -> None:
        super().__init__(module)
        self._metric = metric

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.tensor(float(self._metric(self.output(x), y)), device=y.device)


def accuracy_of_labels(output: Any, y: Tensor) -> Tensor:
    """Return the share of labels for which the output along the last axis is the largest.

    Raises:
        InputError: outputs are not one number for each class.
    """
    logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", output)
    if not isinstance(logits, Tensor) or logits.shape[:-1] != y.shape:
        raise InputError(
            "fitness is by accuracy, and the model's outputs are not one number for each class; give the task a metric,"
            " the share predicted right"
        )
    return share_right(logits[None], y[None])[0]


def _loss_of(output: Any) -> Any:
    """Return the loss among the outputs of a module that was given labels."""
    if isinstance(output, Mapping):
        return output.get("loss")
    if isinstance(output, tuple) and not hasattr(output, "loss"):
        return output[0] if output else None
    return getattr(output, "loss", output)
