"""What the populations of an arm have found: the best program of each, after so many programs and at the end.

Best is the program whose fitness less its standard error is highest, of those that the population has met. What is
known of a program is known to all populations that have met it, whichever had it trained: so it is in a search.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from proxy_tasks.outcome import Status

from search.evolution.best import Best
from search.store import ProgramRow

MARKS = (128, 512, 2048)  # programs evaluated by a population


class Found(NamedTuple):
    """The best program of a population when it had evaluated so many; None where nothing had trained well."""

    programs: int
    best: ProgramRow | None


class Population:
    """One population of an arm.

    Attributes:
        marks: what it had found at the marks that it has reached.
        trained: the programs that the whole arm had trained by each birth of the population, divided by its
            populations.
        fitness: that of the best program at each birth of the population, minus infinity before there is any.
    """

    def __init__(self) -> None:
        self.marks: dict[int, Found] = {}
        self.trained: list[float] = []
        self.fitness: list[float] = []
        self._met: set[str] = set()
        self._best = Best()

    @property
    def end(self) -> Found:
        """What it has found in the end; programs count once, and those that were rejected untrained not at all."""
        return Found(len(self._met), self._best.row)

    def hear(self, row: ProgramRow) -> None:
        """Take in what a training, of whatever population, says of a program."""
        if row.key in self._met:
            self._best.count(row)

    def meet(self, row: ProgramRow) -> None:
        """Take in the program of one of its own births, with what is known of it."""
        if row.status == Status.REJECTED or row.key in self._met:
            return
        self._met.add(row.key)
        self._best.count(row)
        if len(self._met) in MARKS:
            self.marks[len(self._met)] = self.end

    def note(self, trained: float) -> None:
        """Note how far it is at one of its births."""
        self.trained.append(trained)
        self.fitness.append(-math.inf if self._best.fitness is None else self._best.fitness)


class Run(NamedTuple):
    """An arm that has run on the tasks of a contest: its births, training steps and populations."""

    births: int
    replica_steps: int
    populations: list[Population]


def run_of(rows: Iterable[ProgramRow], repeats: int) -> Run:
    """Return what a search has found.

    Args:
        rows: its births in order.
        repeats: its populations, which take turns.
    """
    populations = [Population() for _ in range(repeats)]
    known: dict[str, ProgramRow] = {}  # by key, as last trained
    births = trained = steps = 0
    for row in rows:
        births += 1
        steps += row.replica_steps
        if row.is_trained:
            trained += 1
            known[row.key] = row
            for population in populations:
                population.hear(row)
        own = populations[row.birth % repeats]
        own.meet(known.get(row.key, row))
        own.note(trained / repeats)
    return Run(births, steps, populations)
