"""What ran where, and how many workers were training over the time of a search."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.report.clock import Clock, clock_of, in_unit, length
from search.report.section import Axis, DataTable, Figure, Section, missing
from search.report.source import ReportedSearch
from search.report.style import MUTED, OURS, SOFT
from search.report.text import count, number, plural, rounded, words
from search.store.views import WorkerEntry

STRETCHES = 60  # into which the time is divided


def workers(source: ReportedSearch) -> Section:
    """Return the section about the use of workers."""
    title = "Workers"
    clock = clock_of(source)
    if clock is None:
        why = (
            "No training was written while this search ran: its programs are not trained yet, or all of them were known"
            " from other searches; a search of new programs shows here how busy its workers were."
        )
        return missing("workers", title, why)
    found = source.results.workers(source.name)
    most = _at_once(found)
    spent = np.array([row.seconds for row in source.pace])
    edges = np.linspace(0, clock.whole, STRETCHES + 1)
    busy = _busy(spent, clock, edges)
    at, unit = in_unit(edges)
    traces: list[dict[str, Any]] = [
        {"type": "scatter", "mode": "lines", "name": "workers that train", "x": rounded(at[1:]), "y": rounded(busy),
         "line": {"color": OURS, "width": 2, "shape": "vh"}, "fill": "tozeroy", "fillcolor": SOFT,
         "hovertemplate": "%{y:.2f} workers<br>at %{x} " + unit + "<extra></extra>"},
        {"type": "scatter", "mode": "lines", "name": "workers there were", "x": rounded(at[[0, -1]]),
         "y": [most] * 2, "line": {"color": MUTED, "dash": "dash", "width": 2},
         "hovertemplate": "%{y} workers<extra>there were</extra>"},
    ]  # fmt: skip
    x = Axis(f"time since the search began ({unit}, while it ran)")
    y = Axis("workers that train", range=(0, 1.15 * max(float(busy.max()), most)))
    figure = Figure("busy", _caption(source, spent, clock, most), traces[: 2 if most else 1], x, y)
    return Section("workers", title, [figure, _table(found)] if found else [figure])


def _at_once(found: Sequence[WorkerEntry]) -> int:
    """Return how many workers there were at the same time: a run that is continued has others than the one before."""
    return max((sum(other.began <= row.began <= other.ended for other in found) for row in found), default=0)


def _table(found: Sequence[WorkerEntry]) -> DataTable:
    """Return what each machine did, device by device."""
    places: dict[tuple[str, str], list[WorkerEntry]] = {}
    for row in found:
        places.setdefault((row.host, row.device), []).append(row)
    table = [
        [
            words(host), words(device), count(_at_once(rows)), count(len(rows)),
            count(sum(row.trainings for row in rows)), number(sum(row.seconds for row in rows), 3),
        ]
        for (host, device), rows in places.items()
    ]  # fmt: skip
    columns = ["machine", "device", "workers at once", "worker processes in all", "trainings", "seconds of training"]
    return DataTable("places", columns, table, ("machine", "device"), sortable=True, title="what ran where")


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


def _caption(source: ReportedSearch, spent: NDArray[Any], clock: Clock, most: int) -> str:
    trainings, total = sum(row.trainings for row in source.pace), float(spent.sum())
    mean = total / clock.whole
    text = (
        f"{plural(trainings, 'training')} of programs took {length(total)} of workers' time within"
        f" {length(clock.whole)} of running: on average {mean:.2f} workers were training"
    )
    return f"{text}, {mean / most:.0%} of the {plural(most, 'worker')} there were." if most else f"{text}."
