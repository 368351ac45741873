"""Children with another function somewhere: one exchanged, or one more that rescales a value."""

from __future__ import annotations

import math
from random import Random
from typing import NamedTuple, TypeVar

from programs.editing import choose, names_of, new_names, with_statement
from programs.graph import INPUTS
from programs.kinds import WEIGHTS
from programs.liveness import live, live_statements
from programs.program import Program, Statement
from programs.proposals.material import Material, is_new

BY_NUMBER = ("mul", "clip")  # with a log-normal constant
NORMALISED = ("sign", "orthogonalize")
DIVIDED_BY = ("norm", "global_norm", "rms", "row_norm", "column_norm")

_T = TypeVar("_T")


def exchange(program: Program, rng: Random, material: Material) -> Program | None:
    """Return the program with another function in a random live statement, which takes the same arguments.

    All statements for which there is one, and all functions with which the child is valid, are equally likely.
    """
    positions = live_statements(program)
    while positions:
        position = _drawn(rng, positions)
        statement, nodes = program.statements[position], program.dataflow.nodes
        kinds = tuple(nodes[n].kind for n in nodes[program.dataflow.statements[position]].args)
        others = [op for op in material.functions if op.name != statement.function and kinds in op.results]
        while others:
            child = with_statement(program, position, statement._replace(function=_drawn(rng, others).name))
            if is_new(child, program, material):
                return child
    return None


def _drawn(rng: Random, items: list[_T]) -> _T:
    """Take a random item out of a list and return it."""
    return items.pop(int(rng.random() * len(items)))


def rescale(program: Program, rng: Random, material: Material) -> Program | None:
    """Return the program with a random live value rescaled, for all that reads it.

    It is multiplied by a log-normal constant, clipped to one, divided by its size, or made a sign or an orthogonal
    matrix: what the functions allow is equally likely. What has no number for each weight is only multiplied.
    """
    names = material.names
    values = [(value, ways) for value in values_of(program) if (ways := _ways(value, names))]
    if not values:
        return None
    value, ways = choose(rng, values)
    size, *rest = choose(rng, ways)
    name = value.name
    if rest:
        spare = next(new_names(names_of(program)))
        added = [Statement(spare, size, (name,)), Statement(name, "div", (name, spare))]
    elif size in BY_NUMBER:
        added = [Statement(name, size, (name, math.exp(rng.gauss(0.0, 1.0))))]
    else:
        added = [Statement(name, size, (name,))]
    child = Program((*program.statements[: value.position], *added, *program.statements[value.position :]))
    return child if is_new(child, program, material) else None


class Value(NamedTuple):
    """A live value: where statements that follow it can be, its name there, its kind, and what it was computed by."""

    position: int
    name: str
    kind: int
    function: str
    is_multiple: bool = False


def values_of(program: Program) -> list[Value]:
    """Return the live inputs and the values of the live statements; of the states those that are written."""
    flow = program.dataflow
    alive, states = live(flow)
    values = [
        Value(0, INPUTS[n], flow.nodes[n].kind, "")
        for n in alive
        if n < len(INPUTS) and (n not in flow.states or n in states)
    ]
    for position in live_statements(program):
        function, args, kind, _ = flow.nodes[flow.statements[position]]
        is_multiple = function in BY_NUMBER and any(flow.nodes[a].is_constant for a in args)
        values.append(Value(position + 1, program.statements[position].target, kind, function, is_multiple))
    return values


def _ways(value: Value, names: set[str]) -> list[tuple[str, ...]]:
    """Return a function of the value, or of the value and a number, or the size by which it is then divided.

    What has just been done to the value is not done again.
    """
    ways: list[tuple[str, ...]] = []
    if not value.is_multiple:
        ways += [(f,) for f in BY_NUMBER if f == "mul" or value.kind in WEIGHTS]
    if value.kind in WEIGHTS:
        ways += [(f,) for f in NORMALISED if f != value.function]
        ways += [(f, "div") for f in DIVIDED_BY]
    return [way for way in ways if names.issuperset(way)]
