"""How births are made: what every strategy offers a history, and the strategies of the Lion paper.

A strategy stands after some committed birth. For each batch it gives a `Draw`, which knows in addition what has been
drawn since, and proposes one program after another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import Protocol

from programs.mutation import mutate, random_program, tune
from programs.ops import Op
from programs.program import Program

from search.evolution.births import Batch, Birth, Genome, Proposal
from search.evolution.estimates import Estimator
from search.evolution.population import Member, Populations
from search.settings.settings import Strategy as StrategySettings
from search.training.service import Score


class Draw(Protocol):
    """Proposes the births of one batch."""

    def propose(self, number: int, rng: Random) -> Proposal:
        """Return what birth `number` is to be."""

    def again(self, program: Program, rng: Random) -> Program:
        """Return a further mutation of a child that does the same as its parent."""

    def note(self, birth: Birth) -> None:
        """Take in a birth of this batch, with its score if that is known."""


class Strategy(Protocol):
    """Makes births from what has been committed."""

    def draw(self, window: Sequence[Batch]) -> Draw:
        """Return what proposes the next batch; the batches of the window are drawn and not yet committed."""

    def judge(self, birth: Birth, new: Score) -> Score:
        """Return what a trained birth is worth, from its new trainings and what was known of it when it was drawn."""

    def join(self, birth: Birth, score: Score) -> None:
        """Take in a committed birth; they come in order."""


class _OnEqualSeeds:
    """Judges programs that are all trained on the same seeds: by their mean, as it is."""

    def __init__(self, estimator: Estimator | None) -> None:
        self._estimator = estimator

    def judge(self, birth: Birth, new: Score) -> Score:  # noqa: ARG002 - of the interface
        """Return the score with its standard error, where something is known of the noise."""
        error = self._estimator.standard_error(new.by_seed) if self._estimator and new.by_seed else None
        return new._replace(standard_error=error, by_seed=None)


class RandomPrograms(_OnEqualSeeds):
    """Programs drawn from the whole space.

    Args:
        lengths: numbers of statements, all equally likely.
        functions: what programs consist of.
        estimator: knows the noise.
    """

    def __init__(self, lengths: Sequence[int], functions: Sequence[Op], estimator: Estimator | None) -> None:
        super().__init__(estimator)
        self._lengths = lengths
        self._functions = functions

    def draw(self, window: Sequence[Batch]) -> RandomPrograms:  # noqa: ARG002 - of the interface
        """Return itself: nothing that is known matters."""
        return self

    def propose(self, number: int, rng: Random) -> Proposal:  # noqa: ARG002 - of the interface
        """Return a random program."""
        length = self._lengths[int(rng.random() * len(self._lengths))]
        return Proposal(random_program(rng, length, self._functions), "random")

    def again(self, program: Program, rng: Random) -> Program:  # noqa: ARG002 - of the interface
        """Return the program: it has no parent that it could do the same as."""
        return program

    def note(self, birth: Birth) -> None:
        """Forget it."""

    def join(self, birth: Birth, score: Score) -> None:
        """Forget it."""


class RegularizedEvolution(_OnEqualSeeds):
    """The search of the paper: the winner of a tournament is mutated, the oldest dies; with `tune` constants alone.

    Args:
        settings: of the strategy.
        functions: what programs consist of.
        starts: the start programs.
        keys: of their trainings.
        estimator: knows the noise.
    """

    def __init__(
        self, settings: StrategySettings, functions: Sequence[Op], starts: Sequence[Program], keys: Sequence[str],
        estimator: Estimator | None,
    ) -> None:  # fmt: skip
        super().__init__(estimator)
        self.settings = settings
        self.functions = functions
        self.starts = starts
        members = [Member(0, Genome(start), key) for start, key in zip(starts, keys, strict=True)]
        self.populations = Populations(
            settings.population, settings.repeats, members, settings.restart_after, settings.restart_from == "best"
        )

    def draw(self, window: Sequence[Batch]) -> _RegularizedDraw:  # noqa: ARG002 - of the interface
        """Return what draws from the populations as they are; births whose score is known join them at once."""
        return _RegularizedDraw(self, self.populations.copy())

    def join(self, birth: Birth, score: Score) -> None:
        """Let a birth join its population."""
        self.populations.join(_member(birth, score))

    def mutated(self, program: Program, rng: Random) -> tuple[Program, str]:
        """Return a child and what made it."""
        if self.settings.kind == "tune":
            return tune(program, rng)
        return mutate(program, rng, self.settings.max_statements, self.functions)


class _RegularizedDraw:
    def __init__(self, strategy: RegularizedEvolution, populations: Populations) -> None:
        self._strategy = strategy
        self._populations = populations

    def propose(self, number: int, rng: Random) -> Proposal:
        """Return a start program for the first births of each population, then children."""
        settings, starts = self._strategy.settings, self._strategy.starts
        if number < settings.repeats * len(starts):
            return Proposal(starts[number // settings.repeats], "start")
        parent = self._populations.parents_of(number).tournament(rng, settings.tournament)
        return Proposal(*self._strategy.mutated(parent.genome.program, rng), parent.birth, parent.key)

    def again(self, program: Program, rng: Random) -> Program:
        """Return the program mutated once more."""
        return self._strategy.mutated(program, rng)[0]

    def note(self, birth: Birth) -> None:
        """Let a birth whose score is known join its population."""
        if birth.score is not None and not birth.is_trained:
            self._populations.join(_member(birth, birth.score))


def _member(birth: Birth, score: Score) -> Member:
    return Member(birth.number, birth.genome, birth.key, -math.inf if score.fitness is None else score.fitness)
