"""Programs with one number rounded.

Coefficients of interpolations are read both ways, as the share a that is kept and as the share 1 - a that is new: 0.997
is near 0.99 and 0.999, which keep over 100 and over 1000 steps. Numbers never become 0 or 1 here: that would remove
something, and `search.evidence.ablation` has tried it.
"""

from __future__ import annotations

import math
from collections.abc import Container
from typing import NamedTuple

from programs.program import Program
from programs.simplify.graph import Graph, Roots, read, replaced
from programs.simplify.writing import write

_DECIMALS = 12  # to which 1 - a is rid of the rounding of floats


class Rounding(NamedTuple):
    """A program with another number: what was changed, to what, the digits saved, and by what factor it was changed."""

    what: str
    program: Program
    new: float
    saved: int
    distance: float


def digits(value: float) -> int:
    """Significant digits of a number as it is written."""
    return len(repr(abs(value)).split("e")[0].replace(".", "").strip("0"))


def roundings(program: Program, done: Container[float] = ()) -> list[Rounding]:
    """Every program in which one number has fewer digits; those in `done` stay, so that none is rounded twice."""
    graph, roots, names = read(program)
    found = []
    for node in filter(graph.is_constant, graph.live(roots)):
        value = graph.nodes[node].value
        if value in done:
            continue
        coefficient = _is_coefficient(graph, roots, node)
        for new in candidates(value, coefficient):
            changed = replaced(graph, roots, {node: graph.constant(new)})
            if changed is not None:
                apart = _distance(value, new, coefficient)
                after = write(graph, changed, names)
                found.append(Rounding(f"{value!r} -> {new!r}", after, new, digits(value) - digits(new), apart))
    return found


def candidates(value: float, coefficient: bool) -> list[float]:
    """Numbers of fewer digits near a number.

    Args:
        value: the number.
        coefficient: whether it is that of an interpolation and between 0 and 1.
    """
    near = [_significant(value, n) for n in (1, 2)]
    if coefficient:
        new = 1.0 - value
        exponent = round(math.log10(new), _DECIMALS)
        powers = [10.0 ** f(exponent) for f in (math.floor, math.ceil)]
        near += [round(1.0 - x, _DECIMALS) for x in (*powers, _significant(new, 1), _significant(new, 2))]
    return [x for x in dict.fromkeys(near) if x not in (0.0, 1.0, -1.0) and digits(x) < digits(value)]


def _significant(value: float, count: int) -> float:
    return float(f"{value:.{count - 1}e}")


def _is_coefficient(graph: Graph, roots: Roots, node: int) -> bool:
    """Whether a number is nothing but the coefficient of interpolations, and between 0 and 1."""
    users = [graph.nodes[n] for n in graph.live(roots) if node in graph.nodes[n].args]
    return 0.0 < graph.nodes[node].value < 1.0 and all(u.function == "interp" and node not in u.args[:2] for u in users)


def _distance(value: float, new: float, coefficient: bool) -> float:
    """By what factor a number has changed, as a logarithm; of a coefficient, the new share too if that is more."""
    apart = abs(math.log(new / value))
    return max(apart, abs(math.log((1.0 - new) / (1.0 - value)))) if coefficient else apart
