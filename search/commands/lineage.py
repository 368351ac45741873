"""The command `optsearch lineage`: from the start program to a program, by the births that changed what it does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Annotated, Any

import typer
from rich.text import Text

from programs.liveness import live_program
from programs.program import Program, parse

from search.commands.options import RESULTS, CsvOption, IdArgument, JsonOption, StoreOption
from search.commands.output import Form, Table, form_of, write
from search.commands.terminal import console, number, show_table
from search.store import Store, open_store

LARGEST = 10  # gains that are shown unless all are asked for
MOST_LINES = 16  # of the change of one step, unless all are asked for
MOST_BIRTHS = 1_000_000  # of a line: far more than any search has
AT_ONCE = 500  # genomes in one query

COLUMNS = (
    "search", "generation", "id", "birth", "parent_birth", "mutation", "answered_by", "status", "fitness", "gain",
    "changed", "dataflow_hash", "statements", "live_statements", "state_slots", "genome",
)  # fmt: skip

# A parent was born before its child, so no data can make this endless; the limit holds whatever an index says.
_LINE = """
    WITH RECURSIVE line AS (
        SELECT id, birth, parent_birth, mutation, answered_by, status, fitness, dataflow_hash, statements,
               live_statements, state_slots
        FROM program WHERE search_id = :search_id AND birth = :birth
        UNION ALL
        SELECT i.id, i.birth, i.parent_birth, i.mutation, i.answered_by, i.status, i.fitness, i.dataflow_hash,
               i.statements, i.live_statements, i.state_slots
        FROM line JOIN program i ON i.search_id = :search_id AND i.birth = line.parent_birth
        WHERE i.birth < line.birth
    )
    SELECT * FROM line LIMIT :most
"""


def command(
    program_id: IdArgument,
    every: Annotated[bool, typer.Option("--all", help="Every change, not only those with the largest gains.")] = False,
    store: StoreOption = RESULTS,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """From the start program to a program, by the births that changed what it does, with the fitness at each."""
    form = form_of(json, csv)
    with closing(open_store(store)) as database:
        write_lineage(database, program_id, every, form)


def line_of(store: Store, search_id: int, birth: int) -> list[dict[str, Any]]:
    """Return a birth and its ancestors, oldest first.

    Beside columns of `program` each row has its `generation`, its `gain` in fitness on its parent, and whether it
    `changed` what its parent does, 1 or 0; the last two are None where there is no parent.
    """
    rows = store.rows(_LINE, search_id=search_id, birth=birth, most=MOST_BIRTHS)
    line: list[dict[str, Any]] = []
    for row in rows:
        if not line or row["birth"] == line[-1]["parent_birth"]:
            line.append(row)
    line.reverse()
    for generation, row in enumerate(line):
        row |= {"generation": generation, "gain": None, "changed": None}
    for parent, row in pairwise(line):
        row["gain"] = _gain(parent, row)
        row["changed"] = int(row["dataflow_hash"] != parent["dataflow_hash"])
    return line


def _gain(before: dict[str, Any], after: dict[str, Any]) -> float | None:
    known = before["fitness"] is not None and after["fitness"] is not None
    return after["fitness"] - before["fitness"] if known else None


def changes_of(line: Sequence[dict[str, Any]]) -> list[int]:
    """Return the places in a line of births that changed what their parent does."""
    return [place for place, row in enumerate(line) if row["changed"]]


def write_lineage(store: Store, program_id: int, every_change: bool, form: Form) -> None:
    """Print how a program came about; as JSON or CSV, every birth of its line.

    Args:
        store: that holds it.
        program_id: of the program.
        every_change: print all steps that changed something in full, not only those with the largest gains.
        form: text, JSON or CSV.

    Raises:
        InputError: there is no such program, or the text of an ancestor is no program.
    """
    row = store.program(program_id)
    line = line_of(store, row["search_id"], row["birth"])
    if form is Form.TEXT:
        _show(store, row, line, every_change)
        return
    genomes = _genomes(store, row["search_id"], [ancestor["birth"] for ancestor in line])
    rows = [ancestor | {"search": row["search"], "genome": genomes[ancestor["birth"]]} for ancestor in line]
    write(form, "lineage", store.location, [Table("lineage", COLUMNS, rows)])


def _genomes(store: Store, search_id: int, births: Sequence[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    for start in range(0, len(births), AT_ONCE):
        numbers = ", ".join(map(str, births[start : start + AT_ONCE]))
        query = f"SELECT birth, genome FROM program WHERE search_id = :id AND birth IN ({numbers})"  # noqa: S608 - ours
        found |= {row["birth"]: row["genome"] for row in store.rows(query, id=search_id)}
    return found


# --- what is printed -------------------------------------------------------------------------------------------------


def _show(store: Store, row: dict[str, Any], line: Sequence[dict[str, Any]], every_change: bool) -> None:
    changes = changes_of(line)
    shown = changes if every_change else _outstanding(line, changes)
    programs = _programs(store, row["search_id"], [line[place] for at in shown for place in (at - 1, at)])
    table = [_first(line[0])]
    before = 0
    for place in shown:
        table += _folded(line[before:place])
        lines = _change(programs[line[place - 1]["birth"]], programs[line[place]["birth"]])
        table.append(_step(line[place], _text(lines if every_change else _shortened(lines))))
        before = place
    table += _folded(line[before:])
    title = f"lineage of program {row['id']} of search {row['search']}"
    columns = ["id", "birth", "mutation", "change of live statements", "fitness", "gain"]
    show_table(title, columns, table, left=["mutation", "change of live statements"])
    console.print(_summary(line, len(changes), len(shown)), overflow="fold")


def _outstanding(line: Sequence[dict[str, Any]], changes: Sequence[int]) -> list[int]:
    """Return the changes with the largest gains, and the last."""
    best = sorted(changes, key=lambda place: -(-1e400 if line[place]["gain"] is None else line[place]["gain"]))
    return sorted({*best[:LARGEST], *changes[-1:]})


def _programs(store: Store, search_id: int, rows: Iterable[dict[str, Any]]) -> dict[int, Program]:
    """Return programs by their births."""
    ids = {row["birth"]: row["id"] for row in rows}
    genomes = _genomes(store, search_id, list(ids))
    return {birth: parse(genomes[birth], f"program {ids[birth]} in {store.location}") for birth in ids}


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
    """Return lines with signs, so that they can be read without colours."""
    styles = {"-": "red", "+": "green", "": "dim"}
    return Text("\n").join(Text(f"{sign} {text}".lstrip(), style=styles[sign]) for sign, text in lines)


def _first(row: dict[str, Any]) -> list[str | Text]:
    known = "the start program" if row["mutation"] == "start" else "no parent is known"
    return _step(row, Text("drawn at random" if row["mutation"] == "random" else known))


def _step(row: dict[str, Any], change: Text) -> list[str | Text]:
    gain = number(row["gain"], sign=True) if row["generation"] else ""
    return [str(row["id"]), str(row["birth"]), row["mutation"], change, number(row["fitness"]), gain]


def _folded(line: Sequence[dict[str, Any]]) -> list[list[str | Text]]:
    """Return one row for all births of a stretch after its first, if there are any."""
    births = len(line) - 1
    if births < 1:
        return []
    changed = sum(row["changed"] for row in line[1:])
    said = f"{births} birth{'s' * (births != 1)} that changed nothing"
    gain = ""
    if changed:
        said = f"{births} births, {changed} of which changed something"
        gain = number(_gain(line[0], line[-1]), sign=True)
    last = line[-1]
    return [[str(last["id"]), str(last["birth"]), "...", Text(said, style="dim"), number(last["fitness"]), gain]]


def _summary(line: Sequence[dict[str, Any]], changes: int, shown: int) -> str:
    if len(line) == 1:
        return "it has no ancestors"
    gain = number(_gain(line[0], line[-1]), sign=True)
    births = f"{len(line) - 1} birth{'s' * (len(line) > 2)}"
    said = f"{births} after the first, {changes} of which changed what the program does; gain {gain} in all"
    if shown < changes:
        said += f"\nthe {LARGEST} with the largest gains and the last are shown; --all shows every change"
    return said
