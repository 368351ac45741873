"""Known optimizers that a search is measured against, and the grids over which they are tuned."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

from programs import zoo
from programs.knobs import with_decay, with_learning_rate
from programs.program import Program


class Grid(NamedTuple):
    """Peak learning rates x weight decays, in half decades."""

    learning_rates: tuple[float, ...]
    weight_decays: tuple[float, ...]


# The ranges leave room on both sides of the best on the built-in tasks. Weight decay is decoupled (multiplied by the
# learning rate) in AdamW and Lion, coupled (added to the gradient) in SGD.
BASELINES = {
    "adamw": Grid((3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1), (0.0, 1e-2, 1e-1, 1.0)),
    "lion": Grid((3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1), (0.0, 1e-1, 1e0, 1e1)),
    "sgd_momentum": Grid((1e-2, 3e-2, 1e-1, 3e-1, 1e0, 3e0, 1e1), (0.0, 1e-4, 1e-3, 1e-2)),
}


class Trial(NamedTuple):
    """A baseline with its constants set."""

    program: Program
    learning_rate: float
    weight_decay: float


def trials(name: str) -> list[Trial]:
    """Every point of the baseline's grid."""
    return [
        Trial(with_decay(with_learning_rate(zoo.load(name), lr), wd), lr, wd) for lr, wd in product(*BASELINES[name])
    ]
