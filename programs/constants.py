"""The live constants of a program: where they stand, how they are moved, and programs with others in their place.

A constant moves on the scale on which its changes matter: the coefficient of an average by its logit, so that it stays
between 0 and 1 and the length of the average changes by a factor; any other by its logarithm, with its sign kept. A
zero has no scale and stays. A constant that stands for a coefficient elsewhere, such as the 0.9 of a correction of
bias, moves with it, and the 1 of a sum or difference stays: or nearly every move would break such a correction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Literal, NamedTuple

from programs.liveness import live
from programs.program import Program

COEFFICIENTS = {"interp": 2}  # functions that average, and which of their arguments is the coefficient
_SUMS = ("add", "sub")

Scale = Literal["logit", "log"]

_MOST = 700.0  # of which the exponential is finite


class Constant(NamedTuple):
    """A live constant: its statement and argument, its value, and the scale on which it moves, None for a zero."""

    statement: int
    argument: int
    value: float
    scale: Scale | None


def live_constants(program: Program) -> list[Constant]:
    """Return the constants of the live statements in the order of the text, one for each place where one stands."""
    alive = set(live(program.dataflow).nodes)
    return [
        Constant(position, place, arg, scale_of(statement.function, place, arg))
        for position, (number, statement) in enumerate(
            zip(program.dataflow.statements, program.statements, strict=True)
        )
        if number in alive
        for place, arg in enumerate(statement.args)
        if not isinstance(arg, str)
    ]


def scale_of(function: str, argument: int, value: float) -> Scale | None:
    """Return the scale on which a constant moves that is this argument of a function."""
    if COEFFICIENTS.get(function) == argument and 0.0 < value < 1.0:
        return "logit"
    return "log" if value else None


def with_constants(program: Program, values: Sequence[float]) -> Program:
    """Return the program with other values for its live constants, in the order of `live_constants`.

    Raises:
        ValueError: there are more or fewer values than live constants.
    """
    nodes, numbers = program.dataflow.nodes, program.dataflow.statements
    places = [nodes[numbers[c.statement]].args[c.argument] for c in live_constants(program)]
    return with_nodes(program, dict(zip(places, values, strict=True)))


def with_nodes(program: Program, values: Mapping[int, float]) -> Program:
    """Return the program with other values for constants that are given by their nodes in its dataflow."""
    nodes, numbers = program.dataflow.nodes, program.dataflow.statements
    return Program(
        tuple(
            statement._replace(
                args=tuple(values.get(n, arg) for n, arg in zip(nodes[number].args, statement.args, strict=True))
            )
            for number, statement in zip(numbers, program.statements, strict=True)
        )
    )


def moved(program: Program, rng: Random, step: float) -> Program:
    """Return the program with all its live constants moved at once, each by a normal step on its scale.

    On the logarithmic scale a value is multiplied by exp(step N(0, 1)), on the logit scale its odds a / (1 - a) are. A
    value that would overflow, vanish, or leave the open interval from 0 to 1 stays as it is.
    """
    constants = live_constants(program)
    steps = [step * rng.gauss(0.0, 1.0) for _ in constants]
    return with_constants(
        program,
        [
            shifted(constants[leader], steps[leader]) if leader is not None else constant.value
            for constant, leader in zip(constants, _leaders(program, constants), strict=True)
        ],
    )


def _leaders(program: Program, constants: Sequence[Constant]) -> list[int | None]:
    """Return which constant each one moves with, by its place among them: itself, as a rule; None if it stays.

    One that is no coefficient, but has the value of one, moves with the first of these, and so do all of them.
    """
    functions = [program.statements[constant.statement].function for constant in constants]
    first = {c.value: place for place, c in reversed(list(enumerate(constants))) if c.scale == "logit"}
    shared = {c.value for c in constants if c.scale != "logit"} & set(first)

    def leader(place: int, constant: Constant) -> int | None:
        if constant.scale is None or (abs(constant.value) == 1.0 and functions[place] in _SUMS):
            return None
        return first[constant.value] if constant.value in shared else place

    return [leader(place, constant) for place, constant in enumerate(constants)]


def shifted(constant: Constant, distance: float) -> float:
    """Return the value at a distance from that of a constant on its scale; the old one where there is none."""
    factor = math.exp(max(-_MOST, min(distance, _MOST)))
    if constant.scale == "logit":
        odds = constant.value / (1.0 - constant.value) * factor
        new = odds / (1.0 + odds)
        return new if 0.0 < new < 1.0 else constant.value
    new = constant.value * factor
    return new if math.isfinite(new) and new else constant.value
