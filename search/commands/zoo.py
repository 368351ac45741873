"""The command `optsearch zoo`."""

from __future__ import annotations

from typing import Annotated

import typer

from programs import zoo
from programs.function_words import kind_of_result, kinds_of_arguments, meaning, written
from programs.liveness import states_in_words
from programs.ops import SETS, functions_of

from search.commands.terminal import show_table


def command(
    name: Annotated[str | None, typer.Argument(help="Print this program.")] = None,
    functions: Annotated[bool, typer.Option("--functions", help="List the functions of the language instead.")] = False,
) -> None:
    """Known optimizers written in the language, and its functions."""
    if functions:
        show_functions()
    elif name:
        print(zoo.load(name).as_function())
    else:
        show_zoo()


def show_zoo() -> None:
    """Print every program of the zoo with its size and description."""
    rows = [
        [name, str(len(zoo.load(name))), states_in_words(zoo.load(name)), zoo.describe(name)] for name in zoo.names()
    ]
    show_table("zoo", ["name", "statements", "states", "what it is"], rows, left=["name", "what it is"])


def show_functions() -> None:
    """Print every function with the kinds of its arguments and of its result, set by set."""
    columns = ["function", "arguments", "result", "commutative", "meaning"]
    for name, about in SETS.items():
        rows = [
            [written(op), kinds_of_arguments(op), kind_of_result(op), "yes" if op.commutative else "", meaning(op)]
            for op in functions_of([name])
        ]
        if rows:
            show_table(f"functions of the set {name}: {about}", columns, rows, left=columns)
