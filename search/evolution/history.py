"""The history of a search as a pure function of its settings: drawing batches of births, folding them when committed.

Batch j is drawn from the strategy and the cache as they stand after batch j - lookahead, plus its own births whose
score was already known, which the strategy may take in at once. So nothing here depends on who trains what, when, or
how often the search was interrupted. Programs from outside are given before a batch is drawn, and are the next births
of their population.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import groupby
from random import Random
from typing import NamedTuple

from programs.hashing import dataflow_hash
from programs.mutation import PAPER
from programs.ops import Op
from programs.program import Program
from programs.proposals import Material

from proxy_tasks import Hurdle
from proxy_tasks.outcome import Status

from search.evolution.births import Batch, Birth, Genome, Given, Proposal
from search.evolution.cache import Cache, of_twin
from search.evolution.constraints import Constraints
from search.evolution.estimates import Estimator
from search.evolution.hurdles import REMEMBERED, FinishedProgram, learned_hurdles
from search.evolution.islands import Record, best_of
from search.evolution.strategies import Draw, RandomPrograms, RegularizedEvolution, Strategy
from search.evolution.structures import StructureEvolution
from search.settings.settings import Dedup, Hurdles
from search.settings.settings import Strategy as StrategySettings
from search.store import ProgramRow
from search.store.keys import REJECTED, Answer
from search.training.service import Score, identify

OUTSIDE = "outside"  # the mutation of programs from outside
MOST_TOLD = 10  # of the best programs, and of failures, to who is asked for others
MOST_BIRTHS = 64  # times the batch size: a batch ends here even if hardly any birth is new


class HistorySettings(NamedTuple):
    """What decides the history besides strategy and dedup.

    `estimator`: says what a program is worth that is raced over seeds; None where all are trained on the same seeds
    and nothing is known of the noise. `functions`: those that are drawn. `constraints`: what is not trained because of
    its size. `donors`: programs of which new ones may have parts.
    """

    seed: int
    batch: int
    lookahead: int
    estimator: Estimator | None = None
    hurdles: Hurdles | None = None
    functions: Sequence[Op] = PAPER
    constraints: Constraints = Constraints()
    donors: Sequence[Program] = ()


class Failure(NamedTuple):
    """A program that was of no use, and why."""

    text: str
    reason: str


class Known(NamedTuple):
    """What is known of a population: its best programs, each of another structure, and what failed last."""

    best: list[Record]
    failed: list[Failure]


class History:
    """Strategy and cache after some batch, and the window of batches drawn since."""

    def __init__(
        self, strategy: StrategySettings, dedup: Dedup, settings: HistorySettings, starts: Sequence[Program]
    ) -> None:
        self._dedup = dedup
        self._settings = settings
        self._estimator = settings.estimator
        self._strategy = _strategy(strategy, dedup, settings, starts)
        # Large enough that what is in flight is never forgotten before its twins are committed.
        self._cache = Cache(max(dedup.cache, MOST_BIRTHS * settings.batch * settings.lookahead))
        self._finished: deque[FinishedProgram] = deque(maxlen=REMEMBERED)
        self._waiting: list[deque[Program]] = [deque() for _ in range(strategy.repeats)]  # from outside
        self._failed: list[deque[tuple[Birth, str]]] = [deque(maxlen=MOST_TOLD) for _ in range(strategy.repeats)]
        self.window: deque[Batch] = deque()
        self.next_birth = 0
        self.next_batch = 0
        self.committed_births = 0

    # --- drawing -------------------------------------------------------------------------------------------------

    def draw(self, last_birth: float = math.inf) -> Batch:
        """Return the next batch: births up to `batch` new programs; it ends early at birth `last_birth` (exclusive).

        Where programs are raced, what one of them costs on its first rung is the unit of `batch`.
        """
        strategy = self._strategy.draw(self.window)
        in_flight = {birth.key for batch in self.window for birth in batch.trained}
        batch = Batch(self.next_batch, hurdles=self._hurdles())
        while not self._is_full(batch) and self.next_birth < last_birth:
            birth = self._bear(strategy, in_flight)
            batch.births.append(birth)
            if birth.is_trained:
                in_flight.add(birth.key)
            strategy.note(birth)
            self.next_birth += 1
        self.window.append(batch)
        self.next_batch += 1
        return batch

    def _is_full(self, batch: Batch) -> bool:
        spent = sum(self._cost(birth) for birth in batch.births if birth.is_trained)
        return spent >= self._settings.batch or len(batch.births) >= MOST_BIRTHS * self._settings.batch

    def _cost(self, birth: Birth) -> float:
        """Return the trainings of a birth over those of a program on its first rung."""
        if self._estimator is None or not birth.rung:
            return 1.0
        return self._estimator.rungs.added(birth.rung) / self._estimator.rungs.added(0)

    def _hurdles(self) -> list[list[Hurdle]]:
        settings = self._settings.hurdles
        return learned_hurdles(self._finished, settings) if settings is not None else []

    def _bear(self, strategy: Draw, in_flight: set[str]) -> Birth:
        rng = Random((self._settings.seed << 64) | self.next_birth)
        waiting = self._waiting[self._population_of(self.next_birth)]
        proposal = Proposal(waiting.popleft(), OUTSIDE) if waiting else strategy.propose(self.next_birth, rng)
        birth = self._recognise(proposal, in_flight)
        for extra in range(1, self._dedup.remutate + 1):
            if birth.key != proposal.parent_key or birth.rung:
                break
            again = strategy.again(birth.genome.program, rng)
            birth = self._recognise(
                proposal._replace(program=again, mutation=f"{proposal.mutation}+{extra}"), in_flight
            )
        return birth

    def _recognise(self, proposal: Proposal, in_flight: set[str]) -> Birth:
        """Look for the program by its hash; by its fingerprint if the hash is new; then for a score under its key."""
        program = proposal.program
        hashed = dataflow_hash(program)
        forbidden = self._settings.constraints.broken_by(program)
        if forbidden is not None:
            rejected = Score(Status.REJECTED, None, forbidden)
            return self._birth(proposal, hashed, _untrained_key(hashed), Answer.CONSTRAINT, rejected)
        key = self._cache.key_of(hashed)
        rejection = None
        known: Score | None
        if known_hash := key is not None:
            known = self._cache.score_of(key)
        else:
            key, rejection = identify(program, hashed, self._dedup)
            known = self._cache.score_of(key)
        if rejection is not None:
            answered_by, known = Answer.REJECTION, Score(Status.REJECTED, None, rejection)
        elif key in in_flight:
            answered_by, known = Answer.IN_FLIGHT, None
        elif proposal.rung:
            answered_by, known = Answer.REEVALUATION, proposal.known
        elif known is None:
            answered_by = Answer.TRAINING
        else:
            answered_by = Answer.HASH if known_hash else Answer.FINGERPRINT
        return self._birth(proposal, hashed, key, answered_by, known)

    def _birth(self, proposal: Proposal, hashed: str, key: str, answered_by: Answer, score: Score | None) -> Birth:
        return Birth(
            self.next_birth, proposal.parent, proposal.mutation, Genome(proposal.program), hashed, key, answered_by,
            score, proposal.rung if answered_by == Answer.REEVALUATION else 0,
        )  # fmt: skip

    # --- outside -------------------------------------------------------------------------------------------------

    def give(self, given: Given) -> None:
        """Let programs be the next births of their population."""
        self._waiting[given.population].extend(given.programs)

    def known(self, population: int) -> Known:
        """Return what is known of a population where the next batch is drawn."""
        assert isinstance(self._strategy, StructureEvolution)
        failed = [Failure(birth.genome.text, reason) for birth, reason in self._failed[population]]
        return Known(best_of(self._strategy.islands[population])[:MOST_TOLD], failed)

    def _population_of(self, birth: int) -> int:
        return birth % len(self._waiting)

    # --- committing ----------------------------------------------------------------------------------------------

    def finish(self, batch: Batch, scores: Mapping[str, Score]) -> list[ProgramRow]:
        """Give the window's first batch the scores of its trainings; return its births that are not yet in the store.

        A twin of a program in flight takes the score that an earlier batch or an earlier birth of this one brought.
        """
        brought: dict[str, Score] = {}
        for birth in batch.births:
            score = birth.score
            if birth.is_trained:
                score = brought[birth.key] = self._strategy.judge(birth, scores[birth.key])
            elif score is None:
                score = brought.get(birth.key) or self._cache.score_of(birth.key)
                assert score is not None
                score = of_twin(score)
            batch.scores.append(score)
        pairs = zip(batch.births, batch.scores, strict=True)
        layouts = self._settings.constraints.layouts
        return [
            birth.row(score, batch.index, layouts) for birth, score in pairs if birth.number >= self.committed_births
        ]

    def fold(self) -> None:
        """Let the first batch of the window, its scores known, join population and cache."""
        batch = self.window.popleft()
        self._fold(batch)
        self.committed_births = max(self.committed_births, batch.births[-1].number + 1)

    def _fold(self, batch: Batch) -> None:
        for birth, score in zip(batch.births, batch.scores, strict=True):
            self._strategy.join(birth, score)
            if birth.answered_by == Answer.TRAINING and score.fitness is not None and score.hurdle_losses is not None:
                self._finished.append(FinishedProgram(score.fitness, score.hurdle_losses))
            if birth.answered_by != Answer.CONSTRAINT:
                self._cache.note(birth.dataflow_hash, birth.key, score, replace=birth.is_trained)
            if score.fitness is None and (birth.is_trained or birth.answered_by in REJECTED):
                self._failed[self._population_of(birth.number)].append((birth, score.reason or score.status))

    # --- going on ------------------------------------------------------------------------------------------------

    def replay(self, rows: Iterable[ProgramRow], given: Iterable[Given] = ()) -> None:
        """Stand where the run that wrote these births stood when it drew its next batch.

        The last batch is drawn anew if it was cut short by a budget; its births in the store are not written again.

        Args:
            rows: the births.
            given: what was given from outside, in order. What was given for the next batch, or later, is not taken in.
        """
        outside = list[int]()
        for index, group in groupby(rows, key=lambda row: row.batch):
            self.window.append(Batch.stored(index, group, self._rung_of))
            outside += [birth.number for birth in self.window[-1].births if birth.mutation == OUTSIDE]
            if len(self.window) > self._settings.lookahead:
                self._leave(self.window.popleft())
        if self.window:
            self.committed_births = self.window[-1].births[-1].number + 1
            if not self._is_full(self.window[-1]):
                self.window.pop()
        while len(self.window) >= self._settings.lookahead:
            self._leave(self.window.popleft())
        if self.window:
            self._stand_behind(self.window[-1])
        self._await(given, outside)

    def _await(self, given: Iterable[Given], outside: Iterable[int]) -> None:
        """Let what was given before the next batch wait, but for what was born of it."""
        for one in given:
            if one.birth < self.next_birth:
                self.give(one)
        for birth in outside:
            if birth < self.next_birth and (waiting := self._waiting[self._population_of(birth)]):
                waiting.popleft()

    def _rung_of(self, row: ProgramRow) -> int:
        if self._estimator is None or row.answered_by != Answer.REEVALUATION:
            return 0
        return self._estimator.rungs.reached(row.trainings)

    def _leave(self, batch: Batch) -> None:
        self._fold(batch)
        self._stand_behind(batch)

    def _stand_behind(self, batch: Batch) -> None:
        self.next_batch, self.next_birth = batch.index + 1, batch.births[-1].number + 1


def _strategy(
    strategy: StrategySettings, dedup: Dedup, settings: HistorySettings, starts: Sequence[Program]
) -> Strategy:
    if strategy.kind == "random":
        lengths = strategy.lengths or range(1, 2 * max(map(len, starts)) + 1)
        return RandomPrograms(lengths, settings.functions, settings.estimator)
    keys = [identify(start, dataflow_hash(start), dedup).key for start in starts]
    if strategy.kind == "evolution":
        assert settings.estimator is not None
        material = Material(settings.functions, settings.donors, strategy.max_statements)
        layouts = settings.constraints.layouts
        return StructureEvolution(strategy, material, settings.estimator, starts, keys, layouts)
    return RegularizedEvolution(strategy, settings.functions, starts, keys, settings.estimator)


def _untrained_key(dataflow_key: str) -> str:
    """Return a key that no program has which may be trained, even if it does the same and is smaller."""
    return blake2b(f"untrained {dataflow_key}".encode(), digest_size=16).hexdigest()
