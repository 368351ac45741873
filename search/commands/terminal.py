"""Results as text for the terminal: tables and programs that fit the width, whatever they hold."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.syntax import ANSISyntaxTheme, Syntax
from rich.table import Table
from rich.text import Text

from programs.liveness import live, live_program, live_statements
from programs.ops import OPS
from programs.program import Program

from search.store import BaselineRow
from search.training.service import Trainings
from search.training.statistics import difference

WIDTH = 100  # where the output is no terminal
LONGEST_CELL = 300  # characters
LEAST_WIDTH = 16  # of a column that gives way first

# Square brackets are no markup: names and reasons come from databases, which may hold anything.
console = Console(width=None if Console().is_terminal else WIDTH, highlight=False, markup=False)

# Colours that can be read on light and on dark terminals, by the kinds of Pygments.
_COLOURS = ANSISyntaxTheme({("Keyword",): Style(bold=True), ("Literal", "Number"): Style(color="magenta")})
_FUNCTIONS = re.compile(rf"\b(?:{'|'.join(OPS)})(?=\()")


def printable(text: str, most: int = 1000) -> str:
    """Text from a database as it may be shown: nothing that steers a terminal, and not endless."""
    shown = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text[:most])
    return shown + "..." if len(text) > most else shown


def number(value: float | None, sign: bool = False) -> str:
    """Five decimals, or a power of ten where these would be endless or all zero; a dash for none."""
    if value is None or math.isnan(value):
        return "-"
    form = ".5f" if value == 0 or 5e-6 <= abs(value) < 1e7 else ".2e"
    return format(value, f"+{form}" if sign else form)


# --- tables ----------------------------------------------------------------------------------------------------------


def show_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    left: Sequence[str] = (),
    wrap: Sequence[str] = (),
) -> None:
    """Print a table that is no wider than the console, and an empty line; see `make_table`."""
    console.print(Text(printable(title), style="bold", overflow="fold"))
    console.print(make_table(columns, rows, left, wrap), "", sep="\n")


def make_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    left: Sequence[str] = (),
    wrap: Sequence[str] = (),
) -> Table:
    """A table that is no wider than the console and shows every cell, on several lines where there is no room.

    Args:
        columns: their headings.
        rows: texts, of which the first 300 characters are shown, or styled texts, shown as they are.
        left: columns aligned left; the others are aligned right.
        wrap: columns that give way first where there is no room for all; then the widest do.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    contents = [max([1, *(_width(row[place]) for row in cells)]) for place in range(len(columns))]
    widths, gap = _widths(columns, contents, [column in wrap for column in columns])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, gap // 2))
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column, justify="left" if column in left else "right", width=width, overflow="fold")
    for row in cells:
        table.add_row(*row)
    return table


def _widths(columns: Sequence[str], contents: Sequence[int], wrap: Sequence[bool]) -> tuple[list[int], int]:
    """Of the columns, and of the gaps between them: headings give way first, then gaps, then contents."""
    whole = [max(width, cell_len(column)) for width, column in zip(contents, columns, strict=True)]
    broken = [max([width, *map(cell_len, column.split())]) for width, column in zip(contents, columns, strict=True)]
    for gap in (3, 1):
        room = console.width - gap * (len(columns) - 1)
        for widths in (whole, broken):
            if sum(widths) <= room:
                return widths, gap
    return _given(broken, wrap, room), gap


def _cell(value: str | Text) -> Text:
    return value if isinstance(value, Text) else Text(" ".join(printable(value, LONGEST_CELL).split("\n")))


def _width(cell: Text) -> int:
    return max(map(cell_len, cell.plain.split("\n")))


def _given(natural: Sequence[int], first: Sequence[bool], room: int) -> list[int]:
    """Widths that fit the room if any do: the widest column gives way, those of `first` before the others."""
    widths = list(natural)
    for may, least in ((first, LEAST_WIDTH), ([True] * len(widths), 1)):
        while (excess := sum(widths) - room) > 0:
            open_to = [place for place, width in enumerate(widths) if may[place] and width > least]
            if not open_to:
                break
            widest = max(open_to, key=lambda place: widths[place])
            others = [widths[place] for place in open_to if place != widest]
            widths[widest] -= max(1, min(excess, widths[widest] - max([least, *others])))
    return widths


# --- what several commands show --------------------------------------------------------------------------------------


def show_baselines(baselines: Iterable[BaselineRow]) -> None:
    """Print tuned baselines with what tuning found."""
    show_table(
        "tuned baselines",
        ["baseline", "fitness", "learning rate", "weight decay", "settings tried"],
        [[b.name, number(b.fitness), f"{b.learning_rate:g}", f"{b.weight_decay:g}", str(b.trials)] for b in baselines],
        left=["baseline"],
    )


def show_program(program: Program, dead_too: bool = True) -> None:
    """Print a program as a function with syntax colours; dead statements, if wanted, are dimmed and marked."""
    shown = program if dead_too else live_program(program)
    alive = {0, len(shown) + 1, *(position + 1 for position in live_statements(shown))}
    for place, line in enumerate(code(shown.as_function()).split("\n")):
        if place not in alive:
            line = Text(f"{line.plain}    # dead", style="dim")
        console.print(Text.assemble("    ", line), overflow="fold")


def code(text: str) -> Text:
    """Program text with syntax colours."""
    shown = Syntax(text, "python", theme=_COLOURS).highlight(text)
    shown.highlight_regex(_FUNCTIONS, "cyan")
    shown.rstrip()
    return shown


def describe(program: Program) -> str:
    """Size and memory of a program in a phrase."""
    slots = len(live(program.dataflow).states)
    return (
        f"{len(program)} statements, {len(live_statements(program))} of them live,"
        f" {slots} state slot{'s' * (slots != 1)} in use"
    )


def show_trainings(title: str, names: Sequence[str], trainings: Sequence[Sequence[Trainings]]) -> None:
    """Print how programs fared on fresh seeds: one row for each program and task."""
    show_table(
        title,
        ["program", "task", "fitness", "std. error", "seeds", "of each seed"],
        [
            [
                name, t.task, number(t.mean), number(t.standard_error), str(len(t.fitness) + len(t.failures)),
                " ".join([number(f) for f in t.fitness] + [f.split(":")[0] for f in t.failures]),
            ]
            for name, of_program in zip(names, trainings, strict=True)
            for t in of_program
        ],
        left=["program", "task"],
        wrap=["of each seed"],
    )  # fmt: skip


def show_differences(name: str, ours: Trainings, rivals: Mapping[str, Trainings]) -> None:
    """Print what the mean fitness of a program on one task is above that of rivals, and how sure that is."""
    found = {rival: difference(ours.by_seed, theirs.by_seed) for rival, theirs in rivals.items()}
    rows = []
    for rival, d in found.items():
        if d is not None:
            low, high = d.interval()
            row = [number(d.mean, True), number(d.standard_error), f"{number(low, True)} to {number(high, True)}"]
            rows.append([f"{name} - {rival}", *row, f"{d.z:+.2f}", "yes" if d.paired else "no"])
    if rows:
        columns = ["difference", "fitness", "std. error", "95 % interval", "z", "paired"]
        show_table("differences of means", columns, rows, left=["difference"])
