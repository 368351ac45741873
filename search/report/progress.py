"""Best fitness so far, over births and over time, with tuned baselines as lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.report.clock import clock_of, in_unit, length
from search.report.section import NO_BIRTHS, NOTHING_TRAINED, Axis, Figure, Section, missing
from search.report.source import ReportedSearch
from search.report.style import OURS, marks_of
from search.report.text import capitalized, estimate, figures, label, rounded
from search.report.winner import Winner
from search.settings.baselines import adamw_among
from search.store.views import LeaderboardEntry

POINTS = 400  # of a curve


def best_over_births(source: ReportedSearch, winner: Winner | None) -> Section:
    """Return the section about the best fitness so far."""
    rows = [row for row in source.progress if row.best_so_far is not None]
    if not rows or source.best is None:
        return missing("progress", "Best fitness", NOTHING_TRAINED if source.progress else NO_BIRTHS)
    births = np.array([row.births_so_far for row in rows], dtype=float)
    best = np.array([row.best_so_far for row in rows], dtype=float)
    kept = _changes(best)
    caption = _caption(source, source.best, winner)
    shown = [_figure(source, "best-over-births", births[kept], best[kept], "births", caption)]
    clock = clock_of(source)
    if clock is not None:
        times, unit = in_unit(np.append(clock.of([row.batch for row in rows]), clock.whole))
        times = times[:-1]
        caption = _half(times, best, unit, source.best.batch == rows[0].batch)
        if clock.paused:
            caption += f" Pauses between runs, {length(clock.paused)} in all, are left out."
        shown.append(_figure(source, "best-over-time", times[kept], best[kept], unit, caption))
    lead = "The line is the best program so far"
    if source.best.standard_error is not None:
        lead += ", by the lower bound of its fitness, one standard error below; it falls"
        lead += " where a leader turns out to have been lucky"
    lead += "; broken lines are known optimizers, tuned on the same tasks and seeds."
    return Section("progress", "Best fitness", shown, lead, columns=True)


def _figure(source: ReportedSearch, name: str, x: NDArray[Any], best: NDArray[Any], unit: str, caption: str) -> Figure:
    has_error = source.best is not None and source.best.standard_error is not None
    name_of_line = "best so far, lower bound" if has_error else "best program so far"
    trace: dict[str, Any] = {
        "type": "scatter", "mode": "lines+markers" if len(x) < 60 else "lines", "name": name_of_line,
        "x": rounded(x), "y": rounded(best), "line": {"color": OURS, "width": 3, "shape": "hv"},
        "hovertemplate": "%{y:.4g}<br>after %{x:,} " + unit + "<extra></extra>",
    }  # fmt: skip
    ends = rounded([x[0], x[-1]])
    rivals, marks = source.fitness_of_baselines, marks_of(source.fitness_of_baselines)
    lines: list[dict[str, Any]] = _leader(source.best, ends[-1:]) if source.best and has_error else []
    for baseline, fitness in rivals.items():
        rival, mark = label(f"tuned {baseline}"), marks[baseline]
        lines.append(
            {"type": "scatter", "mode": "lines", "name": rival, "x": ends, "y": [fitness] * 2,
             "line": {"color": mark.colour, "width": 2, "dash": mark.dash},
             "hovertemplate": "%{y:.4g}<extra>" + rival + "</extra>"}
        )  # fmt: skip
    leader = [] if source.best is None else [source.best.score + (source.best.standard_error or 0.0)]
    x_axis = Axis("births" if unit == "births" else f"time since the search began ({unit}, while it ran)")
    y_axis = Axis(source.meaning_of_fitness, range=_range(best, [*rivals.values(), *leader]))
    return Figure(name, caption, [trace, *lines], x_axis, y_axis, height=400)


def _range(best: NDArray[Any], others: Sequence[float]) -> tuple[float, float]:
    """Return the range of an axis with these values and the whole curve, but for its beginning: the first programs may
    be so much worse that all the rest would look alike."""
    values = [float(np.quantile(best, 0.02)), float(best.max()), *others]
    margin = 0.06 * (max(values) - min(values) or 1.0)
    return min(values) - margin, max(values) + margin


def _leader(best: LeaderboardEntry, x: list[float]) -> list[dict[str, Any]]:
    """Return the fitness of the program that leads at the end, above the lower bound at which the line ends."""
    name = f"program {best.id} ± error"
    return [
        {"type": "scatter", "mode": "markers", "name": name, "x": x, "y": rounded([best.score]),
         "error_y": {"type": "data", "array": [best.standard_error], "thickness": 1.5, "width": 4},
         "marker": {"color": OURS, "size": 9, "symbol": "diamond"},
         "hovertemplate": "%{y:.4g}<extra>" + name + "</extra>"}
    ]  # fmt: skip


def _changes(values: NDArray[Any]) -> NDArray[Any]:
    """Return where a curve of steps changes, its first and last point among them, at most `POINTS` places."""
    changed = np.flatnonzero(np.diff(values, prepend=-np.inf) != 0)
    kept = np.union1d(changed, [0, len(values) - 1])
    return kept if len(kept) <= POINTS else kept[np.linspace(0, len(kept) - 1, POINTS).round().astype(int)]


def _caption(source: ReportedSearch, best: LeaderboardEntry, winner: Winner | None) -> str:
    """Return which program leads in the search, and where that is not the winner, what this page says of the winner."""
    text = f"Program {best.id}, birth {best.birth} of {source.row.births:,}, leads the search with fitness"
    text += f" {estimate(best.fitness, best.standard_error)}"
    ahead = ahead_of_baselines(source, best)
    text += f", {ahead}, on the seeds that the search trains on" if ahead else "; no baseline was tuned"
    if winner is not None and winner.row.id != best.id:
        known = estimate(winner.row.fitness, winner.row.standard_error)
        text += f". {capitalized(winner.name)}, of which this page says more, has {known}: it {winner.chosen_for}"
    return f"{text}."


def ahead_of_baselines(source: ReportedSearch, program: LeaderboardEntry) -> str:
    """Return how far a program is ahead of tuned AdamW, and of the best baseline where that is another; an empty text
    without any."""
    fitness = source.fitness_of_baselines
    best = next(iter(fitness), None)
    adamw = adamw_among(fitness)
    parts = [] if adamw is None else [f"{_ahead(program.score - adamw)} tuned AdamW"]
    if best is not None and fitness[best] != adamw:
        parts.append(f"{_ahead(program.score - fitness[best])} tuned {best}, the best of the baselines")
    return " and ".join(parts)


def _ahead(difference: float) -> str:
    return f"{figures(abs(difference))} {'ahead of' if difference >= 0 else 'behind'}"


def _half(times: NDArray[Any], best: NDArray[Any], unit: str, is_first: bool) -> str:
    """Return from when on half of the gain was there: a leader that was only lucky does not count."""
    below = np.flatnonzero(best < (best[0] + best[-1]) / 2)
    at = int(below[-1]) + 1 if best[-1] > best[0] and len(below) else 0
    if best[0] >= best[-1] or not math.isfinite(times[at]):
        if is_first:
            return "The best program was found in the first batch."
        return "The leader of the first batch was lucky on its first seeds: the curve ends no higher than it began."
    return f"Half of the gain was reached after {times[at]:.2g} of {times[-1]:.3g} {unit}."
