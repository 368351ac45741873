"""What mutations and other proposals of programs have in common: random choices, scopes, and small edits of text."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from itertools import count
from random import Random
from typing import TypeVar

from programs.errors import InputError
from programs.graph import INPUT_NODES, INPUTS
from programs.program import Argument, Program, Statement

INPUT_KINDS = {name: node.kind for name, node in zip(INPUTS, INPUT_NODES, strict=True)}

_T = TypeVar("_T")


def choose(rng: Random, items: Sequence[_T]) -> _T:
    """Return one of the items, all equally likely."""
    return items[int(rng.random() * len(items))]


def is_valid(program: Program) -> bool:
    """Return whether the program passes its checks."""
    try:
        _ = program.dataflow
    except InputError:
        return False
    return True


def scope_at(program: Program, position: int) -> dict[str, int]:
    """Return the variables that a statement at `position` can read, with their kinds there."""
    scope = dict(INPUT_KINDS)
    nodes, numbers = program.dataflow.nodes, program.dataflow.statements
    for statement, number in zip(program.statements[:position], numbers, strict=False):
        scope[statement.target] = nodes[number].kind
    return scope


def names_of(program: Program) -> set[str]:
    """Return the names that a program uses, those of the inputs among them."""
    return {*INPUTS, *(statement.target for statement in program.statements)}


def new_names(taken: Container[str]) -> Iterator[str]:
    """Yield names of new variables: x1, x2, ..., without those that are taken."""
    return (name for number in count(1) if (name := f"x{number}") not in taken)


def with_statement(program: Program, position: int, *statements: Statement) -> Program:
    """Return the program with these statements in place of the one at a position."""
    return Program((*program.statements[:position], *statements, *program.statements[position + 1 :]))


def with_argument(program: Program, position: int, place: int, argument: Argument) -> Program:
    """Return the program with one argument of one statement replaced."""
    old = program.statements[position]
    return with_statement(program, position, old._replace(args=(*old.args[:place], argument, *old.args[place + 1 :])))


def renamed(program: Program, old: str, new: str) -> Program:
    """Return the program with one name in place of another wherever it stands, as a target or as an argument."""
    return Program(
        tuple(
            Statement(new if target == old else target, function, tuple(new if a == old else a for a in args))
            for target, function, args in program.statements
        )
    )
