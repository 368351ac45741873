"""Tracking meta-overfitting: how a search's best program fares on tasks that the search never trains on.

As in figure 3 of the Lion paper (arXiv 2302.06675): some searches keep gaining on their own tasks while the same
programs lose elsewhere. At regular numbers of births the best program until then is trained on the meta-validation
tasks. The search waits for it, so that where it ends for overfitting depends on its settings alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from programs.program import parse

from search.evolution.best import Best
from search.settings.settings import Settings
from search.settings.tasks import task_seeds
from search.store import Lease, MetaValidationRow, ProgramRow
from search.training.service import TrainingService

PATIENCE = 3  # new bests in a row that are worse there than an earlier one was


class MetaValidator:
    """Notes the best program when an evaluation is due, and trains it when asked to.

    Args:
        settings: of the search; without meta-validation nothing happens.
        service: that trains.
    """

    def __init__(self, settings: Settings, service: TrainingService) -> None:
        self.curve: list[MetaValidationRow] = []
        self._chosen = settings.meta_validation
        self._tasks = task_seeds(self._chosen.tasks) if self._chosen is not None else []
        self._aggregate = settings.aggregate
        self._service = service
        self._births = 0
        self._best = Best()
        self._due: list[tuple[int, int, ProgramRow]] = []

    def count(self, row: ProgramRow) -> None:
        """Count the next birth, in order."""
        if self._chosen is None:
            return
        self._births += 1
        self._best.count(row)
        birth, best = self._best.birth, self._best.row
        if self._births % self._chosen.every == 0 and best is not None and birth is not None:
            self._due.append((self._births, birth, best))

    def evaluate_due(self, lease: Lease) -> None:
        """Train what is due, unless the store has the result.

        Raises:
            LeaseLost: another run has taken the search over.
        """
        if self._due and not self.curve:
            self.curve = lease.meta_validation()
        for births, birth, best in self._due:
            if births <= (self.curve[-1].births if self.curve else 0):
                continue
            program = self._service.candidate(parse(best.genome))
            score = self._service.evaluate([program], self._tasks, self._aggregate)[program.key]
            assert best.fitness is not None
            row = MetaValidationRow(births, birth, best.fitness, score.fitness)
            lease.add_meta_validation(row)
            self.curve.append(row)
        self._due.clear()

    @property
    def is_overfit(self) -> bool:
        """Whether the last new bests all fared worse than an earlier one."""
        return is_overfit(self.curve)


def is_overfit(curve: Sequence[MetaValidationRow]) -> bool:
    """Return whether the last PATIENCE new bests of a curve fared worse in meta-validation than a program before."""
    news = [row for place, row in enumerate(curve) if place == 0 or row.birth != curve[place - 1].birth]
    if len(news) <= PATIENCE:
        return False
    known = [-math.inf if row.meta_fitness is None else row.meta_fitness for row in news]
    return max(known[-PATIENCE:]) < max(known[:-PATIENCE])
