"""What matters to the updates, across steps.

A statement is live when some update, now or at a later step, depends on it. A state slot counts as an output of a step
only if a later step reads it before overwriting it, so the walk goes from `update` backwards and, whenever it meets the
incoming m or v, on to the value that the previous step left there.
"""

from __future__ import annotations

from itertools import count
from typing import NamedTuple

from programs.graph import INPUTS, Dataflow
from programs.ops import TREE, WEIGHTS
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
