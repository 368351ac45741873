"""What is known of values for all inputs, by induction over the steps: their sign, and which are always zero."""

from __future__ import annotations

from collections.abc import Sequence

from programs.graph import LR, M, V
from programs.ops import OPS
from programs.simplify.graph import Graph, Roots

POSITIVE, NOT_NEGATIVE, UNKNOWN = range(3)

_ALWAYS = {
    **dict.fromkeys(("exp", "exp2", "exp10", "cosh"), POSITIVE),
    **dict.fromkeys(
        ("abs", "sqrt", "square", "norm", "global_norm", "rms", "row_norm", "column_norm", "arccos", "arccosh"),
        NOT_NEGATIVE,
    ),
}
_OF_ALL = ("add", "mul", "minimum")  # positive if all arguments are, not negative if none is
_OF_FIRST = (
    "row_mean",
    "column_mean",
    "cube",
    "cbrt",
    "arctan",
    "tanh",
    "sinh",
    "arcsinh",
    "expm1",
    "sign",
    "reciprocal",
    "clip",
)
"""Of the sign of their first argument; where this one is zero or tiny they may be zero."""


def signs(graph: Graph, roots: Roots) -> dict[int, int]:
    """Return POSITIVE, NOT_NEGATIVE or UNKNOWN for each live node. NaN may have any sign.

    States start at zero; one that no step makes negative, if it was not before, never is.
    """
    nodes = graph.live(roots)
    assumed = {slot for slot, _ in roots.states}
    while True:
        found: dict[int, int] = {}
        for node in nodes:
            found[node] = NOT_NEGATIVE if node in assumed else _sign(graph, node, found)
        refuted = {slot for slot, node in roots.states if slot in assumed and found[node] == UNKNOWN}
        if not refuted:
            return found
        assumed -= refuted


def _sign(graph: Graph, node: int, known: dict[int, int]) -> int:
    function, args, _, value = graph.nodes[node]
    if graph.is_constant(node):
        return POSITIVE if value > 0 else NOT_NEGATIVE if value.hex() == "0x0.0p+0" else UNKNOWN
    if not graph.is_call(node):
        return NOT_NEGATIVE if node == LR else UNKNOWN
    of_args = [known[a] for a in args]
    return _ALWAYS.get(function, _from_args(graph, function, args, of_args))


def _from_args(graph: Graph, function: str, args: Sequence[int], of_args: list[int]) -> int:
    if function in _OF_ALL:
        return max(of_args) if function != "add" or max(of_args) == UNKNOWN else min(of_args)
    if function in _OF_FIRST:
        return max(of_args[0], NOT_NEGATIVE) if function != "clip" else max(*of_args, NOT_NEGATIVE)
    if function == "maximum":  # of 0 and -0 it may be either
        return POSITIVE if POSITIVE in of_args else max(of_args)
    if function == "div":  # the guard makes a divisor that is not negative positive
        return max(of_args[0], NOT_NEGATIVE, of_args[1])
    if function == "power":
        return NOT_NEGATIVE if of_args[0] != UNKNOWN else UNKNOWN
    if function == "interp":
        is_between = graph.is_constant(args[2]) and 0.0 <= graph.nodes[args[2]].value <= 1.0
        return max(*of_args[:2], NOT_NEGATIVE) if is_between else UNKNOWN
    return UNKNOWN


_ZERO_IF_ANY = ("mul", "dot")
_ZERO_IF_FIRST = ("div", "clip", "orthogonalize", "row_norm", "column_norm", "row_mean", "column_mean")


def zeros(graph: Graph, roots: Roots) -> set[int]:
    """Return the live nodes that are zero at every step, over the reals; states are, if steps leave them at zero."""
    nodes = graph.live(roots)
    following = dict(roots.states)
    assumed = {s for s in (M, V) if s in nodes}
    while True:
        found: set[int] = set()
        for node in nodes:
            if node in assumed or (graph.is_call(node) and _is_zero(graph, node, found)):
                found.add(node)
        refuted = {s for s in assumed if following.get(s, s) not in found}
        if not refuted:
            return found
        assumed -= refuted


def _is_zero(graph: Graph, node: int, zero: set[int]) -> bool:
    function, args, _, _ = graph.nodes[node]
    is_zero = [a in zero or (graph.is_constant(a) and graph.nodes[a].value == 0.0) for a in args]
    if function in _ZERO_IF_ANY:
        return any(is_zero)
    if function in _ZERO_IF_FIRST:
        return is_zero[0]
    if function == "interp":
        return is_zero[0] and is_zero[1]
    op = OPS[function]
    return bool(args) and all(is_zero) and not op.of_matrices and op.number([0.0] * len(args)) == 0.0
