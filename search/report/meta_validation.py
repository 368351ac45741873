"""How the best program of the search, as it went on, fared on tasks that the search never sees."""

from __future__ import annotations

from collections.abc import Sequence

from search.report.section import Axis, Figure, Section, missing
from search.report.source import ReportedSearch
from search.report.style import OURS, REFERENCE
from search.report.text import figures, plural
from search.store.evidence_views import MetaValidationEntry

MOST_POINTS = 400


def meta_validation(source: ReportedSearch) -> Section:
    """Return the section about meta-validation."""
    rows = source.results.meta_validation(source.name)
    title = "Meta-validation"
    if not rows:
        why = (
            "The best program of the search was never tried on other tasks; a search with the setting"
            " meta_validation: {tasks: [...], every: 500} does that as it goes on."
        )
        return missing("meta-validation", title, why)
    shown = rows[:: -(-len(rows) // MOST_POINTS)]
    births = [row.births for row in shown]
    names = [f"program {row.id}" for row in shown]
    curves = [
        ("fitness-then", [row.fitness for row in shown], f"in the search, as known then: {source.meaning_of_fitness}",
         OURS, "solid"),
        ("meta-fitness-then", [row.meta_fitness for row in shown], "on tasks that it never sees: fitness there",
         REFERENCE, "dot"),
    ]  # fmt: skip
    blocks = [
        Figure(
            name, caption, [
                {"type": "scatter", "mode": "lines+markers", "name": axis, "x": births, "y": values, "text": names,
                 "line": {"color": colour, "dash": dash, "width": 2}, "marker": {"size": 7},
                 "hovertemplate": "%{y:.4g}<br>%{text}, after %{x:,} births<extra></extra>"}
            ], Axis("births"), Axis(axis), legend=False,
        )
        for (name, values, axis, colour, dash), caption in zip(curves, _captions(rows), strict=True)
    ]  # fmt: skip
    lead = "A search that gains on its own tasks while it loses on others has begun to overfit its own tasks."
    return Section("meta-validation", title, blocks, lead, columns=True)


def _captions(rows: Sequence[MetaValidationEntry]) -> tuple[str, str]:
    programs = len({row.birth for row in rows})
    first = f"The best program of the search was tried {plural(len(rows), 'time')}"
    first += f"; {plural(programs, 'program')} held this place in turn."
    tried = [(row.meta_fitness, row) for row in rows if row.meta_fitness is not None]
    if not tried:
        return first, "Every one of them failed to train on the other tasks."
    (highest, best), last = max(tried, key=lambda pair: pair[0]), rows[-1]
    text = f"The best there, {figures(highest)}, was program {best.id} after {best.births:,} births"
    if last.meta_fitness is None:
        return first, f"{text}; the search's last best program fails to train there."
    if last.meta_fitness == highest:
        return first, f"{text}, and the search's last best program is as good: no sign of overfitting."
    return first, f"{text}; the search's last best, program {last.id}, has {figures(last.meta_fitness)} there."
