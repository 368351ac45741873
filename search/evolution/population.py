"""Regularized evolution (Real et al., arXiv 1802.01548): a tournament picks the parent, the oldest member dies.

parent = population.tournament(rng, T)      # draw T members, take the best
child = mutate(parent.genome.program)       # mutate it
population.add(child)                       # keep the last P
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from copy import copy
from itertools import cycle, islice
from random import Random
from typing import NamedTuple

from search.evolution.births import Genome


class Member(NamedTuple):
    """A member of a population. `fitness` is -inf for a program that has none."""

    birth: int
    genome: Genome
    key: str
    fitness: float = -math.inf


class Population:
    """The last `size` members, oldest first."""

    def __init__(self, size: int, members: Iterable[Member]) -> None:
        self._members = deque(members, maxlen=size)

    @classmethod
    def of(cls, size: int, members: Sequence[Member]) -> Population:
        """Return a population in which these members take turns."""
        return cls(size, islice(cycle(members), size))

    def copy(self) -> Population:
        """Return a population with the same members."""
        return Population(self._members.maxlen or 0, self._members)

    def add(self, member: Member) -> None:
        """Add the newest member; at full size the oldest dies."""
        self._members.append(member)

    def tournament(self, rng: Random, contestants: int) -> Member:
        """Return the fittest of some members drawn with replacement; of equals, the first drawn."""
        drawn = [self._members[int(rng.random() * len(self._members))] for _ in range(contestants)]
        return max(drawn, key=lambda member: member.fitness)


class _Island:
    """One of the populations: where it began, and its best so far."""

    def __init__(self, size: int, starts: Sequence[Member]) -> None:
        self.generation = 0
        self.starts = starts
        self.best = starts[0]
        self.population = Population.of(size, starts)

    def copy(self) -> _Island:
        island = copy(self)
        island.population = self.population.copy()
        return island


class Populations:
    """Populations that take turns: birth b belongs to population b modulo their number.

    A population restarts after a number of its births: from the start programs, or from its own best until then. What
    was drawn before a restart and is committed after it no longer joins. The first births of a population are the
    programs that it begins with.

    Args:
        size: of each population.
        repeats: the number of populations.
        starts: what each begins with; their births are replaced by the first of the population's own.
        restart_after: births of a population between restarts, None for no restart.
        restart_from_best: whether to restart from the best program rather than from the start programs.
    """

    def __init__(
        self,
        size: int,
        repeats: int,
        starts: Sequence[Member],
        restart_after: int | None = None,
        restart_from_best: bool = False,
    ) -> None:
        self._size = size
        self._restart_after = restart_after
        self._from_best = restart_from_best
        self._islands = [
            _Island(size, [start._replace(birth=place * repeats + number) for place, start in enumerate(starts)])
            for number in range(repeats)
        ]

    def copy(self) -> Populations:
        """Return populations with the same members, which may then change on their own."""
        populations = copy(self)
        populations._islands = [island.copy() for island in self._islands]
        return populations

    def parents_of(self, birth: int) -> Population:
        """Return the population from which the parent of a birth is drawn."""
        island = self._islands[birth % len(self._islands)]
        if self._generation(birth) > island.generation:  # it has restarted, and no birth since then is known yet
            return Population.of(self._size, self._first(island))
        return island.population

    def join(self, member: Member) -> None:
        """Add a birth to its population."""
        island = self._islands[member.birth % len(self._islands)]
        generation = self._generation(member.birth)
        if generation > island.generation:
            island.generation = generation
            island.population = Population.of(self._size, self._first(island))
        if generation == island.generation:
            island.population.add(member)
        if member.fitness > island.best.fitness:
            island.best = member

    def _generation(self, birth: int) -> int:
        return 0 if self._restart_after is None else birth // len(self._islands) // self._restart_after

    def _first(self, island: _Island) -> Sequence[Member]:
        """Return the members that a restarted population consists of."""
        return [island.best] if self._from_best else island.starts
