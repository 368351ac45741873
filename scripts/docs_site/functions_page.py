"""The page of functions, from the one table of them."""

from __future__ import annotations

from programs.function_words import arguments, kind_of_result, kinds_of_arguments, written
from programs.ops import OPS, SETS, Op, functions_of

from scripts.docs_site.source import one_line

HEAD = """\
# Functions

The functions that programs consist of, by the sets among which a search chooses ([`language`](settings.md)); kinds and
numerics are explained in [The language](../language.md). The command `optsearch zoo --functions` lists them in the
terminal, and another page says [how to add others](../user_functions.md).

The last column shows what training computes, as torch runs it and as exported optimizers contain it.
`leaf_sum`, `row_sum` and `column_sum` are the sums over each parameter tensor, row and column, `leaf_mean`, `row_mean`
and `column_mean` the means; `torch.sum` is the sum over all numbers of a tree, and `orthogonalize` works on matrices.
Everything else is computed number by number. Rows and columns stand for the tree in which all numbers of a row, or of a
column, are alike, and fit where a tree does. The largest of a row and a column is a tree.
"""


def functions_page() -> str:
    """Return the page as Markdown."""
    commutative = ", ".join(f"`{op.name}`" for op in OPS.values() if op.commutative)
    parts = [HEAD]
    for name, about in SETS.items():
        rows = list(map(_row, functions_of([name])))
        head = ["| function | kinds of arguments | kind of result | computed as |", "|---|---|---|---|"]
        parts += [f"## {name}\n", f"{about[:1].upper()}{about[1:]}.\n", *(head + rows if rows else ["None here."]), ""]
    return "\n".join([*parts, f"The order of the two arguments makes no difference to {commutative}.", ""])


def _row(op: Op) -> str:
    names = arguments(op)
    shown = f"`{op.name}({', '.join(names)})`" + (f", written `{written(op)}`" if op.infix else "")
    code = op.torch_code(names)
    computed = "; ".join(filter(None, [f"`{one_line(code)}`" if code else "", op.meaning]))
    return f"| {shown} | {kinds_of_arguments(op)} | {kind_of_result(op)} | {one_line(computed)} |"
