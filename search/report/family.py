"""Where the winner comes from: its ancestors among their other children, and the code change at each step."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

import numpy as np

from programs.liveness import live_program
from programs.program import parse

from search.report.reading import Reading
from search.report.section import (
    MUTED,
    OURS,
    REFERENCE,
    Axis,
    Block,
    Figure,
    Line,
    Note,
    Section,
    Step,
    Steps,
    figures,
    missing,
    plural,
    rounded,
)
from search.report.winner import Winner

MOST_STEPS = 40  # shown with their changes
MOST_POINTS = 1500  # of children
MOST_LINE = 600  # of ancestors in the figure


class Ancestor(NamedTuple):
    """A birth on the way to the winner: its row of `v_lineage` and the statements that have an effect."""

    row: dict[str, Any]
    statements: list[str]


def family(reading: Reading, winner: Winner | None) -> Section:
    """The section."""
    title = "Family tree"
    if winner is None:
        return missing("family", title, "No program has trained well yet, so there is no descent to tell.")
    line = reading.line(winner.row["birth"])
    changed = _changed(reading, line)
    blocks: list[Block] = [_figure(reading, line, changed, winner)]
    shown = _chosen(changed)
    if len(shown) < len(changed):
        text = f"Of {len(changed)} steps that changed what the program does, the {len(shown)} that gained or lost most."
        blocks.append(Note(text))
    blocks.append(Steps("steps", [_step(before, after) for before, after in shown]))
    lead = (
        f"From the first ancestor to {winner.name}: {plural(max(0, len(line) - 1), 'mutation')} in a row, of which"
        f" {max(0, len(changed) - 1):,} changed statements that matter; the others touched only what has no effect."
    )
    return Section("family", title, blocks, lead)


def _changed(reading: Reading, line: Sequence[dict[str, Any]]) -> list[tuple[Ancestor | None, Ancestor]]:
    """The ancestors whose living statements differ from those of the one before, each beside that one."""
    changed: list[tuple[Ancestor | None, Ancestor]] = []
    last: Ancestor | None = None
    for row in line:
        program = live_program(parse(row["genome"], f"program {row['id']} in {reading.location}"))
        found = Ancestor(row, [str(statement) for statement in program.statements])
        if last is None or found.statements != last.statements:
            changed.append((last, found))
        last = found
    return changed


def _chosen(changed: list[tuple[Ancestor | None, Ancestor]]) -> list[tuple[Ancestor | None, Ancestor]]:
    """The first, the last, and what moved fitness most, in order."""
    if len(changed) <= MOST_STEPS:
        return changed
    inner = sorted(range(1, len(changed) - 1), key=lambda n: -abs(changed[n][1].row["gain"] or 0.0))
    return [changed[n] for n in sorted([0, *inner[: MOST_STEPS - 2], len(changed) - 1])]


def _step(before: Ancestor | None, after: Ancestor) -> Step:
    row = after.row
    if before is None:
        title = f"birth {row['birth']:,}: {'the start program' if row['mutation'] == 'start' else row['mutation']}"
        return Step(title, f"fitness {figures(row['fitness'])}", [Line(text) for text in after.statements])
    change = "" if row["gain"] is None else f", {figures(row['gain'], 3, sign=True)} on its parent"
    detail = f"fitness {figures(row['fitness'])}{change}"
    lines = _difference(before.statements, after.statements)
    return Step(f"birth {row['birth']:,}: {row['mutation']}", detail, lines)


def _difference(before: Sequence[str], after: Sequence[str]) -> list[Line]:
    """All statements of both, each marked as removed, added or kept."""
    lines: list[Line] = []
    for kind, start, end, first, last in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            lines += [Line(text) for text in after[first:last]]
        else:
            lines += [Line(text, "removed") for text in before[start:end]]
            lines += [Line(text, "added") for text in after[first:last]]
    return lines


# --- the figure ------------------------------------------------------------------------------------------------------


def _figure(
    reading: Reading,
    line: Sequence[dict[str, Any]],
    changed: Sequence[tuple[Ancestor | None, Ancestor]],
    winner: Winner,
) -> Figure:
    with_fitness = [row for row in line if row["fitness"] is not None]
    children = list(reading.children([row["birth"] for row in line]))
    ancestors = {row["birth"] for row in line}
    others = [row for row in children if row["birth"] not in ancestors]
    tried = [row for row in others if row["fitness"] is not None]
    lowest = min((row["fitness"] for row in with_fitness), default=0.0)
    highest = max((row["fitness"] for row in [*with_fitness, *tried]), default=1.0)
    room = 0.08 * (highest - lowest or 1.0)
    drawn = _thinned([row for row in tried if row["fitness"] >= lowest - 3 * room], MOST_POINTS)
    steps = [after.row for _, after in changed if after.row["fitness"] is not None]
    way = _thinned(with_fitness, MOST_LINE)
    traces = [
        _points("their other children", drawn, MUTED, {"size": 5, "opacity": 0.55}),
        {**_points("ancestors", way, OURS, {"size": 5}), "mode": "lines+markers", "line": {"color": OURS, "width": 2}},
        _points("steps that changed the program", steps, REFERENCE, {"size": 11, "symbol": "diamond"}),
    ]
    better = sum((row["gain"] or 0.0) > 0 for row in others)
    see = (
        f"The ancestors of {winner.name} had {plural(len(others), 'other child', 'other children')}:"
        f" {better:,} were better than their parent, {len(others) - len(tried):,} did not train at all."
    )
    y = Axis(f"fitness: {reading.fitness_is}", range=(lowest - 3 * room, highest + room))
    return Figure("descent", see, traces, Axis("birth"), y, height=420)


def _points(name: str, rows: Sequence[dict[str, Any]], colour: str, marker: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "markers", "name": name, "x": [row["birth"] for row in rows],
        "y": rounded(row["fitness"] for row in rows), "marker": {"color": colour, **marker},
        "hovertemplate": "birth %{x:,}: %{y:.4f}<extra>" + name + "</extra>",
    }  # fmt: skip


def _thinned(rows: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """Evenly chosen of them, the first and the last among them."""
    if len(rows) <= most:
        return list(rows)
    return [rows[n] for n in np.linspace(0, len(rows) - 1, most).round().astype(int)]
