"""What a population of structures holds: the best programs of the best structures, and how its constants are moved.

Structures that move weights alike are one: of the children of a good program many do nearly what it does, and would
fill the island.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from programs.behaviour import distance

from proxy_tasks.outcome import Status

from search.evolution.births import Genome
from search.evolution.estimates import Estimate
from search.training.service import Score

RECORDS = 8  # programs kept of a structure
FIRST_STEP = 0.5  # of constants, on their scales
STEPS = (0.02, 1.5)  # the smallest and the largest
GROWTH = 1.4  # of the step with a success; four failures take it back


class Record(NamedTuple):
    """A program that trains, and what is known of it."""

    birth: int
    genome: Genome
    key: str
    structure: str
    """Hash of its structure, or in an island of the first of those that are alike."""
    estimate: Estimate
    by_seed: tuple[float, ...] = ()
    sizes: tuple[float, ...] = ()
    """What is to be small besides: states for each weight, live statements, as far as they are objectives."""

    @property
    def score(self) -> Score:
        """What is known of it as a score."""
        return Score(Status.OK, self.estimate.fitness, None, len(self.by_seed), self.estimate.standard_error,
                     by_seed=self.by_seed)  # fmt: skip


class Island:
    """The structures of one population.

    Args:
        starts: the start programs.
        size: structures that it holds.
        radius: distance of behaviour below which structures are alike; with 0 all are apart.
    """

    def __init__(self, starts: Sequence[Record], size: int, radius: float) -> None:
        self.starts = starts
        self.size = size
        self.radius = radius
        self.records: dict[str, Record] = {start.key: start for start in starts}
        self.tries: Counter[str] = Counter()
        self.wins: Counter[str] = Counter()
        self.since_gain = 0
        self.highest = -math.inf
        self._alike = {start.structure: start.structure for start in starts}

    def best_of_structures(self) -> list[Record]:
        """Return the fittest record of each structure, best first; of equals, the oldest.

        Where sizes are objectives, records that fewer others dominate come first.
        """
        best: dict[str, Record] = {}
        for record in sorted(self.records.values(), key=fittest_first):
            best.setdefault(record.structure, record)
        ranked = list(best.values())
        if ranked[0].sizes:
            ranks = {one.key: sum(dominates(other, one) for other in ranked) for one in ranked}
            ranked.sort(key=lambda one: ranks[one.key])
        return ranked

    def add(self, record: Record) -> None:
        """Take in a record, or a new estimate of one that is here, and drop what is beyond the size."""
        record = record._replace(structure=self._first_alike(record))
        self.records[record.key] = record
        self.starts = [record if start.key == record.key else start for start in self.starts]  # to begin anew from
        ranked = self.best_of_structures()
        highest = max(one.estimate.fitness for one in ranked)
        if highest > self.highest:
            self.highest, self.since_gain = highest, 0
        dropped = {one.structure for one in ranked[self.size :]}
        own = sorted(
            (one for one in self.records.values() if one.structure == record.structure),
            key=fittest_first,
        )
        self.records = {
            key: one for key, one in self.records.items() if one.structure not in dropped and one not in own[RECORDS:]
        }

    def _first_alike(self, record: Record) -> str:
        """Return the structure that a record counts as: of the nearest program within the radius, or its own."""
        if record.structure not in self._alike:
            found, nearest = record.structure, self.radius
            for other in self.records.values() if self.radius > 0 else ():
                if other.sizes == record.sizes:
                    apart = distance(other.genome.program, record.genome.program)
                    if apart < nearest:
                        found, nearest = other.structure, apart
            self._alike[record.structure] = found
        return self._alike[record.structure]

    def parent(self, birth: int | None) -> Record | None:
        """Return the record of a birth, if it is still here."""
        return next((one for one in self.records.values() if one.birth == birth), None)

    def step(self, structure: str) -> float:
        """Return the step of the constants of a structure."""
        wins = self.wins[structure]
        failures = self.tries[structure] - wins
        return float(min(max(FIRST_STEP * GROWTH ** (wins - failures / 4), STEPS[0]), STEPS[1]))


def dominates(one: Record, other: Record) -> bool:
    """Return whether a record is better than another in something and worse in nothing, beyond the noise of fitness."""
    gain = one.estimate.fitness - other.estimate.fitness
    noise = math.hypot(one.estimate.standard_error, other.estimate.standard_error)
    if gain < -noise or any(a > b for a, b in zip(one.sizes, other.sizes, strict=True)):
        return False
    return gain > noise or one.sizes != other.sizes


def fittest_first(record: Record) -> tuple[float, int]:
    """Return what sorts records: the fittest first; of equals, the oldest."""
    return -record.estimate.fitness, record.birth


def best_of(islands: Iterable[Island]) -> list[Record]:
    """Return the best record of each structure that trains, of all these islands, best first."""
    records = [record for island in islands for record in island.records.values()]
    best: dict[str, Record] = {}
    for record in sorted(records, key=lambda record: (-record.estimate.lower, record.birth)):
        if math.isfinite(record.estimate.fitness):
            best.setdefault(record.structure, record)
    return list(best.values())
