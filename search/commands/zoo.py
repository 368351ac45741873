"""The command `optsearch zoo`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from programs import zoo
from programs.function_words import kind_of_result, kinds_of_arguments, meaning, written
from programs.liveness import states_in_words
from programs.ops import SETS, functions_of

from search.commands.options import JsonOption
from search.commands.output import Form, Table, write
from search.commands.terminal import show_table

FUNCTION_COLUMNS = ("function", "arguments", "result", "commutative", "meaning", "set")


def command(
    name: Annotated[str | None, typer.Argument(help="Print this program.")] = None,
    functions: Annotated[bool, typer.Option("--functions", help="List the functions of the language instead.")] = False,
    json: JsonOption = False,
) -> None:
    """Known optimizers written in the language, those found by its searches, and its functions."""
    if json:
        names = [name] if name else zoo.all_names()
        write(Form.JSON, "zoo", None, [_functions(SETS) if functions else _programs(names)])
    elif functions:
        show_functions()
    elif name:
        print(zoo.load(name).as_function())
    else:
        show_zoo()


def _programs(names: Iterable[str]) -> Table:
    """Return programs of the zoo with their texts."""
    columns = ("name", "statements", "states", "about", "program")
    programs = {name: zoo.load(name) for name in names}
    rows = [(n, len(p), states_in_words(p), zoo.describe(n), p.as_function()) for n, p in programs.items()]
    return Table("zoo", columns, [dict(zip(columns, row, strict=True)) for row in rows])


def _functions(sets: Iterable[str]) -> Table:
    """Return the functions of some sets."""
    rows = [
        (written(op), kinds_of_arguments(op), kind_of_result(op), op.commutative, meaning(op), op.set)
        for one in sets for op in functions_of([one])
    ]  # fmt: skip
    return Table("functions", FUNCTION_COLUMNS, [dict(zip(FUNCTION_COLUMNS, row, strict=True)) for row in rows])


def show_zoo() -> None:
    """Print every program of the zoo with its size and description: the known ones, then those found."""
    for title, names in (("zoo", zoo.names()), ("found by searches (docs/gallery.md)", zoo.found_names())):
        rows = [[row["name"], str(row["statements"]), row["states"], row["about"]] for row in _programs(names).rows]
        show_table(title, ["name", "statements", "states", "what it is"], rows, left=["name", "what it is"])


def show_functions() -> None:
    """Print every function with the kinds of its arguments and of its result, set by set."""
    columns = FUNCTION_COLUMNS[:-1]
    for name, about in SETS.items():
        rows = _functions([name]).rows
        if rows:
            cells = [[str(row[one]) if one != "commutative" else "yes" * row[one] for one in columns] for row in rows]
            show_table(f"functions of the set {name}: {about}", columns, cells, left=columns)
