"""The page of functions, from the one table of them."""

from __future__ import annotations

from programs.ops import ANY, KIND_NAMES, OPS, SCALAR, Op, largest, like_first, one_number, per_leaf

from scripts.docs_site.source import one_line

HEAD = """\
# Functions

The functions that programs consist of; kinds and numerics are explained in [The language](../language.md). The command
`optsearch zoo --functions` lists them in the terminal, and another page says [how to add others](../user_functions.md).

The last column shows what training computes, as torch runs it and as exported optimizers contain it.
`leaf_sum` is the sum over each parameter tensor, `torch.sum` that over all numbers of a tree.
Everything else is computed number by number.
"""
RESULTS = {
    largest: "the largest of these",
    one_number: "scalar",
    per_leaf: "leaf; of a scalar, scalar",
    like_first: "as x",
}


def functions_page() -> str:
    """Return the page as Markdown."""
    rows = ["| function | kinds of arguments | kind of result | computed as |", "|---|---|---|---|"]
    rows += [_row(op) for op in OPS.values()]
    commutative = ", ".join(f"`{op.name}`" for op in OPS.values() if op.commutative)
    return "\n".join([HEAD, *rows, "", f"The order of the two arguments makes no difference to {commutative}.", ""])


def _row(op: Op) -> str:
    names = ["a" if accepted == (SCALAR,) else "xy"[place] for place, accepted in enumerate(op.accepts)]
    shown = f"`{op.name}({', '.join(names)})`"
    if op.infix:
        shown += f", written `{names[0]} {op.infix} {names[1]}`"
    kinds = [
        "any" if accepted == ANY else " or ".join(KIND_NAMES[kind] for kind in accepted) for accepted in op.accepts
    ]
    result = RESULTS[op.result] if op.arity else "scalar"
    return f"| {shown} | {', '.join(kinds)} | {result} | `{one_line(op.torch_code(names))}` |"
