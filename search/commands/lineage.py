"""The command `optsearch lineage`: from the start program to a program, by the births that changed what it does."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from typing import Annotated

import typer
from rich.text import Text

from programs.liveness import live_program
from programs.program import Program, parse

from search.commands.options import RESULTS, CsvOption, IdArgument, JsonOption, StoreOption
from search.commands.output import Form, Table, form_of, write
from search.commands.terminal import console, number, show_table
from search.results.results import Results, open_results
from search.results.text import change, printable
from search.store.views import LineageEntry

LARGEST = 10  # gains that are shown unless all are asked for
MOST_LINES = 16  # of the change of one step, unless all are asked for


COLUMNS = (
    "search", "generation", "id", "birth", "parent_birth", "mutation", "answered_by", "status", "fitness",
    "standard_error", "trainings", "gain", "changed", "dataflow_hash", "statements", "live_statements", "state_slots",
    "genome",
)  # fmt: skip


def command(
    program_id: IdArgument,
    every: Annotated[bool, typer.Option("--all", help="Every change, not only those with the largest gains.")] = False,
    store: StoreOption = RESULTS,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """From the start program to a program, by the births that changed what it does, with the fitness at each."""
    form = form_of(json, csv)
    with open_results(store) as results:
        write_lineage(results, program_id, every, form)


def changes_of(line: Sequence[LineageEntry]) -> list[int]:
    """Return the places in a line of the programs that changed what their parent does."""
    return [place for place, row in enumerate(line) if row.changed]


def write_lineage(results: Results, program_id: int, every_change: bool, form: Form) -> None:
    """Print how a program came about; as JSON or CSV, every birth of its line.

    Args:
        results: that hold the program.
        program_id: its ID.
        every_change: print all steps that changed something in full, not only those with the largest gains.
        form: text, JSON or CSV.

    Raises:
        InputError: there is no such program, or the text of an ancestor is no program.
    """
    line = results.lineage(program_id)
    if form is Form.TEXT:
        _show(line, every_change, results.location)
        return
    rows = [row.as_columns() | {"generation": generation} for generation, row in enumerate(line)]
    write(form, "lineage", results.location, [Table("lineage", COLUMNS, rows)])


# --- what is printed -------------------------------------------------------------------------------------------------


def _show(line: Sequence[LineageEntry], every_change: bool, location: str) -> None:
    changes = changes_of(line)
    shown = changes if every_change else _outstanding(line, changes)
    table = [_first(line[0])]
    before = 0
    for place in shown:
        table += _folded(line[before:place])
        parent, child = (parse(row.genome, f"program {row.id} in {location}") for row in line[place - 1 : place + 1])
        lines = _change(parent, child)
        table.append(
            _step(line[place], _text(lines if every_change else _shortened(lines)), number(line[place].gain, sign=True))
        )
        before = place
    table += _folded(line[before:])
    title = f"lineage of program {line[-1].id} of search {line[-1].search}"
    columns = ["id", "birth", "mutation", "change of live statements", "fitness", "+-", "trainings", "gain"]
    show_table(title, columns, table, left=["mutation", "change of live statements"])
    console.print(_summary(line, len(changes), len(shown)), overflow="fold")


def _outstanding(line: Sequence[LineageEntry], changes: Sequence[int]) -> list[int]:
    """Return the changes with the largest gains, and the last."""
    gains = {place: -math.inf if (gain := line[place].gain) is None else gain for place in changes}
    return sorted({*sorted(changes, key=lambda place: -gains[place])[:LARGEST], *changes[-1:]})


def _change(before: Program, after: Program) -> list[tuple[str, str]]:
    """Return the live statements that were removed (-) and added (+), in their order."""
    old, new = ([str(s) for s in live_program(program).statements] for program in (before, after))
    lines = []
    for _, i, j, k, n in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if old[i:j] != new[k:n]:
            lines += [("-", text) for text in old[i:j]] + [("+", text) for text in new[k:n]]
    return lines


def _shortened(lines: list[tuple[str, str]]) -> list[tuple[str, str]]:
    rest = len(lines) - MOST_LINES
    return lines if rest <= 1 else [*lines[:MOST_LINES], ("", f"... {rest} more lines; --all shows them")]


def _text(lines: Iterable[tuple[str, str]]) -> Text:
    """Return lines with their signs, so that they can be read without colours."""
    styles = {"-": "red", "+": "green", "": "dim"}
    return Text("\n").join(Text(f"{sign} {text}".lstrip(), style=styles[sign]) for sign, text in lines)


def _first(row: LineageEntry) -> list[str | Text]:
    return _step(
        row, Text(printable("no parent is known" if row.parent_birth is not None else change(row.mutation))), ""
    )


def _step(row: LineageEntry, change: Text, gain: str) -> list[str | Text]:
    return [str(row.id), str(row.birth), row.mutation, change, *_known(row), gain]


def _known(row: LineageEntry) -> list[str | Text]:
    return [number(row.fitness), number(row.standard_error), str(row.trainings)]


def _folded(line: Sequence[LineageEntry]) -> list[list[str | Text]]:
    """Return one row for all births of a stretch after its first, if there are any."""
    births = len(line) - 1
    if births < 1:
        return []
    changed = len(changes_of(line[1:]))
    said = f"{births} birth{'s' * (births != 1)} that changed nothing"
    if changed:
        said = f"{births} births, {changed} of which changed something"
    last = line[-1]
    gain = _gain(line[0], last) if changed else ""
    return [[str(last.id), str(last.birth), "...", Text(said, style="dim"), *_known(last), gain]]


def _gain(before: LineageEntry, after: LineageEntry) -> str:
    if before.fitness is None or after.fitness is None:
        return number(None)
    return number(after.fitness - before.fitness, sign=True)


def _summary(line: Sequence[LineageEntry], changes: int, shown: int) -> str:
    if len(line) == 1:
        return "it has no ancestors"
    births, gain = f"{len(line) - 1} birth{'s' * (len(line) > 2)}", _gain(line[0], line[-1])
    said = f"{births} after the first, {changes} of which changed what the program does; gain {gain} in all"
    if shown < changes:
        said += f"\nthe {LARGEST} with the largest gains and the last are shown; --all shows every change"
    return said
