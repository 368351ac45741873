"""Best fitness so far, over births and over time, with tuned baselines as lines."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.report.clock import clock_of, in_unit, length
from search.report.reading import Reading
from search.report.section import (
    DASHES,
    OURS,
    RIVALS,
    Axis,
    Figure,
    Section,
    figures,
    label,
    missing,
    rounded,
)

POINTS = 400  # of a curve
NO_BIRTHS = "No birth is committed yet: the first appear once a batch has been trained; make the report again then."


def best_over_births(reading: Reading) -> Section:
    """The section."""
    rows = [row for row in reading.progress if row["best_so_far"] is not None]
    if not rows or reading.best is None:
        why = NO_BIRTHS if not reading.progress else "No program has trained well yet; the failures below say why."
        return missing("progress", "Best fitness", why)
    births = np.array([row["births_so_far"] for row in rows], dtype=float)
    best = np.array([row["best_so_far"] for row in rows])
    kept = _rises(best)
    shown = [_figure(reading, "best-over-births", births[kept], best[kept], "births", _see(reading))]
    clock = clock_of(reading)
    if clock is not None:
        times, unit = in_unit(np.append(clock.of([row["batch"] for row in rows]), clock.whole))
        times = times[:-1]
        see = _half(times, best, unit)
        if clock.paused:
            see += f" Pauses between runs, {length(clock.paused)} in all, are left out."
        shown.append(_figure(reading, "best-over-time", times[kept], best[kept], unit, see))
    lead = "The line is the best program so far; broken lines are known optimizers, tuned on the same tasks and seeds."
    return Section("progress", "Best fitness", shown, lead, columns=True)


def _figure(reading: Reading, name: str, x: NDArray[Any], best: NDArray[Any], unit: str, see: str) -> Figure:
    trace: dict[str, Any] = {
        "type": "scatter", "mode": "lines+markers" if len(x) < 60 else "lines", "name": "best program so far",
        "x": rounded(x), "y": rounded(best), "line": {"color": OURS, "width": 3, "shape": "hv"},
        "hovertemplate": "%{y:.4f}<br>after %{x:,} " + unit + "<extra></extra>",
    }  # fmt: skip
    ends = rounded([x[0], x[-1]])
    rivals = [row for row in reading.baselines if row["fitness"] is not None][: len(RIVALS)]
    lines: list[dict[str, Any]] = []
    for row, colour, dash in zip(rivals, RIVALS, DASHES, strict=False):
        rival = label(f"tuned {row['name']}")
        lines.append(
            {"type": "scatter", "mode": "lines", "name": rival, "x": ends, "y": [row["fitness"]] * 2,
             "line": {"color": colour, "width": 2, "dash": dash},
             "hovertemplate": "%{y:.4f}<extra>" + rival + "</extra>"}
        )  # fmt: skip
    # The first programs may be so much worse that all the rest would look alike.
    values = [float(np.quantile(best, 0.02)), float(best[-1]), *(row["fitness"] for row in rivals)]
    room = 0.06 * (max(values) - min(values) or 1.0)
    x_axis = Axis("births" if unit == "births" else f"time since the search began ({unit}, while it ran)")
    y_axis = Axis(f"best {reading.fitness_is}", range=(min(values) - room, max(values) + room))
    return Figure(name, see, [trace, *lines], x_axis, y_axis)


def _rises(values: NDArray[Any]) -> NDArray[Any]:
    """Where a rising curve rises, its first and last point among them, at most `POINTS` of them."""
    risen = np.flatnonzero(np.diff(values, prepend=-np.inf) > 0)
    kept = np.union1d(risen, [0, len(values) - 1])
    return kept if len(kept) <= POINTS else kept[np.linspace(0, len(kept) - 1, POINTS).round().astype(int)]


def _see(reading: Reading) -> str:
    """When the best was born, and how far it is ahead."""
    best = reading.best
    assert best is not None
    text = f"The best program was born as number {best['birth'] + 1:,} of {reading.row['births']:,}"
    ahead = ahead_of_baselines(reading, best)
    return f"{text}, {ahead}, on the seeds that the search trains on." if ahead else f"{text}; no baseline was tuned."


def ahead_of_baselines(reading: Reading, row: dict[str, Any]) -> str:
    """How far a program is ahead of tuned AdamW, and of the best baseline where that is another; empty without any."""
    fitness = {b["name"]: b["fitness"] for b in reading.baselines if b["fitness"] is not None}
    best = max(fitness, key=lambda name: fitness[name], default=None)
    parts = [f"{_ahead(row['fitness'] - fitness['adamw'])} tuned AdamW"] if "adamw" in fitness else []
    if best is not None and best != "adamw":
        parts.append(f"{_ahead(row['fitness'] - fitness[best])} tuned {best}, the best of the baselines")
    return " and ".join(parts)


def _ahead(difference: float) -> str:
    return f"{figures(abs(difference))} {'ahead of' if difference >= 0 else 'behind'}"


def _half(times: NDArray[Any], best: NDArray[Any], unit: str) -> str:
    """When half of the gain was there."""
    at = int(np.argmax(best >= (best[0] + best[-1]) / 2))
    if best[0] == best[-1] or not math.isfinite(times[at]):
        return "The best program was there with the first batch."
    return f"Half of all that was gained was there after {times[at]:.2g} of {times[-1]:.3g} {unit}."
