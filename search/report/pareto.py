"""Quality against size: the best program for each number of live statements and of states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from programs.liveness import live_statements, states_in_words

from search.report.section import NOTHING_TRAINED, Axis, Figure, Section, missing
from search.report.source import ReportedSearch
from search.report.style import OURS, marks_of
from search.report.text import estimate, label, plural, rounded
from search.results.pareto import pareto_front
from search.results.queries import Size
from search.results.text import in_states, states

_SYMBOLS = ("circle", "square", "diamond")  # by state slots


def pareto(source: ReportedSearch) -> Section:
    """Return the section about sizes."""
    rows = source.results.sizes(source.name)
    title = "Quality against size"
    if not rows:
        return missing("pareto", title, NOTHING_TRAINED)
    front = pareto_front(rows)
    best = front[0].lower_bound
    worst = min([best, *source.fitness_of_baselines.values()])
    low = worst - 2 * (best - worst or 1.0)  # a much worse program would press all others together
    shown = [row for row in rows if row.lower_bound >= low]
    drawn = [row for row in front if row in shown]
    traces = [trace for slots in range(len(_SYMBOLS)) for trace in _of_slots(slots, shown, drawn)]
    traces += _baselines(source)
    y, x = Axis(source.meaning_of_fitness), Axis("live statements")
    has_errors = any(row.standard_error is not None for row in rows)
    lead = (
        "Each point is the best program of its size; filled points are the Pareto front: none is better with no more."
    )
    if has_errors:
        lead += " Better is what has the higher fitness less its standard error, where the bar below a point ends."
    caption = _caption(drawn, len(rows) - len(shown))
    return Section("pareto", title, [Figure("sizes", caption, traces, x, y, height=420)], lead)


def _of_slots(slots: int, rows: Sequence[Size], front: Sequence[Size]) -> list[dict[str, Any]]:
    found = []
    for is_front, mark in ((False, f"{_SYMBOLS[slots]}-open"), (True, _SYMBOLS[slots])):
        those = [row for row in rows if math.ceil(row.state_slots) == slots and (row in front) is is_front]
        most = "" if all(row.state_slots == slots for row in those) else "at most "
        name = f"{most}{plural(slots, 'state')}{', Pareto front' if is_front else ''}"
        down = [row.standard_error or 0.0 for row in those]
        found.append(
            {"type": "scatter", "mode": "markers", "name": name,
             "x": [row.live_statements for row in those], "y": rounded(row.fitness for row in those),
             "error_y": {"type": "data", "symmetric": False, "array": [0.0] * len(those), "arrayminus": rounded(down),
                         "thickness": 1, "width": 3, "visible": any(down)},
             "text": [f"{row.programs:,}" for row in those],
             "customdata": [
                 [estimate(row.fitness, row.standard_error), row.trainings, states(row.state_slots)] for row in those
             ],
             "marker": {"color": OURS, "size": 11 if is_front else 7, "symbol": mark,
                        "opacity": 1.0 if is_front else 0.6},
             "hovertemplate": "%{customdata[0]} over %{customdata[1]} trainings<br>with %{x} live statements, states:"
                              " %{customdata[2]}<br>best of %{text} programs<extra>" + name + "</extra>"}
        )  # fmt: skip
    return [trace for trace in found if trace["x"]]


def _baselines(source: ReportedSearch) -> list[dict[str, Any]]:
    fitness, marks = source.fitness_of_baselines, marks_of(source.fitness_of_baselines)
    found = []
    for row in source.baselines:
        if row.name in fitness:
            program, name = source.parse(row.genome, f"baseline {row.name}"), label(f"tuned {row.name}")
            found.append(
                {"type": "scatter", "mode": "markers", "name": name, "x": [len(live_statements(program))],
                 "y": rounded([fitness[row.name]]), "customdata": [states_in_words(program)],
                 "marker": {"color": marks[row.name].colour, "symbol": "x", "size": 10},
                 "hovertemplate": "%{y:.4g} with %{x} live statements, states: %{customdata}"
                                  "<extra>" + name + "</extra>"}
            )  # fmt: skip
    return found


def _caption(front: Sequence[Size], left_out: int) -> str:
    text = f"{plural(len(front), 'size')} on the front."
    best = front[0]
    good = [best, *(row for row in front if row.lower_bound >= 0.95 * best.lower_bound)]
    leanest = min(good, key=lambda row: row.live_statements)
    text += f" The best has {plural(best.live_statements, 'live statement')}"
    text += f" and {in_states(best.state_slots)}, fitness {estimate(best.fitness, best.standard_error)}"
    fewer = next((row for row in front if row.state_slots < best.state_slots), None)
    if fewer is not None:
        text += f"; with {in_states(fewer.state_slots)} the best has {estimate(fewer.fitness, fewer.standard_error)}"
    if leanest is not best and best.lower_bound > 0:
        text += f", and {plural(leanest.live_statements, 'statement')} are enough for 95 % of the best fitness"
    if left_out:
        text += f". Left out, as they are too far behind for this figure: {plural(left_out, 'size')}"
    return f"{text}."
