"""Tracking meta-overfitting: how a search's best fares on tasks that the search never sees.

As in figure 3 of the Lion paper (arXiv 2302.06675): some searches keep gaining on their own tasks while the same
programs lose elsewhere. After every so many births the best program until then is trained on the meta-validation
tasks. The search waits for it, so that where it ends for overfitting depends on its settings alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from programs.program import parse

from search.settings.settings import Settings
from search.store import Lease, MetaValidationRow, ProgramRow
from search.training.identity import candidate
from search.training.service import TaskSeeds, TrainingService

PATIENCE = 3  # new bests in a row that are worse there than an earlier one was


class MetaValidator:
    """Notes the best program at every look, and trains it when asked to.

    Args:
        settings: of the search.
        tasks: for meta-validation; none, and nothing happens.
        service: that trains.
    """

    def __init__(self, settings: Settings, tasks: Sequence[TaskSeeds], service: TrainingService) -> None:
        self.curve: list[MetaValidationRow] = []
        self._settings = settings
        self._tasks = tasks
        self._service = service
        self._births = 0
        self._best: ProgramRow | None = None
        self._highest = -math.inf
        self._due: list[tuple[int, ProgramRow]] = []

    def count(self, row: ProgramRow) -> None:
        """Take notice of the next birth, in order."""
        if not self._tasks:
            return
        assert self._settings.meta_validation is not None
        self._births += 1
        if row.fitness is not None and row.fitness > self._highest:
            self._best, self._highest = row, row.fitness
        if self._births % self._settings.meta_validation.every == 0 and self._best is not None:
            self._due.append((self._births, self._best))

    def evaluate_due(self, lease: Lease) -> None:
        """Train what is due, unless the store knows how it fared.

        Raises:
            LeaseLost: the search is no longer of this token.
        """
        if self._due and not self.curve:
            self.curve = lease.meta_validation()
        for births, best in self._due:
            if births <= (self.curve[-1].births if self.curve else 0):
                continue
            program = candidate(parse(best.genome), self._settings.dedup)
            score = self._service.evaluate([program], self._tasks, self._settings.aggregate)[program.key]
            assert best.fitness is not None
            row = MetaValidationRow(births, best.birth, best.fitness, score.fitness)
            lease.add_meta_validation(row)
            self.curve.append(row)
        self._due.clear()

    @property
    def is_overfit(self) -> bool:
        """Whether the last new bests all fared worse than an earlier one."""
        return is_overfit(self.curve)


def is_overfit(curve: Sequence[MetaValidationRow]) -> bool:
    """Whether the last PATIENCE new bests of a curve fared worse in meta-validation than some program before them."""
    news = [row for place, row in enumerate(curve) if place == 0 or row.birth != curve[place - 1].birth]
    if len(news) <= PATIENCE:
        return False
    known = [-math.inf if row.meta_fitness is None else row.meta_fitness for row in news]
    return max(known[-PATIENCE:]) < max(known[:-PATIENCE])
