"""Where a search stands."""

from __future__ import annotations

from dataclasses import dataclass, field

from search.evolution.best import Best
from search.settings.baselines import adamw_among
from search.store import BaselineRow, ProgramRow
from search.store.keys import TRAINED


@dataclass
class Progress:
    """Where a search stands, over all its runs."""

    births: int = 0
    """Programs born, trained or not."""
    trained: int = 0
    """Programs that were trained."""
    statements: int = 0
    """Statements of all programs born."""
    live_statements: int = 0
    """Those of them that have an effect."""
    replica_steps: int = 0
    """Training steps of all trainings that they asked for."""
    best_fitness: float | None = None
    """That of the program whose fitness less its standard error is highest; None until something has trained well."""
    baselines: dict[str, BaselineRow] = field(default_factory=dict)
    """The tuned baselines by name."""
    rate: float = 0.0
    """Births per second in this run."""
    seconds_left: float | None = None
    """Estimated seconds until the budget is spent; None where they cannot be estimated."""
    _best: Best = field(default_factory=Best, repr=False)

    def count(self, row: ProgramRow) -> None:
        """Count a birth."""
        self.births += 1
        self.trained += row.answered_by in TRAINED
        self.statements += row.statements
        self.live_statements += row.live_statements
        self.replica_steps += row.replica_steps
        self._best.count(row)
        self.best_fitness = self._best.fitness

    @property
    def best(self) -> ProgramRow | None:
        """The program whose fitness less its standard error is highest, as its last birth left it."""
        return self._best.row

    @property
    def cache_hit_share(self) -> float:
        """Share of births that were answered without training, 0 to 1."""
        return 1 - self.trained / max(1, self.births)

    @property
    def redundant_share(self) -> float:
        """Share of statements without effect, 0 to 1."""
        return 1 - self.live_statements / max(1, self.statements)

    @property
    def over_adamw(self) -> float | None:
        """Best fitness minus that of tuned AdamW; None if either is not known."""
        adamw = adamw_among(self.baselines)
        if adamw is None or adamw.fitness is None or self.best_fitness is None:
            return None
        return self.best_fitness - adamw.fitness
