"""The command `optsearch zoo`."""

from __future__ import annotations

from typing import Annotated

import typer

from programs import zoo
from programs.liveness import live
from programs.ops import ANY, KIND_NAMES, OPS

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
        [name, str(len(zoo.load(name))), str(len(live(zoo.load(name).dataflow).states)), zoo.describe(name)]
        for name in zoo.names()
    ]
    show_table("zoo", ["name", "statements", "states", "what it is"], rows, left=["name", "what it is"])


def show_functions() -> None:
    """Print every function with the kinds that its arguments may have."""
    rows = []
    for op in OPS.values():
        kinds = ["any" if accepted == ANY else " or ".join(KIND_NAMES[k] for k in accepted) for accepted in op.accepts]
        rows.append([op.name, op.infix or "", ", ".join(kinds), "yes" if op.commutative else ""])
    columns = ["function", "written", "arguments", "commutative"]
    show_table("functions of the language", columns, rows, left=columns)
