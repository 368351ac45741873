"""Which program a report is about: the one with the most evidence for it."""

from __future__ import annotations

from typing import Any, NamedTuple

from programs.program import Program, parse

from search.report.reading import Reading


class Winner(NamedTuple):
    """The program that a report shows. `chosen_for` ends the sentence "It is shown because it ..."."""

    row: dict[str, Any]
    program: Program
    chosen_for: str

    @property
    def name(self) -> str:
        """As the funnel calls it."""
        return f"program {self.row['id']}"


def winner_of(reading: Reading) -> Winner | None:
    """The finalist of the last proof, or what a whole funnel has let pass with the highest z, or the best of the
    search; None where nothing trained well.

    Raises:
        InputError: what the database holds is no program.
    """
    for program_id, reason in (_proven(reading), _passed(reading)):
        row = reading.leader(program_id) if program_id is not None else None
        if row is not None:
            return _winner(reading, row, reason)
    if reading.best is None:
        return None
    return _winner(reading, reading.best, "has the highest fitness in the search")


def _winner(reading: Reading, row: dict[str, Any], reason: str) -> Winner:
    return Winner(row, parse(row["genome"], f"program {row['id']} in {reading.location}"), reason)


def _proven(reading: Reading) -> tuple[int | None, str]:
    rows = reading.proof
    return (rows[-1]["finalist"] if rows else None), "went on to the locked tasks"


def _passed(reading: Reading) -> tuple[int | None, str]:
    passed = [
        row for row in reading.funnel
        if row["passed"] and row["stage"] == row["stages"] and row["program_id"] is not None
    ]  # fmt: skip
    best = max(passed, key=lambda row: row["z"] if row["z"] is not None else 0.0, default=None)
    return (best["program_id"] if best else None), "came through the whole funnel with the highest z"
