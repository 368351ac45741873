"""Whom tuning compares: known optimizers, and any program, each with the two numbers that are tuned."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from programs import zoo
from programs.errors import InputError
from programs.hyperparameters import decay_of, scaled, with_decay, with_learning_rate
from programs.program import Program

from proxy_tasks.torch_optimizers import TORCH_OPTIMIZERS, TorchOptimizer


class Range(NamedTuple):
    """Positive numbers from `low` to `high`, of which all decades matter alike."""

    low: float
    high: float


class Competitor(NamedTuple):
    """What is tuned: over which ranges at first, and how it comes from a learning rate and a weight decay.

    `decays` is None where there is no decay to be tuned. The ranges are where trials begin; where the best lies at an
    edge they go on beyond it.
    """

    name: str
    rates: Range
    decays: Range | None
    make: Callable[[float, float], Program | TorchOptimizer]


# Three decades of learning rates and two of weight decays, with room on both sides of the best on the built-in tasks.
# Weight decay is decoupled (multiplied by the learning rate), but coupled (added to the gradient) in
# nesterov and sgd_momentum.
_ADAPTIVE, _PLAIN, _MATRICES = Range(3e-4, 3e-1), Range(1e-2, 1e1), Range(1e-3, 1e0)
_RANGES = {
    "adamw": (_ADAPTIVE, Range(1e-2, 1e0)),
    "torch_adamw": (_ADAPTIVE, Range(1e-2, 1e0)),
    "nadamw": (_ADAPTIVE, Range(1e-2, 1e0)),
    "nesterov": (_PLAIN, Range(1e-4, 1e-2)),
    "sgd_momentum": (_PLAIN, Range(1e-4, 1e-2)),
    "lion": (_ADAPTIVE, Range(1e-1, 1e1)),
    "signum": (_ADAPTIVE, Range(1e-1, 1e1)),
    "muon": (_MATRICES, Range(1e-2, 1e0)),
}
_AROUND = 10**1.5  # factor to either side of what a program has: nobody knows where its best lies
_USUAL_DECAY = 0.1  # around which to look where a program has a decay of zero


def _known(name: str) -> Competitor:
    def make(learning_rate: float, weight_decay: float) -> Program | TorchOptimizer:
        if name in TORCH_OPTIMIZERS:
            return TorchOptimizer(name, learning_rate, weight_decay)
        return with_decay(with_learning_rate(zoo.load(name), learning_rate), weight_decay)

    return Competitor(name, *_RANGES[name], make)


BASELINES = {name: _known(name) for name in _RANGES}


def competitor(name: str, program: Program) -> Competitor:
    """Any program: its `learning_rate` is a factor on its update, its weight decay the coefficient of w that it has.

    A program without weight decay gets none: what is tuned is the program, not another one.
    """
    own = decay_of(program)
    middle = own or _USUAL_DECAY
    decays = None if own is None else Range(middle / _AROUND, middle * _AROUND)

    def make(factor: float, weight_decay: float) -> Program:
        return scaled(program if own is None else with_decay(program, weight_decay), factor)

    return Competitor(name, Range(1 / _AROUND, _AROUND), decays, make)


def chosen(text: str) -> list[str]:
    """Names of baselines from a list with commas, or all of them.

    Raises:
        InputError: there is no such baseline.
    """
    names = list(BASELINES) if text == "all" else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in BASELINES:
            raise InputError(f"unknown baseline '{name}'; there are {', '.join(BASELINES)}, and 'all'")
    return list(dict.fromkeys(names))
