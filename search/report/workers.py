"""How many workers were training, over the time of a search."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.report.clock import Clock, clock_of, in_unit, length
from search.report.section import Axis, Figure, Section, missing
from search.report.source import ReportedSearch
from search.report.style import MUTED, OURS, SOFT
from search.report.text import plural, rounded

STRETCHES = 60  # into which the time is divided


def workers(source: ReportedSearch) -> Section:
    """Return the section about the use of workers."""
    title = "Worker utilisation"
    clock = clock_of(source)
    if clock is None:
        why = (
            "No training was written while this search ran: its programs are not trained yet, or all of them were known"
            " from other searches; a search of new programs shows here how busy its workers were."
        )
        return missing("workers", title, why)
    spent = np.array([row.seconds for row in source.pace])
    edges = np.linspace(0, clock.whole, STRETCHES + 1)
    busy = _busy(spent, clock, edges)
    at, unit = in_unit(edges)
    settings = source.settings.get("evaluator", {}).get("workers")
    count = settings if type(settings) is int else None
    traces: list[dict[str, Any]] = [
        {"type": "scatter", "mode": "lines", "name": "workers that train", "x": rounded(at[1:]), "y": rounded(busy),
         "line": {"color": OURS, "width": 2, "shape": "vh"}, "fill": "tozeroy", "fillcolor": SOFT,
         "hovertemplate": "%{y:.2f} workers<br>at %{x} " + unit + "<extra></extra>"}
    ]  # fmt: skip
    if count is not None:
        traces.append(
            {"type": "scatter", "mode": "lines", "name": "workers in the settings", "x": rounded(at[[0, -1]]),
             "y": [count] * 2, "line": {"color": MUTED, "dash": "dash", "width": 2},
             "hovertemplate": "%{y} workers<extra>in the settings</extra>"}
        )  # fmt: skip
    x = Axis(f"time since the search began ({unit}, while it ran)")
    y = Axis("workers that train", range=(0, 1.15 * max(float(busy.max()), count or 0) or 1.0))
    return Section("workers", title, [Figure("busy", _caption(source, spent, clock, count), traces, x, y)])


def _busy(spent: NDArray[Any], clock: Clock, edges: NDArray[Any]) -> NDArray[Any]:
    """Return the mean number of workers in training between the edges; a batch's seconds are spread evenly since the
    end of the one before, as it is only known when they were written."""
    starts = np.concatenate([[0.0], clock.seconds[:-1]])
    lengths = np.maximum(clock.seconds - starts, 1e-9)
    ends = starts + lengths
    return np.array(
        [
            float((spent * np.clip(np.minimum(ends, high) - np.maximum(starts, low), 0.0, None) / lengths).sum())
            / (high - low)
            for low, high in pairwise(edges)
        ]
    )


def _caption(source: ReportedSearch, spent: NDArray[Any], clock: Clock, count: int | None) -> str:
    trainings, total = sum(row.trainings for row in source.pace), float(spent.sum())
    mean = total / clock.whole
    text = (
        f"{plural(trainings, 'training')} of programs took {length(total)} of workers' time within"
        f" {length(clock.whole)} of running: on average {mean:.2f} workers were training"
    )
    if count is None:
        return f"{text}. How many there were is not recorded, since the settings leave it to the machine."
    return f"{text}, {mean / count:.0%} of the {plural(count, 'worker')} in the settings."
