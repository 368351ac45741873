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
    the state has no such coefficient. What read the state in one place then reads the copy there, or both added up,
    their difference, or the larger: what the functions allow is equally likely. Dead statements are gone in the child.
    """
    alive = live_program(program)
    slots = _one_of_two(alive)
    if slots is None:
        return None
    used, free = slots
    alive = renamed(alive, free, next(new_names(names_of(alive))))
    state = _State.of(alive, used)
    averages = [c for c in state.constants if c.scale == "logit"] or [c for c in state.constants if c.scale]
    readers = state.readers()
    if not averages or not readers:
        return None
    moved = choose(rng, averages)
    distance, reader = rng.gauss(0.0, 1.0), choose(rng, readers)
    ways = [None, *(f for f in COMBINED_BY if f in material.names)]
    child = state.with_copy(free, moved, shifted(moved, distance), reader, choose(rng, ways))
    return child if is_new(child, program, material) else None


def _one_of_two(program: Program) -> tuple[str, str] | None:
    """Return the name of the slot that is used and that of the one that is free, if it is so."""
    flow = program.dataflow
    alive, states = live(flow)
    free = [slot for slot in flow.states if slot not in alive]
    if len(states) != 1 or len(free) != 1:
        return None
    return INPUTS[next(iter(states))], INPUTS[free[0]]


class _State(NamedTuple):
    """The state of a program without dead statements: its name, and what it is computed from."""

    program: Program
    name: str
    statements: tuple[int, ...]
    constants: list[Constant]

    @staticmethod
    def of(program: Program, name: str) -> _State:
        flow = program.dataflow
        below, stack = set[int](), [flow.states[INPUTS.index(name)]]
        while stack:
            n = stack.pop()
            if n not in below:
                below.add(n)
                stack += flow.nodes[n].args
        statements = tuple(position for position, n in enumerate(flow.statements) if n in below)
        return _State(program, name, statements, [c for c in live_constants(program) if c.statement in statements])

    def readers(self) -> list[tuple[int, int]]:
        """Return the arguments that read the new state, or the old one on the way to anything but the new one."""
        flow = self.program.dataflow
        slot = INPUTS.index(self.name)
        return [
            (position, place)
            for position, number in enumerate(flow.statements)
            for place, arg in enumerate(flow.nodes[number].args)
            if arg == flow.states[slot] or (arg == slot and position not in self.statements)
        ]

    def with_copy(
        self, copy: str, moved: Constant, value: float, reader: tuple[int, int], function: str | None
    ) -> Program:
        """Return the program with the copy, whose constant has this value, read by a reader, alone or with the state.

        Each statement of the copy stands right before the one that it is a copy of.
        """
        copied = self._copied(moved)
        fresh = new_names({*names_of(self.program), copy})
        flow, lines = self.program.dataflow, list[Statement]()
        names = {INPUTS.index(self.name): copy}
        for position, (number, statement) in enumerate(zip(flow.statements, self.program.statements, strict=True)):
            args = list(statement.args)
            if position in copied:
                twins: list[Argument] = [
                    names.get(n, arg) for n, arg in zip(flow.nodes[number].args, args, strict=True)
                ]
                if position == moved.statement:
                    twins[moved.argument] = value
                names[number] = copy if number == flow.states[INPUTS.index(self.name)] else next(fresh)
                lines.append(statement._replace(target=names[number], args=tuple(twins)))
            if position == reader[0]:
                both = (args[reader[1]], copy)
                args[reader[1]] = copy if function is None else next(fresh)
                if function is not None:
                    lines.append(Statement(str(args[reader[1]]), function, both))
            lines.append(statement._replace(args=tuple(args)))
        return Program(tuple(lines))

    def _copied(self, moved: Constant) -> set[int]:
        """Return the statements that depend on the state or on the constant, of those that it is computed from."""
        flow = self.program.dataflow
        different, copied = {INPUTS.index(self.name)}, set[int]()
        for position in self.statements:
            number = flow.statements[position]
            if position == moved.statement or not different.isdisjoint(flow.nodes[number].args):
                different.add(number)
                copied.add(position)
        return copied
