"""What the proxy tasks are worth: how alike they and larger tasks rank programs that are tuned on each."""

from __future__ import annotations

from collections.abc import Sequence

from search.report.section import Axis, DataTable, Figure, Note, Section
from search.report.source import ReportedSearch
from search.report.style import OURS
from search.report.text import count, figures, label, number, plural, rounded, share, words
from search.results.proxies import Correlation, correlations, measured_tasks

MOST_ROWS = 200


def proxies(source: ReportedSearch) -> list[Section]:
    """Return the section about proxy tasks; nothing where `optsearch proxies` has measured none."""
    rows = source.results.proxies(source.name)
    if not rows:
        return []
    title = "What the proxies are worth"
    trials, seeds = rows[-1].trials, rows[-1].seeds
    lead = (
        f"{plural(len({row.program_id for row in rows}), 'program')} from the better half of this search, each tuned"
        f" with {plural(trials, 'trial')} on each task and then trained on {plural(seeds, 'fresh seed')}. Kendall's tau"
        " is 1 where a proxy puts them in the order of the larger task, 0 where it says nothing of it."
    )
    found = correlations(measured_tasks(rows))
    if not found:
        why = "All measured tasks train for the same number of steps, so none is a proxy for another."
        return [Section("proxies", title, [Note(why)], lead)]
    largest = [one for one in found if one.target == found[-1].target]
    return [Section("proxies", title, [_figure(largest), _table(found)], lead)]


def _figure(found: Sequence[Correlation]) -> Figure:
    """Return how well each proxy ranks programs as the largest task does, with 95 % intervals."""
    known = [one for one in found if one.tau.tau == one.tau.tau]
    trace = {
        "type": "scatter", "mode": "markers", "x": [label(one.proxy) for one in known],
        "y": rounded(one.tau.tau for one in known), "marker": {"color": OURS, "size": 9},
        "error_y": {
            "type": "data", "symmetric": False, "thickness": 1.5, "width": 3,
            "array": rounded(one.tau.high - one.tau.tau for one in known),
            "arrayminus": rounded(one.tau.tau - one.tau.low for one in known),
        },
        "hovertemplate": "%{x}: tau = %{y:.2f}<extra></extra>",
    }  # fmt: skip
    target = found[0].target
    caption = f"No proxy tells programs apart as {target} does."
    if known:
        best = known[0]
        caption = (
            f"The order of programs on {best.proxy}, with {share(best.steps, best.steps / best.share)} of the steps, is"
            f" nearest to that on {target}: tau = {figures(best.tau.tau, 2)}."
        )
    axes = Axis("proxy, the best first", "category"), Axis("tau with the largest task (95 % interval)")
    return Figure("tau-of-proxies", caption, [trace], *axes, height=430, legend=False)


def _table(found: Sequence[Correlation]) -> DataTable:
    columns = ["target", "proxy", "tau", "from", "to", "programs", "failed", "steps", "of the target's (%)"]
    table = [
        [
            words(one.target), words(one.proxy), number(one.tau.tau, 2, sign=True), number(one.tau.low, 2, sign=True),
            number(one.tau.high, 2, sign=True), count(one.programs), count(one.failed), count(one.steps),
            number(100 * one.share, 3),
        ]
        for one in found[-MOST_ROWS:]
    ]  # fmt: skip
    title = "every proxy for every larger task, with 95 % intervals over programs"
    return DataTable("proxies-table", columns, table, ("target", "proxy"), sortable=True, title=title)
