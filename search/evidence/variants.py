"""Programs that simplification tries by training: with one thing removed, or with one number rounded.

Something is removed when a statement is replaced by one of its arguments, or by 0 or 1. The factors that people tune
stay: without its number `w * 0.01` would be a weight decay of 1, which removes nothing.

Coefficients of interpolations are rounded both ways, as the share a that is kept and as the share 1 - a that is new:
0.997 is near 0.99 and 0.999, which keep over 100 and over 1000 steps. Numbers never become 0 or 1 by rounding: that
would remove something.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator
from typing import NamedTuple

from programs.graph import INPUTS, LR, W
from programs.program import Program, Statement
from programs.simplify.cost import Cost, cost
from programs.simplify.graph import Graph, Roots, read, replaced, trimmed
from programs.simplify.writing import write

_DECIMALS = 12  # to which 1 - a is rounded, so that the error of the subtraction does not show


def price(program: Program) -> Cost:
    """Return what a program costs; smaller is simpler."""
    graph, roots, _ = read(program)
    return cost(graph, roots)


# --- one thing removed ------------------------------------------------------------------------------------------------


class Ablation(NamedTuple):
    """A changed program, and what was changed."""

    what: str
    program: Program


def ablations(program: Program) -> list[Ablation]:
    """Return every program that has one statement less, and what follows from that; all are different."""
    graph, roots, names = read(program)
    found: dict[Program, Ablation] = {}
    for node in graph.live(roots):
        for by in _replacements(graph, node):
            changed = replaced(graph, roots, {node: by})
            if changed is not None:
                after = write(graph, trimmed(graph, changed), names)
                what = f"{_text(graph, node, names)} -> {_name(graph, by, names)}"
                found.setdefault(after, Ablation(what, after))
    return list(found.values())


def _replacements(graph: Graph, node: int) -> Iterator[int]:
    if graph.is_call(node):
        function, args, _, _ = graph.nodes[node]
        is_tuned = function == "mul" and any(a in (W, LR) for a in args) and any(map(graph.is_constant, args))
        if not is_tuned:
            yield from dict.fromkeys(args)
        yield from (graph.constant(value) for value in (0.0, 1.0))


def _text(graph: Graph, node: int, names: dict[int, str]) -> str:
    function, args, _, _ = graph.nodes[node]
    return str(Statement("", function, tuple(_name(graph, a, names) for a in args))).removeprefix(" = ")


def _name(graph: Graph, node: int, names: dict[int, str]) -> str:
    if graph.is_constant(node):
        return repr(graph.nodes[node].value)
    return INPUTS[node] if node < len(INPUTS) else names.get(node, "...")


# --- one number rounded -----------------------------------------------------------------------------------------------


class Rounding(NamedTuple):
    """A number and one of fewer digits: the digits saved, and by what factor it is changed."""

    old: float
    new: float
    saved: int
    distance: float

    def __str__(self) -> str:
        return f"{self.old!r} -> {self.new!r}"


def digits(value: float) -> int:
    """Return the number of significant digits with which a number is written."""
    return len(repr(abs(value)).split("e")[0].replace(".", "").strip("0"))


def roundings(program: Program, done: Container[float] = ()) -> list[Rounding]:
    """Return every way to write one number with fewer digits; those in `done` are left alone."""
    graph, roots, _ = read(program)
    found = []
    for node in filter(graph.is_constant, graph.live(roots)):
        value = graph.nodes[node].value
        if value in done:
            continue
        coefficient = _is_coefficient(graph, roots, node)
        found += [
            Rounding(value, new, digits(value) - digits(new), _distance(value, new, coefficient))
            for new in candidates(value, coefficient)
        ]
    return found


def rounded(program: Program, together: Iterable[Rounding]) -> Program:
    """Return the program with numbers rounded, each in one way."""
    graph, roots, names = read(program)
    changed = replaced(graph, roots, {graph.constant(r.old): graph.constant(r.new) for r in together})
    assert changed is not None, "a number takes the place of a number"
    return write(graph, changed, names)


def candidates(value: float, coefficient: bool) -> list[float]:
    """Return numbers of fewer digits near a number.

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
    """Return whether a number is nothing but the coefficient of interpolations, and between 0 and 1."""
    users = [graph.nodes[n] for n in graph.live(roots) if node in graph.nodes[n].args]
    return 0.0 < graph.nodes[node].value < 1.0 and all(u.function == "interp" and node not in u.args[:2] for u in users)


def _distance(value: float, new: float, coefficient: bool) -> float:
    """Return by what factor a number has changed, as a logarithm; of a coefficient, its share 1 - a too if larger."""
    distance = abs(math.log(new / value))
    return max(distance, abs(math.log((1.0 - new) / (1.0 - value)))) if coefficient else distance
