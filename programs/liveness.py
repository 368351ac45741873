"""What matters to the updates, across steps.

A statement is live when some update, now or at a later step, depends on it. A state slot counts as an output of a step
only if a later step reads it before overwriting it, so the walk goes from `update` backwards and, whenever it meets the
incoming m or v, on to the value that the previous step left there.
"""

from __future__ import annotations

from typing import NamedTuple

from programs.dataflow import N_INPUTS, Dataflow, M, V
from programs.program import Program


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


def live_program(program: Program) -> Program:
    """The program without its dead statements; it moves weights exactly alike."""
    nodes = live(program.dataflow).nodes
    return Program(tuple(program.statements[n - N_INPUTS] for n in nodes if n >= N_INPUTS))
