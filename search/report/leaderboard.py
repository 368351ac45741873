"""The best distinct programs of a search."""

from __future__ import annotations

from search.report.section import NOTHING_TRAINED, Cell, DataTable, Section, missing
from search.report.source import MOST_LEADERS, ReportedSearch
from search.report.text import count, number, ordinal, plural, words
from search.results.text import states


def leaderboard(source: ReportedSearch) -> Section:
    """Return the section with the best programs."""
    title = "Leaderboard"
    if not source.leaders:
        return missing("leaderboard", title, NOTHING_TRAINED)
    columns = ["id", "fitness", "± error", "trainings", "over AdamW", "over best baseline", "statements", "live",
               "states", "birth", "mutation"]  # fmt: skip
    table = [
        [
            ordinal(row.id), number(row.fitness), number(row.standard_error, 2), count(row.trainings),
            number(row.over_adamw, 4, sign=True), number(row.over_best_baseline, 4, sign=True), count(row.statements),
            count(row.live_statements), Cell(states(row.state_slots), row.state_slots), ordinal(row.birth),
            words(row.mutation),
        ]
        for row in source.leaders
    ]  # fmt: skip
    distinct = source.results.distinct_programs(source.name)
    lead = f"{plural(distinct, 'distinct program')} trained well"
    if source.wants_small:
        lead += (
            f"; these {len(source.leaders)} are those that no other beats in fitness, statements and states at once."
        )
    else:
        lead += f"; these are the best {MOST_LEADERS}." if distinct > MOST_LEADERS else "."
    lead += " Best is what has the highest fitness less its standard error." if _has_errors(source) else ""
    lead += " A click on a heading sorts. `optsearch show ID` tells all about one."
    return Section("leaderboard", title, [DataTable("leaders", columns, table, ("mutation",), sortable=True)], lead)


def _has_errors(source: ReportedSearch) -> bool:
    return any(row.standard_error is not None for row in source.leaders)
