"""What matters to the updates, across steps.

A statement is live when some update, now or at a later step, depends on it. A state slot counts as an output of a step
only if a later step reads it before overwriting it, so the walk goes from `update` backwards and, whenever it meets the
incoming m or v, on to the value that the previous step left there.
"""

from __future__ import annotations

from itertools import count
from typing import NamedTuple

from programs.dataflow import N_INPUTS, Dataflow, M, V
from programs.ops import TREE
from programs.program import Program, Statement


class Liveness(NamedTuple):
    """`nodes`: the live nodes in order of computation, inputs among them. `states`: the slots in use, of `M`, `V`."""

    nodes: list[int]
    states: tuple[int, ...]


def live(flow: Dataflow) -> Liveness:
    """The live nodes and state slots of a program (a fixpoint over steps, found in one walk)."""
    seen: set[int] = set()
    stack: list[int | float] = [flow.update]
    next_state = {M: flow.m, V: flow.v}
    while stack:
        node = stack.pop()
        if type(node) is not int or node in seen:
            continue
        seen.add(node)
        if node >= N_INPUTS:
            stack.extend(flow.args[node - N_INPUTS])
        elif node in next_state:
            stack.append(next_state[node])
    # A slot that is read but never written stays at zero: it needs no memory.
    states = tuple(s for s in (M, V) if s in seen and next_state[s] != s)
    return Liveness(sorted(seen), states)


def live_statements(program: Program) -> list[int]:
    """Positions of the live statements."""
    return [node - N_INPUTS for node in live(program.dataflow).nodes if node >= N_INPUTS]


def live_program(program: Program) -> Program:
    """The program without its dead statements; it moves weights exactly alike.

    A slot may end as a scalar once the dead statement that overwrote it is gone; then its scalars get another name.
    """
    flow, positions = program.dataflow, live_statements(program)
    last_kind = {program.statements[p].target: flow.kinds[p + N_INPUTS] for p in positions}
    taken = {"w", "g", "m", "v", "lr", *(s.target for s in program.statements)}
    fresh = {
        slot: next(f"{slot}{n}" for n in count(1) if f"{slot}{n}" not in taken)
        for slot in ("m", "v")
        if last_kind.get(slot, TREE) != TREE
    }
    names = dict(enumerate(("w", "g", "m", "v", "lr")))
    statements = []
    for position in positions:
        statement, node = program.statements[position], position + N_INPUTS
        is_tree = flow.kinds[node] == TREE
        names[node] = statement.target if is_tree else fresh.get(statement.target, statement.target)
        args = tuple(names[ref] if type(ref) is int else ref for ref in flow.args[position])
        statements.append(Statement(names[node], statement.function, args))
    return Program(tuple(statements))
