"""Quality against size: the best program for each number of live statements and of states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from programs.liveness import live_statements, states_in_words

from search.report.section import NOTHING_TRAINED, Axis, Figure, Section, missing
from search.report.source import ReportedSearch
from search.report.style import FOURTH, INK, OURS, REFERENCE
from search.report.text import estimate, label, plural, rounded
from search.results.pareto import pareto_front
from search.results.queries import Size
from search.results.text import in_states, states

_SLOTS = ((OURS, "circle"), (REFERENCE, "square"), (FOURTH, "diamond"))


def pareto(source: ReportedSearch) -> Section:
    """Return the section about sizes."""
    rows = source.results.sizes(source.name)
    title = "Quality against size"
    if not rows:
        return missing("pareto", title, NOTHING_TRAINED)
    front = pareto_front(rows)
    traces: list[dict[str, Any]] = []
    for slots, (colour, symbol) in enumerate(_SLOTS):
        traces += _of_slots(slots, colour, symbol, rows, front)
    traces += _baselines(source)
    best, lowest = front[0].lower_bound, front[-1].lower_bound
    worst = min([best, *source.fitness_of_baselines.values()])
    low = max(lowest, worst - 2 * (best - worst or 1.0))  # a much worse program would press all others together
    margin = 0.08 * (best - low or 1.0)
    less = "" if all(row.standard_error is None for row in rows) else " less its standard error"
    y = Axis(f"best fitness{less}: {source.meaning_of_fitness}", range=(low - margin, best + margin))
    x = Axis("live statements", range=(0, 2 + max(row.live_statements for row in front)))
    lead = (
        "Each point is the best program of its size; filled points are the Pareto front: none is better with no more."
    )
    return Section("pareto", title, [Figure("sizes", _caption(front), traces, x, y, height=420)], lead)


def _of_slots(
    slots: int, colour: str, symbol: str, rows: Sequence[Size], front: Sequence[Size]
) -> list[dict[str, Any]]:
    found = []
    for is_front, mark in ((False, f"{symbol}-open"), (True, symbol)):
        those = [row for row in rows if math.ceil(row.state_slots) == slots and (row in front) is is_front]
        most = "" if all(row.state_slots == slots for row in those) else "at most "
        name = f"{most}{plural(slots, 'state')}{', Pareto front' if is_front else ''}"
        found.append(
            {"type": "scatter", "mode": "lines+markers" if is_front else "markers", "name": name,
             "x": [row.live_statements for row in those], "y": rounded(row.lower_bound for row in those),
             "text": [f"{row.programs:,}" for row in those],
             "customdata": [
                 [estimate(row.fitness, row.standard_error), row.trainings, states(row.state_slots)] for row in those
             ],
             "line": {"color": colour, "width": 1, "shape": "hv"},
             "marker": {"color": colour, "size": 11 if is_front else 7, "symbol": mark,
                        "opacity": 1.0 if is_front else 0.6},
             "hovertemplate": "%{customdata[0]} over %{customdata[1]} trainings<br>with %{x} live statements, states:"
                              " %{customdata[2]}<br>best of %{text} programs<extra>" + name + "</extra>"}
        )  # fmt: skip
    return [trace for trace in found if trace["x"]]


def _baselines(source: ReportedSearch) -> list[dict[str, Any]]:
    fitness = source.fitness_of_baselines
    parsed = [source.parse(row.genome, f"baseline {row.name}") for row in source.baselines if row.name in fitness]
    if not parsed:
        return []
    slots = [states_in_words(program) for program in parsed]
    return [
        {"type": "scatter", "mode": "markers+text", "name": "tuned baselines",
         "x": [len(live_statements(program)) for program in parsed], "y": rounded(fitness.values()),
         "text": list(map(label, fitness)), "customdata": slots, "textposition": "bottom right",
         "marker": {"color": INK, "symbol": "x", "size": 9}, "textfont": {"color": INK},
         "hovertemplate": "%{y:.4f} with %{x} live statements, states: %{customdata}<extra>tuned %{text}</extra>"}
    ]  # fmt: skip


def _caption(front: Sequence[Size]) -> str:
    text = f"{plural(len(front), 'size')} on the front."
    best = front[0]
    leanest = next((row for row in reversed(front) if row.lower_bound >= 0.95 * best.lower_bound), best)
    text += f" The best has {plural(best.live_statements, 'live statement')}"
    text += f" and {in_states(best.state_slots)}, fitness {estimate(best.fitness, best.standard_error)}"
    fewer = next((row for row in front if row.state_slots < best.state_slots), None)
    if fewer is not None:
        text += f"; with {in_states(fewer.state_slots)} the best has {estimate(fewer.fitness, fewer.standard_error)}"
    if leanest is not best and best.lower_bound > 0:
        text += f", and {plural(leanest.live_statements, 'statement')} are enough for 95 % of the best fitness"
    return f"{text}."
