"""Programs with one thing removed: a statement replaced by one of its arguments, or by 0 or 1.

The factors that people tune stay: without its number `w * 0.01` would be a weight decay of 1, which removes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from programs.graph import INPUTS, LR, W
from programs.program import Program, Statement
from programs.simplify.cost import Cost, cost
from programs.simplify.graph import Graph, read, replaced, trimmed
from programs.simplify.writing import write


class Variant(NamedTuple):
    """A changed program, and what was changed."""

    what: str
    program: Program


def ablations(program: Program) -> list[Variant]:
    """Every program that has one statement less, and what follows from that; all different."""
    graph, roots, names = read(program)
    found: dict[Program, Variant] = {}
    for node in graph.live(roots):
        for by in _replacements(graph, node):
            changed = replaced(graph, roots, {node: by})
            if changed is not None:
                after = write(graph, trimmed(graph, changed), names)
                what = f"{_text(graph, node, names)} -> {_name(graph, by, names)}"
                found.setdefault(after, Variant(what, after))
    return list(found.values())


def _replacements(graph: Graph, node: int) -> Iterator[int]:
    if graph.is_call(node):
        function, args, _, _ = graph.nodes[node]
        is_knob = function == "mul" and any(a in (W, LR) for a in args) and any(map(graph.is_constant, args))
        if not is_knob:
            yield from dict.fromkeys(args)
        yield from (graph.constant(value) for value in (0.0, 1.0))


def _text(graph: Graph, node: int, names: dict[int, str]) -> str:
    function, args, _, _ = graph.nodes[node]
    return str(Statement("", function, tuple(_name(graph, a, names) for a in args))).removeprefix(" = ")


def _name(graph: Graph, node: int, names: dict[int, str]) -> str:
    if graph.is_constant(node):
        return repr(graph.nodes[node].value)
    return INPUTS[node] if node < len(INPUTS) else names.get(node, "...")


def price(program: Program) -> Cost:
    """What a program costs; smaller is simpler."""
    graph, roots, _ = read(program)
    return cost(graph, roots)
