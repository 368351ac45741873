"""The command `optsearch zoo`."""

from __future__ import annotations

from typing import Annotated

import typer

from programs import zoo
from programs.kinds import ANY, KIND_NAMES, SCALAR
from programs.liveness import states_in_words
from programs.ops import (
    SETS,
    Op,
    functions_of,
    largest,
    like_first,
    one_number,
    one_per_weight,
    per_column,
    per_leaf,
    per_row,
)

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


# --- what a function is, in words ------------------------------------------------------------------------------------

_RESULTS = {
    largest: "the largest of these",
    one_number: "scalar",
    per_leaf: "leaf; of a scalar, scalar",
    per_row: "row",
    per_column: "column",
    one_per_weight: "tree",
    like_first: "as x",
}


def arguments(op: Op) -> list[str]:
    """Return names for the arguments: x and y, and a for what must be a scalar."""
    return ["a" if accepted == (SCALAR,) else "xy"[place] for place, accepted in enumerate(op.accepts)]


def written(op: Op) -> str:
    """Return how programs call a function."""
    names = arguments(op)
    return f" {op.infix} ".join(names) if op.infix else f"{op.name}({', '.join(names)})"


def kinds_of_arguments(op: Op) -> str:
    """Return the kinds that each argument may have."""
    return ", ".join(
        "any" if accepted == ANY else " or ".join(KIND_NAMES[kind] for kind in accepted) for accepted in op.accepts
    )


def kind_of_result(op: Op) -> str:
    """Return the kind of the result."""
    return _RESULTS[op.result] if op.arity else "scalar"


def meaning(op: Op) -> str:
    """Return what a function gives: in words, or where these are not needed as a call of torch."""
    return op.meaning or op.torch_code(arguments(op))
