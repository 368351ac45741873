"""What the judge compares: exported optimizers by their files, and those of torch."""

from __future__ import annotations

import importlib.util
import inspect
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim import Optimizer


@dataclass(frozen=True)
class Setting:
    """Learning rate and weight decay of a trial; a decay of None is the optimizer's own."""

    rate: float
    decay: float | None


class Rival(Protocol):
    """An optimizer to be judged."""

    name: str
    start: Setting

    def optimizers(self, module: nn.Module, setting: Setting) -> list[Optimizer]:
        """Return what trains the module."""


@dataclass(frozen=True)
class Exported:
    """An optimizer from an exported file.

    Attributes:
        kind: the class.
        start: its defaults, from which tuning begins.
    """

    name: str
    kind: Any
    start: Setting

    def optimizers(self, module: nn.Module, setting: Setting) -> list[Optimizer]:
        """Return one optimizer for all parameters."""
        decay = {} if setting.decay is None else {"weight_decay": setting.decay}
        return [self.kind(module.parameters(), lr=setting.rate, **decay)]


def exported(path: Path, steps: int) -> Exported:
    """Load an exported file; what asks for the number of steps of the whole training is told it.

    Raises:
        ValueError: there is no such file, or not one optimizer in it.
    """
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ValueError(f"{path}: no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    kinds = [kind for kind in vars(module).values() if inspect.isclass(kind) and issubclass(kind, Optimizer)]
    kinds = [kind for kind in kinds if kind.__module__ == path.stem]
    if len(kinds) != 1:
        raise ValueError(f"{path}: {len(kinds)} optimizers in it instead of one")
    parameters = inspect.signature(kinds[0]).parameters
    decay = parameters["weight_decay"].default if "weight_decay" in parameters else None
    kind = partial(kinds[0], total_steps=steps) if "total_steps" in parameters else kinds[0]
    return Exported(path.stem, kind, Setting(parameters["lr"].default, decay))


def torch_adamw() -> Exported:
    """Return torch's AdamW."""
    return Exported("torch.optim.AdamW", torch.optim.AdamW, Setting(3e-3, 0.01))


@dataclass(frozen=True)
class TorchMuon:
    """Torch's Muon for the weights of layers within the network, AdamW for the rest, both at one rate.

    That is how torch's documentation has it. Kernels of convolutions are matrices [outputs, inputs x height x width].
    """

    name: str = "torch.optim.Muon"
    start: Setting = Setting(3e-3, 0.01)

    def optimizers(self, module: nn.Module, setting: Setting) -> list[Optimizer]:
        """Return Muon, its updates scaled to the size of AdamW's, and AdamW."""
        layers = [part for part in module.modules() if isinstance(part, (nn.Linear, nn.Conv2d))]
        inner = [layer.weight for layer in layers[:-1]]  # the last layer gives the logits
        taken = {id(weight) for weight in inner}
        rest = [parameter for parameter in module.parameters() if id(parameter) not in taken]
        decay = 0.0 if setting.decay is None else setting.decay
        matrices = [nn.Parameter(weight.detach().flatten(1)) for weight in inner]  # the same memory

        def hand_over(*_: Any) -> None:
            for matrix, weight in zip(matrices, inner, strict=True):
                matrix.grad = None if weight.grad is None else weight.grad.flatten(1)

        muon = torch.optim.Muon(matrices, lr=setting.rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
        muon.register_step_pre_hook(hand_over)
        return [muon, torch.optim.AdamW(rest, lr=setting.rate, weight_decay=decay)]
