"""What a history is made of: births, and the batches in which they are drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from programs.layout import Layout
from programs.liveness import live_statements, states_per_weight
from programs.program import Program, parse

from proxy_tasks import Hurdle

from search.store import ProgramRow
from search.store.keys import TRAINED
from search.training.service import Candidate, Score


class Genome:
    """The program of a birth. One that comes from the store is text until it is first asked for: most never are."""

    __slots__ = ("_program", "_text", "_where")

    def __init__(self, program: Program | None, text: str = "", where: str = "") -> None:
        self._program = program
        self._text = text
        self._where = where

    @classmethod
    def stored(cls, text: str, birth: int) -> Genome:
        """Return the genome of a birth in the store."""
        return cls(None, text, f"program of birth {birth} in the store")

    @property
    def program(self) -> Program:
        """The program itself.

        Raises:
            InputError: the text in the store is not a program.
        """
        if self._program is None:
            self._program = parse(self._text, self._where)
        return self._program

    @property
    def text(self) -> str:
        """The text of the program."""
        return self._text if self._program is None else str(self._program)


class Given(NamedTuple):
    """Programs from outside: for which population, and before which birth, the first of a batch, they were there."""

    birth: int
    population: int
    programs: Sequence[Program]


class Proposal(NamedTuple):
    """What a strategy proposes: a program with its parent and what made it, or a known one on a further rung of seeds.

    `parent_key` is the key of the parent's trainings; `known` what is known of a program that is to be trained further.
    """

    program: Program
    mutation: str
    parent: int | None = None
    parent_key: str | None = None
    rung: int = 0
    known: Score | None = None


class Birth(NamedTuple):
    """One program drawn. `score` is what is known of it at the draw: for a reevaluation, what new trainings join."""

    number: int
    parent: int | None
    mutation: str
    genome: Genome
    dataflow_hash: str
    key: str
    answered_by: str
    score: Score | None
    rung: int = 0

    @property
    def is_trained(self) -> bool:
        """Whether its score comes from training."""
        return self.answered_by in TRAINED

    @classmethod
    def stored(cls, row: ProgramRow, rung: int) -> Birth:
        """Return a birth that is in the store."""
        score = Score(
            row.status, row.fitness, row.reason, row.trainings, row.standard_error, row.replica_steps,
            _tuple(row.hurdle_losses), _tuple(row.by_seed),
        )  # fmt: skip
        genome = Genome.stored(row.genome, row.birth)
        return cls(
            row.birth, row.parent_birth, row.mutation, genome, row.dataflow_hash, row.key, row.answered_by, score, rung
        )

    def row(self, score: Score, batch: int, layouts: Sequence[Layout]) -> ProgramRow:
        """Return the birth as the store keeps it."""
        program = self.genome.program
        return ProgramRow(
            self.number, batch, self.parent, self.mutation, str(program), self.dataflow_hash, self.key,
            self.answered_by, len(program), len(live_statements(program)), states_per_weight(program, layouts), *score,
        )  # fmt: skip


def _tuple(values: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(values)


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
    def stored(cls, index: int, rows: Iterable[ProgramRow], rung_of: Callable[[ProgramRow], int]) -> Batch:
        """Return a batch that is in the store."""
        births = [Birth.stored(row, rung_of(row)) for row in rows]
        return cls(index, [], births, [birth.score for birth in births if birth.score is not None], committed=True)

    @property
    def trained(self) -> list[Birth]:
        """The births whose scores come from training."""
        return [birth for birth in self.births if birth.is_trained]

    def to_train(self) -> list[Candidate]:
        """Return what has to be trained."""
        return [Candidate(birth.key, birth.genome.program, birth.rung) for birth in self.trained]
