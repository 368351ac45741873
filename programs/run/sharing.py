"""What the programs of a batch have in common, so that it runs once for all of them.

Programs of one search are relatives: most of their statements are the same up to constants. Statements with the
constants left open are *expressions*; rows are arranged in a tree such that the programs of each branch stand side by
side and have its expressions in common.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from programs.dataflow import N_INPUTS, M, V, W
from programs.liveness import live
from programs.ops import SCALAR, Op
from programs.program import Program


class Expression(NamedTuple):
    """A function of inputs and other expressions, given by number, and of constants, which are None and left open.

    `kinds` are those of the arguments and of the result. `repeat` tells apart statements of one program that differ in
    constants alone.
    """

    op: Op
    args: tuple[int | None, ...]
    kinds: tuple[int, ...]
    repeat: int


class Skeleton(NamedTuple):
    """A program as numbers of expressions.

    `constants` maps the program's expressions, in order of execution, to the constants they are called with. `outputs`
    maps w, m and v to what is written to them; a state that is not in use is missing.
    """

    constants: dict[int, tuple[float, ...]]
    outputs: dict[int, int]


class Skeletons:
    """Skeletons of programs, with expressions numbered for all of them together, from N_INPUTS on."""

    def __init__(self, programs: Sequence[Program]) -> None:
        self._numbers: dict[Expression, int] = {}
        self.of_program = [self._skeleton(program) for program in programs]
        self.expressions = list(self._numbers)

    def only(self, programs: Sequence[int]) -> Skeletons:
        """Those of some programs, with the same numbers of expressions."""
        some = Skeletons([])
        some.of_program, some.expressions = [self.of_program[i] for i in programs], self.expressions
        return some

    def __getitem__(self, number: int) -> Expression:
        return self.expressions[number - N_INPUTS]

    def _skeleton(self, program: Program) -> Skeleton:
        flow = program.dataflow
        nodes, states = live(flow)
        numbers = dict(zip(range(N_INPUTS), range(N_INPUTS), strict=True))
        constants: dict[int, tuple[float, ...]] = {}
        for node in nodes:
            if node < N_INPUTS:
                continue
            refs = flow.args[node - N_INPUTS]
            args = tuple(None if type(ref) is float else numbers[int(ref)] for ref in refs)
            kinds = tuple(SCALAR if type(ref) is float else flow.kinds[int(ref)] for ref in refs)
            values = tuple(ref for ref in refs if type(ref) is float)
            number = self._number(flow.ops[node - N_INPUTS], args, (*kinds, flow.kinds[node]), values, constants)
            numbers[node] = number
            constants[number] = values
        outputs = {W: numbers[flow.update]} | {s: numbers[n] for s, n in ((M, flow.m), (V, flow.v)) if s in states}
        return Skeleton(constants, outputs)

    def _number(
        self,
        op: Op,
        args: tuple[int | None, ...],
        kinds: tuple[int, ...],
        values: tuple[float, ...],
        before: dict[int, tuple[float, ...]],
    ) -> int:
        """The number of a statement with these constants, of a program in which those `before` are taken."""
        for repeat in count():
            expression = Expression(op, args, kinds, repeat)
            number = self._numbers.setdefault(expression, len(self._numbers) + N_INPUTS)
            if before.get(number, values) == values:
                return number
        raise AssertionError("unreachable")


@dataclass
class SharingTree:
    """Programs, in the order of their rows, that have `shared` in common beyond the branches around this one.

    Without branches inside, they compute the same and write the same, up to constants.
    """

    members: list[int]
    shared: list[int]
    branches: list[SharingTree] = field(default_factory=list)


def share(skeletons: Skeletons, members: Sequence[int], known: frozenset[int] = frozenset()) -> SharingTree:
    """Arrange programs by what they have in common.

    Whatever contains an expression contains its arguments too, so the most common expression of those left can always
    be executed next.

    Args:
        skeletons: of all programs.
        members: numbers of the programs to arrange.
        known: expressions that branches around this one execute.
    """
    left = {member: [e for e in skeletons.of_program[member].constants if e not in known] for member in members}
    common = set.intersection(*(set(expressions) for expressions in left.values()))
    shared = [e for e in left[members[0]] if e in common]
    branch = SharingTree(list(members), shared)
    known = known | common
    pool = {member: [e for e in expressions if e not in common] for member, expressions in left.items()}
    outputs = {member: skeletons.of_program[member].outputs for member in members}
    if not any(pool.values()) and all(o == outputs[members[0]] for o in outputs.values()):
        return branch
    while pool:
        counts = Counter(e for expressions in pool.values() for e in expressions)
        if counts:
            most, _ = max(counts.items(), key=lambda item: item[1])
            group = [member for member, expressions in pool.items() if most in expressions]
        else:  # programs that compute the same but keep other states
            like = outputs[next(iter(pool))]
            group = [member for member in pool if outputs[member] == like]
        branch.branches.append(share(skeletons, group, known))
        for member in group:
            del pool[member]
    branch.members = [member for child in branch.branches for member in child.members]
    return branch
