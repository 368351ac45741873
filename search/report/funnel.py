"""Programs against tuned baselines on larger and larger tasks, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence

from search.report.section import Axis, Cell, DataTable, Figure, Section, missing
from search.report.source import ReportedSearch
from search.report.style import MUTED, OURS
from search.report.text import figures, label, number, plural, rounded, words
from search.store.evidence_views import FunnelEntry

MOST_ROWS = 40  # of a stage's table


def funnel(source: ReportedSearch) -> Section:
    """Return the section about the funnel."""
    rows = source.funnel
    title = "The funnel"
    if not rows:
        why = (
            "No program of this search went through a funnel of larger tasks, so its lead may be luck:"
            " `optsearch select configs/funnels/quickstart.yaml --set search=NAME` takes its best through one."
        )
        return missing("funnel", title, why)
    blocks: list[Figure | DataTable] = []
    for stage in sorted({row.stage for row in rows}):
        of_stage = [row for row in rows if row.stage == stage]
        blocks += [_stage_figure(stage, of_stage), _stage_table(stage, of_stage)]
    lead = (
        f"In funnel '{rows[0].funnel}' programs and baselines alike are tuned with the same number of trials on each"
        " task of a stage and then trained on fresh seeds; these alone decide. Each program is compared with the"
        " baseline that is hardest to beat over all tasks of the stage."
    )
    return Section("funnel", title, blocks, lead)


def funnel_outcome(source: ReportedSearch) -> str:
    """Return what came of the funnel, in a sentence; an empty text without a funnel."""
    rows = [row for row in source.funnel if row.program_id is not None]
    if not rows:
        return ""
    last, stages = max(row.stage for row in rows), max(row.stages for row in rows)
    passed = {row.program_id for row in rows if row.stage == last and row.passed}
    entered = plural(len({row.program_id for row in rows}), "program")
    if not passed:
        return f"none of {entered} is ahead of every baseline in stage {last} of the funnel"
    if last < stages:
        return f"{len(passed)} of {entered} passed {last} of {stages} stages of the funnel so far"
    return f"{len(passed)} of {entered} passed all {plural(last, 'stage')} of the funnel"


def _stage_figure(stage: int, rows: Sequence[FunnelEntry]) -> Figure:
    programs = {row.competitor: row for row in rows if row.program_id is not None}
    drawn = [(row.z, row) for row in sorted(programs.values(), key=_by_z) if row.z is not None][:MOST_ROWS]
    traces = [
        {"type": "scatter", "mode": "markers", "name": name, "x": [label(row.competitor) for _, row in those],
         "y": rounded(z for z, _ in those), "text": [figures(row.p, 2) for _, row in those],
         "marker": {"size": 11, "symbol": symbol, "color": colour, "line": {"width": 1, "color": colour}},
         "hovertemplate": "%{x}: z = %{y:.2f}, p = %{text}<extra></extra>"}
        for name, symbol, colour, those in (
            ("passed", "circle", OURS, [(z, row) for z, row in drawn if row.passed]),
            ("did not pass", "x-thin-open", MUTED, [(z, row) for z, row in drawn if not row.passed]),
        ) if those
    ]  # fmt: skip
    tasks = plural(len({row.task for row in rows}), "task")
    passed = sum(row.passed for row in programs.values())
    caption = f"{passed} of {plural(len(programs), 'program')} passed stage {stage}, over {tasks}."
    if drawn:
        z, best = drawn[0]
        says = "is ahead of every baseline with" if best.passed else "has, against its hardest baseline,"
        caption += (
            f" The best, {best.competitor}, {says} z = {z:.1f}, p = {figures(best.p, 2)} corrected for all programs"
            " compared."
        )
    layout = {"xaxis": {"type": "category", "title": {"text": "program, best first"}, "categoryorder": "array",
                        "categoryarray": [label(row.competitor) for _, row in drawn]}}  # fmt: skip
    axes = Axis("program"), Axis("z (standard deviations)")
    return Figure(f"stage-{stage}", caption, traces, *axes, title=f"stage {stage}", layout=layout)


def _by_z(row: FunnelEntry) -> tuple[bool, float]:
    return row.z is None, -(row.z or 0.0)


def _stage_table(stage: int, rows: Sequence[FunnelEntry]) -> DataTable:
    ranked = sorted(rows, key=_by_z)
    shown = [row for row in ranked if row.program_id is None][:MOST_ROWS]
    shown += [row for row in ranked if row.program_id is not None][:MOST_ROWS]
    columns = ["competitor", "task", "fitness", "± error", "seeds", "ahead", "± error of that", "of", "learning rate",
               "weight decay", "trials", "passed"]  # fmt: skip
    table = [
        [
            words(row.competitor), words(row.task), number(row.fitness), number(row.standard_error, 2),
            number(row.seeds), *_ahead(row), words(row.baseline), number(row.learning_rate, 3),
            number(row.weight_decay, 3), number(row.trials), words("yes" if row.passed else ""),
        ]
        for row in shown
    ]  # fmt: skip
    left = ("competitor", "task", "of", "passed")
    return DataTable(f"stage-{stage}-table", columns, table, left, sortable=True, title=f"stage {stage} in numbers")


def _ahead(row: FunnelEntry) -> list[Cell]:
    if row.program_id is None:
        return [Cell(""), Cell("")]
    return [number(row.ahead, 3, sign=True), number(row.ahead_error, 2)]
