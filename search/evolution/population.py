"""Regularized evolution (Real et al., arXiv 1802.01548): a tournament picks the parent, the oldest member dies."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from copy import copy
from random import Random
from typing import NamedTuple

from programs.program import Program, parse


class Member(NamedTuple):
    """One of a population. `fitness` is -inf for a program that has none."""

    birth: int
    program: Program | str  # its text, as long as nobody needs to read it
    key: str
    fitness: float = -math.inf

    def read(self) -> Member:
        """With the program itself."""
        if isinstance(self.program, Program):
            return self
        return self._replace(program=parse(self.program, f"program of birth {self.birth} in the store"))


class Population:
    """The last `size` members, oldest first."""

    def __init__(self, size: int, members: Iterable[Member]) -> None:
        self._members = deque(members, maxlen=size)

    @classmethod
    def of(cls, size: int, member: Member) -> Population:
        """All members are the same."""
        return cls(size, [member] * size)

    def copy(self) -> Population:
        return Population(self._members.maxlen or 0, self._members)

    def read(self) -> Population:
        """With programs in place of texts, each parsed once."""
        known: dict[Program | str, Program | str] = {}
        for program in {member.program for member in self._members if isinstance(member.program, str)}:
            known[program] = parse(program, "program in the store")
        return Population(
            self._members.maxlen or 0, [m._replace(program=known.get(m.program, m.program)) for m in self._members]
        )

    def add(self, member: Member) -> None:
        """The newest joins; at full size the oldest dies."""
        self._members.append(member)

    def correct(self, key: str, fitness: float) -> None:
        """What is known of the members with this key has changed."""
        members = [m._replace(fitness=fitness) if m.key == key else m for m in self._members]
        self._members = deque(members, maxlen=self._members.maxlen)

    def tournament(self, rng: Random, contestants: int) -> Member:
        """The fittest of some members drawn with replacement; of equals, the first drawn."""
        drawn = [self._members[int(rng.random() * len(self._members))] for _ in range(contestants)]
        return max(drawn, key=lambda member: member.fitness)

    def lengths(self) -> list[int]:
        """Statements of each member."""
        return [len(member.program) for member in self._members if isinstance(member.program, Program)]


class _Island:
    """One of the populations side by side: where it began, and its best so far."""

    def __init__(self, size: int, start: Member) -> None:
        self.generation = 0
        self.start = self.best = start
        self.population = Population.of(size, start)

    def copy(self) -> _Island:
        island = copy(self)
        island.population = self.population.copy()
        return island


class Populations:
    """Populations side by side, taking turns: birth b is of population b modulo their number.

    A population restarts after a number of its births: from the start program, or from its own best by then. What was
    drawn before a restart and is committed after it no longer joins.

    Args:
        size: of each.
        repeats: their number.
        start: what each begins with; its birth is the first of the population's own.
        restart_after: births of a population between restarts, None for no restart.
        restart_from_best: and not from the start program.
    """

    def __init__(
        self, size: int, repeats: int, start: Member, restart_after: int | None = None, restart_from_best: bool = False
    ) -> None:
        self._size = size
        self._restart_after = restart_after
        self._from_best = restart_from_best
        self._islands = [_Island(size, start._replace(birth=number)) for number in range(repeats)]

    def copy(self) -> Populations:
        """Members are shared, membership is not."""
        populations = copy(self)
        populations._islands = [island.copy() for island in self._islands]
        return populations

    def read(self) -> None:
        """Parse the programs of all members that are texts."""
        for island in self._islands:
            island.population = island.population.read()

    def parents_of(self, birth: int) -> Population:
        """The population that this birth's parent is drawn from."""
        island = self._islands[birth % len(self._islands)]
        if self._generation(birth) > island.generation:  # it has restarted, and none of the new ones is known yet
            return Population.of(self._size, self._first(island))
        return island.population

    def join(self, member: Member, corrects: bool = False) -> None:
        """A birth joins its population. `corrects`: what was known of its key before no longer holds, anywhere."""
        island = self._islands[member.birth % len(self._islands)]
        if corrects:
            for other in self._islands:
                other.population.correct(member.key, member.fitness)
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

    def _first(self, island: _Island) -> Member:
        """What all members of a restarted population are."""
        if not self._from_best:
            return island.start
        island.best = island.best.read()
        return island.best
