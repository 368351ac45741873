"""Regularized evolution (Real et al., arXiv 1802.01548): a tournament picks the parent, the oldest member dies."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from random import Random
from typing import NamedTuple

from programs.program import Program


class Member(NamedTuple):
    """One of the population. `fitness` is -inf for a program that has none."""

    birth: int
    program: Program
    key: str
    fitness: float = -math.inf


class Population:
    """The last `size` members, oldest first."""

    def __init__(self, size: int, members: Iterable[Member]) -> None:
        self._members = deque(members, maxlen=size)

    @classmethod
    def of_start(cls, size: int, start: Program, key: str) -> Population:
        """All members are the start program, birth 0."""
        return cls(size, [Member(0, start, key)] * size)

    def copy(self) -> Population:
        return Population(self._members.maxlen or 0, self._members)

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
