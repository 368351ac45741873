"""The numbers that people tune, found in any program from its dataflow: a factor on the update, decay, and momentum.

The *learning rate* is the constant that the whole update is multiplied with; not every program has one, but every
program can be `scaled`.

A *decay term* is an operand of a sum (`add`, `sub`, `interp`) that is a multiple of the weights: w itself, or w times
or over numbers and trees that do not depend on w in the same step. The sum must reach the update as a tree, place by
place, at once or through a state; what only enters norms, dot products and the like is no decay. So decoupled decay
counts (added to the update), coupled decay (added to the gradient), and an interpolation with the weights. The
*decay* of a program is the size of the constant coefficient of its first decay term; setting it multiplies all of
them alike.

The *momentum* of a program is how much of a state its first average keeps: the coefficient of an `interp` towards a
state, one less that of an `interp` from a state, or a number below 1 that a state is multiplied with. States that are
never negative, such as averages of squares, do not count. Constants of the same value go with it, as in a correction of
bias, unless they belong to such a state, are added, or scale w.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import count
from typing import NamedTuple

from programs.analysis.bounds import never_negative_states
from programs.constants import COEFFICIENTS, Constant, live_constants, with_nodes
from programs.errors import InputError
from programs.graph import INPUTS, M, Node, V, W
from programs.kinds import WEIGHTS
from programs.liveness import live
from programs.ops import EPS, OPS, largest, like_first
from programs.program import Program, Statement

OUTPUT = -1  # the reader of what a step returns
SUMS = ("add", "sub", "interp")
_TINY, _HUGE = 1e-30, 1e30  # of constants that float32 holds with room to spare


class Edge(NamedTuple):
    """An argument of a node, or one of the returned values where the reader is `OUTPUT`."""

    reader: int
    argument: int


def learning_rate_of(program: Program) -> float | None:
    """Return the constant that the whole update is multiplied with, if there is one."""
    values = _Values(program)
    place = values.rate()
    return None if place is None else values.nodes[place].value


def with_learning_rate(program: Program, value: float) -> Program:
    """Return the program with that constant set.

    Raises:
        InputError: no constant multiplies the whole update.
    """
    place = _Values(program).rate()
    if place is None:
        raise InputError("the program has no learning rate to set: no constant multiplies its whole update")
    return with_nodes(program, {place: float(value)})


def scaled(program: Program, factor: float) -> Program:
    """Return the program with the update of every step multiplied by a positive factor; its states stay the same.

    The factor goes into the learning rate where there is one, else into one more statement.
    """
    if factor == 1:
        return program
    values = _Values(program)
    place = values.rate()
    if place is not None and _TINY < abs(changed := values.nodes[place].value * factor) < _HUGE:
        return with_nodes(program, {place: changed})
    return Program((*program.statements, Statement("update", "mul", ("update", float(factor)))))


def decay_of(program: Program) -> float | None:
    """Return the decay of a program, None if it has no decay term that could be scaled."""
    decay = _Decay(program)
    if decay.reference:
        return decay.reference
    return 0.0 if _Decay(decay.revived()).reference else None


def with_decay(program: Program, value: float) -> Program:
    """Return the program with its decay set, 0 for none.

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


def momentum_of(program: Program) -> float | None:
    """Return the momentum of a program, None if it has no average of which a state is a part."""
    nodes, numbers = program.dataflow.nodes, program.dataflow.statements
    signed = live(program.dataflow).states.keys() - never_negative_states(program.dataflow)

    def is_average(constant: Constant) -> bool:
        function, args, _, _ = nodes[numbers[constant.statement]]
        is_coefficient = constant.argument == COEFFICIENTS.get(function) or function == "mul"
        return is_coefficient and 0 < constant.value < 1 and not signed.isdisjoint(args)

    first = next((constant for constant in live_constants(program) if is_average(constant)), None)
    return None if first is None else _kept(nodes[numbers[first.statement]], first.value)


def with_momentum(program: Program, value: float) -> Program:
    """Return the program with its momentum set.

    Raises:
        InputError: the program has no momentum.
    """
    momentum = momentum_of(program)
    if momentum is None:
        raise InputError("the program has no momentum to set: no average has a state as a part")
    nodes, numbers = program.dataflow.nodes, program.dataflow.statements
    others = {W, *never_negative_states(program.dataflow)}
    places = {}
    for constant in live_constants(program):
        node = nodes[numbers[constant.statement]]
        is_it = _kept(node, constant.value) == momentum
        if is_it and node.function not in ("add", "sub") and others.isdisjoint(node.args):
            places[node.args[constant.argument]] = _kept(node, value)
    return with_nodes(program, places)


def _kept(node: Node, coefficient: float) -> float:
    """Return how much of a state stays in an average with this coefficient, and the reverse, which is the same."""
    is_from_state = node.function == "interp" and node.args[0] in (M, V) and node.args[1] not in (M, V)
    return 1 - coefficient if is_from_state else coefficient


class _Values:
    """The live values of a program, and who reads them."""

    def __init__(self, program: Program) -> None:
        self.flow = program.dataflow
        self.nodes = self.flow.nodes
        alive, self.states = live(self.flow)
        self.readers: dict[int, set[Edge]] = {n: set() for n in alive}
        for n in alive:
            for argument, arg in enumerate(self.nodes[n].args):
                self.readers[arg].add(Edge(n, argument))
        for number, n in enumerate((self.flow.update, *self.states.values())):
            self.readers[n].add(Edge(OUTPUT, number))

    def rate(self) -> int | None:
        """Return the constant that is the learning rate."""
        return self.factor(self.flow.update) if self._has_one_reader(self.flow.update) else None

    def factor(self, n: int) -> int | None:
        """Return a constant that this value is multiplied with, and through it alone anything else.

        Of the two sides of a product the smaller kind is looked at first: that is where rates are made.
        """
        function, args, _, _ = self.nodes[n]
        if function not in ("mul", "div", "negative"):
            return None
        args = args[:1] if function == "div" else args
        for arg in args:
            if self.nodes[arg].is_constant:
                return arg
        for arg in sorted(args, key=lambda arg: self.nodes[arg].kind):
            found = self.factor(arg) if self._has_one_reader(arg) else None
            if found is not None:
                return found
        return None

    def _has_one_reader(self, n: int) -> bool:
        return len(self.readers[n]) == 1


class _Decay:
    """The decay terms of a program, and the size of the first coefficient that is not zero (0 if there is none)."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._values = _Values(program)
        self._nodes = self._values.nodes
        self._with_w = _depending_on_w(self._nodes)
        self._multiples: dict[int, bool] = {}
        self.terms = sorted(self._found())
        sizes = [abs(self._coefficient(edge)) for edge in self.terms]
        self.reference = next((size for size in sizes if _TINY < size < _HUGE), 0.0)

    def with_size(self, value: float) -> Program:
        """Return the program with all terms scaled alike: by constants that they have, else by one more statement."""
        places = {edge: self._place(edge) for edge in self.terms}
        shares = {p: self._nodes[p].value / self.reference for p in places.values() if p is not None}
        others = [edge for edge, place in places.items() if place is None]
        changes = {place: share * value for place, share in shares.items()}
        return _multiplied(with_nodes(self._program, changes), others, value / self.reference)

    def revived(self) -> Program:
        """Return the program with the zeros among the constants of its terms made ones."""
        places = [p for edge in self.terms if (p := self._place(edge)) is not None]
        return with_nodes(self._program, {p: 1.0 for p in places if self._nodes[p].value == 0})

    def _found(self) -> set[Edge]:
        """Return all terms, on a walk backwards from the update that ends at reductions."""
        states = self._values.flow.states
        terms, seen, stack = set[Edge](), set[int](), [self._values.flow.update]
        while stack:
            n = stack.pop()
            if n in seen:
                continue
            seen.add(n)
            function, args, _, _ = self._nodes[n]
            if n in states:
                stack.append(states[n])
            elif args and OPS[function].result in (largest, like_first):
                for argument, arg in enumerate(args):
                    if function in SUMS and self._is_multiple(arg):
                        terms.add(Edge(n, argument))
                    else:
                        stack.append(arg)
        return terms

    def _is_multiple(self, n: int) -> bool:
        """Return whether a value is the weights times something that does not depend on them, or has no places."""
        if n not in self._multiples:
            self._multiples[n] = n == W or self._is_product_with_w(n)
        return self._multiples[n]

    def _is_product_with_w(self, n: int) -> bool:
        function, args, _, _ = self._nodes[n]
        match function:
            case "negative" | "clip":
                return self._is_multiple(args[0])
            case "div":
                return self._is_multiple(args[0]) and self._is_coefficient(args[1])
            case "mul":
                return any(self._is_multiple(x) and self._is_coefficient(y) for x, y in (args, args[::-1]))
        return False

    def _is_coefficient(self, n: int) -> bool:
        return self._nodes[n].kind not in WEIGHTS or n not in self._with_w

    def _place(self, edge: Edge) -> int | None:
        """Return a constant that the operand is multiplied with, if nothing but terms reads the operand."""
        operand = self._nodes[edge.reader].args[edge.argument]
        return self._values.factor(operand) if self._values.readers[operand] <= set(self.terms) else None

    def _coefficient(self, edge: Edge) -> float:
        """Return the constant part of the coefficient with which w enters at a term."""
        args = self._nodes[edge.reader].args
        weight = 1.0
        if len(args) == 3 and self._nodes[args[2]].is_constant:
            share = self._nodes[args[2]].value
            weight = (1 - share, share)[edge.argument]
        return weight * self._number(args[edge.argument])

    def _number(self, n: int) -> float:
        """Return the product of the constants that make up a product."""
        function, args, _, value = self._nodes[n]
        if self._nodes[n].is_constant:
            return value
        match function:
            case "mul":
                return self._number(args[0]) * self._number(args[1])
            case "div":
                divisor = self._nodes[args[1]].value + EPS if self._nodes[args[1]].is_constant else 1.0
                return self._number(args[0]) / divisor if divisor else math.nan
            case "negative":
                return -self._number(args[0])
            case "clip":
                return self._number(args[0])
        return 1.0


def _depending_on_w(nodes: Iterable[Node]) -> set[int]:
    """Return the nodes that depend on the weights within a step."""
    found = {W}
    for n, node in enumerate(nodes):
        if not found.isdisjoint(node.args):
            found.add(n)
    return found


def _multiplied(program: Program, edges: Iterable[Edge], factor: float) -> Program:
    """Return the program with arguments multiplied by a factor on the way to their readers.

    Each of these arguments takes a statement of its own.
    """
    multiplied = set(edges)
    taken = {*INPUTS, *(statement.target for statement in program.statements)}
    names = (f"decay{n}" for n in count(1) if f"decay{n}" not in taken)
    statements = list[Statement]()
    for number, statement in zip(program.dataflow.statements, program.statements, strict=True):
        args = list(statement.args)
        for argument, arg in enumerate(args):
            if Edge(number, argument) in multiplied:
                args[argument] = next(names)
                statements.append(Statement(str(args[argument]), "mul", (arg, float(factor))))
        statements.append(statement._replace(args=tuple(args)))
    return Program(tuple(statements))
