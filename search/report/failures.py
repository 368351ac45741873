"""What failed in a search, and why."""

from __future__ import annotations

from search.report.section import Axis, DataTable, Figure, Section, missing
from search.report.source import ReportedSearch
from search.report.style import MUTED
from search.report.text import count, ordinal, plural, share, words

MOST_REASONS = 25


def failures(source: ReportedSearch) -> Section:
    """Return the section about failures."""
    title = "Failures"
    rows = source.results.failed_programs(source.name)
    if not rows:
        return missing("failures", title, "Nothing has failed in this search: every program born so far trained well.")
    reasons = source.results.failures(source.name, MOST_REASONS)
    total = sum(row.programs for row in rows)
    trace = {
        "type": "bar", "orientation": "h", "x": [row.programs for row in rows], "y": [row.status for row in rows],
        "marker": {"color": MUTED}, "text": [f"{row.programs:,}" for row in rows], "textposition": "auto",
        "hovertemplate": "%{x:,} programs<extra>%{y}</extra>",
    }  # fmt: skip
    caption = (
        f"{plural(total, 'program')} failed or were rejected, most ({share(rows[0].programs, total)}) as"
        f" '{rows[0].status}'. The reason given most often: {reasons[0].reason or 'none'}"
        f" ({plural(reasons[0].programs, 'program')})."
    )
    layout = {"yaxis": {"type": "category", "autorange": "reversed", "title": {"text": "status"}}}
    axes, height = (Axis("programs"), Axis("status")), 130 + 34 * len(rows)
    figure = Figure("failed", caption, [trace], *axes, height=height, legend=False, layout=layout)
    columns, left = ["status", "reason", "programs", "example id"], ("status", "reason")
    cells = [
        [words(row.status), words(row.reason or ""), count(row.programs), ordinal(row.example_id)] for row in reasons
    ]
    table = DataTable("reasons", columns, cells, left, sortable=True, title="reasons given most often")
    return Section("failures", title, [figure, table])
