"""The search that a page is about, and those of its results that several sections read, each asked for once."""

from __future__ import annotations

from functools import cached_property

from programs.errors import InputError
from programs.program import Program, parse

from search.results.pareto import wants_small
from search.results.results import Results
from search.results.trained_tasks import SCORE, error_of, tasks_of
from search.store.evidence_views import FunnelEntry, OpeningEntry, ProofEntry, VerdictEntry
from search.store.views import BaselineEntry, LeaderboardEntry, PaceEntry, ProgressEntry

MOST_LEADERS = 100


class ReportedSearch:
    """A search and its results.

    Args:
        results: the open database.
        name: the name of the search; without it, the search that was written last is taken.

    Raises:
        InputError: there is no such search, or none at all. Every property raises it where the database holds what
            optsearch cannot have written.
    """

    def __init__(self, results: Results, name: str | None = None) -> None:
        self.results = results
        self.searches = results.searches()
        if not self.searches:
            raise InputError(f"{results.location}: holds no search yet; `optsearch run CONFIG` starts one")
        results.require(name)
        self.row = max((row for row in self.searches if name in (None, row.search)), key=lambda row: row.last_written)
        self.name = self.row.search
        self.settings = self.row.settings
        self.tasks = tasks_of(self.row)

    @property
    def meaning_of_fitness(self) -> str:
        """What the fitness is, for axes."""
        if self.error != SCORE:
            return f"negative {self.error}"
        has_own_anchors = any(isinstance(task, dict) and task.get("anchors") for task in self.settings.get("tasks", ()))
        return "score (0 and 1 at its anchors)" if has_own_anchors else "score (0 tuned AdamW, 1 best known)"

    @property
    def error(self) -> str:
        """What the fitness is minus, such as the validation loss; `SCORE` for several tasks."""
        return error_of(self.row)

    def parse(self, genome: str, name: str) -> Program:
        """Return a program from its text in the database.

        Raises:
            InputError: the text is no program; the message has this name and the database.
        """
        return parse(genome, f"{name} in {self.results.location}")

    @cached_property
    def progress(self) -> list[ProgressEntry]:
        """The batches of the search."""
        return self.results.progress(self.name)

    @cached_property
    def pace(self) -> list[PaceEntry]:
        """When the trainings of each batch were written, and how long they took."""
        return self.results.pace(self.name)

    @cached_property
    def baselines(self) -> list[BaselineEntry]:
        """The tuned baselines, best first; those of which every trial failed come last."""
        rows = self.results.baselines(self.name)
        return sorted(rows, key=lambda row: (row.fitness is None, -(row.fitness or 0.0)))

    @property
    def fitness_of_baselines(self) -> dict[str, float]:
        """The fitness of the tuned baselines that have one by their names, best first."""
        return {row.name: row.fitness for row in self.baselines if row.fitness is not None}

    @cached_property
    def leaders(self) -> list[LeaderboardEntry]:
        """The best programs."""
        return self.results.leaderboard(self.name, MOST_LEADERS, pareto=self.wants_small)

    @property
    def wants_small(self) -> bool:
        """Whether sizes are among its objectives, so that the best are a front."""
        return wants_small(self.settings)

    @property
    def best(self) -> LeaderboardEntry | None:
        """The program that leads, by fitness less its standard error; None if nothing trained well."""
        return self.leaders[0] if self.leaders else None

    @cached_property
    def verdict(self) -> VerdictEntry | None:
        """Whether the search has found something better than its best baseline; None if it has not ended."""
        return next(iter(self.results.verdicts(self.name)), None)

    @cached_property
    def funnel(self) -> list[FunnelEntry]:
        """The results of the funnel that the search went through last."""
        rows = self.results.funnels_of(search=self.name)
        return [row for row in rows if row.funnel == rows[-1].funnel]

    @cached_property
    def proof(self) -> list[ProofEntry]:
        """The proof of the last finalist of the search that has one."""
        return self.results.last_proof(self.name)

    @cached_property
    def interrupted_proof(self) -> OpeningEntry | None:
        """The last opening of the locked tasks for a program of the search, if its proof has not come to its end."""
        opening = self.results.last_opening(self.name)
        return opening if opening is not None and opening.finished is None else None
