"""Baselines, and what tuning does with them and with any other program: one row says everything about a baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from programs import zoo
from programs.errors import InputError
from programs.hyperparameters import decay_of, scaled, with_decay, with_learning_rate
from programs.program import Program

from proxy_tasks.outcome import TorchOptimizer

TRIALS = 28  # of each competitor in a tuning
TORCH_ADAMW, PLAIN_ADAMW = "torch_adamw", "adamw"
"""What people call AdamW, `torch.optim.AdamW`, and the one of the Lion paper, which corrects no bias."""

Value = TypeVar("Value")


class Range(NamedTuple):
    """Positive numbers from `low` to `high`, drawn uniformly on a logarithmic scale."""

    low: float
    high: float


class Competitor(NamedTuple):
    """What is tuned: over which ranges at first, and how it is made from a learning rate and a weight decay.

    `decays` is None where there is no weight decay to be tuned. Trials begin within the ranges; where the best lies at
    an edge, later trials go beyond it.
    """

    name: str
    rates: Range
    decays: Range | None
    make: Callable[[float, float], Program | TorchOptimizer]


def _zoo(name: str, rates: Range, decays: Range) -> Competitor:
    """Return the row of a program of the zoo: its learning rate and its weight decay are tuned."""

    def make(learning_rate: float, weight_decay: float) -> Program:
        return with_decay(with_learning_rate(zoo.load(name), learning_rate), weight_decay)

    return Competitor(name, rates, decays, make)


def _torch(name: str, rates: Range, decays: Range) -> Competitor:
    """Return the row of an optimizer of `TORCH_OPTIMIZERS`, for rules that no one program says; tuned alike."""
    return Competitor(name, rates, decays, lambda rate, decay: TorchOptimizer(name, rate, decay))


# Three decades of learning rates and two of weight decays, wide enough on both sides of the best on the built-in tasks.
# Weight decay is decoupled (multiplied by the learning rate), but coupled (added to the gradient) in nesterov and
# sgd_momentum.
_ADAPTIVE, _PLAIN = Range(3e-4, 3e-1), Range(1e-2, 1e1)
_LIKE_ADAMW = (
    "adabelief", "adafactor", "adopt", "cautious_adamw", "grams", "lamb", "laprop", "mars_lion", "muon", "normuon",
    "radam", "scion",
)  # fmt: skip
BASELINES = {
    row.name: row
    for row in (
        _zoo("adamw", _ADAPTIVE, Range(1e-2, 1e0)),
        _zoo("torch_adamw", _ADAPTIVE, Range(1e-2, 1e0)),
        _zoo("nadamw", _ADAPTIVE, Range(1e-2, 1e0)),
        _zoo("nesterov", _PLAIN, Range(1e-4, 1e-2)),
        _zoo("sgd_momentum", _PLAIN, Range(1e-4, 1e-2)),
        _zoo("lion", _ADAPTIVE, Range(1e-1, 1e1)),
        _zoo("signum", _ADAPTIVE, Range(1e-1, 1e1)),
        _torch("torch_muon", Range(1e-3, 1e0), Range(1e-2, 1e0)),
        *(_zoo(name, _ADAPTIVE, Range(1e-2, 1e0)) for name in _LIKE_ADAMW),
    )
}


def adamw_among(baselines: Mapping[str, Value]) -> Value | None:
    """Return what is known of AdamW: of torch's if that is there, otherwise of the paper's; None if neither is."""
    return baselines.get(TORCH_ADAMW, baselines.get(PLAIN_ADAMW))


def is_program(name: str) -> bool:
    """Return whether a baseline is a program of the language."""
    row = BASELINES[name]
    return isinstance(row.make(row.rates.low, 0.0 if row.decays is None else row.decays.low), Program)


_HALF_RANGE = 10**1.5  # factor to either side of a program's own constants, since its best may lie on either side
_DECAY_FOR_ZERO = 0.1  # the middle of the range of decays for a program whose decay is zero


def competitor(name: str, program: Program) -> Competitor:
    """Return what is tuned of any program: a factor on its update as `learning_rate`, and its own weight decay.

    A program without weight decay gets none, since then another program would be tuned.
    """
    own = decay_of(program)
    middle = own or _DECAY_FOR_ZERO
    decays = None if own is None else Range(middle / _HALF_RANGE, middle * _HALF_RANGE)

    def make(factor: float, weight_decay: float) -> Program:
        return scaled(program if own is None else with_decay(program, weight_decay), factor)

    return Competitor(name, Range(1 / _HALF_RANGE, _HALF_RANGE), decays, make)


def chosen(text: str) -> list[str]:
    """Return the names of baselines in a list with commas, or of all of them for `all`.

    Raises:
        InputError: there is no such baseline.
    """
    names = list(BASELINES) if text == "all" else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in BASELINES:
            raise InputError(f"unknown baseline '{name}'; there are {', '.join(BASELINES)}, and 'all'")
    return list(dict.fromkeys(names))
