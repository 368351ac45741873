"""Programs as values: what a live program computes, every different expression once.

A `Graph` grows and never changes, so that an expression is its number. Names, order, dead statements, copies of an
expression and the order of commutative arguments are gone when a program is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from programs.dataflow import LR, N_INPUTS, M, V
from programs.liveness import live
from programs.ops import OPS, SCALAR, TREE
from programs.program import Program

INPUT, CONSTANT = "input", "constant"  # in place of the name of a function


class Node(NamedTuple):
    """`function` of other nodes, with its kind; `value` is that of a constant."""

    function: str
    args: tuple[int, ...]
    kind: int
    value: float = 0.0


class Roots(NamedTuple):
    """What a program returns: the update, and for each live slot (`M`, `V`) the node that it holds afterwards."""

    update: int
    states: tuple[tuple[int, int], ...]

    def nodes(self) -> tuple[int, ...]:
        """Update and next states."""
        return (self.update, *(node for _, node in self.states))


class KindError(Exception):
    """A call that does not fit its kinds; a rewriting that leads to one is not possible."""


@dataclass
class Graph:
    """All expressions met so far; arguments have smaller numbers. Nodes 0..4 are the inputs w, g, m, v, lr."""

    nodes: list[Node] = field(
        default_factory=lambda: [Node(INPUT, (), SCALAR if n == LR else TREE) for n in range(N_INPUTS)]
    )
    _numbers: dict[tuple[object, ...], int] = field(default_factory=dict)

    def constant(self, value: float) -> int:
        """The node of a number; zeros of different sign differ."""
        return self._intern((CONSTANT, value.hex()), Node(CONSTANT, (), SCALAR, value))

    def call(self, function: str, args: Iterable[int]) -> int:
        """The node of a call.

        Raises:
            KindError: the arguments do not fit.
        """
        op, args = OPS[function], tuple(args)
        if op.commutative and args[0] > args[1]:
            args = args[::-1]
        known = self._numbers.get((function, args))
        if known is not None:
            return known
        kinds = [self.nodes[a].kind for a in args]
        if any(kind not in accepted for kind, accepted in zip(kinds, op.accepts, strict=True)):
            raise KindError(function)
        return self._intern((function, args), Node(function, args, op.result(kinds)))

    def _intern(self, key: tuple[object, ...], node: Node) -> int:
        number = self._numbers.setdefault(key, len(self.nodes))
        if number == len(self.nodes):
            self.nodes.append(node)
        return number

    def is_call(self, number: int) -> bool:
        """Whether the node is a statement when written down."""
        return self.nodes[number].function not in (INPUT, CONSTANT)

    def is_constant(self, number: int) -> bool:
        """Whether the node is a number."""
        return self.nodes[number].function == CONSTANT

    def below(self, starts: Iterable[int], known: Set[int] = frozenset()) -> set[int]:
        """The nodes that these need, themselves included, without what is `known` and what only that needs."""
        nodes = self.nodes
        seen: set[int] = set()
        stack = [n for n in starts if n not in known]
        while stack:
            node = stack.pop()
            if node not in seen:
                seen.add(node)
                stack += [a for a in nodes[node].args if a not in seen and a not in known]
        return seen

    def rest(self, node: int, roots: Roots) -> set[int]:
        """The nodes that a program would still need if it did not need this one."""
        return self.below(roots.nodes(), {node})

    def above(self, node: int, nodes: Iterable[int]) -> set[int]:
        """Those of the nodes, which stand in order of computation, that need this one, itself included."""
        found = {node}
        for n in nodes:
            if not found.isdisjoint(self.nodes[n].args):
                found.add(n)
        return found

    def live(self, roots: Roots) -> list[int]:
        """The nodes of a program in order of computation."""
        return sorted(self.below(roots.nodes()))


class Reading(NamedTuple):
    """A program as a graph, and the names that its nodes had."""

    graph: Graph
    roots: Roots
    names: dict[int, str]


def read(program: Program) -> Reading:
    """The live part of a program as a graph."""
    flow = program.dataflow
    nodes, slots = live(flow)
    graph = Graph()
    numbers = {n: n for n in range(N_INPUTS)}
    names: dict[int, str] = {}
    for node in nodes:
        if node >= N_INPUTS:
            refs = flow.args[node - N_INPUTS]
            args = [graph.constant(a) if type(a) is float else numbers[int(a)] for a in refs]
            numbers[node] = graph.call(flow.ops[node - N_INPUTS].name, args)
            names.setdefault(numbers[node], program.statements[node - N_INPUTS].target)
    following = {M: flow.m, V: flow.v}
    states = tuple((s, _original(graph, numbers[following[s]])) for s in slots)
    return Reading(graph, Roots(_original(graph, numbers[flow.update]), states), names)


def _original(graph: Graph, node: int) -> int:
    """What an output is a copy of; the language has no copies but by functions that give back what they get."""
    function, args, _, _ = graph.nodes[node]
    one = graph.constant(1.0)
    if function == "mul" and one in args and args != (one, one):
        return _original(graph, args[0] if args[1] == one else args[1])
    if function in ("maximum", "minimum") and args[0] == args[1]:
        return _original(graph, args[0])
    return node


def trimmed(graph: Graph, roots: Roots) -> Roots:
    """Without the slots that no update needs any more, now or later; the only slot left is `M`."""
    following = dict(roots.states)
    needed: set[int] = set()
    todo = [roots.update]
    while todo:
        reached = graph.below(todo) & following.keys() - needed
        needed |= reached
        todo = [following[s] for s in reached]
    states = tuple((s, n) for s, n in roots.states if s in needed and n != s)
    if len(states) == 1 and states[0][0] == V and M not in graph.below((roots.update, states[0][1])):
        renamed = replaced(graph, Roots(roots.update, states), {V: M})
        assert renamed is not None
        return Roots(renamed.update, ((M, renamed.states[0][1]),))
    return Roots(roots.update, states)


def replaced(graph: Graph, roots: Roots, mapping: Mapping[int, int]) -> Roots | None:
    """The program with nodes replaced by others; None where a reduction or the caller would see another kind.

    The nodes replaced may be read below those that replace them: what stands in `mapping` is put in as it is.
    """
    numbers = dict(mapping)
    for node in graph.live(roots):
        if node in numbers:
            continue
        function, args, _, _ = graph.nodes[node]
        new = tuple(numbers[a] for a in args)
        if new == args:
            numbers[node] = node
        elif OPS[function].reduces and [_k(graph, a) for a in new] != [_k(graph, a) for a in args]:
            return None
        else:
            try:
                numbers[node] = graph.call(function, new)
            except KindError:
                return None
    result = Roots(numbers[roots.update], tuple((s, numbers[n]) for s, n in roots.states))
    return result if all(_k(graph, n) == TREE for n in result.nodes()) else None


def _k(graph: Graph, node: int) -> int:
    return graph.nodes[node].kind


def depths(graph: Graph, nodes: Iterable[int]) -> dict[int, int]:
    """For each of these nodes, in order of computation, the longest chain of calls that leads to it."""
    depth: dict[int, int] = {}
    for node in nodes:
        depth[node] = max((depth[a] + 1 for a in graph.nodes[node].args), default=0)
    return depth


def heights(graph: Graph, nodes: Iterable[int]) -> dict[int, int]:
    """For each of these nodes, in order of computation, the longest chain of calls that it leads to."""
    height = dict.fromkeys(nodes, 0)
    for node in sorted(height, reverse=True):
        for arg in graph.nodes[node].args:
            height[arg] = max(height[arg], height[node] + 1)
    return height
