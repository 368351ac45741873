"""How high the hurdles are: learned from the programs that a search has trained to the end.

The bound at a point of training is the highest loss that any of the better half of the finished programs had there: a
program that trains worse than all of these would have to do what none of them did. Quantiles of the population, as in
other systems, drop slow starters that end among the best.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from proxy_tasks import Hurdle

from search.settings.settings import Hurdles

REMEMBERED = 2000  # the latest programs trained to the end


class FinishedProgram(NamedTuple):
    """A program trained to the end: its fitness, and its losses at the hurdles, task by task."""

    fitness: float
    hurdle_losses: Sequence[float]


def learned_hurdles(finished: Collection[FinishedProgram], settings: Hurdles) -> list[list[Hurdle]]:
    """Return the hurdles of each task; none as long as too few programs are finished."""
    if len(finished) < settings.after:
        return []
    ranked = sorted(finished, key=lambda program: -program.fitness)
    better = ranked[: math.ceil(settings.better_part * len(ranked))]
    losses = np.array([program.hurdle_losses for program in better])  # [programs, tasks x points]
    bounds = np.quantile(losses, settings.quantile, axis=0).reshape(-1, len(settings.points))
    return [[Hurdle(p, float(b)) for p, b in zip(settings.points, task, strict=True)] for task in bounds]
