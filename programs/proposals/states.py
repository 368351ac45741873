"""Children that remember the same thing twice, over two lengths of time."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from programs.constants import Constant, live_constants, shifted
from programs.editing import choose, names_of, new_names, renamed
from programs.graph import INPUTS
from programs.liveness import live, live_program
from programs.program import Argument, Program, Statement
from programs.proposals.material import Material, is_new

COMBINED_BY = ("add", "sub", "maximum")


def duplicate_state(program: Program, rng: Random, material: Material) -> Program | None:
    """Return the program with a second copy of its only state, one of whose coefficients is moved.

    A coefficient of an average is moved by a normal step of its logit, or any constant by one of its logarithm where
    the state has no such coefficient. What reads the state in one place, or what it is made of, then reads both added
    up, their difference, or the larger, or, if there are other readers, the copy alone: what the functions allow is
    equally likely. Dead statements are gone in the child.
    """
    alive = live_program(program)
    slots = _one_of_two(alive)
    if slots is None:
        return None
    used, free = slots
    alive = renamed(alive, INPUTS[free], next(new_names(names_of(alive))))
    constants = _constants_of(alive, used)
    averages = [c for c in constants if c.scale == "logit"] or [c for c in constants if c.scale]
    if not averages:
        return None
    moved = choose(rng, averages)
    copy = _Copy(alive, used, free, moved, shifted(moved, rng.gauss(0.0, 1.0)))
    readers = copy.readers()
    ways = [*(f for f in COMBINED_BY if f in material.names), *([None] if len(readers) > 1 else [])]
    if not readers or not ways:
        return None
    child = copy.read_by(choose(rng, readers), choose(rng, ways))
    return child if is_new(child, program, material) else None


def _one_of_two(program: Program) -> tuple[int, int] | None:
    """Return the slot that is used and the one that is free, if it is so."""
    flow = program.dataflow
    alive, states = live(flow)
    free = [slot for slot in flow.states if slot not in alive]
    return (next(iter(states)), free[0]) if len(states) == 1 and len(free) == 1 else None


def _constants_of(program: Program, slot: int) -> list[Constant]:
    """Return the constants that a state is computed from within a step."""
    flow = program.dataflow
    below, stack = set[int](), [flow.states[slot]]
    while stack:
        n = stack.pop()
        if n not in below:
            below.add(n)
            stack += flow.nodes[n].args
    return [c for c in live_constants(program) if flow.statements[c.statement] in below]


class _Copy(NamedTuple):
    """A copy to be of a state of a program without dead statements, in a slot whose name does not occur in it.

    In the copy the constant `moved` has another value.
    """

    program: Program
    slot: int
    free: int
    moved: Constant
    value: float

    def nodes(self) -> set[int]:
        """Return the values that the copy has its own of: those on the way from the state or the constant to the state.

        The old state is one of them.
        """
        flow = self.program.dataflow
        above = {self.slot, flow.nodes[flow.statements[self.moved.statement]].args[self.moved.argument]}
        for n in flow.statements:
            if not above.isdisjoint(flow.nodes[n].args):
                above.add(n)
        below, stack = {self.slot}, [flow.states[self.slot]]
        while stack:
            n = stack.pop()
            if n in above and n not in below:
                below.add(n)
                stack += flow.nodes[n].args
        return {n for n in below if not flow.nodes[n].is_constant}

    def readers(self) -> list[tuple[int, int]]:
        """Return the arguments of other statements that read one of these values."""
        flow, own = self.program.dataflow, self.nodes()
        return [
            (position, place)
            for position, number in enumerate(flow.statements)
            for place, arg in enumerate(flow.nodes[number].args)
            if number not in own and arg in own
        ]

    def read_by(self, reader: tuple[int, int], function: str | None) -> Program:
        """Return the program with the copy, which a reader reads, alone or by a function of the original and the copy.

        Each statement of the copy stands right before the one that it is a copy of.
        """
        flow, own, lines = self.program.dataflow, self.nodes(), list[Statement]()
        fresh = new_names({*names_of(self.program)})
        names = {self.slot: INPUTS[self.free]}
        for position, (number, statement) in enumerate(zip(flow.statements, self.program.statements, strict=True)):
            if number in own:
                twins: list[Argument] = list(statement.args)
                for place, n in enumerate(flow.nodes[number].args):
                    twins[place] = names.get(n, twins[place])
                    if (position, place) == self.moved[:2]:
                        twins[place] = self.value
                names[number] = INPUTS[self.free] if number == flow.states[self.slot] else next(fresh)
                lines.append(Statement(names[number], statement.function, tuple(twins)))
            if position == reader[0]:
                copy = names[flow.nodes[number].args[reader[1]]]
                if function is not None:
                    original, both = statement.args[reader[1]], next(fresh)
                    lines.append(Statement(both, function, (original, copy)))
                    copy = both
                args = statement.args
                statement = statement._replace(args=(*args[: reader[1]], copy, *args[reader[1] + 1 :]))
            lines.append(statement)
        return Program(tuple(lines))
