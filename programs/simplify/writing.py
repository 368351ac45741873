"""From a graph back to statements, with the names that people give.

The update is built up under its own name, `lr * c` is called lr and `w * c` wd, as in the zoo; a state is written once
nothing reads what it held before. Where no order allows that, or where one value serves as two outputs, a state is
copied by one more statement.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping
from math import inf
from typing import NamedTuple

from programs.graph import LR, N_INPUTS, M, V, W
from programs.kinds import TREE
from programs.ops import OPS
from programs.program import Program, Statement
from programs.simplify.graph import Graph, Roots, depths

_INPUT_NAMES = ("w", "g", "m", "v", "lr")
_SLOT_NAMES = {M: "m", V: "v"}
_BY_ARGUMENTS = {"square": "{0}2", "sqrt": "sqrt_{0}", "abs": "abs_{0}", "norm": "norm_{0}", "clip": "clipped_{0}"}

Hints = Mapping[int, str]


_COPIES = (("mul", 1.0), ("maximum", None), ("minimum", None))  # functions that give back what they get


class _Order(NamedTuple):
    """Calls in order, for outputs that are calls, no two of them the same."""

    nodes: list[int]
    roots: Roots


def write(graph: Graph, roots: Roots, hints: Hints | None = None) -> Program:
    """Return the program of these roots; `hints` are names for nodes that get no better one."""
    return Program(tuple(_Writer(graph, _order(graph, roots), hints or {}).statements()))


def writable(graph: Graph, roots: Roots) -> Roots:
    """Return the roots with the copies that `write` needs: every output a call of its own."""
    return _order(graph, roots, in_good_order=False).roots


def _order(graph: Graph, roots: Roots, in_good_order: bool = True) -> _Order:
    """Return the calls in order; any order will do to see which copies are needed."""
    slots = [slot for slot, _ in roots.states]
    choices: list[Collection[int]] = [(), *((s,) for s in slots), slots]
    for copied in choices:
        apart = _told_apart(graph, roots, copied)
        calls = [n for n in graph.live(apart) if graph.is_call(n)]
        places = _postorder(graph, apart) if in_good_order else dict.fromkeys(calls, 0)
        order = _sorted(graph, calls, {n: s for s, n in apart.states}, places)
        if order is not None:
            return _Order(order, apart)
    raise AssertionError("states that are copied at the end are always in order")


def _told_apart(graph: Graph, roots: Roots, copied: Collection[int]) -> Roots:
    """Return the roots with copies of outputs that are inputs, other outputs, or states in `copied`."""
    copies, taken = iter(_COPIES), set()

    def output(node: int, must: bool) -> int:
        while must or node in taken or not graph.is_call(node):
            function, constant = next(copies)
            node = graph.call(function, (node, node if constant is None else graph.constant(constant)))
            must = False
        taken.add(node)
        return node

    update = output(roots.update, must=False)
    return Roots(update, tuple((s, output(n, must=s in copied)) for s, n in roots.states))


def _postorder(graph: Graph, roots: Roots) -> dict[int, int]:
    """Return the places of the nodes if each were computed right before it is first needed."""
    places: dict[int, int] = {}
    depth = depths(graph, graph.live(roots))

    def visit(node: int) -> None:
        if node not in places:
            for arg in sorted(graph.nodes[node].args, key=lambda a: -depth[a]):
                visit(arg)
            places[node] = len(places)

    for root in roots.nodes():
        visit(root)
    return places


def _sorted(graph: Graph, calls: list[int], held: Mapping[int, int], place: Mapping[int, int]) -> list[int] | None:
    """Return the calls in an order in which a slot is written after all that reads it; None if there is none."""
    before = {n: {a for a in graph.nodes[n].args if graph.is_call(a)} for n in calls}
    for node, slot in held.items():
        before[node] |= {n for n in calls if slot in graph.nodes[n].args and n != node}
    after: dict[int, list[int]] = {n: [] for n in calls}
    for node, earlier in before.items():
        for n in earlier:
            after[n].append(node)
    waiting = {n: len(before[n]) for n in calls}
    ready = [(place[n], n) for n in calls if not waiting[n]]
    heapq.heapify(ready)
    order = []
    while ready:
        _, node = heapq.heappop(ready)
        order.append(node)
        for n in after[node]:
            waiting[n] -= 1
            if not waiting[n]:
                heapq.heappush(ready, (place[n], n))
    return order if len(order) == len(calls) else None


class _Writer:
    """Gives names in the order of the statements; a name is used again once its value is no longer needed."""

    def __init__(self, graph: Graph, order: _Order, hints: Hints) -> None:
        self._graph, self._order, self._roots, self._hints = graph, order.nodes, order.roots, hints
        self._depth = depths(graph, graph.live(self._roots))
        self._held = {n: s for s, n in self._roots.states}
        self._last_use = self._last_uses()
        self._chain = self._update_chain()
        self._names = dict(enumerate(_INPUT_NAMES))
        self._holder = {name: n for n, name in self._names.items()}

    def statements(self) -> Iterable[Statement]:
        for place, node in enumerate(self._order):
            args = tuple(self._argument(a) for a in self._in_order(node))
            self._name(node, place)
            yield Statement(self._names[node], self._graph.nodes[node].function, args)

    def _argument(self, node: int) -> str | float:
        return self._graph.nodes[node].value if self._graph.is_constant(node) else self._names[node]

    def _in_order(self, node: int) -> tuple[int, ...]:
        """Return the arguments; of commutative functions trees come first, then what takes longest to compute."""
        function, args, _, _ = self._graph.nodes[node]
        if not OPS[function].commutative:
            return args
        return tuple(
            sorted(args, key=lambda a: (self._graph.is_constant(a), -self._graph.nodes[a].kind, -self._depth[a], a))
        )

    def _last_uses(self) -> dict[int, float]:
        """Return the place of the last statement that reads each node; never for outputs still to be returned."""
        uses: dict[int, float] = dict.fromkeys(range(N_INPUTS), -1)
        for place, node in enumerate(self._order):
            uses[node] = place
            for arg in self._graph.nodes[node].args:
                uses[arg] = place
        for node in self._roots.nodes():
            uses[node] = inf
        return uses

    def _update_chain(self) -> dict[int, float]:
        """Return what the update is made of, each with the place up to which it may be called the update."""
        chain: dict[int, float] = {}
        node, until = self._roots.update, inf
        while (
            self._graph.is_call(node) and self._graph.nodes[node].kind == TREE and (not chain or node not in self._held)
        ):
            chain[node] = until
            until = self._order.index(node)
            args = self._in_order(node)
            if not args:
                break
            node = args[0]
        return chain

    def _name(self, node: int, place: int) -> None:
        name = next(name for name in self._wishes(node) if self._may_take(name, node, place))
        self._names[node] = name
        self._holder[name] = node

    def _wishes(self, node: int) -> Iterable[str]:
        function, args, _, _ = self._graph.nodes[node]
        if node == self._roots.update:
            yield "update"
        if node in self._held:
            yield _SLOT_NAMES[self._held[node]]
        if function == "mul" and any(self._graph.is_constant(a) for a in args):
            yield from ("lr" if a == LR else "wd" for a in args if a in (LR, W))
        if self._last_use[node] <= self._chain.get(node, -1):
            yield "update"
        hint = self._hints.get(node, "update")
        if hint not in (*_INPUT_NAMES, "update", "wd"):
            yield hint
        if function in _BY_ARGUMENTS and self._names.get(args[0]) in _INPUT_NAMES:
            yield _BY_ARGUMENTS[function].format(self._names[args[0]])
        yield from (f"x{n}" for n in range(1, len(self._order) + len(self._hints) + 2))

    def _may_take(self, name: str, node: int, place: int) -> bool:
        if name in ("m", "v"):
            slot = {"m": M, "v": V}[name]
            return self._held.get(node) == slot
        holder = self._holder.get(name)
        return holder is None or (self._last_use[holder] <= place and (holder >= N_INPUTS or name == "lr"))
