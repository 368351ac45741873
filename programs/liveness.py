"""What matters to the updates, across steps.

A statement is live when some update, now or at a later step, depends on it. A state slot counts as an output of a step
only if a later step reads it before overwriting it, so the walk goes from `update` backwards and, whenever it meets the
incoming m or v, on to the value that the previous step left there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

from programs.graph import INPUTS, Dataflow
from programs.kinds import KIND_NAMES, TREE, WEIGHTS
from programs.layout import Layout
from programs.program import Program, Statement


class Liveness(NamedTuple):
    """The live nodes in order of computation, inputs among them, and the slots in use, each with its next value."""

    nodes: list[int]
    states: dict[int, int]


def live(flow: Dataflow) -> Liveness:
    """Return the live nodes and state slots of a program (a fixpoint over steps, found in one walk)."""
    nodes, states = flow.nodes, flow.states
    seen: set[int] = set()
    stack = [flow.update]
    while stack:
        number = stack.pop()
        if number not in seen:
            seen.add(number)
            if number in states:
                stack.append(states[number])
            else:
                stack += nodes[number].args
    # A slot that is read but never written stays at zero: it needs no memory.
    return Liveness(sorted(seen), {slot: node for slot, node in states.items() if slot in seen and node != slot})


def live_statements(program: Program) -> list[int]:
    """Return the positions of the live statements."""
    alive = set(live(program.dataflow).nodes)
    return [position for position, number in enumerate(program.dataflow.statements) if number in alive]


def state_kinds(program: Program) -> list[int]:
    """Return what each state slot in use is kept as: a tree, a row or a column."""
    flow = program.dataflow
    return [flow.nodes[slot].kind for slot in live(flow).states]


def states_per_weight(program: Program, layouts: Sequence[Layout]) -> float:
    """Return how many numbers a program keeps for each weight: the most over models with these layouts.

    A tree is one; rows and columns are what they are of the weights. Without any model they count as trees.
    """
    kinds = state_kinds(program)
    return max((math.fsum(layout.shares[kind] for kind in kinds) for layout in layouts), default=float(len(kinds)))


def states_in_words(program: Program) -> str:
    """Return the number of state slots in use, with those that are kept by rows or columns named."""
    kinds = state_kinds(program)
    small = ", ".join(f"{kinds.count(k)} by {KIND_NAMES[k]}s" for k in sorted(set(kinds)) if k != TREE)
    return f"{len(kinds)} ({small})" if small else str(len(kinds))


def live_functions(program: Program) -> set[str]:
    """Return the functions of the live statements."""
    return {program.statements[position].function for position in live_statements(program)}


def live_program(program: Program) -> Program:
    """Return the program without its dead statements; it moves weights exactly alike.

    A slot may end as a scalar once the dead statement that overwrote it is gone; then its scalars get another name.
    """
    nodes, numbers = program.dataflow.nodes, program.dataflow.statements
    positions = live_statements(program)
    last_kind = {program.statements[p].target: nodes[numbers[p]].kind for p in positions}
    taken = {*INPUTS, *(s.target for s in program.statements)}
    fresh = {
        slot: next(f"{slot}{n}" for n in count(1) if f"{slot}{n}" not in taken)
        for slot in ("m", "v")
        if last_kind.get(slot, TREE) not in WEIGHTS
    }
    names = dict(enumerate(INPUTS))
    statements = []
    for position in positions:
        statement, node = program.statements[position], nodes[numbers[position]]
        target = statement.target if node.kind in WEIGHTS else fresh.get(statement.target, statement.target)
        args = tuple(nodes[a].value if nodes[a].is_constant else names[a] for a in node.args)
        names[numbers[position]] = target
        statements.append(Statement(target, statement.function, args))
    return Program(tuple(statements))
