"""Patterns of expressions, written as text: `sqrt(square(x))`, `x * a + y * a`.

Letters stand for what is matched: `a`, `b`, `c` for numbers, `s`, `t` for scalars, `k` for what is no tree, all others
for anything. Functions of numbers alone are computed in a result, and `1`, `-1`, ... match themselves.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

from programs.kinds import LEAF, SCALAR, TREE
from programs.ops import INFIX, OPS
from programs.simplify.graph import Graph

NUMBERS, SCALARS, SMALL = "abc", "st", "k"
_LARGEST_KIND = {**dict.fromkeys(NUMBERS + SCALARS, SCALAR), SMALL: LEAF}
_INFIX = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}

Pattern = str | float | tuple["str | Pattern", ...]
"""A letter, a number, or a function with its arguments."""

Bindings = dict[str, int]


@cache
def pattern(text: str) -> Pattern:
    """Return the pattern that a text stands for."""
    return _read(ast.parse(text, mode="eval").body)


def _read(node: ast.expr) -> Pattern:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.BinOp):
        return (INFIX[_INFIX[type(node.op)]].name, _read(node.left), _read(node.right))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return (node.func.id, *map(_read, node.args))
    return float(ast.literal_eval(node))


def matches(graph: Graph, shape: Pattern, node: int, bindings: Bindings) -> Iterator[Bindings]:
    """Yield all ways in which a node has this shape, the letters bound as they are in `bindings`."""
    if isinstance(shape, str):
        if shape in bindings:
            yield from [bindings] * (bindings[shape] == node)
        elif _may_be(graph, shape, node):
            yield {**bindings, shape: node}
    elif isinstance(shape, float):
        if graph.is_constant(node) and _same_number(graph.nodes[node].value, shape):
            yield bindings
    elif graph.nodes[node].function == shape[0]:
        args = graph.nodes[node].args
        yield from _match_all(graph, shape[1:], args, bindings)
        if OPS[str(shape[0])].commutative and args[0] != args[1]:
            yield from _match_all(graph, shape[1:], args[::-1], bindings)


def _match_all(graph: Graph, shapes: Sequence[Pattern], nodes: Sequence[int], bindings: Bindings) -> Iterator[Bindings]:
    if not shapes:
        yield bindings
        return
    for found in matches(graph, shapes[0], nodes[0], bindings):
        yield from _match_all(graph, shapes[1:], nodes[1:], found)


def _may_be(graph: Graph, letter: str, node: int) -> bool:
    return (letter not in NUMBERS or graph.is_constant(node)) and (
        graph.nodes[node].kind <= _LARGEST_KIND.get(letter, TREE)
    )


def _same_number(a: float, b: float) -> bool:
    return a.hex() == b.hex()


def build(graph: Graph, shape: Pattern, bindings: Bindings, fold: bool = True) -> int | None:
    """Return the node of this shape. With `fold`, functions of numbers become numbers; None if one is not finite."""
    if isinstance(shape, str):
        return bindings[shape]
    if isinstance(shape, float):
        return graph.constant(shape)
    args = [build(graph, argument, bindings, fold) for argument in shape[1:]]
    if any(a is None for a in args):
        return None
    known = [a for a in args if a is not None]
    if fold and known and all(map(graph.is_constant, known)):
        return folded_call(graph, str(shape[0]), known)
    return graph.call(str(shape[0]), known)


def folded_call(graph: Graph, function: str, args: Sequence[int]) -> int | None:
    """Return a function of numbers as a number; None if it is not finite in float32, or an argument is no number."""
    if not all(map(graph.is_constant, args)):
        return None
    value = OPS[function].number([graph.nodes[a].value for a in args])
    in_float32 = np.abs(np.float32(value)) if np.isfinite(value) and abs(value) < 1e38 else np.inf
    return graph.constant(value) if value == 0.0 or 1e-37 < in_float32 < 1e38 else None
