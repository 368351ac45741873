"""Which program a report is about: the one with the most evidence for it."""

from __future__ import annotations

from typing import NamedTuple

from programs.program import Program

from search.report.source import ReportedSearch
from search.store.views import LeaderboardEntry


class Winner(NamedTuple):
    """The program that a report shows. `chosen_for` ends the sentence "It is shown because it ..."."""

    row: LeaderboardEntry
    program: Program
    chosen_for: str

    @property
    def name(self) -> str:
        """What the funnel calls it."""
        return f"program {self.row.id}"


def winner_of(source: ReportedSearch) -> Winner | None:
    """Return the finalist of the last proof, or what has passed a whole funnel with the highest z, or what the verdict
    is about, or the best of the search; None where nothing trained well.

    Raises:
        InputError: what the database holds is no program.
    """
    for program_id, reason in (_proven(source), _passed(source), _judged(source)):
        row = None if program_id is None else source.results.leader(program_id)
        if row is not None and row.search == source.name:
            return _winner(source, row, reason)
    if source.best is None:
        return None
    highest = "has the highest fitness in the search"
    if source.best.standard_error is not None:
        highest = "leads the search: its fitness less its standard error is the highest"
    return _winner(source, source.best, highest)


def _winner(source: ReportedSearch, row: LeaderboardEntry, reason: str) -> Winner:
    return Winner(row, source.parse(row.genome, f"program {row.id}"), reason)


def _proven(source: ReportedSearch) -> tuple[int | None, str]:
    return (source.proof[-1].finalist if source.proof else None), "went on to the locked tasks"


def _judged(source: ReportedSearch) -> tuple[int | None, str]:
    judged = None if source.verdict is None else source.verdict.program_id
    return judged, "is what the verdict is about: the best of the search on the fresh seeds that choose"


def _passed(source: ReportedSearch) -> tuple[int | None, str]:
    passed = [
        row for row in source.funnel if row.passed and row.stage == row.stages and row.program_id is not None
    ]  # fmt: skip
    best = max(passed, key=lambda row: row.z or 0.0, default=None)
    return (best.program_id if best else None), "passed the whole funnel with the highest z"
