"""How long a step of an optimizer takes, beside torch's AdamW in the same process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from programs.export import torch_source
from programs.program import Program

from proxy_tasks.outcome import TorchOptimizer
from proxy_tasks.torch_optimizers import TORCH_OPTIMIZERS, Weight

MATRICES, SIDE = 8, 256  # half a million weights
ROUNDS = 11


def exported_class(program: Program) -> Any:
    """Return a program as a class of optimizers, the way users import it."""
    namespace: dict[str, Any] = {}
    # Only our own generator's output is run, which says nothing but what the program's checked statements say.
    exec(compile(torch_source(program, "Exported", total_steps=1), "<export>", "exec"), namespace)  # noqa: S102
    return namespace["Exported"]


def weights(number: int, *shape: int, device: str = "cpu") -> list[Tensor]:
    """So many tensors with gradients, the same each time."""
    generator = torch.Generator().manual_seed(0)
    found = [torch.randn(shape, generator=generator).to(device) for _ in range(number)]
    for weight in found:
        weight.grad = torch.randn(shape, generator=generator).to(device)
    return found


def seconds(optimizers: Sequence[Optimizer]) -> float:
    """Return the time of one step of all of them."""
    started = time.perf_counter()
    for optimizer in optimizers:
        optimizer.step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def step_times(programs: Sequence[Program | TorchOptimizer]) -> list[float]:
    """Times of a step over that of `torch.optim.AdamW(foreach=True)`: medians over rounds in which all take turns."""
    sides: list[list[Optimizer]] = [[AdamW(weights(MATRICES, SIDE, SIDE), foreach=True)]]
    sides += [_optimizers(program) for program in programs]
    for side in sides:
        seconds(side)  # states are made in the first step
    rounds = [[seconds(side) for side in sides] for _ in range(ROUNDS)]
    return [statistics.median(times[place] / times[0] for times in rounds) for place in range(1, len(sides))]


def _optimizers(program: Program | TorchOptimizer) -> list[Optimizer]:
    matrices = weights(MATRICES, SIDE, SIDE)
    if isinstance(program, TorchOptimizer):
        named = [Weight(f"weight{place}", matrix) for place, matrix in enumerate(matrices)]
        return TORCH_OPTIMIZERS[program.name](named, program.learning_rate, program.weight_decay)
    return [exported_class(program)(matrices, foreach=True)]
