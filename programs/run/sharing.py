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

from programs.graph import CONSTANT, INPUT, INPUT_NODES, M, Node, V, W
from programs.kinds import COLUMN, ROW, SCALAR
from programs.layout import Layout
from programs.liveness import live
from programs.program import Program

OPEN = len(INPUT_NODES)  # the node that stands for every constant


class Skeleton(NamedTuple):
    """A program as numbers of expressions.

    `constants` maps the program's expressions, in order of execution, to the constants they are called with. `outputs`
    maps w, m and v to what is written to them; a state that is not in use is missing.
    """

    constants: dict[int, tuple[float, ...]]
    outputs: dict[int, int]


class Skeletons:
    """Skeletons of programs, over one graph of expressions for all of them together.

    Attributes:
        nodes: the inputs, the node `OPEN` and the expressions; the `value` of an expression tells apart statements of
            one program that differ in constants alone. States that programs keep by rows or columns are inputs of their
            own, whose `value` is the slot.
        of_program: the skeleton of each program.
    """

    def __init__(self, programs: Sequence[Program]) -> None:
        self._numbers: dict[Node, int] = {}
        self.nodes: list[Node] = [*INPUT_NODES, Node(CONSTANT, (), SCALAR)]
        self.of_program = [self._skeleton(program) for program in programs]

    def only(self, programs: Sequence[int]) -> Skeletons:
        """Return those of some programs, with the same numbers of expressions."""
        some = Skeletons([])
        some.of_program, some.nodes = [self.of_program[i] for i in programs], self.nodes
        return some

    def kinds(self, number: int) -> list[int]:
        """Return the kinds of the arguments of an expression."""
        return [self.nodes[a].kind for a in self.nodes[number].args]

    def slot_of(self, number: int) -> int | None:
        """Return the slot that a node is the state of, None for other nodes."""
        node = self.nodes[number]
        if number in (M, V):
            return number
        return int(node.value) if node.function == INPUT and number > OPEN else None

    def state_width(self, slot: int, layout: Layout) -> int:
        """Return the width of the rows that the states of all programs in a slot need, 0 where none reads one.

        A state that is read but never written is a row of zeros.
        """
        read = {a for o in self.of_program for e in o.constants for a in self.nodes[e].args if self.slot_of(a) == slot}
        return max((layout.width_of(self.nodes[a].kind) for a in read), default=0)

    def _skeleton(self, program: Program) -> Skeleton:
        nodes = program.dataflow.nodes
        alive, states = live(program.dataflow)
        numbers: dict[int, int] = {}
        constants: dict[int, tuple[float, ...]] = {}
        for number in alive:
            node = nodes[number]
            if node.is_call:
                open_node = node._replace(args=tuple(numbers[a] for a in node.args))
                values = tuple(nodes[a].value for a in node.args if nodes[a].is_constant)
                numbers[number] = self._number(open_node, values, constants)
                constants[numbers[number]] = values
            elif node.kind in (ROW, COLUMN):
                numbers[number] = self._number(node._replace(value=float(number)), (), {})
            else:
                numbers[number] = OPEN if node.is_constant else number
        outputs = {W: numbers[program.dataflow.update]} | {slot: numbers[n] for slot, n in states.items()}
        return Skeleton(constants, outputs)

    def _number(self, node: Node, values: tuple[float, ...], before: dict[int, tuple[float, ...]]) -> int:
        """Return the number of a call with these constants, in a program in which those `before` are taken."""
        for repeat in count():
            expression = node._replace(value=float(repeat)) if node.is_call else node
            number = self._numbers.setdefault(expression, len(self.nodes))
            if number == len(self.nodes):
                self.nodes.append(expression)
            if before.get(number, values) == values:
                return number
        raise AssertionError("unreachable")


@dataclass
class SharingTree:
    """A branch: programs, in the order of their rows, and what they have in common.

    Attributes:
        programs: their numbers.
        expressions: what they share beyond the expressions of the branches around this one.
        branches: those inside; without any, all programs compute and write the same, up to constants.
    """

    programs: list[int]
    expressions: list[int]
    branches: list[SharingTree] = field(default_factory=list)


def share(skeletons: Skeletons, programs: Sequence[int], known: frozenset[int] = frozenset()) -> SharingTree:
    """Arrange programs by what they have in common.

    Whatever contains an expression contains its arguments too, so the most common expression of those left can always
    be executed next.

    Args:
        skeletons: of all programs.
        programs: the numbers of the programs to arrange.
        known: the expressions that branches around this one execute.
    """
    left = {p: [e for e in skeletons.of_program[p].constants if e not in known] for p in programs}
    common = set.intersection(*(set(expressions) for expressions in left.values()))
    branch = SharingTree(list(programs), [e for e in left[programs[0]] if e in common])
    known = known | common
    pool = {p: [e for e in expressions if e not in common] for p, expressions in left.items()}
    outputs = {p: skeletons.of_program[p].outputs for p in programs}
    if not any(pool.values()) and all(o == outputs[programs[0]] for o in outputs.values()):
        return branch
    while pool:
        counts = Counter(e for expressions in pool.values() for e in expressions)
        if counts:
            most, _ = max(counts.items(), key=lambda item: item[1])
            group = [p for p, expressions in pool.items() if most in expressions]
        else:  # programs that compute the same but keep other states
            like = outputs[next(iter(pool))]
            group = [p for p in pool if outputs[p] == like]
        branch.branches.append(share(skeletons, group, known))
        for p in group:
            del pool[p]
    branch.programs = [p for child in branch.branches for p in child.programs]
    return branch
