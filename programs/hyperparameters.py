"""The two numbers that people tune, found in any program from its dataflow: a factor on the update, and weight decay.

The *learning rate* is the constant that the whole update is multiplied with; not every program has one, but every
program can be `scaled`.

A *decay term* is an operand of a sum (`add`, `sub`, `interp`) that is a multiple of the weights: w itself, or w times
or over numbers and trees that do not depend on w in the same step. The sum must reach the update as a tree, place by
place, at once or through a state; what only enters norms, dot products and the like is no decay. So decoupled decay
counts (added to the update), coupled decay (added to the gradient), and an interpolation with the weights. The
*decay* of a program is the size of the constant coefficient of its first decay term; setting it multiplies all of
them alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import count
from typing import NamedTuple

from programs.dataflow import N_INPUTS, M, V, W
from programs.errors import InputError
from programs.liveness import live
from programs.ops import EPS, OPS, TREE, largest
from programs.program import Program, Statement

OUTPUT = -1  # the reader of what a step returns
SUMS = ("add", "sub", "interp")
_TINY, _HUGE = 1e-30, 1e30  # of constants that float32 holds with room to spare


class Edge(NamedTuple):
    """An argument of a node, or one of the returned values where the reader is `OUTPUT`."""

    reader: int
    argument: int


def learning_rate_of(program: Program) -> float | None:
    """The constant that the whole update is multiplied with, if there is one."""
    place = _Values(program).rate()
    return None if place is None else _constant(program, place)


def with_learning_rate(program: Program, value: float) -> Program:
    """The program with that constant set.

    Raises:
        InputError: no constant multiplies the whole update.
    """
    place = _Values(program).rate()
    if place is None:
        raise InputError("the program has no learning rate to set: no constant multiplies its whole update")
    return _with_constants(program, {place: float(value)})


def scaled(program: Program, factor: float) -> Program:
    """The program with the update of every step multiplied by a positive factor; its states are what they were.

    The factor goes into the learning rate where there is one, else into one more statement.
    """
    if factor == 1:
        return program
    place = _Values(program).rate()
    if place is not None and _TINY < abs(changed := _constant(program, place) * factor) < _HUGE:
        return _with_constants(program, {place: changed})
    return Program((*program.statements, Statement("update", "mul", ("update", float(factor)))))


def decay_of(program: Program) -> float | None:
    """The decay of a program, None if it has no decay term that could be scaled."""
    decay = _Decay(program)
    if decay.reference:
        return decay.reference
    return 0.0 if _Decay(decay.revived()).reference else None


def with_decay(program: Program, value: float) -> Program:
    """The program with its decay set, 0 for none.

    Terms that are all zero have lost their proportion; each gets its constant anew as if that had been 1.

    Raises:
        InputError: the program has no decay term.
    """
    decay = _Decay(program)
    if not decay.reference:
        decay = _Decay(decay.revived())
    if not decay.reference:
        raise InputError("the program has no weight decay to set: no multiple of the weights is added to anything")
    return program if value == decay_of(program) else decay.with_size(value)


class _Values:
    """The live values of a program, and who reads them."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.flow = program.dataflow
        nodes, states = live(self.flow)
        self.readers: dict[int, set[Edge]] = {node: set() for node in nodes}
        for node in nodes:
            if node >= N_INPUTS:
                for argument, arg in enumerate(self.args(node)):
                    if type(arg) is int:
                        self.readers[arg].add(Edge(node, argument))
        outputs = [self.flow.update, *({M: self.flow.m, V: self.flow.v}[state] for state in states)]
        for number, node in enumerate(outputs):
            self.readers[node].add(Edge(OUTPUT, number))

    def args(self, node: int) -> tuple[int | float, ...]:
        return self.flow.args[node - N_INPUTS]

    def name(self, node: int) -> str:
        """The function that gives a node; "" for inputs."""
        return "" if node < N_INPUTS else self.flow.ops[node - N_INPUTS].name

    def is_tree(self, arg: int | float) -> bool:
        return type(arg) is int and self.flow.kinds[arg] == TREE

    def rate(self) -> Edge | None:
        """The place of the learning rate."""
        return self.factor(self.flow.update) if self._has_one_reader(self.flow.update) else None

    def factor(self, node: int) -> Edge | None:
        """The place of a constant that this value is multiplied with, and through it alone anything else.

        Of the two sides of a product the smaller kind is looked at first: that is where rates are made.
        """
        name = self.name(node)
        if name not in ("mul", "div", "negative"):
            return None
        args = self.args(node)[:1] if name == "div" else self.args(node)
        for argument, arg in enumerate(args):
            if type(arg) is float:
                return Edge(node, argument)
        for arg in sorted((int(arg) for arg in args), key=lambda arg: self.flow.kinds[arg]):
            found = self.factor(arg) if self._has_one_reader(arg) else None
            if found is not None:
                return found
        return None

    def _has_one_reader(self, node: int) -> bool:
        return len(self.readers[node]) == 1


class _Decay:
    """The decay terms of a program, and the size of the first coefficient that is not zero (0 if there is none)."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._values = _Values(program)
        self._with_w = _depending_on_w(program)
        self._multiples: dict[int, bool] = {}
        self.terms = sorted(self._found())
        sizes = [abs(self._coefficient(edge)) for edge in self.terms]
        self.reference = next((size for size in sizes if _TINY < size < _HUGE), 0.0)

    def with_size(self, value: float) -> Program:
        """The program with all terms scaled alike: by constants that they have anyhow, else by one more statement."""
        places = {edge: self._place(edge) for edge in self.terms}
        shares = {p: _constant(self._program, p) / self.reference for p in places.values() if p is not None}
        changed = _with_constants(self._program, {place: share * value for place, share in shares.items()})
        others = [edge for edge, place in places.items() if place is None]
        return _with_factors(changed, others, value / self.reference)

    def revived(self) -> Program:
        """The program with the zeros among the constants of its terms made ones."""
        places = [p for edge in self.terms if (p := self._place(edge)) is not None]
        return _with_constants(self._program, {p: 1.0 for p in places if _constant(self._program, p) == 0})

    def _found(self) -> set[Edge]:
        """All terms, on a walk backwards from the update that ends at reductions."""
        values, flow = self._values, self._values.flow
        following = {M: flow.m, V: flow.v}
        terms, seen, stack = set(), set(), [flow.update]
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            if node < N_INPUTS:
                stack += [following[node]] if node in following else []
            elif OPS[values.name(node)].result is largest or values.name(node) == "clip":
                for argument, arg in enumerate(values.args(node)):
                    if values.name(node) in SUMS and self._is_multiple(arg):
                        terms.add(Edge(node, argument))
                    elif type(arg) is int:
                        stack.append(arg)
        return terms

    def _is_multiple(self, arg: int | float) -> bool:
        """Whether a value is the weights times something that does not depend on them, or has no places."""
        if type(arg) is not int or arg < N_INPUTS:
            return arg == W and type(arg) is int
        if arg not in self._multiples:
            self._multiples[arg] = self._is_product_with_w(arg)
        return self._multiples[arg]

    def _is_product_with_w(self, node: int) -> bool:
        args = self._values.args(node)
        match self._values.name(node):
            case "negative" | "clip":
                return self._is_multiple(args[0])
            case "div":
                return self._is_multiple(args[0]) and self._is_coefficient(args[1])
            case "mul":
                return any(self._is_multiple(x) and self._is_coefficient(y) for x, y in (args, args[::-1]))
        return False

    def _is_coefficient(self, arg: int | float) -> bool:
        return not self._values.is_tree(arg) or arg not in self._with_w

    def _place(self, edge: Edge) -> Edge | None:
        """The place of a constant that the operand is multiplied with, if nothing but terms reads the operand."""
        operand = self._values.args(edge.reader)[edge.argument]
        alone = type(operand) is int and self._values.readers[operand] <= set(self.terms)
        return self._values.factor(int(operand)) if alone else None

    def _coefficient(self, edge: Edge) -> float:
        """The constant part of the coefficient with which w enters at a term."""
        args = self._values.args(edge.reader)
        share = args[2] if len(args) == 3 else None
        weight = 1.0 if type(share) is not float else (1 - share, share)[edge.argument]
        return weight * self._number(args[edge.argument])

    def _number(self, arg: int | float) -> float:
        """The product of the constants that make up a product."""
        if type(arg) is float:
            return arg
        args = self._values.args(int(arg)) if arg >= N_INPUTS else ()
        match self._values.name(int(arg)):
            case "mul":
                return self._number(args[0]) * self._number(args[1])
            case "div":
                divisor = args[1] + EPS if type(args[1]) is float else 1.0
                return self._number(args[0]) / divisor if divisor else math.nan
            case "negative":
                return -self._number(args[0])
            case "clip":
                return self._number(args[0])
        return 1.0


def _depending_on_w(program: Program) -> set[int]:
    """Nodes that depend on the weights within a step."""
    found = {W}
    for position, args in enumerate(program.dataflow.args):
        if any(type(arg) is int and arg in found for arg in args):
            found.add(position + N_INPUTS)
    return found


def _constant(program: Program, place: Edge) -> float:
    return float(program.statements[place.reader - N_INPUTS].args[place.argument])


def _with_constants(program: Program, constants: Mapping[Edge, float]) -> Program:
    """The program with constants set at these places."""
    statements = list(program.statements)
    for (node, argument), value in constants.items():
        old = statements[node - N_INPUTS]
        args = (*old.args[:argument], value, *old.args[argument + 1 :])
        statements[node - N_INPUTS] = old._replace(args=args)
    return Program(tuple(statements))


def _with_factors(program: Program, edges: Iterable[Edge], factor: float) -> Program:
    """The program with arguments multiplied on the way to their readers, each by a statement of its own."""
    taken = {statement.target for statement in program.statements} | {"w", "g", "m", "v", "lr"}
    names = (f"decay{n}" for n in count(1) if f"decay{n}" not in taken)
    wanted, statements = set(edges), list[Statement]()
    for position, statement in enumerate(program.statements):
        args = list(statement.args)
        for argument in range(len(args)):
            if Edge(position + N_INPUTS, argument) in wanted:
                name = next(names)
                statements.append(Statement(name, "mul", (args[argument], float(factor))))
                args[argument] = name
        statements.append(statement._replace(args=tuple(args)))
    return Program(tuple(statements))
