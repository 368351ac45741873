"""The history of a search as a pure function of its settings: drawing batches of births, folding them when committed.

Batch j is drawn from the population and the cache as they stand after batch j - lookahead, plus its own births whose
score was already known, which join at once. So nothing here depends on who trains what, when, or how often the search
was interrupted.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from random import Random
from typing import NamedTuple

from programs.hashing import dataflow_hash
from programs.liveness import live
from programs.mutation import mutate, random_program, tune
from programs.program import Program, parse

from proxy_tasks import Hurdle

from search.evolution.cache import Cache
from search.evolution.hurdles import REMEMBERED, Finished, learned_hurdles
from search.evolution.population import Member, Populations
from search.settings.settings import FRESH_SEED, Dedup, Hurdles, Strategy
from search.store import ProgramRow
from search.training.identity import identify
from search.training.service import Candidate, Score

MOST_BIRTHS = 64  # times the batch size: a batch ends here even if hardly any birth is new

# How a birth got its score: the last two were trained, the others answered.
BY_HASH, BY_FINGERPRINT, IN_FLIGHT, BY_REJECTION = "hash", "fingerprint", "in_flight", "rejection"
TRAINING, REEVALUATION = "training", "reevaluation"
TRAINED = (TRAINING, REEVALUATION)


class Birth(NamedTuple):
    """One program drawn. `score` is what is known of it at the draw: for a reevaluation, what new rounds join."""

    number: int
    parent: int | None
    mutation: str
    program: Program
    dataflow_hash: str
    key: str
    answered_by: str
    score: Score | None

    @property
    def is_trained(self) -> bool:
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

    def to_train(self) -> list[Candidate]:
        return [
            Candidate(b.key, b.program, b.score.rounds if b.score is not None else 0)
            for b in self.births
            if b.is_trained
        ]


class HistorySettings(NamedTuple):
    """What decides the history besides strategy and dedup. `seeds`: the most trainings of a program on any task."""

    seed: int
    batch: int
    lookahead: int
    seeds: int = 1
    hurdles: Hurdles | None = None


class History:
    """Population and cache after some batch, and the window of batches drawn since."""

    def __init__(self, strategy: Strategy, dedup: Dedup, settings: HistorySettings, start: Program) -> None:
        self._strategy = strategy
        self._dedup = dedup
        self._settings = settings
        self._start = start
        start_key = identify(start, dataflow_hash(start), dedup).key
        self._populations = Populations(
            strategy.population, strategy.repeats, Member(0, start, start_key), strategy.restart_after,
            strategy.restart_from == "best",
        )  # fmt: skip
        self._lengths = strategy.lengths or range(1, 2 * len(start) + 1)
        # Large enough that what is in flight is never forgotten before its twins are committed.
        self._cache = Cache(max(dedup.cache, MOST_BIRTHS * settings.batch * settings.lookahead))
        self._finished: deque[Finished] = deque(maxlen=REMEMBERED)
        self.window: deque[Batch] = deque()
        self.next_birth = 0
        self.next_batch = 0
        self.committed_births = 0

    # --- drawing -------------------------------------------------------------------------------------------------

    def draw(self, last_birth: float = math.inf) -> Batch:
        """The next batch: births up to `batch` new programs; it ends early at birth `last_birth` (exclusive)."""
        populations = self._populations.copy()
        in_flight = {c.key for batch in self.window for c in batch.to_train()}
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
            program = random_program(rng, self._lengths[int(rng.random() * len(self._lengths))])
            return self._recognise(rng, None, "random", program, in_flight)
        if self.next_birth < self._strategy.repeats:  # the first of each population
            return self._recognise(rng, None, "start", self._start, in_flight)
        winner = populations.parents_of(self.next_birth).tournament(rng, self._strategy.tournament)
        assert isinstance(winner.program, Program)
        program, mutation = self._mutated(winner.program, rng)
        birth = self._recognise(rng, winner.birth, mutation, program, in_flight)
        for extra in range(1, self._dedup.remutate + 1):
            if birth.key != winner.key:
                break
            program, _ = self._mutated(program, rng)
            birth = self._recognise(rng, winner.birth, f"{mutation}+{extra}", program, in_flight)
        return birth

    def _mutated(self, program: Program, rng: Random) -> tuple[Program, str]:
        if self._strategy.kind == "tune":
            return tune(program, rng)
        return mutate(program, rng, self._strategy.max_statements)

    def _recognise(
        self, rng: Random, parent: int | None, mutation: str, program: Program, in_flight: set[str]
    ) -> Birth:
        """Hash first; the fingerprint only of a hash not seen; then what is known under the key."""
        hashed = dataflow_hash(program)
        key = self._cache.key_of(hashed)
        rejection = None
        if known_hash := key is not None:
            score = self._cache.score_of(key)
        else:
            key, rejection = identify(program, hashed, self._dedup)
            score = self._cache.score_of(key)
        if rejection is not None:
            answered_by, score = BY_REJECTION, Score("rejected", None, rejection)
        elif key in in_flight:
            answered_by, score = IN_FLIGHT, None
        elif score is None:
            answered_by = TRAINING
        elif self._wants_another_round(rng, score):
            answered_by = REEVALUATION
        else:
            answered_by = BY_HASH if known_hash else BY_FINGERPRINT
        return Birth(self.next_birth, parent, mutation, program, hashed, key, answered_by, score)

    def _wants_another_round(self, rng: Random, score: Score) -> bool:
        """With the probability set, for a program that trains, as long as its seeds stay clear of the fresh ones."""
        if self._dedup.reevaluate == 0 or score.fitness is None:
            return False
        return rng.random() < self._dedup.reevaluate and (score.rounds + 1) * self._settings.seeds <= FRESH_SEED

    # --- committing ----------------------------------------------------------------------------------------------

    def finish(self, batch: Batch, scores: Mapping[str, Score]) -> list[ProgramRow]:
        """Give the window's first batch the scores of its trainings; its births as rows, without those in the store.

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
                score = score and score._replace(hurdle_losses=None)  # of use only to those who were trained
            assert score is not None
            batch.scores.append(score)
        pairs = zip(batch.births, batch.scores, strict=True)
        return [_row(birth, batch.index, score) for birth, score in pairs if birth.number >= self.committed_births]

    def fold(self) -> None:
        """The first batch of the window, its scores known, joins population and cache."""
        batch = self.window.popleft()
        for birth, score in zip(batch.births, batch.scores, strict=True):
            self._populations.join(_member(birth, score), corrects=birth.answered_by == REEVALUATION)
            self._note_hurdle_losses(birth.answered_by, score)
            self._cache.note(birth.dataflow_hash, birth.key, score, replace=birth.is_trained)
        self.committed_births = max(self.committed_births, batch.births[-1].number + 1)

    def _note_hurdle_losses(self, answered_by: str, score: Score) -> None:
        if answered_by == TRAINING and score.fitness is not None and score.hurdle_losses is not None:
            self._finished.append(Finished(score.fitness, score.hurdle_losses))

    # --- going on ------------------------------------------------------------------------------------------------

    def replay(self, rows: Iterable[ProgramRow]) -> None:
        """Stand where the run that wrote these births stood when it drew its next batch.

        The last batch is drawn anew if it was cut short by a budget; its births in the store are not written again.
        """
        waiting: deque[list[ProgramRow]] = deque()
        for _, group in groupby(rows, key=lambda row: row.batch):
            waiting.append(list(group))
            if len(waiting) > self._settings.lookahead:
                self._remember(waiting.popleft())
        if waiting:
            self.committed_births = waiting[-1][-1].birth + 1
            if not self._is_full(waiting[-1]):
                waiting.pop()
        while len(waiting) >= self._settings.lookahead:
            self._remember(waiting.popleft())
        self._populations.read()
        self.window.extend(
            Batch(group[0].batch, [], [_birth(row) for row in group], [_score(row) for row in group], committed=True)
            for group in waiting
        )
        if waiting:
            self._stand_behind(waiting[-1])

    def _remember(self, group: list[ProgramRow]) -> None:
        """Fold a batch without reading its genomes: only those of the youngest members will be needed."""
        for row in group:
            score = _score(row)
            member = Member(row.birth, row.genome, row.key, _fitness(score))
            self._populations.join(member, corrects=row.answered_by == REEVALUATION)
            self._note_hurdle_losses(row.answered_by, score)
            self._cache.note(row.dataflow_hash, row.key, score, replace=row.answered_by in TRAINED)
        self._stand_behind(group)

    def _stand_behind(self, group: list[ProgramRow]) -> None:
        self.next_batch, self.next_birth = group[-1].batch + 1, group[-1].birth + 1

    def _is_full(self, group: list[ProgramRow]) -> bool:
        trained = sum(row.answered_by in TRAINED for row in group)
        return trained == self._settings.batch or len(group) == MOST_BIRTHS * self._settings.batch


def _fitness(score: Score) -> float:
    return -math.inf if score.fitness is None else score.fitness


def _member(birth: Birth, score: Score) -> Member:
    return Member(birth.number, birth.program, birth.key, _fitness(score))


def _row(birth: Birth, batch: int, score: Score) -> ProgramRow:
    liveness = live(birth.program.dataflow)
    live_statements = sum(birth.program.dataflow.nodes[n].is_call for n in liveness.nodes)
    return ProgramRow(
        birth.number, batch, birth.parent, birth.mutation, str(birth.program), birth.dataflow_hash, birth.key,
        birth.answered_by, len(birth.program), live_statements, len(liveness.states), *score,
    )  # fmt: skip


def _score(row: ProgramRow) -> Score:
    hurdle_losses = None if row.hurdle_losses is None else tuple(row.hurdle_losses)
    return Score(row.status, row.fitness, row.reason, row.rounds, row.variance, hurdle_losses)


def _birth(row: ProgramRow) -> Birth:
    program = parse(row.genome, f"program of birth {row.birth} in the store")
    return Birth(
        row.birth, row.parent_birth, row.mutation, program, row.dataflow_hash, row.key, row.answered_by, _score(row)
    )
