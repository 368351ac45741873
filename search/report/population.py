"""What the search has found beside its winner: sizes against quality, the best programs, and what failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from programs.liveness import live, live_statements
from programs.program import parse

from search.report.reading import MOST_LEADERS, Reading
from search.report.section import (
    FOURTH,
    INK,
    MUTED,
    OURS,
    REFERENCE,
    Axis,
    Figure,
    Section,
    Table,
    count,
    figures,
    label,
    missing,
    number,
    plural,
    rounded,
    share,
    words,
)
from search.results.pareto import pareto_front

_NOTHING = "No program has trained well yet; the failures below say why."
_SLOTS = ((OURS, "circle"), (REFERENCE, "square"), (FOURTH, "diamond"))


def pareto(reading: Reading) -> Section:
    """The best fitness for each number of live statements and of states."""
    rows = reading.sizes
    title = "Quality against size"
    if not rows:
        return missing("pareto", title, _NOTHING)
    front = pareto_front(rows)
    traces: list[dict[str, Any]] = []
    for slots, (colour, symbol) in enumerate(_SLOTS):
        traces += _of_slots(slots, colour, symbol, rows, front)
    traces += _baselines(reading)
    best, lowest = max(row["fitness"] for row in rows), min(row["fitness"] for row in front)
    known = [row["fitness"] for row in reading.baselines if row["fitness"] is not None]
    low = max(lowest, min([best, *known]) - 2 * (best - min([best, *known]) or 1.0))  # not for the sake of the worst
    room = 0.08 * (best - low or 1.0)
    y = Axis(f"best fitness: {reading.fitness_is}", range=(low - room, best + room))
    x = Axis("live statements", range=(0, 2 + max(row["live_statements"] for row in front)))
    lead = (
        "Each point is the best program of its size; filled points are the Pareto front: none is better with no more."
    )
    return Section("pareto", title, [Figure("sizes", _see(front), traces, x, y, height=420)], lead)


def _of_slots(
    slots: int, colour: str, symbol: str, rows: Sequence[dict[str, Any]], front: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    found = []
    for is_front, mark in ((False, f"{symbol}-open"), (True, symbol)):
        those = [row for row in rows if row["state_slots"] == slots and (row in front) is is_front]
        name = f"{plural(slots, 'state')}{', Pareto front' if is_front else ''}"
        found.append(
            {"type": "scatter", "mode": "lines+markers" if is_front else "markers", "name": name,
             "x": [row["live_statements"] for row in those], "y": rounded(row["fitness"] for row in those),
             "text": [f"{row['programs']:,}" for row in those], "line": {"color": colour, "width": 1, "shape": "hv"},
             "marker": {"color": colour, "size": 11 if is_front else 7, "symbol": mark,
                        "opacity": 1.0 if is_front else 0.6},
             "hovertemplate": "%{y:.4f} with %{x} live statements<br>best of %{text} programs"
                              "<extra>" + name + "</extra>"}
        )  # fmt: skip
    return [trace for trace in found if trace["x"]]


def _baselines(reading: Reading) -> list[dict[str, Any]]:
    shown = [row for row in reading.baselines if row["fitness"] is not None]
    parsed = [parse(row["genome"], f"baseline {row['name']} in {reading.location}") for row in shown]
    if not shown:
        return []
    slots = [plural(len(live(program.dataflow).states), "state") for program in parsed]
    return [
        {"type": "scatter", "mode": "markers+text", "name": "tuned baselines",
         "x": [len(live_statements(program)) for program in parsed], "y": rounded(row["fitness"] for row in shown),
         "text": [label(row["name"]) for row in shown], "customdata": slots, "textposition": "bottom right",
         "marker": {"color": INK, "symbol": "x", "size": 9}, "textfont": {"color": INK},
         "hovertemplate": "%{y:.4f} with %{x} live statements, %{customdata}<extra>tuned %{text}</extra>"}
    ]  # fmt: skip


def _see(front: Sequence[dict[str, Any]]) -> str:
    text = f"{plural(len(front), 'size')} on the front."
    best = front[0]
    leanest = next((row for row in reversed(front) if row["fitness"] >= 0.95 * best["fitness"]), best)
    text += f" The best has {plural(best['live_statements'], 'live statement')}"
    text += f" and {plural(best['state_slots'], 'state')}, fitness {figures(best['fitness'])}"
    slim = [row for row in front if row["state_slots"] < best["state_slots"]]
    if slim:
        row = slim[0]
        text += f"; with {plural(row['state_slots'], 'state')} the best has {figures(row['fitness'])}"
    if leanest is not best and best["fitness"] > 0:
        text += f", and {plural(leanest['live_statements'], 'statement')} are enough for 95 % of the best fitness"
    return f"{text}."


def leaderboard(reading: Reading) -> Section:
    """The best distinct programs."""
    title = "Leaderboard"
    if not reading.leaders:
        return missing("leaderboard", title, _NOTHING)
    columns = ["id", "fitness", "over AdamW", "over best baseline", "statements", "live", "states", "birth", "mutation"]
    table = [
        [
            count(row["id"]), number(row["fitness"], 5), number(row["over_adamw"], 4, sign=True),
            number(row["over_best_baseline"], 4, sign=True), count(row["statements"]), count(row["live_statements"]),
            count(row["state_slots"]), count(row["birth"]), words(row["mutation"]),
        ]
        for row in reading.leaders
    ]  # fmt: skip
    lead = f"{plural(reading.distinct, 'distinct program')} trained well"
    lead += f"; these are the best {MOST_LEADERS}." if reading.distinct > MOST_LEADERS else "."
    lead += " A click on a heading sorts. `optsearch show ID` tells all about one."
    return Section("leaderboard", title, [Table("leaders", columns, table, ("mutation",), sortable=True)], lead)


def failures(reading: Reading) -> Section:
    """What failed, and why."""
    title = "Failures"
    rows = reading.failures
    if not rows:
        return missing("failures", title, "Nothing has failed in this search: every program born so far trained well.")
    total = sum(row["programs"] for row in rows)
    trace = {
        "type": "bar", "orientation": "h", "x": [row["programs"] for row in rows], "y": [row["status"] for row in rows],
        "marker": {"color": MUTED}, "text": [f"{row['programs']:,}" for row in rows], "textposition": "auto",
        "hovertemplate": "%{x:,} programs<extra>%{y}</extra>",
    }  # fmt: skip
    first = reading.reasons[0]
    see = f"{plural(total, 'program')} failed or were rejected, most ({share(rows[0]['programs'], total)}) as"
    see += f" '{rows[0]['status']}'. The reason given most often: {first['reason'] or 'none'}"
    see += f" ({plural(first['programs'], 'program')})."
    layout = {"yaxis": {"type": "category", "autorange": "reversed", "title": {"text": "status"}}}
    height = 130 + 34 * len(rows)
    figure = Figure(
        "failed", see, [trace], Axis("programs"), Axis("status"), height=height, legend=False, layout=layout
    )
    table = [
        [words(row["status"]), words(row["reason"] or ""), count(row["programs"]), count(row["example_id"])]
        for row in reading.reasons
    ]
    columns, left = ["status", "reason", "programs", "example id"], ("status", "reason")
    return Section(
        "failures", title, [figure, Table("reasons", columns, table, left, True, "reasons given most often")]
    )
