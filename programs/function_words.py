"""What a function of the language is, in words: how it is written, the kinds that it takes and gives, what it means."""

from __future__ import annotations

from programs.kinds import ANY, KIND_NAMES, SCALAR
from programs.ops import (
    Op,
    largest,
    like_first,
    one_number,
    one_per_weight,
    per_column,
    per_leaf,
    per_row,
)

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
    """Return names for the arguments: x and y, and a for what must be a scalar, if they have none of their own."""
    given = ["a" if accepted == (SCALAR,) else "xy"[place] for place, accepted in enumerate(op.accepts) if not op.names]
    return given or list(op.names)


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
