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
    fitness: float = -math.inf


class Population:
    """The last `size` members, oldest first."""

    def __init__(self, size: int, members: Iterable[Member]) -> None:
        self._members = deque(members, maxlen=size)

    @classmethod
    def of_start(cls, size: int, start: Program) -> Population:
        """All members are the start program, birth 0."""
        return cls(size, [Member(0, start)] * size)

    def copy(self) -> Population:
        return Population(self._members.maxlen or 0, self._members)

    def add(self, member: Member) -> None:
        """The newest joins; at full size the oldest dies."""
        self._members.append(member)

    def tournament(self, rng: Random, contestants: int) -> Member:
        """The fittest of some members drawn with replacement; of equals, the first drawn."""
        drawn = [self._members[int(rng.random() * len(self._members))] for _ in range(contestants)]
        return max(drawn, key=lambda member: member.fitness)
