"""Where the winner comes from: its ancestors among their other children, and the code change at each step."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple, TypeVar

import numpy as np

from programs.liveness import live_program

from search.report.section import Axis, Block, CodeLine, Figure, LineageStep, LineageSteps, Note, Section, missing
from search.report.source import ReportedSearch
from search.report.style import MUTED, OURS, REFERENCE
from search.report.text import estimate, figures, plural, rounded
from search.report.winner import Winner
from search.results.queries import Child
from search.results.text import change
from search.store.views import LineageEntry

MOST_STEPS = 40  # shown with their changes
MOST_CHILDREN = 1500  # in the figure
MOST_ANCESTORS = 600  # in the figure
LONGEST_LINE = 20_000  # ancestors that are read

Value = TypeVar("Value")


class Ancestor(NamedTuple):
    """A birth on the way to the winner, and its statements that have an effect."""

    row: LineageEntry
    statements: list[str]


Change = tuple[Ancestor | None, Ancestor]
"""An ancestor whose live statements differ from those of the one before, and that one; the first has none before."""


def family(source: ReportedSearch, winner: Winner | None) -> Section:
    """Return the section about the lineage of the winner."""
    title = "Family tree"
    if winner is None:
        return missing("family", title, "No program has trained well yet, so there is no lineage to show.")
    line = source.results.lineage(winner.row.id, LONGEST_LINE)
    changed = _changed(source, line)
    blocks: list[Block] = [_figure(source, line, changed, winner)]
    shown = _chosen(changed)
    if len(shown) < len(changed):
        text = f"Of {len(changed)} steps that changed what the program does, the {len(shown)} that gained or lost most."
        blocks.append(Note(text))
    blocks.append(LineageSteps("steps", [_step(before, after) for before, after in shown]))
    lead = (
        f"From the first ancestor to {winner.name}: {plural(max(0, len(line) - 1), 'mutation')} in a row, of which"
        f" {max(0, len(changed) - 1):,} changed statements that matter; the others changed only what has no effect."
    )
    return Section("family", title, blocks, lead)


def _changed(source: ReportedSearch, line: Sequence[LineageEntry]) -> list[Change]:
    changed: list[Change] = []
    last: Ancestor | None = None
    for row in line:
        program = live_program(source.parse(row.genome, f"program {row.id}"))
        found = Ancestor(row, [str(statement) for statement in program.statements])
        if last is None or found.statements != last.statements:
            changed.append((last, found))
        last = found
    return changed


def _chosen(changed: list[Change]) -> list[Change]:
    """Return the first, the last, and those that moved fitness most, in order."""
    if len(changed) <= MOST_STEPS:
        return changed
    inner = sorted(range(1, len(changed) - 1), key=lambda n: -abs(changed[n][1].row.gain or 0.0))
    return [changed[n] for n in sorted([0, *inner[: MOST_STEPS - 2], len(changed) - 1])]


def _step(before: Ancestor | None, after: Ancestor) -> LineageStep:
    row = after.row
    title = f"program {row.id}, birth {row.birth}: {change(row.mutation)}"
    fitness = f"fitness {estimate(row.fitness, row.standard_error)}"
    if before is None:
        return LineageStep(title, fitness, list(map(CodeLine, after.statements)))
    gain = "" if row.gain is None else f", {figures(row.gain, 3, sign=True)} on its parent"
    lines = _difference(before.statements, after.statements)
    return LineageStep(title, f"{fitness}{gain}", lines)


def _difference(before: Sequence[str], after: Sequence[str]) -> list[CodeLine]:
    """Return all statements of both, each marked as removed, added or kept."""
    lines: list[CodeLine] = []
    for kind, start, end, first, last in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            lines += [CodeLine(text) for text in after[first:last]]
        else:
            lines += [CodeLine(text, "removed") for text in before[start:end]]
            lines += [CodeLine(text, "added") for text in after[first:last]]
    return lines


# --- the figure ------------------------------------------------------------------------------------------------------


def _figure(source: ReportedSearch, line: Sequence[LineageEntry], changed: Sequence[Change], winner: Winner) -> Figure:
    ancestors = {row.birth for row in line}
    others = [row for row in source.results.children(source.name, sorted(ancestors)) if row.birth not in ancestors]
    tried, way = _points(others), _points(line)
    lowest = min((fitness for _, fitness in way), default=0.0)
    highest = max((fitness for _, fitness in [*way, *tried]), default=1.0)
    margin = 0.08 * (highest - lowest or 1.0)
    drawn = [point for point in tried if point[1] >= lowest - 3 * margin]
    steps = _points([after.row for _, after in changed])
    traces = [
        _trace("their other children", _thinned(drawn, MOST_CHILDREN), MUTED, {"size": 5, "opacity": 0.55}),
        {**_trace("ancestors", _thinned(way, MOST_ANCESTORS), OURS, {"size": 5}), "mode": "lines+markers",
         "line": {"color": OURS, "width": 2}},
        _trace("steps that changed the program", steps, REFERENCE, {"size": 11, "symbol": "diamond"}),
    ]  # fmt: skip
    traces = [trace for trace in traces if trace["x"]]
    better = sum((row.gain or 0.0) > 0 for row in others)
    caption = (
        f"The ancestors of {winner.name} had {plural(len(others), 'other child', 'other children')}:"
        f" {better:,} were better than their parent, {len(others) - len(tried):,} did not train at all."
    )
    y = Axis(source.meaning_of_fitness, range=(lowest - 3 * margin, highest + margin))
    return Figure("descent", caption, traces, Axis("birth"), y, height=420)


def _points(rows: Sequence[LineageEntry | Child]) -> list[tuple[int, float]]:
    """Return the births that have a fitness, each with its fitness."""
    return [(row.birth, row.fitness) for row in rows if row.fitness is not None]


def _trace(name: str, points: Sequence[tuple[int, float]], colour: str, marker: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "markers", "name": name, "x": [birth for birth, _ in points],
        "y": rounded(fitness for _, fitness in points), "marker": {"color": colour, **marker},
        "hovertemplate": "birth %{x}: %{y:.4g}<extra>" + name + "</extra>",
    }  # fmt: skip


def _thinned(values: Sequence[Value], most: int) -> Sequence[Value]:
    """Return values chosen evenly, the first and the last among them."""
    if len(values) <= most:
        return values
    return [values[n] for n in np.linspace(0, len(values) - 1, most).round().astype(int)]
