"""The check on fresh seeds: is the best program of the search ahead of its best baseline where nothing was selected?"""

from __future__ import annotations

from search.report.section import Cell, DataTable, Section, missing
from search.report.source import ReportedSearch
from search.report.text import capitalized, count, number, words
from search.results.text import in_trainings, verdict_line
from search.store.evidence_views import VerdictEntry
from search.store.keys import SearchState

NOT_JUDGED = (
    "Nothing of this search was trained on fresh seeds so far: everything else on this page is about the seeds that it"
    " trains on. `optsearch run` ends with that; arms of a comparison are compared by `optsearch compare`."
)


def verdict(source: ReportedSearch) -> Section:
    """Return the section about the verdict."""
    title = "Fresh seeds"
    found = source.verdict
    if found is None:
        if source.row.state == SearchState.FINISHED:
            return missing("verdict", title, NOT_JUDGED)
        why = (
            "The search has not come to its end, which is when its best program and the tuned baselines are trained on"
            " fresh seeds: everything else on this page is about the seeds that it trains on. `optsearch run` goes on."
        )
        return missing("verdict", title, why)
    lead = f"{verdict_sentence(source, found)} Nothing was selected on these seeds, so no luck of the search is in it."
    return Section("verdict", title, [_table(source, found)], lead)


def verdict_sentence(source: ReportedSearch, found: VerdictEntry) -> str:
    """Return what the terminal says, as a sentence of a page."""
    return f"{capitalized(verdict_line(found, source.row.births))}.".replace(" +- ", " ± ")


def _table(source: ReportedSearch, found: VerdictEntry) -> DataTable:
    """Return the fitness of the program and of the baseline on fresh seeds beside what the search knows of them."""
    rows = []
    if found.program_id is not None:
        row = source.results.leader(found.program_id)
        rows.append([
            words(f"program {found.program_id}"), number(found.fitness), count(found.seeds),
            number(found.ahead, 3, sign=True), number(found.ahead_error, 2), number(found.z, 2, sign=True),
            number(None if row is None else row.fitness), number(None if row is None else row.standard_error, 2),
            words("" if row is None else in_trainings(row.trainings)),
        ])  # fmt: skip
    if found.baseline is not None:
        known, none = source.fitness_of_baselines.get(found.baseline), Cell("")
        rows.append([
            words(f"tuned {found.baseline}"), number(found.baseline_fitness), count(found.seeds), none, none, none,
            number(known), none, words("the best of its trials"),
        ])  # fmt: skip
    columns = ["competitor", "fitness on fresh seeds", "fresh seeds", "ahead there", "± error of that", "z",
               "fitness in the search", "± error", "known from"]  # fmt: skip
    return DataTable("fresh-seeds", columns, rows, ("competitor", "known from"), title="fresh seeds beside the search")
