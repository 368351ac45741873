"""Whether what was found holds elsewhere: meta-validation and the funnel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from search.report.reading import Reading
from search.report.section import (
    MUTED,
    OURS,
    REFERENCE,
    Axis,
    Cell,
    Figure,
    Section,
    Table,
    figures,
    label,
    missing,
    number,
    plural,
    rounded,
    words,
)

MOST_LOOKS = 400  # shown of meta-validation
MOST_ROWS = 40  # of a stage's table
_POINTS = "lines+markers"


def meta_validation(reading: Reading) -> Section:
    """How the best of the search fared, as it went on, on tasks that the search never sees."""
    rows = reading.meta_validation
    title = "Meta-validation"
    if not rows:
        return missing(
            "meta-validation",
            title,
            "The search's best was never tried on other tasks; a search with the setting"
            " meta_validation: {tasks: [...], every: 500} does that as it goes on.",
        )
    shown = rows[:: -(-len(rows) // MOST_LOOKS)]
    births = [row["births"] for row in shown]
    found = [
        ("fitness-then", "fitness", f"in the search: {reading.fitness_is}", OURS, "solid"),
        ("meta-fitness-then", "meta_fitness", "on tasks never seen: fitness there", REFERENCE, "dot"),
    ]
    blocks = [
        Figure(
            name, see, [
                {"type": "scatter", "mode": _POINTS, "name": axis, "x": births, "y": [row[column] for row in shown],
                 "text": [f"program {row['id']}" for row in shown], "line": {"color": colour, "dash": dash, "width": 2},
                 "marker": {"size": 7}, "hovertemplate": "%{y:.4g}<br>%{text}, after %{x:,} births<extra></extra>"}
            ], Axis("births"), Axis(axis), legend=False,
        )
        for (name, column, axis, colour, dash), see in zip(found, _see_meta(rows), strict=True)
    ]  # fmt: skip
    lead = "A search that gains on its own tasks while it loses on others has begun to learn them by heart."
    return Section("meta-validation", title, blocks, lead, columns=True)


def _see_meta(rows: Sequence[dict[str, Any]]) -> tuple[str, str]:
    bests = len({row["birth"] for row in rows})
    first = f"The search's best was looked at {len(rows):,} times; it was {plural(bests, 'program')} in turn."
    tried = [row for row in rows if row["meta_fitness"] is not None]
    if not tried:
        return first, "Every one of them failed to train on the other tasks."
    best, last = max(tried, key=lambda row: row["meta_fitness"]), rows[-1]
    text = f"The best there, {figures(best['meta_fitness'])}, was program {best['id']} after {best['births']:,} births"
    if last["meta_fitness"] is None:
        return first, f"{text}; the search's last best fails to train there."
    if last["meta_fitness"] == best["meta_fitness"]:
        return first, f"{text}, and the search's last best is as good: no sign of overfitting."
    return first, f"{text}; the search's last best, program {last['id']}, has {figures(last['meta_fitness'])} there."


# --- the funnel ------------------------------------------------------------------------------------------------------


def funnel(reading: Reading) -> Section:
    """Programs against tuned baselines on larger and larger tasks, stage by stage."""
    rows = reading.funnel
    title = "The funnel"
    if not rows:
        return missing(
            "funnel",
            title,
            "No program of this search went through a funnel of larger tasks, so what it is ahead may be luck:"
            " `optsearch select configs/funnels/quickstart.yaml --set search=NAME` takes its best through one.",
        )
    stages = sorted({row["stage"] for row in rows})
    blocks: list[Figure | Table] = []
    for stage in stages:
        of_stage = [row for row in rows if row["stage"] == stage]
        blocks += [_stage_figure(stage, of_stage), _stage_table(stage, of_stage)]
    lead = (
        f"In funnel '{rows[0]['funnel']}' everybody, programs and baselines alike, is tuned with the same trials on"
        " each task of a stage and then trained on fresh seeds; these alone decide. Each program is compared with the"
        " baseline that is hardest to beat over all tasks of the stage."
    )
    return Section("funnel", title, blocks, lead)


def funnel_outcome(reading: Reading) -> str:
    """What came of it, in a sentence; empty without a funnel."""
    rows = [row for row in reading.funnel if row["program_id"] is not None]
    if not rows:
        return ""
    last, stages = max(row["stage"] for row in rows), max(row["stages"] for row in rows)
    passed = {row["program_id"] for row in rows if row["stage"] == last and row["passed"]}
    entered = len({row["program_id"] for row in rows})
    if not passed:
        return f"none of {plural(entered, 'program')} is ahead of every baseline in stage {last} of the funnel"
    if last < stages:
        return f"{len(passed)} of {plural(entered, 'program')} passed {last} of {stages} stages of the funnel so far"
    return f"{len(passed)} of {plural(entered, 'program')} passed all {plural(last, 'stage')} of the funnel"


def _stage_figure(stage: int, rows: Sequence[dict[str, Any]]) -> Figure:
    programs = {row["competitor"]: row for row in rows if row["program_id"] is not None}
    ranked = sorted(programs.values(), key=lambda row: (row["z"] is None, -(row["z"] or 0.0)))
    drawn = [row for row in ranked if row["z"] is not None][:MOST_ROWS]
    traces = [
        {"type": "scatter", "mode": "markers", "name": name, "x": [label(row["competitor"]) for row in those],
         "y": rounded(row["z"] for row in those), "text": [figures(row["p"], 2) for row in those],
         "marker": {"size": 11, "symbol": symbol, "color": colour, "line": {"width": 1, "color": colour}},
         "hovertemplate": "%{x}: z = %{y:.2f}, p = %{text}<extra></extra>"}
        for name, symbol, colour, those in (
            ("passed", "circle", OURS, [row for row in drawn if row["passed"]]),
            ("did not pass", "x-thin-open", MUTED, [row for row in drawn if not row["passed"]]),
        ) if those
    ]  # fmt: skip
    y = Axis("z (standard deviations)")
    tasks = plural(len({row["task"] for row in rows}), "task")
    passed = sum(row["passed"] for row in programs.values())
    see = f"{passed} of {plural(len(programs), 'program')} passed stage {stage}, over {tasks}."
    if drawn and drawn[0]["z"] > 0:
        see += f" The best, {drawn[0]['competitor']}, is ahead of every baseline with z at least {drawn[0]['z']:.1f}"
        see += f", p = {figures(drawn[0]['p'], 2)} corrected for all programs compared."
    elif drawn:
        see += " None is ahead of every baseline."
    layout = {"xaxis": {"type": "category", "title": {"text": "program, best first"}, "categoryorder": "array",
                        "categoryarray": [label(row["competitor"]) for row in drawn]}}  # fmt: skip
    return Figure(f"stage-{stage}", see, traces, Axis("program"), y, title=f"stage {stage}", layout=layout)


def _stage_table(stage: int, rows: Sequence[dict[str, Any]]) -> Table:
    best = sorted(rows, key=lambda row: (row["program_id"] is not None, row["z"] is None, -(row["z"] or 0.0)))
    shown = [row for row in best if row["program_id"] is None][:MOST_ROWS]
    shown += [row for row in best if row["program_id"] is not None][:MOST_ROWS]
    columns = ["competitor", "task", "fitness", "± error", "seeds", "ahead", "± error of that", "of", "learning rate",
               "weight decay", "trials", "passed"]  # fmt: skip
    table = [
        [
            words(row["competitor"]), words(row["task"]), number(row["fitness"]), number(row["standard_error"], 2),
            number(row["seeds"]), *_ahead(row), words(row["baseline"]), number(row["learning_rate"], 3),
            number(row["weight_decay"], 3), number(row["trials"]), words("yes" if row["passed"] else ""),
        ]
        for row in shown
    ]  # fmt: skip
    left = ("competitor", "task", "of", "passed")
    return Table(f"stage-{stage}-table", columns, table, left, sortable=True, title=f"stage {stage} in numbers")


def _ahead(row: dict[str, Any]) -> list[Cell]:
    if row["program_id"] is None:
        return [Cell(""), Cell("")]
    return [number(row["ahead"], 3, sign=True), number(row["ahead_error"], 2)]
