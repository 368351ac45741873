"""When one program is simpler than another."""

from __future__ import annotations

from typing import NamedTuple

from programs.graph import M, V, W
from programs.kinds import COLUMN, LEAF, ROW, SCALAR, TREE
from programs.simplify.graph import Graph, Roots, depths, heights
from programs.simplify.writing import writable

_CHEAP, _ORDINARY, _DEAR = 4, 6, 10
_WEIGHTS = {
    "square": 3,
    **dict.fromkeys(("abs", "negative", "sign", "add", "sub", "mul", "maximum", "minimum", "cube"), _CHEAP),
    "interp": 5,
    **dict.fromkeys(("div", "sqrt", "reciprocal", "norm", "global_norm", "dot"), _ORDINARY),
}
_SIZES = {SCALAR: 0, LEAF: 1, ROW: 1, COLUMN: 1, TREE: 2}
_UNUSUAL = 1  # more for interpolations beyond 0..1, or from a state to something else, and for x + x


class Cost(NamedTuple):
    """What is compared first comes first: state slots, then statements, then the finer points.

    `trees`: statements whose value is not a scalar, those with one number for each parameter tensor, row or column
    counted half. `inner`: how far the factors stand from the end, where they meet others and the learning rate.
    `functions`: a price for each. `chains`: how much is computed one after another. `digits`: those of all numbers.
    `inner_signs`: how far out signs stand.
    """

    slots: int
    statements: int
    trees: int
    inner: int
    functions: int
    chains: int
    digits: int
    inner_signs: int


def cost(graph: Graph, roots: Roots) -> Cost:
    """Return the cost of a program; smaller is simpler."""
    nodes = graph.live(writable(graph, roots))
    calls = [n for n in nodes if graph.is_call(n)]
    depth, height = depths(graph, nodes), heights(graph, nodes)
    return Cost(
        len(roots.states),
        len(calls),
        sum(_SIZES[graph.nodes[n].kind] for n in calls),
        sum(height[n] * _scales(graph, n) for n in calls),
        sum(_price(graph, n) for n in calls),
        sum(depth.values()),
        sum(len(repr(graph.nodes[n].value)) for n in nodes if graph.is_constant(n)),
        sum(depth[n] for n in calls if graph.nodes[n].function == "sign"),
    )


def is_simpler(graph: Graph, roots: Roots, now: Cost) -> bool:
    """Return whether a program costs less than this, with no more slots and no more statements."""
    calls = sum(graph.is_call(n) for n in graph.live(roots))
    if len(roots.states) > now.slots or calls > now.statements:
        return False
    after = cost(graph, roots)
    return after < now and after.statements <= now.statements


def _scales(graph: Graph, node: int) -> int:
    """Return how much it matters that a node stands far out: most for a number times a tree, 0 for no factor.

    A weight decay is where it should be.
    """
    function, args, kind, _ = graph.nodes[node]
    by_number = any(map(graph.is_constant, args))
    if (
        function == "negative"
        or (function == "div" and graph.is_constant(args[1]))
        or (function == "mul" and by_number)
    ):
        return 0 if W in args and function == "mul" else 1 if kind == SCALAR else 4
    return 2 * (function == "mul" and kind == TREE and any(graph.nodes[a].kind == SCALAR for a in args))


def _price(graph: Graph, node: int) -> int:
    function, args, _, _ = graph.nodes[node]
    price = _WEIGHTS.get(function, _DEAR)
    if function == "interp":
        extrapolates = graph.is_constant(args[2]) and not 0.0 <= graph.nodes[args[2]].value <= 1.0
        price += _UNUSUAL * (extrapolates + (args[0] in (M, V) and args[1] not in (M, V)))
    if function == "add" and args[0] == args[1]:
        price += _UNUSUAL
    return price
