"""Loss curves of a program beside those of tuned baselines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.text import Text

from proxy_tasks.outcome import CURVE_POINTS, Status

from search.commands.plots import ASCII, DOTS, OURS, THEIRS, Curve, Marks, plot
from search.commands.terminal import console, number, show_table
from search.results.results import Results
from search.results.text import printable
from search.settings.baselines import adamw_among
from search.store.views import BaselineEntry, ProgramEntry

SEED = 0  # of the curves: every search trains on it
MOST_TASKS = 4  # in the terminal
MOST_TRAININGS = 1000  # read
LEAST_WIDTH, MOST_WIDTH = 30, 60  # columns of a plot
GAP = 4  # between two plots

CURVE_COLUMNS = ("competitor", "task", "task_fingerprint", "seed", "status", "point", "points", "loss")


class TaskCurve(NamedTuple):
    """The mean training loss over each of the first shares of a training that has `points` of them."""

    task: str
    fingerprint: str
    status: str
    losses: list[float]
    points: int


class CompetitorCurves(NamedTuple):
    """How a program or a baseline trained on each task of its search. `tasks`: by fingerprint."""

    name: str
    fitness: float | None
    tasks: dict[str, TaskCurve]


def curves_of(results: Results, name: str, of: ProgramEntry | BaselineEntry, tasks: Sequence[str]) -> CompetitorCurves:
    """Return the curves of a program or a baseline with the seed of the curves.

    Args:
        results: that hold them.
        name: of the competitor.
        of: the program or the baseline.
        tasks: names of the wanted tasks, in this order; all tasks are returned if none of these is known, as with
            user-defined tasks.
    """
    rows = results.trainings(of, seed=SEED, limit=MOST_TRAININGS)
    wanted = sorted((row for row in rows if row.task in tasks), key=lambda row: tasks.index(row.task)) or rows
    found = {}
    for row in wanted:
        losses = list(row.curve)
        whole = len(losses) if row.status == Status.OK else max(CURVE_POINTS, len(losses))
        found[row.task_fingerprint] = TaskCurve(row.task, row.task_fingerprint, row.status, losses, whole)
    return CompetitorCurves(name, of.fitness, found)


def curve_rows(trainings: Sequence[CompetitorCurves]) -> list[dict[str, Any]]:
    """Return a row for each loss of each training."""
    return [
        dict(zip(CURVE_COLUMNS, (one.name, on.task, on.fingerprint, SEED, on.status, n, on.points, loss), strict=True))
        for one in trainings
        for on in one.tasks.values()
        for n, loss in enumerate(on.losses, start=1)
    ]


def show_curves(trainings: Sequence[CompetitorCurves]) -> None:
    """Print the curves of the first of these beside those of tuned AdamW, and where all of them end.

    Of several trainings on a task of one name, of different lengths, one that AdamW has too is preferred.
    """
    ours, *baselines = trainings
    beside = adamw_among({one.name.removeprefix("tuned "): one for one in baselines})
    theirs = beside.tasks if beside is not None else {}
    of_name: dict[str, TaskCurve] = {}
    for on in sorted(ours.tasks.values(), key=lambda on: on.fingerprint not in theirs):
        of_name.setdefault(on.task, on)
    drawn = [on for on in of_name.values() if on.losses or (on.fingerprint in theirs and theirs[on.fingerprint].losses)]
    if not drawn:
        console.print("no loss curve: it was not trained, or failed at once", "", sep="\n")
        return
    console.print(Text(f"mean training loss of each twentieth of the steps, with seed {SEED}", style="bold"))
    console.print(_legend(ours.name, None if beside is None else beside.name))
    _show_plots([(on, theirs.get(on.fingerprint)) for on in drawn[:MOST_TASKS]])
    if len(drawn) > MOST_TASKS:
        console.print(f"and on {len(drawn) - MOST_TASKS} more tasks: --json has the curves of all", "", sep="\n")
    _show_ends(trainings, drawn[:MOST_TASKS])


def _legend(name: str, beside: str | None) -> Text:
    marks = _marks()
    text = Text(f"{marks.sample} {name}", style=OURS)
    return Text.assemble(text, "   ", (f"{marks.dashed_sample} {beside}", THEIRS)) if beside is not None else text


def _marks() -> Marks:
    return ASCII if console.options.ascii_only else DOTS


def _show_plots(pairs: Sequence[tuple[TaskCurve, TaskCurve | None]]) -> None:
    """Print two plots side by side where the terminal is wide enough."""
    across = 2 if console.width >= 2 * LEAST_WIDTH + GAP else 1
    width = max(LEAST_WIDTH, min(MOST_WIDTH, (console.width - GAP * (across - 1)) // across))
    plots = [
        plot(
            printable(ours.task, width), _curve(ours, theirs), _curve(theirs, ours) if theirs else None, width, _marks()
        )
        for ours, theirs in pairs
    ]
    for start in range(0, len(plots), across):
        for lines in zip(*plots[start : start + across], strict=True):
            console.print(Text(" " * GAP).join(lines))
        console.print()


def _curve(on: TaskCurve, other: TaskCurve | None) -> Curve:
    whole = other.points if other is not None and other.status == Status.OK != on.status else on.points
    return Curve(on.losses, whole)


def _end(on: TaskCurve | None) -> str:
    return number(on.losses[-1]) if on is not None and on.status == Status.OK and on.losses else "-"


def _show_ends(trainings: Sequence[CompetitorCurves], tasks: Sequence[TaskCurve]) -> None:
    rows = []
    for task in tasks:
        found = [one.tasks.get(task.fingerprint) for one in trainings]
        rows.append([task.task, *(_end(on) for on in found)])
    rows.append(["fitness in the search", *(number(one.fitness) for one in trainings)])
    columns = ["", *(one.name for one in trainings)]
    show_table(f"training loss at the end, with seed {SEED}", columns, rows, left=[""])
