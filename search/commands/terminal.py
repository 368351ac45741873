"""Results as text for the terminal: tables and programs that fit the width, whatever they hold."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.syntax import ANSISyntaxTheme, Syntax
from rich.table import Table
from rich.text import Text

from programs.liveness import live_program, live_statements, state_kinds, states_in_words
from programs.ops import OPS
from programs.program import Program

from search.results.text import in_trainings, printable

if TYPE_CHECKING:  # what lists tasks and functions needs no database
    from search.store import BaselineRow

WIDTH = 100  # where the output is no terminal
LONGEST_CELL = 300  # characters
LEAST_WIDTH = 16  # of a column of folded texts


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Say so to `main`, which ends without a failure; Rich would end the program as failed."""
        raise BrokenPipeError


# Square brackets are no markup: names and reasons come from databases, which may hold anything.
console = _Console(width=None if Console().is_terminal else WIDTH, highlight=False, markup=False)

# Colours that can be read on light and on dark terminals, by the kinds of Pygments.
_COLOURS = ANSISyntaxTheme({("Keyword",): Style(bold=True), ("Literal", "Number"): Style(color="magenta")})
_FUNCTIONS = re.compile(rf"\b(?:{'|'.join(OPS)})(?=\()")


def number(value: float | None, sign: bool = False) -> str:
    """Format a number with five decimals, or as a power of ten where these would not do; None is a dash."""
    if value is None or math.isnan(value):
        return "-"
    form = ".5f" if value == 0 or 5e-6 <= abs(value) < 1e7 else ".2e"
    return format(value, f"+{form}" if sign else form)


def estimate(fitness: float | None, error: float | None, trainings: int) -> str:
    """Say how fit a program is, with the standard error where that is known, and on how many trainings this rests."""
    within = "" if error is None else f" +- {number(error)}"
    return f"{number(fitness)}{within} over {in_trainings(trainings)}"


# --- tables ----------------------------------------------------------------------------------------------------------


def show_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str | Text]], left: Sequence[str] = ()
) -> None:
    """Print a table that is no wider than the console, and an empty line; see `make_table`."""
    console.print(Text(printable(title), style="bold", overflow="fold"))
    console.print(make_table(columns, rows, left), "", sep="\n")


def make_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], left: Sequence[str] = ()) -> Table:
    """Return a table that is no wider than the console and shows every cell.

    Where there is no room, headings are broken, then gaps become narrow, then texts are folded, the widest first. If
    the numbers alone are too wide, each row becomes a list of its cells.

    Args:
        columns: their headings.
        rows: texts, of which the first 300 characters are shown, or styled texts, shown as they are.
        left: columns of texts, aligned left; the others hold numbers, aligned right and never folded.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    contents = [max([1, *(_width(row[place]) for row in cells)]) for place in range(len(columns))]
    whole = [max(width, cell_len(column)) for width, column in zip(contents, columns, strict=True)]
    broken = [max([width, *map(cell_len, column.split())]) for width, column in zip(contents, columns, strict=True)]
    for gap in (3, 1):
        for widths in (whole, broken):
            if sum(widths) + gap * (len(columns) - 1) <= console.width:
                return _grid(columns, cells, widths, left, gap)
    least = [min(w, LEAST_WIDTH) if column in left else w for w, column in zip(broken, columns, strict=True)]
    if cells and sum(least) + len(columns) - 1 > console.width:
        return _lists(columns, cells)
    folding = [None if column in left else width for width, column in zip(broken, columns, strict=True)]
    return _grid(columns, cells, folding, left, 1)


def _grid(
    columns: Sequence[str], cells: Sequence[Sequence[Text]], widths: Sequence[int | None], left: Sequence[str], gap: int
) -> Table:
    """Return a table with columns of these widths; what is left of the room is for those without."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, gap // 2))
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column, justify="left" if column in left else "right", width=width, overflow="fold")
    for row in cells:
        table.add_row(*row)
    return table


def _lists(columns: Sequence[str], cells: Sequence[Sequence[Text]]) -> Table:
    """Return a line for each cell, behind its heading, and an empty line after each row."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold")
    for row in cells:
        for column, cell in zip(columns, row, strict=True):
            table.add_row(column, cell)
        table.add_row()
    return table


def _cell(value: str | Text) -> Text:
    return value if isinstance(value, Text) else Text(" ".join(printable(value, LONGEST_CELL).split("\n")))


def _width(cell: Text) -> int:
    return max(map(cell_len, cell.plain.split("\n")))


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
    """Return program text with syntax colours."""
    shown = Syntax(text, "python", theme=_COLOURS).highlight(text)
    shown.highlight_regex(_FUNCTIONS, "cyan")
    shown.rstrip()
    return shown


def describe(program: Program) -> str:
    """Return the size and memory of a program in a phrase."""
    one = len(state_kinds(program)) == 1
    return (
        f"{len(program)} statements, {len(live_statements(program))} of them live,"
        f" {states_in_words(program)} state slot{'s' * (not one)} in use"
    )
