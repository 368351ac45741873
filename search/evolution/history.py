"""The history of a search as a pure function of its settings: drawing batches of births, folding them when committed.

Batch j is drawn from the population and the cache as they stand after batch j - lookahead, plus its own births whose
score was already known, which join at once. So nothing here depends on who trains what, when, or how often the search
was interrupted.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import groupby
from random import Random
from typing import NamedTuple

from programs.hashing import dataflow_hash
from programs.layout import Layout
from programs.liveness import live_statements, states_per_weight
from programs.mutation import PAPER, mutate, random_program, tune
from programs.ops import Op
from programs.program import Program

from proxy_tasks import Hurdle
from proxy_tasks.outcome import Status

from search.evolution.cache import Cache
from search.evolution.constraints import Constraints
from search.evolution.hurdles import REMEMBERED, FinishedProgram, learned_hurdles
from search.evolution.population import Genome, Member, Populations
from search.settings.seeds import MOST_SEARCH_SEEDS
from search.settings.settings import Dedup, Hurdles, Strategy
from search.store import ProgramRow
from search.store.keys import TRAINED, Answer
from search.training.service import Candidate, Score, identify

MOST_BIRTHS = 64  # times the batch size: a batch ends here even if hardly any birth is new


class Birth(NamedTuple):
    """One program drawn. `score` is what is known of it at the draw: for a reevaluation, what new rounds join."""

    number: int
    parent: int | None
    mutation: str
    genome: Genome
    dataflow_hash: str
    key: str
    answered_by: str
    score: Score | None

    @property
    def is_trained(self) -> bool:
        """Whether its score comes from training."""
        return self.answered_by in TRAINED


@dataclass
class Batch:
    """Births drawn together, and their scores once these are known."""

    index: int
    hurdles: list[list[Hurdle]] = field(default_factory=list)
    """Of each task, as they were when the batch was drawn."""
    births: list[Birth] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    committed: bool = False

    @classmethod
    def stored(cls, index: int, rows: Iterable[ProgramRow]) -> Batch:
        """Return a batch that is in the store."""
        births = [_birth(row) for row in rows]
        return cls(index, [], births, [birth.score for birth in births if birth.score is not None], committed=True)

    @property
    def trained(self) -> list[Birth]:
        """The births whose scores come from training."""
        return [birth for birth in self.births if birth.is_trained]

    def to_train(self) -> list[Candidate]:
        """Return what has to be trained."""
        return [Candidate(b.key, b.genome.program, b.score.rounds if b.score else 0) for b in self.trained]


class HistorySettings(NamedTuple):
    """What decides the history besides strategy and dedup.

    `seeds`: the most trainings of a program on any task. `functions`: those that are drawn. `constraints`: what is not
    trained because of its size.
    """

    seed: int
    batch: int
    lookahead: int
    seeds: int = 1
    hurdles: Hurdles | None = None
    functions: Sequence[Op] = PAPER
    constraints: Constraints = Constraints()


class History:
    """Population and cache after some batch, and the window of batches drawn since."""

    def __init__(self, strategy: Strategy, dedup: Dedup, settings: HistorySettings, starts: Sequence[Program]) -> None:
        self._strategy = strategy
        self._dedup = dedup
        self._settings = settings
        self._starts = starts
        members = [Member(0, Genome(start), identify(start, dataflow_hash(start), dedup).key) for start in starts]
        self._populations = Populations(
            strategy.population, strategy.repeats, members, strategy.restart_after, strategy.restart_from == "best"
        )
        self._lengths = strategy.lengths or range(1, 2 * max(map(len, starts)) + 1)
        # Large enough that what is in flight is never forgotten before its twins are committed.
        self._cache = Cache(max(dedup.cache, MOST_BIRTHS * settings.batch * settings.lookahead))
        self._finished: deque[FinishedProgram] = deque(maxlen=REMEMBERED)
        self.window: deque[Batch] = deque()
        self.next_birth = 0
        self.next_batch = 0
        self.committed_births = 0

    # --- drawing -------------------------------------------------------------------------------------------------

    def draw(self, last_birth: float = math.inf) -> Batch:
        """Return the next batch: births up to `batch` new programs; it ends early at birth `last_birth` (exclusive)."""
        populations = self._populations.copy()
        in_flight = {birth.key for batch in self.window for birth in batch.trained}
        batch = Batch(self.next_batch, hurdles=self._hurdles())
        new = 0
        while (
            new < self._settings.batch
            and len(batch.births) < MOST_BIRTHS * self._settings.batch
            and self.next_birth < last_birth
        ):
            birth = self._bear(populations, in_flight)
            batch.births.append(birth)
            if birth.is_trained:
                in_flight.add(birth.key)
                new += 1
            elif birth.score is not None:
                populations.join(_member(birth, birth.score))
            self.next_birth += 1
        self.window.append(batch)
        self.next_batch += 1
        return batch

    def _hurdles(self) -> list[list[Hurdle]]:
        settings = self._settings.hurdles
        return learned_hurdles(self._finished, settings) if settings is not None else []

    def _bear(self, populations: Populations, in_flight: set[str]) -> Birth:
        rng = Random((self._settings.seed << 64) | self.next_birth)
        if self._strategy.kind == "random":
            length = self._lengths[int(rng.random() * len(self._lengths))]
            program = random_program(rng, length, self._settings.functions)
            return self._recognise(rng, None, "random", program, in_flight)
        if self.next_birth < self._strategy.repeats * len(self._starts):  # the first of each population
            start = self._starts[self.next_birth // self._strategy.repeats]
            return self._recognise(rng, None, "start", start, in_flight)
        parent = populations.parents_of(self.next_birth).tournament(rng, self._strategy.tournament)
        program, mutation = self._mutated(parent.genome.program, rng)
        birth = self._recognise(rng, parent.birth, mutation, program, in_flight)
        for extra in range(1, self._dedup.remutate + 1):
            if birth.key != parent.key:
                break
            program, _ = self._mutated(program, rng)
            birth = self._recognise(rng, parent.birth, f"{mutation}+{extra}", program, in_flight)
        return birth

    def _mutated(self, program: Program, rng: Random) -> tuple[Program, str]:
        if self._strategy.kind == "tune":
            return tune(program, rng)
        return mutate(program, rng, self._strategy.max_statements, self._settings.functions)

    def _recognise(
        self, rng: Random, parent: int | None, mutation: str, program: Program, in_flight: set[str]
    ) -> Birth:
        """Look for the program by its hash; by its fingerprint if the hash is new; then for a score under its key."""
        hashed = dataflow_hash(program)
        forbidden = self._settings.constraints.broken_by(program)
        if forbidden is not None:
            answer = _untrained_key(hashed), Answer.CONSTRAINT, Score(Status.REJECTED, None, forbidden)
            return Birth(self.next_birth, parent, mutation, Genome(program), hashed, *answer)
        key = self._cache.key_of(hashed)
        rejection = None
        if known_hash := key is not None:
            score = self._cache.score_of(key)
        else:
            key, rejection = identify(program, hashed, self._dedup)
            score = self._cache.score_of(key)
        if rejection is not None:
            answered_by, score = Answer.REJECTION, Score(Status.REJECTED, None, rejection)
        elif key in in_flight:
            answered_by, score = Answer.IN_FLIGHT, None
        elif score is None:
            answered_by = Answer.TRAINING
        elif self._wants_another_round(rng, score):
            answered_by = Answer.REEVALUATION
        else:
            answered_by = Answer.HASH if known_hash else Answer.FINGERPRINT
        return Birth(self.next_birth, parent, mutation, Genome(program), hashed, key, answered_by, score)

    def _wants_another_round(self, rng: Random, score: Score) -> bool:
        """Return True, with the set probability, for a program that trains, as long as its seeds are a search's."""
        if self._dedup.reevaluate == 0 or score.fitness is None:
            return False
        return rng.random() < self._dedup.reevaluate and (score.rounds + 1) * self._settings.seeds <= MOST_SEARCH_SEEDS

    # --- committing ----------------------------------------------------------------------------------------------

    def finish(self, batch: Batch, scores: Mapping[str, Score]) -> list[ProgramRow]:
        """Give the window's first batch the scores of its trainings; return its births that are not yet in the store.

        A twin of a program in flight takes the score that an earlier batch or an earlier birth of this one brought.
        """
        brought: dict[str, Score] = {}
        for birth in batch.births:
            score = birth.score
            if birth.is_trained:
                score = scores[birth.key] if score is None else score.joined(scores[birth.key])
                brought[birth.key] = score
            elif score is None:
                score = brought.get(birth.key) or self._cache.score_of(birth.key)
                score = score and score._replace(hurdle_losses=None)  # kept only for births that were trained
            assert score is not None
            batch.scores.append(score)
        pairs = zip(batch.births, batch.scores, strict=True)
        layouts = self._settings.constraints.layouts
        return [_row(*pair, batch.index, layouts) for pair in pairs if pair[0].number >= self.committed_births]

    def fold(self) -> None:
        """Let the first batch of the window, its scores known, join population and cache."""
        batch = self.window.popleft()
        self._fold(batch)
        self.committed_births = max(self.committed_births, batch.births[-1].number + 1)

    def _fold(self, batch: Batch) -> None:
        for birth, score in zip(batch.births, batch.scores, strict=True):
            self._populations.join(_member(birth, score), corrects=birth.answered_by == Answer.REEVALUATION)
            if birth.answered_by == Answer.TRAINING and score.fitness is not None and score.hurdle_losses is not None:
                self._finished.append(FinishedProgram(score.fitness, score.hurdle_losses))
            if birth.answered_by != Answer.CONSTRAINT:
                self._cache.note(birth.dataflow_hash, birth.key, score, replace=birth.is_trained)

    # --- going on ------------------------------------------------------------------------------------------------

    def replay(self, rows: Iterable[ProgramRow]) -> None:
        """Stand where the run that wrote these births stood when it drew its next batch.

        The last batch is drawn anew if it was cut short by a budget; its births in the store are not written again.
        """
        for index, group in groupby(rows, key=lambda row: row.batch):
            self.window.append(Batch.stored(index, group))
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

    def _leave(self, batch: Batch) -> None:
        self._fold(batch)
        self._stand_behind(batch)

    def _stand_behind(self, batch: Batch) -> None:
        self.next_batch, self.next_birth = batch.index + 1, batch.births[-1].number + 1

    def _is_full(self, batch: Batch) -> bool:
        return len(batch.trained) == self._settings.batch or len(batch.births) == MOST_BIRTHS * self._settings.batch


def _member(birth: Birth, score: Score) -> Member:
    return Member(birth.number, birth.genome, birth.key, -math.inf if score.fitness is None else score.fitness)


def _untrained_key(dataflow_key: str) -> str:
    """Return a key that no program has which may be trained, even if it does the same and is smaller."""
    return blake2b(f"untrained {dataflow_key}".encode(), digest_size=16).hexdigest()


def _row(birth: Birth, score: Score, batch: int, layouts: Sequence[Layout]) -> ProgramRow:
    program = birth.genome.program
    return ProgramRow(
        birth.number, batch, birth.parent, birth.mutation, str(program), birth.dataflow_hash, birth.key,
        birth.answered_by, len(program), len(live_statements(program)), states_per_weight(program, layouts), *score,
    )  # fmt: skip


def _birth(row: ProgramRow) -> Birth:
    hurdle_losses = None if row.hurdle_losses is None else tuple(row.hurdle_losses)
    score = Score(row.status, row.fitness, row.reason, row.rounds, row.variance, hurdle_losses)
    genome = Genome.stored(row.genome, row.birth)
    return Birth(row.birth, row.parent_birth, row.mutation, genome, row.dataflow_hash, row.key, row.answered_by, score)
