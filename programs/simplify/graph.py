"""Programs as values: what a live program computes, every different expression once.

A `Graph` grows and never changes, so that an expression is its number. Names, order, dead statements, copies of an
expression and the order of commutative arguments are gone when a program is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from programs.graph import CONSTANT, INPUT_NODES, N_INPUTS, Dataflow, M, Node, V
from programs.kinds import SCALAR, WEIGHTS
from programs.liveness import live
from programs.ops import OPS
from programs.program import Program


class Roots(NamedTuple):
    """What a program returns: the update, and for each live slot (`M`, `V`) the node that it holds afterwards."""

    update: int
    states: tuple[tuple[int, int], ...]

    def nodes(self) -> tuple[int, ...]:
        """Return the update and the next states."""
        return (self.update, *(node for _, node in self.states))


class KindError(Exception):
    """A call that does not fit its kinds; a rewriting that leads to one is not possible."""


@dataclass
class Graph:
    """All expressions met so far; arguments have smaller numbers, and the inputs come first."""

    nodes: list[Node] = field(default_factory=lambda: list(INPUT_NODES))
    _numbers: dict[tuple[object, ...], int] = field(default_factory=dict)

    def constant(self, value: float) -> int:
        """Return the node of a number; zeros of different sign differ."""
        return self._intern((CONSTANT, value.hex()), Node(CONSTANT, (), SCALAR, value))

    def call(self, function: str, args: Iterable[int]) -> int:
        """Return the node of a call.

        Raises:
            KindError: the arguments do not fit.
        """
        op, args = OPS[function], tuple(args)
        if op.commutative and args[0] > args[1]:
            args = args[::-1]
        known = self._numbers.get((function, args))
        if known is not None:
            return known
        kind = op.results.get(tuple(self.nodes[a].kind for a in args))
        if kind is None:
            raise KindError(function)
        return self._intern((function, args), Node(function, args, kind))

    def _intern(self, key: tuple[object, ...], node: Node) -> int:
        number = self._numbers.setdefault(key, len(self.nodes))
        if number == len(self.nodes):
            self.nodes.append(node)
        return number

    def is_call(self, number: int) -> bool:
        """Return whether the node is a statement when written down."""
        return self.nodes[number].is_call

    def is_constant(self, number: int) -> bool:
        """Return whether the node is a number."""
        return self.nodes[number].is_constant

    def below(self, starts: Iterable[int], known: Set[int] = frozenset()) -> set[int]:
        """Return the nodes that these need, themselves included, without what is `known` and what only that needs."""
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
        """Return the nodes that a program would still need if it did not need this one."""
        return self.below(roots.nodes(), {node})

    def above(self, node: int, nodes: Iterable[int]) -> set[int]:
        """Return those of the nodes, given in order of computation, that need this one, itself included."""
        found = {node}
        for n in nodes:
            if not found.isdisjoint(self.nodes[n].args):
                found.add(n)
        return found

    def live(self, roots: Roots) -> list[int]:
        """Return the nodes of a program in order of computation."""
        return sorted(self.below(roots.nodes()))


class Reading(NamedTuple):
    """A program as a graph, and the names that its nodes had."""

    graph: Graph
    roots: Roots
    names: dict[int, str]


def read(program: Program) -> Reading:
    """Return the live part of a program as a graph."""
    flow = program.dataflow
    alive, states = live(flow)
    targets = {number: s.target for number, s in zip(flow.statements, program.statements, strict=True)}
    graph = Graph()
    numbers = {n: n for n in range(N_INPUTS)}
    names: dict[int, str] = {}
    for n in alive:
        node = flow.nodes[n]
        if node.is_constant:
            numbers[n] = graph.constant(node.value)
        elif node.is_call:
            numbers[n] = graph.call(node.function, [numbers[a] for a in node.args])
            names.setdefault(numbers[n], targets[n])
    after = tuple((slot, _original(graph, numbers[n])) for slot, n in states.items())
    return Reading(graph, Roots(_original(graph, numbers[flow.update]), after), names)


def _original(graph: Graph, node: int) -> int:
    """Return what an output is a copy of: copies are made by functions that give back what they get."""
    function, args, _, _ = graph.nodes[node]
    one = graph.constant(1.0)
    if function == "mul" and one in args and args != (one, one):
        return _original(graph, args[0] if args[1] == one else args[1])
    if function in ("maximum", "minimum") and args[0] == args[1]:
        return _original(graph, args[0])
    return node


def trimmed(graph: Graph, roots: Roots) -> Roots:
    """Return the roots without slots that no update needs any more, now or later; the only slot left is `M`."""
    states = tuple(live(Dataflow(graph.nodes, roots.update, dict(roots.states), [])).states.items())
    if len(states) == 1 and states[0][0] == V and M not in graph.below((roots.update, states[0][1])):
        renamed = replaced(graph, Roots(roots.update, states), {V: M})
        assert renamed is not None
        return Roots(renamed.update, ((M, renamed.states[0][1]),))
    return Roots(roots.update, states)


def replaced(graph: Graph, roots: Roots, mapping: Mapping[int, int]) -> Roots | None:
    """Return the program with nodes replaced by others; None where a reduction or the caller would see another kind.

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
    return result if all(_k(graph, n) in WEIGHTS for n in result.nodes()) else None


def _k(graph: Graph, node: int) -> int:
    return graph.nodes[node].kind


def depths(graph: Graph, nodes: Iterable[int]) -> dict[int, int]:
    """Return, for each of these nodes in order of computation, the longest chain of calls that leads to it."""
    depth: dict[int, int] = {}
    for node in nodes:
        depth[node] = max((depth[a] + 1 for a in graph.nodes[node].args), default=0)
    return depth


def heights(graph: Graph, nodes: Iterable[int]) -> dict[int, int]:
    """Return, for each of these nodes in order of computation, the longest chain of calls that it leads to."""
    height = dict.fromkeys(nodes, 0)
    for node in sorted(height, reverse=True):
        for arg in graph.nodes[node].args:
            height[arg] = max(height[arg], height[node] + 1)
    return height
