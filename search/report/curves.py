"""Loss curves of the winner beside those of the tuned baselines, task by task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxy_tasks.outcome import Status

from search.report.section import Axis, Figure, Section, axis_of, missing
from search.report.source import ReportedSearch
from search.report.style import OURS, Mark, marks_of
from search.report.text import label, plural, rounded
from search.report.winner import Winner
from search.settings.baselines import PLAIN_ADAMW, TORCH_ADAMW
from search.settings.seeds import FRESH_SEED
from search.store.views import TrainingEntry

MOST_TASKS = 8
MOST_TRAININGS = 2000  # of one program, whose curves are read

CurvesOfTask = dict[str, list[TrainingEntry]]  # by the program's key


def loss_curves(source: ReportedSearch, winner: Winner | None) -> Section:
    """Return the section with the loss curves."""
    title = "Loss curves"
    if winner is None:
        return missing("curves", title, "No program has trained well yet, so there is no curve to show.")
    names, marks = {winner.row.key: winner.name}, {winner.row.key: Mark(OURS, "solid", "circle")}
    of_baselines = marks_of(row.name for row in source.baselines)
    trainings = source.results.trainings(winner.row, Status.OK, MOST_TRAININGS)
    for row in source.baselines:
        if row.key not in names:
            names[row.key], marks[row.key] = f"tuned {row.name}", of_baselines[row.name]
            trainings += source.results.trainings(row, Status.OK, MOST_TRAININGS)
    shown = _tasks(_by_task(trainings), winner.row.key, source.tasks)
    figures = [_figure(place, of_task, names, marks, winner) for place, of_task in enumerate(shown[:MOST_TASKS])]
    if not figures:
        why = f"The trainings of {winner.name} are not in this store any more; `optsearch eval` trains it again."
        return missing("curves", title, why)
    lead = (
        f"How {winner.name} and the tuned baselines train on the tasks of the search:"
        " mean over the seeds of the search that all of them were trained on, each point the mean over a twentieth of"
        " the steps."
    )
    return Section("curves", title, figures, lead, columns=True)


def _by_task(trainings: Sequence[TrainingEntry]) -> list[CurvesOfTask]:
    """Return the trainings on the seeds of searches, task by task."""
    found: dict[str, CurvesOfTask] = {}
    for training in trainings:
        if training.seed < FRESH_SEED and training.curve:
            found.setdefault(training.task_fingerprint, {}).setdefault(training.key, []).append(training)
    return list(found.values())


def _tasks(curves: Sequence[CurvesOfTask], winner: str, tasks: Sequence[str]) -> list[CurvesOfTask]:
    """Return those of the search: where baselines were trained too; without baselines, those with its tasks' names."""
    with_winner = [of_task for of_task in curves if winner in of_task]
    compared = [of_task for of_task in with_winner if len(of_task) > 1]
    return compared or [of_task for of_task in with_winner if of_task[winner][0].task in tasks]


def _figure(
    place: int, of_task: CurvesOfTask, names: Mapping[str, str], marks: Mapping[str, Mark], winner: Winner
) -> Figure:
    ours = winner.row.key
    task = of_task[ours][0].task
    seeds = _common_seeds([of_task[key] for key in names if key in of_task])
    means = {key: _mean(those) for key in names if (those := [t for t in of_task.get(key, ()) if t.seed in seeds])}
    traces = []
    for key in means:
        steps = of_task[key][0].steps * np.arange(1, len(means[key]) + 1) / len(means[key])
        name = label(names[key])
        traces.append(
            {"type": "scatter", "mode": "lines", "name": name, "x": rounded(steps), "y": rounded(means[key]),
             "line": {"color": marks[key].colour, "width": 3 if key == ours else 2, "dash": marks[key].dash},
             "hovertemplate": "%{y:.4g} at step %{x:.0f}<extra>" + name + "</extra>"}
        )  # fmt: skip
    every = np.concatenate(list(means.values()))
    y = axis_of("mean training loss", float(every.min()), float(every.max()))
    caption = _caption(means, names, ours, len(seeds))
    return Figure(f"curve-{place}", caption, traces, Axis("training step"), y, title=task)


def _common_seeds(of_each: Sequence[Sequence[TrainingEntry]]) -> set[int]:
    """Return the seeds on which all were trained, without those that have none in common with what is before them.

    Seeds differ in how hard they are, and promising programs are trained on more of them than others. The first is the
    winner, which has some.
    """
    common, *others = ({training.seed for training in trainings} for trainings in of_each)
    for seeds in others:
        common = common & seeds or common
    return common


def _mean(trainings: Sequence[TrainingEntry]) -> NDArray[Any]:
    points = min(len(training.curve) for training in trainings)
    mean: NDArray[Any] = np.mean([training.curve[:points] for training in trainings], axis=0)
    return mean


def _caption(means: Mapping[str, NDArray[Any]], names: Mapping[str, str], ours: str, seeds: int) -> str:
    last = {names[key]: float(curve[-1]) for key, curve in means.items() if key != ours}
    if not last:
        return f"Mean of {plural(seeds, 'seed')}; no baseline was trained on this task."
    adamw = [name for name in (f"tuned {TORCH_ADAMW}", f"tuned {PLAIN_ADAMW}") if name in last]
    rival = (adamw or sorted(last, key=lambda name: last[name]))[0]
    end = float(means[ours][-1])
    if last[rival] <= 0:
        return f"At the end the training loss is {end:.4g}, {rival}'s {last[rival]:.4g}; {plural(seeds, 'seed')}."
    change = end / last[rival] - 1
    side = "below" if change < 0 else "above"
    return f"At the end the training loss is {abs(change):.0%} {side} {rival}'s; mean of {plural(seeds, 'seed')}."
