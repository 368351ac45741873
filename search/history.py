"""The history of a search as a pure function of its settings: drawing batches of births, folding them when committed.

Batch j is drawn from the population and the scores as they stand after batch j - lookahead, plus its own births whose
score was already known, which join at once. So nothing here depends on who trains what, when, or how often the search
was interrupted.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from random import Random
from typing import NamedTuple

from programs.dataflow import N_INPUTS
from programs.hashing import dataflow_hash
from programs.liveness import live
from programs.mutation import mutate
from programs.program import Program, parse

from search.config import Strategy
from search.evaluation import Candidate, Score
from search.evolution import Member, Population
from search.store import IndividualRow

MOST_BIRTHS = 64  # times the batch size: a batch ends here even if hardly any birth is new

TRAINING, BY_HASH, IN_FLIGHT = "training", "hash", "in_flight"


class Birth(NamedTuple):
    """One program drawn. `score` is known at the draw only if the cache holds it."""

    number: int
    parent: int | None
    mutation: str
    program: Program
    key: str
    answered_by: str
    score: Score | None


@dataclass
class Batch:
    """Births drawn together, and the scores of those that had to be trained once these are known."""

    index: int
    births: list[Birth] = field(default_factory=list)
    scores: dict[str, Score] = field(default_factory=dict)
    committed: bool = False

    def to_train(self) -> list[Candidate]:
        return [Candidate(b.key, b.program) for b in self.births if b.answered_by == TRAINING]


class Shape(NamedTuple):
    """What shapes the history besides the strategy."""

    seed: int
    batch: int
    lookahead: int


class History:
    """Population and scores after some batch, and the window of batches drawn since."""

    def __init__(self, strategy: Strategy, shape: Shape, start: Program) -> None:
        self._strategy = strategy
        self._shape = shape
        self._start = start
        self._population = Population.of_start(strategy.population, start)
        self._scores: dict[str, Score] = {}
        self.window: deque[Batch] = deque()
        self.next_birth = 0
        self.next_batch = 0
        self.committed_births = 0

    # --- drawing -------------------------------------------------------------------------------------------------

    def draw(self, last_birth: float = math.inf) -> Batch:
        """The next batch: births up to `batch` new programs; it ends early at birth `last_birth` (exclusive)."""
        population = self._population.copy()
        in_flight = {c.key for batch in self.window for c in batch.to_train()}
        batch = Batch(self.next_batch)
        new = 0
        while (
            new < self._shape.batch
            and len(batch.births) < MOST_BIRTHS * self._shape.batch
            and self.next_birth < last_birth
        ):
            birth = self._bear(population, in_flight)
            batch.births.append(birth)
            if birth.answered_by == TRAINING:
                in_flight.add(birth.key)
                new += 1
            elif birth.score is not None:
                population.add(_member(birth, birth.score))
            self.next_birth += 1
        self.window.append(batch)
        self.next_batch += 1
        return batch

    def _bear(self, population: Population, in_flight: set[str]) -> Birth:
        number = self.next_birth
        if number == 0:
            parent, program, mutation = None, self._start, "start"
        else:
            rng = Random((self._shape.seed << 64) | number)
            winner = population.tournament(rng, self._strategy.tournament)
            program, mutation = mutate(winner.program, rng, self._strategy.max_statements)
            parent = winner.birth
        key = dataflow_hash(program)
        score = self._scores.get(key)
        answered_by = BY_HASH if score else IN_FLIGHT if key in in_flight else TRAINING
        return Birth(number, parent, mutation, program, key, answered_by, score)

    # --- committing ----------------------------------------------------------------------------------------------

    def rows(self, batch: Batch) -> list[IndividualRow]:
        """The births of the window's first batch as rows, its scores being known; those in the store are left out."""
        rows = []
        for birth in batch.births:
            if birth.number < self.committed_births:
                continue
            score = self._final_score(birth, batch)
            liveness = live(birth.program.dataflow)
            live_statements = sum(node >= N_INPUTS for node in liveness.nodes)
            rows.append(
                IndividualRow(
                    birth.number, batch.index, birth.parent, birth.mutation, str(birth.program), birth.key,
                    birth.answered_by, len(birth.program), live_statements, len(liveness.states), *score,
                )
            )  # fmt: skip
        return rows

    def fold(self) -> None:
        """The first batch of the window, its scores known, joins population and cache."""
        batch = self.window[0]
        for birth in batch.births:
            self._population.add(_member(birth, self._final_score(birth, batch)))
        self._scores.update(batch.scores)
        self.committed_births = max(self.committed_births, batch.births[-1].number + 1)
        self.window.popleft()

    def _final_score(self, birth: Birth, batch: Batch) -> Score:
        """A twin of a program in flight takes its score, which an earlier batch or this one has brought."""
        if birth.score is not None:
            return birth.score
        return batch.scores.get(birth.key) or self._scores[birth.key]

    # --- going on ------------------------------------------------------------------------------------------------

    def replay(self, rows: Iterable[IndividualRow]) -> None:
        """Stand where the run that wrote these births stood when it drew its next batch.

        The last batch is drawn anew if it was cut short by a budget; its births in the store are not written again.
        """
        recent: deque[IndividualRow] = deque(maxlen=self._strategy.population)
        waiting: deque[list[IndividualRow]] = deque()
        for _, group in groupby(rows, key=lambda row: row.batch):
            waiting.append(list(group))
            if len(waiting) > self._shape.lookahead:
                self._remember(waiting.popleft(), recent)
        if waiting:
            self.committed_births = waiting[-1][-1].birth + 1
            if not self._is_full(waiting[-1]):
                waiting.pop()
        while len(waiting) >= self._shape.lookahead:
            self._remember(waiting.popleft(), recent)
        for row in recent:
            self._population.add(_member(_birth(row), _score(row)))
        self.window.extend(_committed_batch(group) for group in waiting)
        last = waiting[-1][-1] if waiting else recent[-1] if recent else None
        if last is not None:
            self.next_batch, self.next_birth = last.batch + 1, last.birth + 1

    def _remember(self, group: list[IndividualRow], recent: deque[IndividualRow]) -> None:
        """Fold a batch without reading its genomes: only the youngest members will be needed."""
        self._scores.update((row.key, _score(row)) for row in group if row.answered_by == TRAINING)
        recent.extend(group)

    def _is_full(self, group: list[IndividualRow]) -> bool:
        trained = sum(row.answered_by == TRAINING for row in group)
        return trained == self._shape.batch or len(group) == MOST_BIRTHS * self._shape.batch


def _member(birth: Birth, score: Score) -> Member:
    return Member(birth.number, birth.program, -math.inf if score.fitness is None else score.fitness)


def _score(row: IndividualRow) -> Score:
    return Score(row.status, row.fitness, row.reason)


def _birth(row: IndividualRow) -> Birth:
    program = parse(row.genome, f"program of birth {row.birth} in the store")
    return Birth(row.birth, row.parent_birth, row.mutation, program, row.key, row.answered_by, _score(row))


def _committed_batch(group: list[IndividualRow]) -> Batch:
    scores = {row.key: _score(row) for row in group if row.answered_by == TRAINING}
    return Batch(group[0].batch, [_birth(row) for row in group], scores, committed=True)
